//! `Raft`: the handle by which an application uses its node.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft_adapters::{
    Env, LogIdOf, RaftLogStorage, RaftNetworkFactory, RaftStateMachine, RaftTypeConfig, ReplicaOf,
    proposal_weight,
};
use openraft_engine::{InitialNodes, ReadRefused, TransferRefused};
use tokio::sync::{mpsc, oneshot, watch};

use crate::budget::Budget;
use crate::gate::Gate;
use crate::leadership::Hooks;
use crate::message::{ClientWriteRequest, RaftMsg, ReadFailure};
use crate::state_machine::StateMachineCommand;
use crate::{
    Config, Fatal, ForwardToLeader, InitializeError, RaftMetrics, ReadIndexError, TransferError, Wait,
    WriteError, WriteLimit, WriteReply,
};

/// What a node is made of.
pub struct RaftParts<C: RaftTypeConfig> {
    /// Its configuration.
    pub config: Config,
    /// Who it is, and on which store.
    pub replica: ReplicaOf<C>,
    /// Its clock and its tasks.
    pub env: Env,
    /// How it reaches its peers.
    pub network: Arc<dyn RaftNetworkFactory<C>>,
    /// Its log. No other node may use it.
    pub log: Arc<dyn RaftLogStorage<C>>,
    /// Its state machine.
    pub state_machine: Box<dyn RaftStateMachine<C>>,
}

/// How a linearizable read is made sure of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadPolicy {
    /// A round of messages confirms that this node still leads (thesis 6.4). Right whatever clocks do.
    #[default]
    ReadIndex,
    /// On the leader, while its followers' promises stand (thesis 6.4.1): no round of messages; what is committed now need
    /// only be applied. Otherwise, and unless [`Config::lease_reads`] is set, it is [`ReadIndex`](ReadPolicy::ReadIndex).
    /// Right as long as the nodes' clocks go at about the same rate and none stands still: see there.
    Lease,
    /// On a node that does not lead: asks the leader that it follows for its read index, then waits until it has applied
    /// that much itself (thesis 6.4), so that learners and followers share the work of reading. At most one question is
    /// under way for each node; reads that come meanwhile share the next one. On the leader it is
    /// [`ReadIndex`](ReadPolicy::ReadIndex).
    Follower,
}

/// A handle to a running node. Cloning it is cheap; when the last one is dropped, the node stops, without waiting for
/// what is under way. A network server that was given the node as a `RaftServer` has a handle too: end it as well, or
/// call [`shutdown`](Raft::shutdown).
pub struct Raft<C: RaftTypeConfig> {
    pub(crate) shared: Arc<Shared<C>>,
}

impl<C: RaftTypeConfig> Clone for Raft<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// What all handles share.
pub(crate) struct Shared<C: RaftTypeConfig> {
    pub(crate) me: ReplicaOf<C>,
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) budget: Arc<Budget>,
    pub(crate) messages: mpsc::UnboundedSender<RaftMsg<C>>,
    pub(crate) writes: mpsc::UnboundedSender<ClientWriteRequest<C>>,
    pub(crate) state_machine: mpsc::WeakUnboundedSender<StateMachineCommand<C>>,
    pub(crate) metrics: watch::Receiver<RaftMetrics<C>>,
    /// Peers' messages that wait for the core.
    pub(crate) peer_messages: Arc<Gate>,
    /// Who is told of changes of leadership.
    pub(crate) hooks: Arc<Hooks<C>>,
    /// Why the core ended, once it has.
    pub(crate) fatal: Arc<OnceLock<Fatal>>,
}

impl<C: RaftTypeConfig> Raft<C> {
    /// Who this node is.
    pub fn replica(&self) -> ReplicaOf<C> {
        self.shared.me
    }

    /// Whether this node belongs to a cluster.
    pub fn is_initialized(&self) -> bool {
        !self.shared.metrics.borrow().membership.membership.is_empty()
    }

