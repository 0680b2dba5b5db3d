//! `Trigger`: what a node does by itself in its time, done now by request.

use std::fmt;

use openraft_adapters::RaftTypeConfig;
use tokio::sync::oneshot;

use crate::message::{RaftMsg, Triggered};
use crate::{Fatal, Raft};

/// Asks a node to do now what it would do by itself later; see [`Raft::trigger`]. Each call returns whether there was
/// anything to do. Dropping a future withdraws nothing.
pub struct Trigger<'a, C: RaftTypeConfig> {
    raft: &'a Raft<C>,
}

impl<C: RaftTypeConfig> fmt::Debug for Trigger<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trigger")
    }
}

impl<C: RaftTypeConfig> Raft<C> {
    /// Elections, heartbeats and snapshots by request.
    pub fn trigger(&self) -> Trigger<'_, C> {
        Trigger { raft: self }
    }
}

impl<C: RaftTypeConfig> Trigger<'_, C> {
    /// Does what an election timeout does, now. Only the timer is skipped: pre-vote, promises and the completeness of the
    /// log decide as always, so that a leader which is well stays; to move leadership there is
    /// [`transfer_leader`](Raft::transfer_leader). A node that has promised its leader not to campaign does so when the
    /// promise ends, unless it hears of the leader before. `false`: the node leads, or does not vote.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn elect(&self) -> Result<bool, Fatal> {
        self.ask(Triggered::Elect).await
    }

    /// Sends a heartbeat to every follower. `false`: the node does not lead.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn heartbeat(&self) -> Result<bool, Fatal> {
        self.ask(Triggered::Heartbeat).await
    }

    /// Orders a snapshot of what is applied now. `false`: one is being built, or nothing was applied since the last.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn snapshot(&self) -> Result<bool, Fatal> {
        self.ask(Triggered::Snapshot).await
    }

    /// Forgets who leads until it is heard of again, so that callers are no longer sent there; for an application that
    /// knows sooner than the timeouts that the leader is gone. What was promised to it stands. `false`: no other node is
    /// known to lead.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn forget_leader(&self) -> Result<bool, Fatal> {
        self.ask(Triggered::ForgetLeader).await
    }

    async fn ask(&self, what: Triggered) -> Result<bool, Fatal> {
        let (tx, rx) = oneshot::channel();
        self.raft.send(RaftMsg::Trigger { what, tx })?;
        match rx.await {
            Ok(done) => Ok(done),
            Err(_) => Err(self.raft.cause().await),
        }
    }
}
