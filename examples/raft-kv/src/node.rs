//! A running node as its HTTP handlers see it, from the first moment on: what it is, how far it has come, and what it
//! waits for.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use openraft_adapters::IdentityStore;
use openraft_adapters::engine::LogIdOptionExt;
use openraft_core::formation::{Formation, PeerFormation};
use openraft_core::join::Joining;
use openraft_core::{Raft, RaftMetrics, ServerState};

use crate::cluster_list::ClusterList;
use crate::http::Http;
use crate::state::{SharedState, Types};
use crate::wire::{MemberStatus, NodeStatus};

/// How many committed entries may wait to be applied on a node that calls itself ready.
const READY_LAG_ENTRIES: u64 = 1_000;

/// What the node was started with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) id: u64,
    /// Where peers and clients reach it.
    pub(crate) address: String,
    pub(crate) request_timeout: Duration,
    pub(crate) memory_budget_bytes: u64,
    pub(crate) cache_bytes: u64,
}

/// How an empty node comes into a cluster.
#[derive(Clone)]
pub(crate) enum Arrival {
    /// It forms one with the listed nodes.
    Forming { list: ClusterList, formation: Arc<Formation<Types>> },
    /// It joins one that exists.
    Joining(Arc<Joining<Types>>),
}

/// What all handlers share.
pub(crate) struct Node {
    pub(crate) settings: Settings,
    pub(crate) state: SharedState,
    /// For what is passed on to the leader.
    pub(crate) http: Http,
    identity: Arc<dyn IdentityStore<Types>>,
    started: Instant,
    raft: OnceLock<Raft<Types>>,
    arrival: Arrival,
}

impl Node {
    /// A node that has not started its core yet.
    pub(crate) fn new(
        settings: Settings,
        state: SharedState,
        identity: Arc<dyn IdentityStore<Types>>,
        arrival: Arrival,
    ) -> Self {
        Self {
            settings,
            state,
            http: Http::new(),
            identity,
            started: Instant::now(),
            raft: OnceLock::new(),
            arrival,
        }
    }

    /// The core, once it runs in a formed cluster.
    pub(crate) fn raft(&self) -> Option<&Raft<Types>> {
        self.raft.get()
    }

    /// The core runs, and the cluster is formed.
    ///
    /// # Panics
    /// If it was said before.
    pub(crate) fn set_raft(&self, raft: Raft<Types>) {
        assert!(self.raft.set(raft).is_ok(), "a node starts once");
    }

    /// What is missing before the node is in a cluster; nothing once it is.
    fn arrival_sentences(&self) -> Vec<String> {
        match &self.arrival {
            _ if self.raft().is_some() => Vec::new(),
            Arrival::Forming { formation, .. } => Self::forming_sentences(formation),
            Arrival::Joining(joining) => {
                vec![format!("to join the cluster: {}", *joining.waiting().borrow())]
            }
        }
    }

    /// What is missing of each peer before the cluster can form; nothing once it is formed.
    fn forming_sentences(formation: &Formation<Types>) -> Vec<String> {
        let status = formation.status();
        let status = status.borrow();
        if status.formed {
            return Vec::new();
        }
        let waiting = status.peers.iter().filter_map(|(id, peer)| match peer {
            PeerFormation::Waiting { reason } => Some(format!("for node {id}: {reason}")),
            PeerFormation::Recorded => None,
        });
        waiting.collect()
    }

    fn metrics(&self) -> Option<RaftMetrics<Types>> {
        self.raft().map(|raft| raft.metrics().borrow().clone())
    }

    /// The address of the leader, where it is known and another node.
    pub(crate) fn leader_address(&self) -> Option<String> {
        let metrics = self.metrics()?;
        let leader = metrics.current_leader.filter(|id| *id != self.settings.id)?;
        address_of(&metrics, leader)
    }

    /// Why there is no core.
    pub(crate) fn why_not_formed(&self) -> String {
        let sentences = self.arrival_sentences();
        match &self.arrival {
            _ if sentences.is_empty() => "the node is starting".to_owned(),
            Arrival::Forming { .. } => {
                format!("the cluster is not formed yet, the node waits {}", sentences.join("; "))
            }
            Arrival::Joining(_) => {
                format!("the node is in no cluster yet, it waits {}", sentences.join("; "))
            }
        }
    }

    /// Why nobody leads.
    pub(crate) fn why_no_leader(&self) -> String {
        format!("no leader is known; {}", self.why_no_quorum())
    }

    /// What a quorum is, and whom the leader misses.
    pub(crate) fn why_no_quorum(&self) -> String {
        let Some(metrics) = self.metrics() else { return self.why_not_formed() };
        let silent: Vec<String> = metrics
            .followers
            .iter()
            .filter(|(_, follower)| !follower.reachable)
            .map(|(id, _)| format!("node {id}"))
            .collect();
        let quorum = quorum_sentence(&metrics);
        if silent.is_empty() {
            quorum
        } else {
            format!("{quorum}; no answer comes from {}", silent.join(" and "))
        }
    }

