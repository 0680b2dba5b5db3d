//! `Node`: a running node in the hands of the application.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft_core::{Fatal, Raft, ReadIndexError, ReadPolicy};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::forward::{Forwarded, Forwarder, Order};
use crate::machine::Shared;
use crate::{App, NodeBuilder, NodeTypes, ReadError, WriteError, routes};

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As of a moment after the call: every write that was acknowledged before is seen, whatever clocks do. Asks the
    /// leader, or, on the leader, a quorum (ReadIndex, thesis 6.4).
    #[default]
    Linearizable,
    /// As [`Linearizable`](Consistency::Linearizable), without a round of messages: on the leader, while its followers'
    /// promises not to vote for anybody else stand (thesis 6.4.1). It trusts that the nodes' clocks go at about the same
    /// rate and that none stands still, so it is an error unless [`Config::lease_reads`](crate::Config::lease_reads) is
    /// set, and should be set on all nodes or none. A leader without a lease, as when it has just been elected, and a node
    /// that does not lead confirm the read as if it were `Linearizable`: slower, and never staler.
    Lease,
    /// What this node has applied by now, which may be old, and is older the longer it is cut off. Needs no leader.
    Stale,
}

/// How long to wait before looking again who leads.
const PAUSE: Duration = Duration::from_millis(20);

/// A running node. Cloning gives another handle; when the last one is dropped the node ends, without waiting for what is
/// under way. [`shutdown`](Node::shutdown) ends it in order.
pub struct Node<A: App> {
    inner: Arc<Inner<A>>,
}

impl<A: App> Clone for Node<A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

pub(crate) struct Inner<A: App> {
    pub(crate) raft: Raft<NodeTypes<A>>,
    pub(crate) state: Shared<A>,
    pub(crate) forwarder: Forwarder,
    pub(crate) write_timeout: Duration,
    pub(crate) read_timeout: Duration,
    /// Whether the configuration turns leases on.
    pub(crate) lease_reads: bool,
    pub(crate) address: String,
    /// What the node waits for to become a member; empty once it is one.
    pub(crate) waiting: watch::Receiver<String>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) server: Mutex<Option<JoinHandle<()>>>,
}

impl<A: App> Drop for Inner<A> {
    fn drop(&mut self) {
        if let Some(server) = self.server.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            server.abort();
        }
    }
}

impl<A: App> Node<A> {
    /// Begins to describe node `id`, which keeps everything in `directory`.
    pub fn builder(id: u64, directory: impl Into<std::path::PathBuf>) -> NodeBuilder<A> {
        NodeBuilder::new(id, directory.into())
    }

    pub(crate) fn of(inner: Inner<A>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// The full handle: metrics, membership, transfer of leadership, snapshots.
    pub fn raft(&self) -> &Raft<NodeTypes<A>> {
        &self.inner.raft
    }

    /// Where the node listens, `host:port`.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Writes: on return the command is durable on a quorum and applied by the leader. Works on every node; goes to
    /// whoever leads, and waits for a leader, at most for the configured `write_timeout_ms`. What was certainly not
    /// proposed is tried again within that time, what may have been never is.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing was written, or the outcome is unknown.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing: the write may still take effect.
    pub async fn write(&self, command: A::Command) -> Result<A::Reply, WriteError> {
        let encoded = postcard::to_stdvec(&command).map_err(|error| WriteError::Refused {
            reason: format!("the command does not encode: {error}"),
        })?;
        drop(command);
        let reply = self.order(Order::Write, Bytes::from(encoded)).await?;
        postcard::from_bytes(&reply).map_err(|error| WriteError::OutcomeUnknown {
            reason: format!("the write took effect, but its reply does not decode: {error}"),
        })
    }

    /// Removes the node `id` from the cluster, a voter or not. Works on every node, this one and the leader may be the
    /// one that goes; on return the membership without it is committed. Removing who is no member is `Ok`. Whoever is
    /// removed learns of it ([`RaftMetrics::removed`](crate::RaftMetrics::removed)), and may end.
    ///
    /// # Errors
    /// As [`write`](Self::write). Where the outcome is unknown, it is safe to ask again. The last voter cannot go.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn remove_member(&self, id: u64) -> Result<(), WriteError> {
        let encoded = postcard::to_stdvec(&id)
            .map_err(|error| WriteError::Refused { reason: format!("the id does not encode: {error}") })?;
        self.order(Order::Remove, Bytes::from(encoded)).await.map(drop)
    }

