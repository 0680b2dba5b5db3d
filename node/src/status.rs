//! What a node says of itself: its status, and in words why it cannot serve.

use std::sync::Arc;

use openraft_adapters::engine::LogIdOptionExt;
use openraft_core::{RaftMetrics, ServerState};
use openraft_engine::{BasicNode, Member};
use openraft_network_http::Troubles;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arrival::{Standing, Waiting};
use crate::{NodeTypeConfig, RaftNode};

/// How many committed entries may wait to be applied on a node that calls itself ready.
const READY_LAG_ENTRIES: u64 = 1_000;

/// What an application adds to its node's status.
pub(crate) type Details = Arc<dyn Fn() -> Map<String, Value> + Send + Sync>;

/// A node's own view of itself and its cluster. Every index says which of accepted, flushed, committed and applied it
/// is; `None` is "before the first entry".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node.
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// The library's version.
    pub version: String,
    /// Where peers and clients reach the node.
    pub address: String,
    /// `starting`, `forming`, `joining`, `learner`, `follower`, `pre-candidate`, `candidate`, `leader`, `removed`,
    /// `excluded` or `stopped`.
    pub role: String,
    /// The term of the vote in force.
    pub term: u64,
    /// Who leads, as far as the node knows.
    pub leader: Option<u64>,
    /// Where the leader is found.
    pub leader_address: Option<String>,
    /// The last entry accepted, flushed or not.
    pub last_log_index: Option<u64>,
    /// The last entry durable on this node.
    pub flushed_index: Option<u64>,
    /// The last entry known to be committed.
    pub committed_index: Option<u64>,
    /// The last entry applied here.
    pub applied_index: Option<u64>,
    /// The last entry that the snapshot covers.
    pub snapshot_index: Option<u64>,
    /// The last entry dropped from the log.
    pub purged_index: Option<u64>,
    /// The members of the cluster, or the listed nodes while it forms.
    pub members: Vec<MemberStatus>,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id, once it is formed or joined.
    pub cluster_id: Option<String>,
    /// The store that the node runs on.
    pub store_id: String,
    /// The one budget of bytes.
    pub memory_budget_bytes: u64,
    /// How much of it is held.
    pub memory_held_bytes: u64,
    /// How long the node has run, in seconds.
    pub uptime_s: u64,
    /// What the node waits for, in sentences; empty when it serves.
    pub waiting_for: Vec<String>,
    /// What the application adds, beside the rest.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// One member of the cluster, or one listed node while it forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The node.
    pub id: u64,
    /// Where it is found.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether a node that does not vote becomes a voter by itself once it has caught up.
    #[serde(default)]
    pub promote: bool,
    /// The store that counts for this node, once the cluster is formed.
    pub store_id: Option<String>,
    /// What is known to be durable there; only the leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_index: Option<u64>,
    /// Whether it answers; only the leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
}

impl<C: NodeTypeConfig> RaftNode<C> {
    /// The node's view of itself and its cluster.
    pub fn status(&self) -> NodeStatus {
        let inner = &self.inner;
        let metrics = inner.raft.metrics().borrow().clone();
        let standing = inner.standing.borrow().clone();
        let mut status = NodeStatus {
            id: metrics.id,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: inner.address.clone(),
            role: role(&metrics, &standing, &inner.waiting).to_owned(),
            cluster: inner.cluster_name.clone(),
            cluster_id: inner.cluster_id().map(|id| id.to_string()),
            store_id: inner.raft.replica().store_id.to_string(),
            memory_budget_bytes: inner.config.memory_budget_bytes,
            memory_held_bytes: metrics.held_bytes,
            uptime_s: inner.env.now().since(inner.started).as_secs(),
            waiting_for: self.waiting_for(&metrics, &standing),
            details: (inner.details)(),
            ..NodeStatus::default()
        };
        if standing != Standing::Member {
            let listed = inner.listed.iter().map(|(id, node)| (*id, node.addr.clone()));
            let listed =
                listed.map(|(id, address)| MemberStatus { id, address, voter: true, ..Default::default() });
            status.members = listed.collect();
            return status;
        }
        status.term = metrics.vote.term;
        status.leader = metrics.current_leader;
        status.leader_address = metrics.current_leader.and_then(|id| address_of(&metrics, id));
        status.last_log_index = metrics.last_log.index();
        status.flushed_index = metrics.flushed.index();
        status.committed_index = metrics.committed.index();
        status.applied_index = metrics.applied.index();
        status.snapshot_index = metrics.snapshot.index();
        status.purged_index = metrics.purged.index();
        status.members = members(&metrics);
        status
    }

    /// Why the node should be sent no requests, if it should not.
    pub fn why_not_ready(&self) -> Option<String> {
        let metrics = self.inner.raft.metrics().borrow().clone();
        if let Some(fatal) = &metrics.fatal {
            return Some(fatal.to_string());
        }
        if let Some(reason) = self.why_no_member() {
            return Some(reason);
        }
        if metrics.current_leader.is_none() {
            return Some(self.why_no_leader());
        }
        let (committed, applied) = (metrics.committed.next_index(), metrics.applied.next_index());
        (committed > applied + READY_LAG_ENTRIES).then(|| {
            format!("the node has {} committed entries to apply before it is up to date", committed - applied)
        })
    }

