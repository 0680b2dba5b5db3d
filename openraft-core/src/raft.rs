//! `Raft`: the handle by which an application uses its node.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use openraft_adapters::{
    Env, LogIdOf, RaftLogStorage, RaftNetworkFactory, RaftStateMachine, RaftTypeConfig, ReplicaOf,
    proposal_weight,
};
use openraft_engine::{Engine, InitialNodes, LogIdOptionExt, ReadRefused, RestartState};
use tokio::sync::{mpsc, oneshot, watch};

use crate::budget::Budget;
use crate::core::{Inboxes, RaftCore, Work};
use crate::message::{ClientWriteRequest, Notification, RaftMsg, ReadFailure};
use crate::pending::PendingWrites;
use crate::state_machine::{StateMachineCommand, StateMachineTask};
use crate::tail::Tail;
use crate::{
    Config, Fatal, ForwardToLeader, InitializeError, InvalidConfig, RaftMetrics, ReadIndexError, StartError,
    Wait, WriteError, WriteReply,
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

pub(crate) struct Shared<C: RaftTypeConfig> {
    pub(crate) me: ReplicaOf<C>,
    config: Config,
    pub(crate) env: Env,
    pub(crate) budget: Arc<Budget>,
    messages: mpsc::UnboundedSender<RaftMsg<C>>,
    writes: mpsc::UnboundedSender<ClientWriteRequest<C>>,
    pub(crate) state_machine: mpsc::WeakUnboundedSender<StateMachineCommand<C>>,
    metrics: watch::Receiver<RaftMetrics<C>>,
    /// Peers' messages that wait for the core.
    pub(crate) peer_messages: Arc<Gate>,
    /// Why the core ended, once it has.
    fatal: Arc<OnceLock<Fatal>>,
}

/// Counts what waits, up to a limit.
#[derive(Debug)]
pub(crate) struct Gate {
    limit: usize,
    waiting: AtomicUsize,
}

/// A place taken in a [`Gate`], given back on drop.
#[derive(Debug)]
pub(crate) struct Place(Arc<Gate>);

impl Gate {
    /// A place, if one is free.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Place> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<C: RaftTypeConfig> Raft<C> {
    /// Starts a node on what its store and state machine hold: empty ones are a node in no cluster yet, which waits to
    /// be [initialised](Raft::initialize) or to be reached by a leader.
    ///
    /// # Errors
    /// If the configuration cannot work, the store or the state machine cannot be read, or the two do not fit together.
    /// Nothing has been written then.
    pub async fn start(parts: RaftParts<C>) -> Result<Raft<C>, StartError<C>> {
        let RaftParts { config, replica: me, env, network, log, mut state_machine } = parts;
        config.validate()?;
        let found = recover(&*log, &mut *state_machine).await?;
        let applied_membership = membership_at::<C>(&found);
        let pending = PendingWrites::new();
        let engine = Engine::new(config.engine_config(me), env.now(), found).map_err(InvalidConfig::from)?;
        // Of log and snapshot together: a purged log may state no membership any more.
        let membership = &engine.membership().membership;
        if membership.nodes().contains_key(&me.node_id) && !membership.knows(&me) {
            return Err(StartError::OtherStore { me });
        }

        let budget = Arc::new(Budget::new(config.memory_budget_bytes));
        let tail = Arc::new(Tail::new(budget.clone(), engine.last_log_id().next_index(), engine.purged()));
        let (messages_tx, messages) = mpsc::unbounded_channel();
        let (writes_tx, writes) = mpsc::unbounded_channel();
        let (notifications_tx, notifications) = mpsc::unbounded_channel();
        let (state_machine_tx, commands) = mpsc::unbounded_channel();
        let (metrics_tx, metrics) = watch::channel(initial_metrics(&me, &engine, &budget));
        let (using, state_machine_done) = mpsc::channel(1);
        let reader = log.reader();

        let task = StateMachineTask {
            machine: state_machine,
            membership: applied_membership,
            log: reader.clone(),
            env: env.clone(),
            commands,
            notify: notifications_tx.clone(),
            pending: pending.clone(),
            builder: None,
            using,
        };
        spawn_state_machine(&env, task, notifications_tx.clone());

        let fatal = Arc::new(OnceLock::new());
        let work = Work::new(engine.membership().clone(), pending);
        let core = RaftCore {
            config: config.clone(),
            me,
            env: env.clone(),
            engine,
            budget: budget.clone(),
            tail,
            log,
            reader,
            factory: network,
            state_machine: state_machine_tx.clone(),
            metrics: metrics_tx,
            io: Inboxes {
                messages,
                messages_tx: messages_tx.downgrade(),
                writes,
                notifications,
                notifications_tx,
                state_machine_done,
            },
            work,
        };
        let shared = Shared {
            me,
            env: env.clone(),
            budget,
            messages: messages_tx,
            writes: writes_tx,
            state_machine: state_machine_tx.downgrade(),
            metrics,
            peer_messages: Arc::new(Gate { limit: config.max_peer_messages, waiting: AtomicUsize::new(0) }),
            fatal: fatal.clone(),
            config,
        };
        env.spawn("raft-core", run_core(core, fatal));
        Ok(Raft { shared: Arc::new(shared) })
    }

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
            return Err(WriteError::Overloaded { held, limit: self.shared.budget.limit() });
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
    /// If this node does not lead, or no quorum confirms in time that it does.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ensure_linearizable(&self, policy: ReadPolicy) -> Result<LogIdOf<C>, ReadIndexError<C>> {
        match policy {
            ReadPolicy::ReadIndex => self.read_index().await,
        }
    }

    async fn read_index(&self) -> Result<LogIdOf<C>, ReadIndexError<C>> {
        let (tx, rx) = oneshot::channel();
        let deadline = self.shared.env.now() + Duration::from_millis(self.shared.config.read_timeout_ms);
        self.send(RaftMsg::EnsureLinearizable { deadline, tx })?;
        match rx.await {
            Ok(Ok(log_id)) => Ok(log_id),
            Ok(Err(ReadFailure::TimedOut)) => Err(ReadIndexError::TimedOut),
            Ok(Err(ReadFailure::Refused(ReadRefused::Overloaded))) => Err(ReadIndexError::Overloaded),
            Ok(Err(ReadFailure::Refused(ReadRefused::NotLeader { leader }))) => {
                Err(ReadIndexError::NotLeader(self.forward_to(leader)))
            }
            Err(_) => Err(ReadIndexError::Fatal(self.cause().await)),
        }
    }

    fn forward_to(&self, leader: Option<C::NodeId>) -> ForwardToLeader<C> {
        let metrics = self.shared.metrics.borrow();
        let nodes = metrics.membership.membership.nodes();
        ForwardToLeader {
            leader: leader.and_then(|id| nodes.get(&id).map(|member| (id, member.node.clone()))),
        }
    }

    /// Orders a snapshot of what is applied now. `false`: one is being built, or nothing was applied since the last.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn trigger_snapshot(&self) -> Result<bool, Fatal> {
        let (tx, rx) = oneshot::channel();
        self.send(RaftMsg::TriggerSnapshot { tx })?;
        match rx.await {
            Ok(ordered) => Ok(ordered),
            Err(_) => Err(self.cause().await),
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

    /// Stops the node: no new writes; those proposed are waited for, at most an election timeout; then its tasks end.
    /// On return the state machine and the log are no longer used by it.
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
    async fn cause(&self) -> Fatal {
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

/// What store and state machine hold, as the engine takes it.
async fn recover<C: RaftTypeConfig>(
    log: &dyn RaftLogStorage<C>,
    state_machine: &mut dyn RaftStateMachine<C>,
) -> Result<RestartState<C::NodeId, C::Node>, StartError<C>> {
    let applied = state_machine.last_applied().await?;
    let snapshot = state_machine.current_snapshot().await?.map(|snapshot| snapshot.meta);
    let found = log.log_state().await?;
    let covered = snapshot.as_ref().and_then(|meta| meta.last_log_id);
    if applied.next_index() < covered.next_index() {
        return Err(StartError::BehindSnapshot { applied: applied.index(), snapshot: covered.index() });
    }
    let reaches = found.last_log_id.next_index().max(covered.next_index());
    let begins = found.purged.next_index();
    if applied.next_index() > reaches || begins > applied.next_index() {
        return Err(StartError::Gap {
            applied: applied.index(),
            purged: found.purged.index(),
            last: found.last_log_id.index(),
        });
    }
    Ok(RestartState {
        vote: found.vote,
        purged: found.purged,
        last_log_id: found.last_log_id,
        leader_starts: found.leader_starts,
        memberships: found.memberships,
        committed_hint: found.committed,
        applied,
        snapshot,
    })
}

/// The membership in force at the last applied entry.
fn membership_at<C: RaftTypeConfig>(
    found: &RestartState<C::NodeId, C::Node>,
) -> openraft_adapters::StoredMembershipOf<C> {
    let snapshot = found.snapshot.as_ref().map(|meta| &meta.membership);
    let stated = found.memberships.iter().chain(snapshot);
    stated
        .filter(|stored| stored.log_id <= found.applied)
        .max_by_key(|stored| stored.log_id)
        .cloned()
        .unwrap_or_else(|| openraft_engine::StoredMembership {
            log_id: None,
            membership: openraft_engine::Membership::default(),
        })
}

fn initial_metrics<C: RaftTypeConfig>(
    me: &ReplicaOf<C>,
    engine: &Engine<C::NodeId, C::Node>,
    budget: &Budget,
) -> RaftMetrics<C> {
    RaftMetrics {
        id: me.node_id,
        state: engine.role(),
        vote: engine.vote(),
        current_leader: engine.leader(),
        last_log: engine.last_log_id(),
        flushed: engine.flushed(),
        committed: engine.committed(),
        applied: engine.applied(),
        snapshot: engine.snapshot(),
        purged: engine.purged(),
        membership: Arc::new(engine.membership().clone()),
        followers: Default::default(),
        held_bytes: 0,
        held_bytes_limit: budget.limit(),
        fatal: None,
    }
}

/// Runs the state machine's task; a panic of the application's code is told to the core.
fn spawn_state_machine<C: RaftTypeConfig>(
    env: &Env,
    task: StateMachineTask<C>,
    notify: mpsc::UnboundedSender<Notification<C>>,
) {
    env.spawn("state-machine", async move {
        if let Err(panic) = AssertUnwindSafe(task.run()).catch_unwind().await {
            let fatal = Fatal::Panicked(panic_text(&*panic));
            let _ = notify.send(Notification::StateMachineFailed { fatal });
        }
    });
}

/// Runs the core to its end, and then tells everybody.
async fn run_core<C: RaftTypeConfig>(mut core: RaftCore<C>, fatal: Arc<OnceLock<Fatal>>) {
    let end = match AssertUnwindSafe(core.run()).catch_unwind().await {
        Ok(end) => end,
        Err(panic) => Fatal::Panicked(panic_text(&*panic)),
    };
    let id = core.me.node_id;
    match &end {
        Fatal::Stopped => tracing::info!(%id, "stopped"),
        other => tracing::error!(%id, error = %other, "the node has stopped"),
    }
    let end = fatal.get_or_init(|| end).clone();
    core.publish_end(&end);
    core.close().await;
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// Ends replication and the state machine's task, and waits for the latter.
    async fn close(self) {
        let RaftCore { io, state_machine, work, log, reader, tail, metrics, .. } = self;
        let Inboxes { mut state_machine_done, messages, writes, notifications, .. } = io;
        // Whoever still waits for an answer hears now that none will come, however long the state machine takes.
        drop((messages, writes, notifications));
        drop((work, state_machine, log, reader, tail));
        let _ = state_machine_done.recv().await;
        // `shutdown` returns when this goes.
        drop(metrics);
    }
}
