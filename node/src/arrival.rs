//! How a node comes into its cluster, beside everything else that it does: it forms one with the others of a list, or
//! asks the members of one that exists. Afterwards what peers that form are told follows the membership.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft_adapters::Env;
use openraft_core::Raft;
use openraft_core::formation::{Formation, FormationStatus, PeerFormation};
use openraft_core::join::Joining;
use openraft_engine::BasicNode;
use tokio::sync::watch;

use crate::NodeTypeConfig;
use crate::parts::NodeNetwork;

/// What an empty directory is to become part of.
pub(crate) enum Arrival<C: NodeTypeConfig> {
    /// Of a cluster that it forms with the others of its list.
    Forming,
    /// Of one that exists.
    Joining(Joining<C>),
}

/// What arriving works with.
pub(crate) struct Surroundings<C: NodeTypeConfig> {
    pub(crate) raft: Raft<C>,
    pub(crate) formation: Arc<Formation<C>>,
    pub(crate) network: Arc<dyn NodeNetwork<C>>,
    pub(crate) env: Env,
}

/// How a node stands to its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// On its way into it.
    Arriving,
    /// In it.
    Member,
    /// Outside, for good, and why: it asks nobody any more.
    Excluded(String),
}

/// What a node that arrives waits for, in words for an operator.
pub(crate) enum Waiting {
    /// For the others of a list.
    Forming(watch::Receiver<FormationStatus<u64>>, BTreeMap<u64, BasicNode>),
    /// For a member that answers.
    Joining(watch::Receiver<String>),
}

impl Waiting {
    /// One sentence for each thing that is missing; each continues "the node waits".
    pub(crate) fn sentences(&self) -> Vec<String> {
        match self {
            Self::Joining(waiting) => vec![format!("to join the cluster: {}", *waiting.borrow())],
            Self::Forming(status, list) => {
                let status = status.borrow();
                let address = |id| list.get(id).map_or("", |node| node.addr.as_str());
                let peers = status.peers.iter().filter(|_| !status.formed);
                let missing = peers.filter_map(|(id, peer)| match peer {
                    // The network says itself where it looked for whom.
                    PeerFormation::Waiting { reason } if reason.contains(address(id)) => {
                        Some(format!("for node {id}: {reason}"))
                    }
                    PeerFormation::Waiting { reason } => {
                        Some(format!("for node {id} at {}: {reason}", address(id)))
                    }
                    PeerFormation::Recorded => None,
                });
                missing.collect()
            }
        }
    }

    /// All of them as one, with what they mean.
    pub(crate) fn sentence(&self) -> String {
        let sentences = self.sentences();
        if sentences.is_empty() {
            return "the node is starting".to_owned();
        }
        let (what, remedy) = match self {
            Self::Forming(..) => (
                "the cluster is not formed yet: every listed node must run; the node waits",
                "Start the nodes that do not answer, or correct the list on all nodes",
            ),
            Self::Joining(_) => (
                "the node has not joined its cluster yet: it waits",
                "One of the members given to join() must run, and a leader be known to it",
            ),
        };
        format!("{what} {}. {remedy}", sentences.join("; "))
    }
}

impl<C: NodeTypeConfig> Surroundings<C> {
    /// How the node stands before [`arrive`](Self::arrive) begins.
    pub(crate) fn standing(&self) -> Standing {
        if self.raft.is_initialized() { Standing::Member } else { Standing::Arriving }
    }

    /// Lets the node arrive, if its directory belongs to no cluster, and keeps its peers informed until the node ends.
    pub(crate) async fn arrive(self, arrival: Arrival<C>, standing: watch::Sender<Standing>) {
        let mut metrics = self.raft.metrics();
        tokio::select! {
            biased;
            // The node has ended.
            _ = metrics.wait_for(|m| m.fatal.is_some()) => {}
            () = self.become_member(arrival, &standing) => {}
        }
    }

    /// Ends only where the node can never become a member.
    async fn become_member(&self, arrival: Arrival<C>, standing: &watch::Sender<Standing>) {
        if !self.raft.is_initialized() {
            let arrived = match arrival {
                Arrival::Forming => self.form().await,
                Arrival::Joining(joining) => self.join(&joining).await,
            };
            if let Err(reason) = arrived {
                tracing::error!(%reason, "the node cannot become a member of its cluster");
                standing.send_replace(Standing::Excluded(reason));
                return;
            }
            standing.send_replace(Standing::Member);
        }
        self.formation.follow(&self.raft).await;
    }

    async fn form(&self) -> Result<(), String> {
        let nodes = self.formation.form(&*self.network, &self.env).await;
        let nodes = nodes.map_err(|error| format!("no cluster can be formed: {error}"))?;
        let initialized = self.formation.initialize(&self.raft, nodes).await;
        initialized.map_err(|error| format!("the cluster cannot be initialised: {error}"))
    }

    async fn join(&self, joining: &Joining<C>) -> Result<(), String> {
        joining.join(&*self.network, &self.env).await.map_err(|error| error.to_string())?;
        // The log comes from the leader, and the membership with it. An error is the node's end.
        let mut metrics = self.raft.metrics();
        let _ = metrics.wait_for(|m| !m.membership.membership.is_empty()).await;
        Ok(())
    }
}
