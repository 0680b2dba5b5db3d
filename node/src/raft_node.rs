//! `RaftNode`: a running node whose parts are the author's own: its life, its orders to the leader, its reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use openraft_adapters::{
    Env, FormationServer, IdentityStore, JoinServer, RaftLogStorage, RaftStateMachine, ReplicaOf, TaskHandle,
};
use openraft_core::{Config, Fatal, Raft, ReadIndexError, ReadPolicy, WriteReply};
use openraft_engine::{BasicNode, ClusterId, LogId, MembershipChange, Timestamp};
use openraft_network_http::Troubles;
use serde::de::DeserializeOwned;
use tokio::sync::{oneshot, watch};

use crate::arrival::{Standing, Waiting};
use crate::builder::{NodeBuilder, OfParts};
use crate::forward::{Address, Forwarder};
use crate::order::{ORDER_OVERHEAD_BYTES, Order, Outcome, carry_out};
use crate::status::Details;
use crate::{NodeTypeConfig, ReadError, ReadyError, WriteError, values};

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As of a moment after the call: every write that was acknowledged before is seen, whatever clocks do. Asks the
    /// leader, or, on the leader, a quorum (ReadIndex, thesis 6.4).
    #[default]
    Linearizable,
    /// As [`Linearizable`](Consistency::Linearizable), without a round of messages: on the leader, while its followers'
    /// promises not to vote for anybody else stand (thesis 6.4.1). It trusts that the nodes' clocks go at about the same
    /// rate and that none stands still, so it is an error unless [`Config::lease_reads`] is set, and should be set on all
    /// nodes or none. A leader without a lease, as when it has just been elected, and a node that does not lead confirm
    /// the read as if it were `Linearizable`: slower, and never staler.
    Lease,
    /// What this node has applied by now, which may be old, and is older the longer it is cut off. Needs no leader.
    Stale,
}

/// How long to wait before looking again who leads.
const PAUSE: Duration = Duration::from_millis(20);

/// A running node that was made of the author's own parts: any log store, any state machine, any network, any clock. What
/// this type adds is the life around them: forming or joining a cluster, a server, orders that find the leader, an end in
/// order.
///
/// Cloning gives another handle; when the last one is dropped the node ends, without waiting for what is under way.
/// [`shutdown`](RaftNode::shutdown) ends it in order.
pub struct RaftNode<C: NodeTypeConfig> {
    pub(crate) inner: Arc<Inner<C>>,
}

impl<C: NodeTypeConfig> Clone for RaftNode<C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<C: NodeTypeConfig> std::fmt::Debug for RaftNode<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RaftNode({} at {})", self.inner.raft.replica(), self.inner.address)
    }
}

pub(crate) struct Inner<C: NodeTypeConfig> {
    pub(crate) raft: Raft<C>,
    pub(crate) env: Env,
    pub(crate) config: Config,
    /// Where the others find the node.
    pub(crate) address: String,
    pub(crate) cluster_name: String,
    /// The list that it was started with.
    pub(crate) listed: BTreeMap<u64, BasicNode>,
    pub(crate) started: Timestamp,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) waiting: Waiting,
    /// With which peers it does not go well, if the network is one that says so.
    pub(crate) troubles: Option<Troubles<u64>>,
    /// What the application adds to the status.
    pub(crate) details: Details,
    pub(crate) forwarder: Forwarder,
    pub(crate) stop: watch::Sender<bool>,
    /// Until the node is shut down.
    pub(crate) open: Mutex<Option<Open<C>>>,
}

/// What a shutdown lets go, so that the directory may be opened again while handles are left.
pub(crate) struct Open<C: NodeTypeConfig> {
    pub(crate) identity: Arc<dyn IdentityStore<C>>,
    pub(crate) formation: Arc<dyn FormationServer<C>>,
    pub(crate) join: Arc<dyn JoinServer<C>>,
    pub(crate) arriving: TaskHandle,
    pub(crate) server: Option<ServerTask>,
}

/// The server's task, and what completes when it has ended.
pub(crate) struct ServerTask {
    pub(crate) task: TaskHandle,
    pub(crate) ended: oneshot::Receiver<()>,
}