    /// That the node is no member any more, if it was removed: it can neither serve nor find who does.
    pub(crate) fn why_removed(&self) -> Option<String> {
        let metrics = self.metrics().filter(|metrics| metrics.removed)?;
        let members = metrics.membership.membership.nodes().iter().filter(|(id, _)| **id != self.settings.id);
        let addresses: Vec<&str> = members.map(|(_, member)| member.node.addr.as_str()).collect();
        Some(format!(
            "node {} was removed from its cluster; ask one of {}",
            self.settings.id,
            addresses.join(", ")
        ))
    }

    /// Why the node should be sent no requests, if it should not.
    pub(crate) fn why_not_ready(&self) -> Option<String> {
        let Some(metrics) = self.metrics() else { return Some(self.why_not_formed()) };
        if let Some(fatal) = &metrics.fatal {
            return Some(fatal.to_string());
        }
        if let Some(removed) = self.why_removed() {
            return Some(removed);
        }
        if metrics.current_leader.is_none() {
            return Some(self.why_no_leader());
        }
        let (committed, applied) = (metrics.committed.next_index(), metrics.applied.next_index());
        (committed > applied + READY_LAG_ENTRIES).then(|| {
            format!("the node has {} committed entries to apply before it is up to date", committed - applied)
        })
    }

    fn waiting_for(&self, metrics: Option<&RaftMetrics<Types>>) -> Vec<String> {
        let Some(metrics) = metrics else {
            let sentences = self.arrival_sentences();
            return if sentences.is_empty() { vec![self.why_not_formed()] } else { sentences };
        };
        if let Some(fatal) = &metrics.fatal {
            return vec![fatal.to_string()];
        }
        if metrics.removed {
            return Vec::new();
        }
        if metrics.current_leader.is_none() {
            return vec![format!("for a leader; {}", quorum_sentence(metrics))];
        }
        let silent = metrics.followers.iter().filter(|(_, follower)| !follower.reachable);
        silent.map(|(id, _)| format!("for node {id}, from which no answer comes")).collect()
    }

    /// The node's view of itself and its cluster.
    pub(crate) fn status(&self) -> NodeStatus {
        let identity = self.identity.identity();
        let metrics = self.metrics();
        let (keys, settings) = (self.state.read().len() as u64, &self.settings);
        let mut status = NodeStatus {
            id: settings.id,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: settings.address.clone(),
            role: match &self.arrival {
                _ if self.arrival_sentences().is_empty() => "starting",
                Arrival::Forming { .. } => "forming",
                Arrival::Joining(_) => "joining",
            }
            .to_owned(),
            cluster: identity.cluster_name,
            cluster_id: identity.cluster_id.map(|id| id.to_string()),
            store_id: identity.replica.store_id.to_string(),
            keys,
            memory_budget_bytes: settings.memory_budget_bytes,
            cache_bytes: settings.cache_bytes,
            uptime_s: self.started.elapsed().as_secs(),
            waiting_for: self.waiting_for(metrics.as_ref()),
            ..NodeStatus::default()
        };
        let Some(metrics) = metrics else {
            let Arrival::Forming { list, .. } = &self.arrival else { return status };
            status.members = list
                .iter()
                .map(|(id, address)| MemberStatus {
                    id,
                    address: address.to_owned(),
                    voter: true,
                    ..MemberStatus::default()
                })
                .collect();
            return status;
        };
        status.role = match &metrics.fatal {
            Some(_) => "stopped",
            None if metrics.removed => "removed",
            None => role(metrics.state),
        }
        .to_owned();
        status.term = metrics.vote.term;
        status.leader = metrics.current_leader;
        status.leader_address = metrics.current_leader.and_then(|id| address_of(&metrics, id));
        status.last_log_index = metrics.last_log.index();
        status.flushed_index = metrics.flushed.index();
        status.committed_index = metrics.committed.index();
        status.applied_index = metrics.applied.index();
        status.snapshot_index = metrics.snapshot.index();
        status.purged_index = metrics.purged.index();
        status.memory_held_bytes = metrics.held_bytes;
        let membership = &metrics.membership.membership;
        status.members = membership
            .nodes()
            .iter()
            .map(|(id, member)| {
                let follower = metrics.followers.get(id);
                MemberStatus {
                    id: *id,
                    address: member.node.addr.clone(),
                    voter: membership.is_voter(id),
                    promote: member.promote,
                    store_id: Some(member.store_id.to_string()),
                    matched_index: follower.and_then(|f| f.matched.index()),
                    reachable: follower.map(|f| f.reachable),
                }
            })
            .collect();
        status
    }
}

fn address_of(metrics: &RaftMetrics<Types>, id: u64) -> Option<String> {
    metrics.membership.membership.nodes().get(&id).map(|member| member.node.addr.clone())
}

fn quorum_sentence(metrics: &RaftMetrics<Types>) -> String {
    let voters = metrics.membership.membership.voter_ids();
    let names: Vec<String> = voters.iter().map(u64::to_string).collect();
    format!(
        "{} of the nodes {} must run, on the directories they were formed with, and reach one another",
        voters.len() / 2 + 1,
        names.join(", ")
    )
}

fn role(state: ServerState) -> &'static str {
    match state {
        ServerState::Learner => "learner",
        ServerState::Follower => "follower",
        ServerState::PreCandidate => "pre-candidate",
        ServerState::Candidate => "candidate",
        ServerState::Leader => "leader",
    }
}
