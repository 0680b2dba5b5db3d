//! Starting a node: what store and state machine hold is checked and recovered, then the tasks begin; and their end.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use openraft_adapters::{
    Env, RaftLogReader, RaftLogStorage, RaftStateMachine, RaftTypeConfig, StorageError, StoredMembershipOf,
};
use openraft_engine::RaftEntry as _;
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
        let applied_membership = membership_at::<C>(&found, &*log.reader()).await?;
        let pending = PendingWrites::new();
        // Only a member votes for itself.
        let was_a_member = found.vote.term > 0 && found.vote.node_id == me.node_id;
        let engine = Engine::new(config.engine_config(me), env.now(), found).map_err(InvalidConfig::from)?;
        // Of log and snapshot together: a purged log may state no membership any more.
        let membership = &engine.membership().membership;
        if membership.nodes().contains_key(&me.node_id) && !membership.knows(&me) {
            if was_a_member {
                return Err(StartError::OtherStore { me });
            }
            // A node that was admitted again and is not yet told so: its log does not reach to the entry that admits it.
            tracing::info!(id = %me.node_id, "the log names an earlier store of this node: it waits for the rest");
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

/// Entries read to find a membership weigh at most this together, in bytes.
const SCAN_BYTES: u64 = 1 << 20;

/// The membership in force at the last applied entry.
///
/// The log remembers its last two without a scan. Where both were stated after what is applied, one stated before them
/// may be in force, and what lies between snapshot and last applied entry is read to find it.
async fn membership_at<C: RaftTypeConfig>(
    found: &RestartState<C::NodeId, C::Node>,
    log: &dyn RaftLogReader<C>,
) -> Result<StoredMembershipOf<C>, StorageError> {
    let snapshot = found.snapshot.as_ref();
    let stated = found.memberships.iter().chain(snapshot.map(|meta| &meta.membership));
    let known = stated.filter(|stored| stored.log_id <= found.applied).max_by_key(|stored| stored.log_id);
    let mut membership = known.cloned().unwrap_or_default();
    if found.memberships.len() < 2 || found.memberships[0].log_id <= found.applied {
        return Ok(membership);
    }
    let covered = snapshot.and_then(|meta| meta.last_log_id).next_index();
    let mut next = covered.max(found.purged.next_index());
    let end = found.applied.next_index();
    while next < end {
        let entries = log.read(next..end, SCAN_BYTES).await.map_err(|error| {
            StorageError::new(
                format!("reading entries {next}..{end} for the membership stated in them"),
                &error,
            )
        })?;
        let stated = entries.iter().filter_map(|entry| Some((entry.log_id, entry.membership()?))).last();
        if let Some((log_id, stated)) = stated {
            membership = StoredMembershipOf::<C>::new(log_id, stated.clone());
        }
        next = entries.end_index().filter(|read| *read > next).ok_or_else(|| {
            StorageError::message(format!("reading entries {next}..{end}"), "the log store gave none")
        })?;
    }
    Ok(membership)
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

#[cfg(test)]
mod tests {
    use openraft_adapters::memory::{MemApp, MemDisk, MemRouter, MemStateMachine};
    use openraft_adapters::suite::flushed;
    use openraft_adapters::{Entry, EntryPayload, EntryRange};
    use openraft_engine::{LogId, Membership, Replica, SnapshotMeta, StoreId, Vote};

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn members(size: u64) -> Membership<u64, <T as RaftTypeConfig>::Node> {
        Membership::new_initial((1..=size).map(|id| (id, StoreId(id.into()), Default::default())))
    }

    fn id(index: u64) -> LogId<u64> {
        LogId::new(1, 1, index)
    }

    /// A log in which the entry at index `i` states a membership of `i` nodes if `i` is one of these.
    async fn log(memberships: &[u64], end: u64) -> Arc<dyn RaftLogStorage<T>> {
        let store = MemDisk::<T>::new().open();
        let entries = (0..end).map(|i| {
            let payload = match memberships.contains(&i) {
                true => EntryPayload::Membership(members(i)),
                false => EntryPayload::Normal("x".repeat(100_000)),
            };
            Entry::new(id(i), payload)
        });
        flushed(|io| store.append(EntryRange::from_entries(entries.collect()), io)).await.unwrap();
        store
    }

    async fn found_at(
        log: &dyn RaftLogStorage<T>,
        applied: u64,
    ) -> RestartState<u64, <T as RaftTypeConfig>::Node> {
        let state = log.log_state().await.unwrap();
        RestartState {
            last_log_id: state.last_log_id,
            memberships: state.memberships,
            applied: Some(id(applied)),
            ..RestartState::default()
        }
    }

    #[tokio::test]
    async fn the_membership_at_the_last_applied_entry_is_found_behind_those_that_the_log_remembers() {
        let log = log(&[1, 3, 20, 25, 27], 30).await;
        for (applied, stated) in
            [(0, None), (2, Some(1)), (19, Some(3)), (22, Some(20)), (25, Some(25)), (29, Some(27))]
        {
            let found = found_at(&*log, applied).await;
            let membership = membership_at::<T>(&found, &*log.reader()).await.unwrap();
            assert_eq!(membership.log_id, stated.map(id), "applied up to {applied}");
            assert_eq!(membership.membership.nodes().len() as u64, stated.unwrap_or(0));
        }
    }

    #[tokio::test]
    async fn where_the_log_states_none_the_snapshots_membership_holds() {
        let log = log(&[3, 25, 27], 30).await;
        flushed(|io| log.purge(id(10), io)).await.unwrap();
        let meta = SnapshotMeta {
            last_log_id: Some(id(10)),
            membership: StoredMembershipOf::<T>::new(id(3), members(3)),
            snapshot_id: "s".to_owned(),
        };
        let found = RestartState { purged: Some(id(10)), snapshot: Some(meta), ..found_at(&*log, 20).await };
        let membership = membership_at::<T>(&found, &*log.reader()).await.unwrap();
        assert_eq!(membership.log_id, Some(id(3)));
    }

    /// Starts node 1 on store 9 with a log that says it runs on store 1, and with this vote.
    async fn start_with_the_log_of_an_earlier_store(vote: Vote<u64>) -> Result<Raft<T>, StartError<T>> {
        let (log, env) = (log(&[3], 5).await, Env::tokio());
        flushed(|io| log.save_vote(vote.into(), io)).await.unwrap();
        Raft::start(RaftParts {
            config: crate::Config::default(),
            replica: Replica { node_id: 1, store_id: StoreId(9) },
            env: env.clone(),
            network: Arc::new(MemRouter::<T>::new().factory(1, env)),
            log,
            state_machine: Box::new(MemStateMachine::<T, Nothing>::new()),
        })
        .await
    }

    #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
    struct Nothing;

    impl MemApp<T> for Nothing {
        fn apply(&mut self, _: LogId<u64>, _: &String) {}
    }

    #[tokio::test]
    async fn a_node_whose_log_does_not_reach_yet_to_the_entry_that_admits_its_store_starts_again() {
        let raft = start_with_the_log_of_an_earlier_store(Vote::new_committed(1, 2)).await.unwrap();
        assert!(!raft.metrics().borrow().removed);
    }

    #[tokio::test]
    async fn a_node_on_the_log_of_another_store_that_was_a_member_does_not_start() {
        let start = start_with_the_log_of_an_earlier_store(Vote::new(1, 1)).await;
        assert!(matches!(start, Err(StartError::OtherStore { .. })));
    }
}