impl<C: NodeTypeConfig> Drop for Open<C> {
    fn drop(&mut self) {
        self.arriving.abort();
        if let Some(server) = &self.server {
            server.task.abort();
        }
    }
}

impl<C: NodeTypeConfig> Inner<C> {
    pub(crate) fn open(&self) -> MutexGuard<'_, Option<Open<C>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster that the node's directory belongs to, if it does and the node was not shut down.
    pub(crate) fn cluster_id(&self) -> Option<ClusterId> {
        self.open().as_ref().and_then(|open| open.identity.identity().cluster_id)
    }
}

impl<C: NodeTypeConfig> RaftNode<C> {
    /// Begins to describe a node on an author's own log store and state machine. Who the node is and what its cluster is
    /// called, `identity` says. No other node may use any of the three.
    pub fn builder(
        identity: Arc<dyn IdentityStore<C>>,
        log: Arc<dyn RaftLogStorage<C>>,
        state_machine: impl RaftStateMachine<C>,
    ) -> NodeBuilder<C, OfParts<C>> {
        NodeBuilder::of_parts(identity, log, Box::new(state_machine))
    }

    /// The node, as long as somebody else holds it.
    pub(crate) fn downgrade(&self) -> Weak<Inner<C>> {
        Arc::downgrade(&self.inner)
    }

    /// The full handle: metrics, membership, transfer of leadership, snapshots. It implements `RaftServer`, for whoever
    /// brings a network of his own.
    pub fn raft(&self) -> &Raft<C> {
        &self.inner.raft
    }

    /// The configuration that it was started with.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Who this node is.
    pub fn replica(&self) -> ReplicaOf<C> {
        self.inner.raft.replica()
    }

    /// Where the others find the node, `host:port`.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// What answers peers that ask to form a cluster, for a network of the author's own; `None` once the node was shut
    /// down.
    pub fn formation_server(&self) -> Option<Arc<dyn FormationServer<C>>> {
        self.inner.open().as_ref().map(|open| open.formation.clone())
    }

    /// What answers nodes that ask to join the cluster, likewise.
    pub fn join_server(&self) -> Option<Arc<dyn JoinServer<C>>> {
        self.inner.open().as_ref().map(|open| open.join.clone())
    }

    /// Writes: on return the proposal is durable on a quorum and applied by the leader. Works on every node; goes to
    /// whoever leads, and waits for a leader, at most for the configured `write_timeout_ms`. What was certainly not
    /// proposed is tried again within that time, what may have been never is.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing was written, or the outcome is unknown.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing: the write may still take effect.
    pub async fn write(&self, data: C::D) -> Result<WriteReply<C>, WriteError> {
        let (log_id, reply): (LogId<u64>, C::R) = self.order(Order::Write(data)).await?;
        Ok(WriteReply { log_id, reply })
    }

