//! Starting a node: what store and state machine hold is checked and recovered, then the tasks begin; and their end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use openraft_adapters::{Env, RaftLogStorage, RaftStateMachine, RaftTypeConfig};
use openraft_engine::{Engine, LogIdOptionExt, RestartState};
use tokio::sync::{mpsc, watch};

use crate::batches::Batches;
use crate::budget::Budget;
use crate::core::{Inboxes, RaftCore, Work};
use crate::gate::Gate;
use crate::leadership::Hooks;
use crate::message::Notification;
use crate::pending::PendingWrites;
use crate::raft::Shared;
use crate::state_machine::StateMachineTask;
use crate::tail::Tail;
use crate::{Fatal, InvalidConfig, Raft, RaftMetrics, RaftParts, StartError};

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
        let (metrics_tx, metrics) = watch::channel(RaftMetrics::of(
            me.node_id,
            &engine,
            &budget,
            Arc::new(engine.membership().clone()),
        ));
        let (using, state_machine_done) = mpsc::channel(1);
        let hooks = Hooks::new(using.clone());
        let reader = log.reader();

        let task = StateMachineTask {
            machine: state_machine,
            membership: applied_membership,
            log: reader.clone(),
            env: env.clone(),
            commands,
            notify: notifications_tx.clone(),
            pending: pending.clone(),
            batches: Batches { max_bytes: config.max_apply_bytes, state_hash_every: config.state_hash_every },
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
            hooks: hooks.clone(),
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
            peer_messages: Gate::new(config.max_peer_messages),
            hooks,
            fatal: fatal.clone(),
            config,
        };
        env.spawn("raft-core", run_core(core, fatal));
        Ok(Raft { shared: Arc::new(shared) })
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
        vote: found.vote.vote,
        promise_cap: found.vote.promise_cap,
        purged: found.purged,
        last_log_id: found.last_log_id,
        leader_starts: found.leader_starts,
        memberships: found.memberships,
        committed_hint: found.committed,
        log_bytes: found.log_bytes,
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
    /// Ends replication and the state machine's task, and waits for the latter and for what the hooks make of the end.
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