    /// Forms a cluster: writes the initial membership, in which every listed node votes, into the empty log. Every
    /// node of the list does so, with the same list. On return it is durable here. Repeating it with the same list is
    /// `Ok`.
    ///
    /// Two clusters that are formed with the same names and different lists are two clusters; `formation` makes sure
    /// that it does not happen to directories that were wiped.
    ///
    /// # Errors
    /// If the node has another history, or the list does not hold it.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn initialize(
        &self,
        nodes: InitialNodes<C::NodeId, C::Node>,
    ) -> Result<(), InitializeError<C>> {
        let (tx, rx) = oneshot::channel();
        self.send(RaftMsg::Initialize { nodes, tx })?;
        let Ok(answer) = rx.await else { return Err(self.cause().await.into()) };
        answer.map_err(InitializeError::Refused)
    }

    /// Writes `data`: on return it is durable on a quorum and applied here. Has `write_timeout_ms` to do so.
    ///
    /// # Errors
    /// See [`WriteError`]: certainly not proposed, or of unknown outcome.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing: the write may still take effect.
    pub async fn client_write(&self, data: C::D) -> Result<WriteReply<C>, WriteError<C>> {
        self.client_write_within(data, Duration::from_millis(self.shared.config.write_timeout_ms)).await
    }

    /// As [`client_write`](Raft::client_write), with an own deadline.
    ///
    /// # Errors
    /// As there.
    pub async fn client_write_within(
        &self,
        data: C::D,
        within: Duration,
    ) -> Result<WriteReply<C>, WriteError<C>> {
        let weight = proposal_weight::<C>(&data);
        let limit = self.shared.config.max_proposal_bytes;
        if weight > limit.saturating_add(openraft_adapters::ENTRY_OVERHEAD_BYTES) {
            return Err(WriteError::TooLarge {
                size: weight - openraft_adapters::ENTRY_OVERHEAD_BYTES,
                limit,
            });
        }
        if let Err(held) = self.shared.budget.try_hold(weight) {
            let limit = self.shared.budget.limit();
            return Err(WriteError::Overloaded { by: WriteLimit::Memory, held, limit });
        }
        let (tx, rx) = oneshot::channel();
        let deadline = self.shared.env.now() + within;
        if self.shared.writes.send(ClientWriteRequest { data, weight, deadline, tx }).is_err() {
            return Err(WriteError::Fatal(self.fatal()));
        }
        match rx.await {
            Ok(result) => result,
            Err(_) => Err(WriteError::Fatal(self.cause().await)),
        }
    }

    /// Makes sure that a read of the local state machine is linearizable: on return it has applied everything that was
    /// committed when the call was made. Returns the entry that was read up to. Has `read_timeout_ms` to do so.
    ///
    /// # Errors
    /// If this node does not lead, or no quorum confirms in time that it does; with [`ReadPolicy::Follower`], if it knows
    /// of no leader or gets no answer from it, or does not catch up in time.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ensure_linearizable(&self, policy: ReadPolicy) -> Result<LogIdOf<C>, ReadIndexError<C>> {
        let (tx, rx) = oneshot::channel();
        let deadline = self.shared.env.now() + Duration::from_millis(self.shared.config.read_timeout_ms);
        self.send(RaftMsg::EnsureLinearizable { policy, deadline, tx })?;
        match rx.await {
            Ok(Ok(log_id)) => Ok(log_id),
            Ok(Err(ReadFailure::TimedOut)) => Err(ReadIndexError::TimedOut),
            Ok(Err(ReadFailure::Unanswered { leader, error })) => {
                Err(ReadIndexError::Unanswered { leader, error })
            }
            Ok(Err(ReadFailure::Refused(ReadRefused::Overloaded))) => Err(ReadIndexError::Overloaded),
            Ok(Err(ReadFailure::Refused(ReadRefused::NotLeader { leader }))) => {
                Err(ReadIndexError::NotLeader(self.forward_to(leader)))
            }
            Err(_) => Err(ReadIndexError::Fatal(self.cause().await)),
        }
    }

    pub(crate) fn forward_to(&self, leader: Option<C::NodeId>) -> ForwardToLeader<C> {
        ForwardToLeader::of(&self.shared.metrics.borrow().membership.membership, leader)
    }

    /// Hands leadership to the voter `to`, or to the one that answers and holds most of the log (thesis 3.10). On return
    /// this node leads no more. Writes that come meanwhile wait, at most for the shortest election timeout, and are then
    /// told who leads, or proposed here if the transfer failed; reads are served on.
    ///
    /// # Errors
    /// If this node does not lead, there is no such voter that answers, or it did not take over in time; then this node
    /// leads on.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the transfer.
    pub async fn transfer_leader(&self, to: Option<C::NodeId>) -> Result<(), TransferError<C>> {
        let (tx, rx) = oneshot::channel();
        self.send(RaftMsg::TransferLeader { to, tx })?;
        match rx.await {
            Ok(Err(TransferRefused::NotLeader { leader })) => Err(self.forward_to(leader).into()),
            Ok(result) => result.map_err(TransferError::Refused),
            Err(_) => Err(TransferError::Fatal(self.cause().await)),
        }
    }

    /// What the node says of itself, published once a turn when it changed.
    pub fn metrics(&self) -> watch::Receiver<RaftMetrics<C>> {
        self.shared.metrics.clone()
    }

    /// Waits for the metrics to be as wished; without a timeout, for ever.
    pub fn wait(&self, timeout: Option<Duration>) -> Wait<C> {
        Wait { env: self.shared.env.clone(), timeout, metrics: self.shared.metrics.clone() }
    }

    /// Stops the node: no new writes; a leader hands over; what was proposed is waited for, at most an election timeout;
    /// then its tasks end. On return the state machine and the log are no longer used by it.
    ///
    /// # Errors
    /// If it had stopped before for another reason.
    ///
    /// # Cancellation
    /// Dropping the future does not keep the node from stopping.
    pub async fn shutdown(&self) -> Result<(), Fatal> {
        let deadline = self.shared.env.now() + self.shared.config.election_timeout_max();
        // If the core is gone, its cause is read below.
        let _ = self.send(RaftMsg::Shutdown { deadline });
        let mut metrics = self.shared.metrics.clone();
        // The sender goes with the core.
        while metrics.changed().await.is_ok() {}
        match self.fatal() {
            Fatal::Stopped => Ok(()),
            other => Err(other),
        }
    }

    pub(crate) fn send(&self, message: RaftMsg<C>) -> Result<(), Fatal> {
        self.shared.messages.send(message).map_err(|_| self.fatal())
    }

    /// Why nobody answers. A core drops what it had taken a moment before it can say why it ends.
    pub(crate) async fn cause(&self) -> Fatal {
        let mut metrics = self.shared.metrics.clone();
        // An error: the task was ended from without, and nobody will say more.
        let _ = metrics.wait_for(|metrics| metrics.fatal.is_some()).await;
        self.fatal()
    }

    /// Why the core ended.
    pub(crate) fn fatal(&self) -> Fatal {
        self.shared.fatal.get().cloned().unwrap_or(Fatal::Stopped)
    }
}