    /// Why the node is no member and will not become one by itself, if that is so: it can neither serve nor find who does.
    pub fn why_no_member(&self) -> Option<String> {
        if let Standing::Excluded(reason) = &*self.inner.standing.borrow() {
            return Some(reason.clone());
        }
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics.removed.then(|| {
            let nodes = metrics.membership.membership.nodes();
            let others = nodes.iter().filter(|(id, _)| **id != metrics.id);
            let addresses: Vec<&str> = others.map(|(_, member)| member.node.addr.as_str()).collect();
            format!(
                "node {} was removed from its cluster; ask one of {}. To have it back, start it with an empty directory \
                 and join()",
                metrics.id,
                addresses.join(", ")
            )
        })
    }

    /// Why nobody is known to lead.
    pub fn why_no_leader(&self) -> String {
        match &*self.inner.standing.borrow() {
            Standing::Arriving => self.inner.waiting.sentence(),
            _ => format!("no leader is known; {}", self.why_no_quorum()),
        }
    }

    /// What a quorum is, and who is missing, as far as this node knows.
    pub fn why_no_quorum(&self) -> String {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let quorum = quorum_sentence(&metrics);
        match self.missing(&metrics) {
            missing if missing.is_empty() => quorum,
            missing => {
                format!("{quorum}; {}. Start those nodes, or mend the way to them", missing.join("; "))
            }
        }
    }

    /// `reason`, and the members with which it does not go well: as a rule they are the cause.
    pub(crate) fn with_the_missing(&self, reason: String) -> String {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        match self.missing(&metrics) {
            missing if missing.is_empty() => reason,
            missing => format!("{reason}; {}", missing.join("; ")),
        }
    }

    /// The members with which it does not go well, each with the reason if one is known: what the network made of its
    /// last attempt, and whom the leader has not heard of.
    fn missing(&self, metrics: &RaftMetrics<C>) -> Vec<String> {
        let troubles = self.inner.troubles.as_ref().map(Troubles::list).unwrap_or_default();
        let silent = |id: &u64| metrics.followers.get(id).is_some_and(|follower| !follower.reachable);
        let nodes = metrics.membership.membership.nodes();
        let others = nodes.keys().filter(|id| **id != metrics.id);
        let missing = others.filter_map(|id| match troubles.get(id) {
            Some(error) => Some(error.to_string()),
            None => silent(id).then(|| format!("no answer comes from node {id}")),
        });
        missing.collect()
    }

    /// Where the leader is found, if it is known and is another node.
    pub fn leader_elsewhere(&self) -> Option<String> {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader.filter(|id| *id != metrics.id)?;
        address_of(&metrics, leader)
    }

    fn waiting_for(&self, metrics: &RaftMetrics<C>, standing: &Standing) -> Vec<String> {
        match (&metrics.fatal, standing) {
            (Some(fatal), _) => vec![fatal.to_string()],
            (None, Standing::Excluded(reason)) => vec![reason.clone()],
            (None, Standing::Arriving) => match self.inner.waiting.sentences() {
                sentences if sentences.is_empty() => vec![self.inner.waiting.sentence()],
                sentences => sentences,
            },
            (None, Standing::Member) if metrics.removed => Vec::new(),
            (None, Standing::Member) if metrics.current_leader.is_none() => {
                vec![format!("for a leader; {}", quorum_sentence(metrics))]
            }
            (None, Standing::Member) => {
                let silent = metrics.followers.iter().filter(|(_, follower)| !follower.reachable);
                silent.map(|(id, _)| format!("for node {id}, from which no answer comes")).collect()
            }
        }
    }
}

/// The members with what the leader knows of them.
pub(crate) fn members<C: NodeTypeConfig>(metrics: &RaftMetrics<C>) -> Vec<MemberStatus> {
    let membership = &metrics.membership.membership;
    let member = |(id, member): (&u64, &Member<u64, BasicNode>)| {
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
    };
    membership.nodes().iter().map(member).collect()
}

fn address_of<C: NodeTypeConfig>(metrics: &RaftMetrics<C>, id: u64) -> Option<String> {
    metrics.membership.membership.nodes().get(&id).map(|member| member.node.addr.clone())
}

fn quorum_sentence<C: NodeTypeConfig>(metrics: &RaftMetrics<C>) -> String {
    let voters = metrics.membership.membership.voter_ids();
    let names: Vec<String> = voters.iter().map(u64::to_string).collect();
    format!(
        "{} of the nodes {} must run, on the directories they were formed with, and reach one another",
        voters.len() / 2 + 1,
        names.join(", ")
    )
}

fn role<C: NodeTypeConfig>(metrics: &RaftMetrics<C>, standing: &Standing, waiting: &Waiting) -> &'static str {
    match (standing, metrics.state) {
        _ if metrics.fatal.is_some() => "stopped",
        (Standing::Excluded(_), _) => "excluded",
        (Standing::Arriving, _) if waiting.sentences().is_empty() => "starting",
        (Standing::Arriving, _) => match waiting {
            Waiting::Forming(..) => "forming",
            Waiting::Joining(_) => "joining",
        },
        (Standing::Member, _) if metrics.removed => "removed",
        (Standing::Member, ServerState::Learner) => "learner",
        (Standing::Member, ServerState::Follower) => "follower",
        (Standing::Member, ServerState::PreCandidate) => "pre-candidate",
        (Standing::Member, ServerState::Candidate) => "candidate",
        (Standing::Member, ServerState::Leader) => "leader",
    }
}