    /// Has the leader carry out an order, and returns its reply, encoded.
    async fn order(&self, order: Order, encoded: Bytes) -> Result<Vec<u8>, WriteError> {
        let end = Instant::now() + self.inner.write_timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let reason = match self.try_order(order, &encoded, left).await? {
                Forwarded::Done(reply) => return Ok(reply),
                Forwarded::Refused(reason) => return Err(WriteError::Refused { reason }),
                Forwarded::Unknown(reason) => return Err(WriteError::OutcomeUnknown { reason }),
                Forwarded::NotTaken(reason) => reason,
            };
            if Instant::now() + PAUSE >= end {
                return Err(WriteError::NotWritten { reason });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One attempt, here or at the leader.
    async fn try_order(
        &self,
        order: Order,
        encoded: &Bytes,
        within: Duration,
    ) -> Result<Forwarded, WriteError> {
        let (me, leader, address, fatal, removed) = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow();
            let nodes = metrics.membership.membership.nodes();
            let address = metrics.current_leader.and_then(|id| Some(nodes.get(&id)?.node.addr.clone()));
            (metrics.id, metrics.current_leader, address, metrics.fatal.clone(), metrics.removed)
        };
        if let Some(fatal) = fatal {
            return Err(WriteError::Stopped(fatal));
        }
        if removed {
            // Nobody will ever lead this node.
            return Ok(Forwarded::Refused("this node was removed from its cluster".to_owned()));
        }
        if leader == Some(me) {
            return Ok(routes::attempt::<A>(&self.inner.raft, order, encoded, within).await);
        }
        match address {
            Some(address) => Ok(self.inner.forwarder.send(&address, order, encoded.clone(), within).await),
            None => Ok(Forwarded::NotTaken(self.why_no_leader())),
        }
    }

    fn why_no_leader(&self) -> String {
        let waiting = self.inner.waiting.borrow();
        if !waiting.is_empty() {
            return waiting.clone();
        }
        "no leader is known: more than half of the voters must run and reach one another".to_owned()
    }

    /// Looks something up in this node's state, once that is as fresh as `consistency` demands. Works on every node.
    ///
    /// # Errors
    /// If nobody who leads confirms the read within `read_timeout_ms`; if it is to be by lease, and leases are off.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn read(&self, query: A::Query, consistency: Consistency) -> Result<A::Answer, ReadError> {
        match consistency {
            Consistency::Linearizable => self.confirm(false).await?,
            Consistency::Lease if !self.inner.lease_reads => return Err(ReadError::LeasesOff),
            Consistency::Lease => self.confirm(true).await?,
            Consistency::Stale => {}
        }
        Ok(self.inner.state.read().query(query))
    }

    async fn confirm(&self, by_lease: bool) -> Result<(), ReadError> {
        let within = self.inner.read_timeout;
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let leads = {
                let metrics = self.inner.raft.metrics();
                let metrics = metrics.borrow();
                metrics.current_leader == Some(metrics.id)
            };
            let policy = if by_lease && leads { ReadPolicy::Lease } else { ReadPolicy::Follower };
            let asked = self.inner.raft.ensure_linearizable(policy);
            let reason = match tokio::time::timeout(left, asked).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(ReadIndexError::Fatal(fatal))) => return Err(ReadError::Stopped(fatal)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => self.why_no_leader(),
            };
            if Instant::now() + PAUSE >= end {
                return Err(ReadError::NotConfirmed { within, reason });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the cluster is formed and a leader is known here.
    ///
    /// # Errors
    /// If the node stops before. Bound the wait by a timeout of your own; it may be that other nodes never come.
    pub async fn ready(&self) -> Result<(), Fatal> {
        let mut metrics = self.inner.raft.metrics();
        let found = metrics.wait_for(|m| m.current_leader.is_some() || m.fatal.is_some()).await;
        match found.map(|m| m.fatal.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(fatal)) => Err(fatal),
            Err(_) => Err(Fatal::Stopped),
        }
    }

    /// Waits until the node has stopped by itself, and says why: its storage failed, or the application panicked.
    pub async fn stopped(&self) -> Fatal {
        let mut metrics = self.inner.raft.metrics();
        let found = metrics.wait_for(|m| m.fatal.is_some()).await;
        found.ok().and_then(|m| m.fatal.clone()).unwrap_or(Fatal::Stopped)
    }

    /// Ends the node in order: no new connections, requests under way are finished, leadership is handed over. On return
    /// the directory may be opened again.
    ///
    /// # Errors
    /// If the node had stopped before for another reason.
    pub async fn shutdown(&self) -> Result<(), Fatal> {
        self.inner.stop.send_replace(true);
        let server = self.inner.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            // A server that panicked is at its end as well.
            let _ = server.await;
        }
        self.inner.raft.shutdown().await
    }
}
