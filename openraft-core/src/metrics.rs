//! `RaftMetrics`: what a node says of itself, once a turn and only when it changed; and waiting for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::{Env, LogIdOf, RaftTypeConfig, StoredMembershipOf, VoteOf};
use tokio::sync::watch;

use openraft_engine::Engine;

use crate::budget::Budget;
use crate::{Fatal, StateHashMismatch};

pub use openraft_engine::ServerState;

/// A node's state at the end of a turn. Log ids say which of accepted, flushed, committed and applied they are.
#[derive(Clone, Debug, PartialEq)]
pub struct RaftMetrics<C: RaftTypeConfig> {
    /// The node.
    pub id: C::NodeId,
    /// What it is.
    pub state: ServerState,
    /// The vote in force, accepted; durable soon after.
    pub vote: VoteOf<C>,
    /// Who leads, as far as this node knows.
    pub current_leader: Option<C::NodeId>,
    /// The last entry accepted.
    pub last_log: Option<LogIdOf<C>>,
    /// The last entry durable here.
    pub flushed: Option<LogIdOf<C>>,
    /// The last entry known to be committed.
    pub committed: Option<LogIdOf<C>>,
    /// The last entry applied here.
    pub applied: Option<LogIdOf<C>>,
    /// The last entry that the durable snapshot covers.
    pub snapshot: Option<LogIdOf<C>>,
    /// The last entry dropped from the log.
    pub purged: Option<LogIdOf<C>>,
    /// The membership in force.
    pub membership: Arc<StoredMembershipOf<C>>,
    /// Whether this node was removed from its cluster, as far as it knows: by a committed membership that does not hold it,
    /// or by the word of a member. It takes part in nothing any more; its process may end.
    pub removed: bool,
    /// On the leader: each follower.
    pub followers: BTreeMap<C::NodeId, FollowerMetrics<C>>,
    /// Bytes held by entries that are not yet written and applied.
    pub held_bytes: u64,
    /// How many bytes may be held.
    pub held_bytes_limit: u64,
    /// Bytes of entries in memory that are not known to be committed.
    pub uncommitted_bytes: u64,
    /// Bytes of entries in memory that are committed and not yet applied.
    pub unapplied_bytes: u64,
    /// The first time that this node's state differed from its leader's: a state machine is not deterministic, or was
    /// damaged. See [`Config::state_hash_every`](crate::Config::state_hash_every).
    pub state_hash_mismatch: Option<StateHashMismatch<C>>,
    /// Why the node has stopped, if it has.
    pub fatal: Option<Fatal>,
}

impl<C: RaftTypeConfig> RaftMetrics<C> {
    /// What an engine says of itself. `membership` is the one in force, shared as long as it stays.
    pub(crate) fn of(
        id: C::NodeId,
        engine: &Engine<C::NodeId, C::Node>,
        budget: &Budget,
        membership: Arc<StoredMembershipOf<C>>,
    ) -> Self {
        let followers = engine.followers();
        Self {
            id,
            state: engine.role(),
            vote: engine.vote(),
            current_leader: engine.leader(),
            last_log: engine.last_log_id(),
            flushed: engine.flushed(),
            committed: engine.committed(),
            applied: engine.applied(),
            snapshot: engine.snapshot(),
            purged: engine.purged(),
            membership,
            removed: engine.is_removed(),
            followers: followers
                .map(|(id, matched, reachable)| (id, FollowerMetrics { matched, reachable }))
                .collect(),
            held_bytes: budget.held(),
            held_bytes_limit: budget.limit(),
            uncommitted_bytes: 0,
            unapplied_bytes: 0,
            state_hash_mismatch: None,
            fatal: None,
        }
    }
}

/// What a leader knows of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerMetrics<C: RaftTypeConfig> {
    /// The last entry known to be durable there.
    pub matched: Option<LogIdOf<C>>,
    /// Whether it answers.
    pub reachable: bool,
}

/// Waits until a node's metrics are as wished.
pub struct Wait<C: RaftTypeConfig> {
    pub(crate) env: Env,
    pub(crate) timeout: Option<Duration>,
    pub(crate) metrics: watch::Receiver<RaftMetrics<C>>,
}

/// The metrics did not become as wished.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WaitError<C: RaftTypeConfig> {
    /// Not in time.
    #[error("waited {timeout:?} for {what} in vain; the last metrics were {last:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        timeout: Duration,
        /// The metrics at the end.
        last: Box<RaftMetrics<C>>,
    },
    /// The node stopped before.
    #[error("the node stopped while something waited for {what}")]
    Stopped {
        /// What was waited for.
        what: String,
    },
}

impl<C: RaftTypeConfig> Wait<C> {
    /// Waits until `wished` holds of the metrics and returns them; `what` names it in the error.
    ///
    /// # Errors
    /// If it does not hold in time or the node stops.
    pub async fn metrics(
        mut self,
        wished: impl Fn(&RaftMetrics<C>) -> bool,
        what: impl Into<String>,
    ) -> Result<RaftMetrics<C>, WaitError<C>> {
        let what = what.into();
        let mut metrics = self.metrics.clone();
        let found = async { metrics.wait_for(|m| wished(m)).await.map(|m| m.clone()) };
        let result = match self.timeout {
            None => Ok(found.await),
            Some(timeout) => self.env.timeout(timeout, found).await,
        };
        match result {
            Ok(Ok(metrics)) => Ok(metrics),
            Ok(Err(_)) => Err(WaitError::Stopped { what }),
            Err(_) => Err(WaitError::Timeout {
                what,
                timeout: self.timeout.unwrap_or_default(),
                last: Box::new(self.metrics.borrow_and_update().clone()),
            }),
        }
    }

    /// Waits until the node has applied the entry at `index`.
    ///
    /// # Errors
    /// As [`metrics`](Wait::metrics).
    pub async fn applied(self, index: u64) -> Result<RaftMetrics<C>, WaitError<C>> {
        self.metrics(
            |m| m.applied.is_some_and(|applied| applied.index >= index),
            format!("index {index} to be applied"),
        )
        .await
    }

    /// Waits until the node knows a leader.
    ///
    /// # Errors
    /// As [`metrics`](Wait::metrics).
    pub async fn leader(self) -> Result<RaftMetrics<C>, WaitError<C>> {
        self.metrics(|m| m.current_leader.is_some(), "a leader").await
    }

    /// Waits until the node is in `state`.
    ///
    /// # Errors
    /// As [`metrics`](Wait::metrics).
    pub async fn state(self, state: ServerState) -> Result<RaftMetrics<C>, WaitError<C>> {
        self.metrics(|m| m.state == state, format!("the node to be {state:?}")).await
    }
}