    /// Changes the members by a change that may be repeated, and returns the index of the entry that states the new
    /// membership, committed; `None` if the node to be removed is no member. Works on every node, and waits for another
    /// change that is under way.
    ///
    /// # Errors
    /// As [`write`](Self::write). Where the outcome is unknown, it is safe to ask again.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn change_members(
        &self,
        change: MembershipChange<u64, BasicNode>,
    ) -> Result<Option<u64>, WriteError> {
        self.order(Order::Change(change)).await
    }

    /// Removes the node `id` from the cluster, a voter or not. This node and the leader may be the one that goes; removing
    /// who is no member is `Ok`. Whoever is removed learns of it
    /// ([`RaftMetrics::removed`](openraft_core::RaftMetrics::removed)), and may end.
    ///
    /// # Errors
    /// As [`change_members`](Self::change_members). The last voter cannot go.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn remove_member(&self, id: u64) -> Result<(), WriteError> {
        self.order(Order::removal(id)).await.map(|_: Option<u64>| ())
    }

    /// Has leadership handed over, to the voter `to` or to the best one, and returns who led before. Works on every node.
    ///
    /// # Errors
    /// As [`write`](Self::write); if the transfer was refused or failed the leader leads on.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<u64, WriteError> {
        self.order(Order::Transfer(to)).await
    }

    /// Has the leader carry out an order, and returns its answer.
    async fn order<T: DeserializeOwned>(&self, order: Order<C::D>) -> Result<T, WriteError> {
        let encoded = postcard::to_stdvec(&order)
            .map_err(|error| WriteError::Refused { reason: format!("it does not encode: {error}") })?;
        self.check(&order, &encoded)?;
        let repeatable = order.is_repeatable();
        let (mut order, mut unknown) = (Some(order), None);
        let env = &self.inner.env;
        let end = env.now() + Duration::from_millis(self.inner.config.write_timeout_ms);
        loop {
            let within = end.since(env.now());
            let reason = match self.try_order(&mut order, &encoded, within).await? {
                Outcome::Done(answer) => {
                    return values::decode(&answer).map_err(|cause| WriteError::OutcomeUnknown {
                        reason: values::foreign_reply::<C::R>(&cause),
                    });
                }
                Outcome::Refused(reason) => return Err(WriteError::Refused { reason }),
                Outcome::Overloaded(reason) => return Err(WriteError::Overloaded { reason }),
                Outcome::Unknown(reason) if !repeatable => {
                    return Err(WriteError::OutcomeUnknown { reason: self.with_the_missing(reason) });
                }
                Outcome::Unknown(reason) => unknown.insert(reason).clone(),
                Outcome::NotTaken(reason) => reason,
            };
            if env.now() + PAUSE >= end {
                // That a later attempt was not taken says nothing of an earlier one.
                return Err(match unknown {
                    Some(reason) => WriteError::OutcomeUnknown { reason },
                    None => WriteError::NotWritten { reason },
                });
            }
            env.sleep(PAUSE).await;
        }
    }

    /// What stands against an order whoever leads: a log must never hold what cannot be read from it again, and a leader
    /// would not read what is too large to its end.
    fn check(&self, order: &Order<C::D>, encoded: &[u8]) -> Result<(), WriteError> {
        let Order::Write(_) = order else { return Ok(()) };
        let (size, limit) = (encoded.len() as u64, self.inner.config.max_proposal_bytes);
        if size > limit.saturating_add(ORDER_OVERHEAD_BYTES as u64) {
            let too_large = openraft_core::WriteError::<C>::TooLarge { size, limit };
            return Err(WriteError::Refused { reason: too_large.to_string() });
        }
        match values::decode::<Order<C::D>>(encoded) {
            Ok(_) => Ok(()),
            Err(cause) => Err(WriteError::Refused { reason: values::unreadable::<C::D>(&cause) }),
        }
    }

    /// One attempt, here or at the leader. `order` is used up by the first one here; after that there is its encoded form.
    async fn try_order(
        &self,
        order: &mut Option<Order<C::D>>,
        encoded: &[u8],
        within: Duration,
    ) -> Result<Outcome, WriteError> {
        let (me, leader, address, fatal) = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow();
            let nodes = metrics.membership.membership.nodes();
            let address = metrics.current_leader.and_then(|id| Some(nodes.get(&id)?.node.addr.clone()));
            (metrics.id, metrics.current_leader, address, metrics.fatal.clone())
        };
        if let Some(fatal) = fatal {
            return Err(WriteError::Stopped(fatal));
        }
        if let Some(reason) = self.why_no_member() {
            return Err(WriteError::NoMember { reason });
        }
        if leader == Some(me) {
            let order = match order.take() {
                Some(order) => order,
                None => values::decode(encoded)
                    .map_err(|cause| WriteError::Refused { reason: values::unreadable::<C::D>(&cause) })?,
            };
            return Ok(carry_out(&self.inner.raft, &self.inner.env, order, within).await);
        }
        let (Some(to), Some(target), Some(cluster_id)) = (leader, address, self.inner.cluster_id()) else {
            return Ok(Outcome::NotTaken(self.why_no_leader()));
        };
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let address = Address { to, cluster_id, within_ms };
        Ok(self.inner.forwarder.send(&target, address, encoded).await)
    }

    /// Makes sure that a read of this node's state is as fresh as `consistency` demands: on return, what was committed when
    /// the call was made is applied here. Works on every node.
    ///
    /// # Errors
    /// If nobody who leads confirms the read within `read_timeout_ms`; if it is to be by lease, and leases are off.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn confirm_read(&self, consistency: Consistency) -> Result<(), ReadError> {
        match consistency {
            Consistency::Linearizable => self.confirm(false).await,
            Consistency::Lease if !self.inner.config.lease_reads => Err(ReadError::LeasesOff),
            Consistency::Lease => self.confirm(true).await,
            Consistency::Stale => Ok(()),
        }
    }

    async fn confirm(&self, by_lease: bool) -> Result<(), ReadError> {
        let env = &self.inner.env;
        let within = Duration::from_millis(self.inner.config.read_timeout_ms);
        let end = env.now() + within;
        loop {
            if let Some(reason) = self.why_no_member() {
                return Err(ReadError::NoMember { reason });
            }
            let policy = if by_lease && self.leads() { ReadPolicy::Lease } else { ReadPolicy::Follower };
            let left = end.since(env.now());
            let reason = match env.timeout(left, self.inner.raft.ensure_linearizable(policy)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(ReadIndexError::Fatal(fatal))) => return Err(ReadError::Stopped(fatal)),
                Ok(Err(ReadIndexError::NotLeader(forward))) if forward.leader.is_none() => {
                    self.why_no_leader()
                }
                Ok(Err(error)) => self.with_the_missing(error.to_string()),
                Err(_) => self.why_no_leader(),
            };
            if env.now() + PAUSE >= end {
                return Err(ReadError::NotConfirmed { within, reason });
            }
            env.sleep(PAUSE).await;
        }
    }

    fn leads(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_leader == Some(metrics.id)
    }

    /// Waits until the cluster is formed or joined, and a leader is known here.
    ///
    /// # Errors
    /// If that will never be: the node has stopped, was removed, or is refused for good. Else bound the wait by a timeout
    /// of your own; it may be that other nodes never come.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        let (mut metrics, mut standing) = (self.inner.raft.metrics(), self.inner.standing.clone());
        loop {
            let (fatal, leader) = {
                let metrics = metrics.borrow_and_update();
                (metrics.fatal.clone(), metrics.current_leader)
            };
            standing.borrow_and_update();
            if let Some(fatal) = fatal {
                return Err(ReadyError::Stopped(fatal));
            }
            if let Some(reason) = self.why_no_member() {
                return Err(ReadyError::NoMember { reason });
            }
            if leader.is_some() {
                return Ok(());
            }
            tokio::select! {
                biased;
                changed = metrics.changed() => if changed.is_err() {
                    return Err(ReadyError::Stopped(self.stopped().await));
                },
                // Its task has ended: what it said last stands.
                Ok(()) = standing.changed() => {}
            }
        }
    }

    /// Waits until the node has stopped by itself, and says why: its storage failed, or the application panicked.
    pub async fn stopped(&self) -> Fatal {
        let mut metrics = self.inner.raft.metrics();
        let found = metrics.wait_for(|m| m.fatal.is_some()).await;
        found.ok().and_then(|m| m.fatal.clone()).unwrap_or(Fatal::Stopped)
    }

    /// Ends the node in order: no new connections, requests under way are finished, leadership is handed over. On return
    /// the store may be opened again.
    ///
    /// # Errors
    /// If the node had stopped before for another reason.
    ///
    /// # Cancellation
    /// Dropping the future leaves a node that ends without waiting for what is under way.
    pub async fn shutdown(&self) -> Result<(), Fatal> {
        self.inner.stop.send_replace(true);
        let server = self.inner.open().as_mut().and_then(|open| open.server.take());
        if let Some(ServerTask { ended, .. }) = server {
            // An error: the server panicked, and is at its end as well.
            let _ = ended.await;
        }
        let ended = self.inner.raft.shutdown().await;
        drop(self.inner.open().take());
        ended
    }
}
