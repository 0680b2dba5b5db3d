//! The state machine's task: applies in order, answers the writes that wait, builds and installs snapshots.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use openraft_adapters::{
    EntryPayload, EntryRange, Env, LogIdOf, RaftLogReader, RaftStateMachine, RaftTypeConfig, Snapshot,
    SnapshotMetaOf, SnapshotSink, StorageError, StoredMembershipOf, TaskHandle,
};
use openraft_engine::{StateHash, StoredMembership};
use openraft_replication::SnapshotProvider;
use tokio::sync::{mpsc, oneshot};

use crate::batches::Batches;
use crate::message::Notification;
use crate::pending::PendingWrites;
use crate::start::panic_text;
use crate::{Fatal, WriteReply};

/// An order on the state machine's lane.
pub(crate) enum StateMachineCommand<C: RaftTypeConfig> {
    /// Apply the entries from `since` to `upto`. `tail` holds them from its first index on; those before it are read
    /// from the log store.
    Apply { since: u64, upto: LogIdOf<C>, tail: EntryRange<C> },
    /// Build a snapshot.
    BuildSnapshot,
    /// Install the received snapshot.
    InstallSnapshot { meta: SnapshotMetaOf<C> },
    /// Open a sink for a snapshot that a leader sends.
    OpenSink { meta: SnapshotMetaOf<C>, tx: oneshot::Sender<Result<Box<dyn SnapshotSink>, StorageError>> },
    /// Give the current snapshot.
    CurrentSnapshot { tx: oneshot::Sender<Result<Option<Snapshot<C>>, StorageError>> },
}

/// The state machine and what its task works with.
pub(crate) struct StateMachineTask<C: RaftTypeConfig> {
    pub(crate) machine: Box<dyn RaftStateMachine<C>>,
    /// The membership in force at the last applied entry: it goes into snapshots.
    pub(crate) membership: StoredMembershipOf<C>,
    pub(crate) log: Arc<dyn RaftLogReader<C>>,
    pub(crate) env: Env,
    pub(crate) commands: mpsc::UnboundedReceiver<StateMachineCommand<C>>,
    pub(crate) notify: mpsc::UnboundedSender<Notification<C>>,
    pub(crate) pending: PendingWrites<C>,
    pub(crate) batches: Batches,
    /// The snapshot being built, which a node that stops does not wait for.
    pub(crate) builder: Option<TaskHandle>,
    /// Held by whoever uses the state machine's store: the core's end waits until all are gone.
    pub(crate) using: mpsc::Sender<Infallible>,
}

impl<C: RaftTypeConfig> StateMachineTask<C> {
    /// Carries out commands until the core is gone or the machine fails.
    pub(crate) async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            if let Err(error) = self.execute(command).await {
                let _ = self.notify.send(Notification::StateMachineFailed { fatal: Fatal::Storage(error) });
                return;
            }
        }
    }

    async fn execute(&mut self, command: StateMachineCommand<C>) -> Result<(), StorageError> {
        match command {
            StateMachineCommand::Apply { since, upto, tail } => self.apply(since, upto, tail).await,
            StateMachineCommand::BuildSnapshot => self.build_snapshot().await,
            StateMachineCommand::InstallSnapshot { meta } => {
                let result = self.machine.install_snapshot(&meta).await;
                if result.is_ok() {
                    self.answer_covered(meta.last_log_id);
                    self.membership = meta.membership;
                }
                let _ = self.notify.send(Notification::SnapshotInstalled { result });
                Ok(())
            }
            StateMachineCommand::OpenSink { meta, tx } => {
                // Nobody waits for it: the leader gave up while the machine was busy, and will ask again.
                if !tx.is_closed() {
                    let _ = tx.send(self.machine.snapshot_sink(&meta).await);
                }
                Ok(())
            }
            StateMachineCommand::CurrentSnapshot { tx } => {
                if !tx.is_closed() {
                    let _ = tx.send(self.machine.current_snapshot().await);
                }
                Ok(())
            }
        }
    }

    async fn apply(&mut self, since: u64, upto: LogIdOf<C>, tail: EntryRange<C>) -> Result<(), StorageError> {
        let mut next = since;
        let in_tail = tail.first_index().unwrap_or(upto.index + 1);
        while next < in_tail {
            let entries = self.log.read(next..in_tail, self.batches.max_bytes).await.map_err(|error| {
                StorageError::new(format!("reading entries {next}..{in_tail} to apply them"), &error)
            })?;
            next = self.apply_entries(entries, next).await?;
        }
        if !tail.is_empty() {
            self.apply_entries(tail, next).await?;
        }
        Ok(())
    }

    /// Applies one run, which must begin at `next`, in batches, and returns the index after it.
    async fn apply_entries(&mut self, entries: EntryRange<C>, next: u64) -> Result<u64, StorageError> {
        let Some(last) = entries.last_log_id().filter(|_| entries.first_index() == Some(next)) else {
            let action = format!("applying from index {next}");
            return Err(StorageError::message(action, format!("the log store gave {entries:?}")));
        };
        for batch in self.batches.cut(entries) {
            self.apply_batch(batch).await?;
        }
        Ok(last.index + 1)
    }

    /// Applies one batch, answers its writes, and hashes the state if it is time.
    async fn apply_batch(&mut self, entries: EntryRange<C>) -> Result<(), StorageError> {
        let Some(last) = entries.last_log_id() else { return Ok(()) };
        let replies = self.machine.apply(entries.clone()).await?;
        let proposals =
            entries.iter().filter(|entry| matches!(entry.payload, EntryPayload::Normal(_))).count();
        if replies.len() != proposals {
            return Err(StorageError::message(
                format!("applying {entries:?}"),
                format!(
                    "the state machine returned {} replies for {proposals} Normal entries; it must return one for each",
                    replies.len()
                ),
            ));
        }
        // Taken only now: whatever goes wrong before, the core still has them and answers with the cause.
        let mut pending = self.pending.take_through(last.index);
        let mut replies = replies.into_iter();
        for entry in entries.iter() {
            let index = entry.log_id.index;
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(entry.log_id, membership.clone());
                }
                EntryPayload::Normal(_) => {
                    let reply = replies.next().expect("they were counted");
                    if pending.front().is_some_and(|write| write.index == index) {
                        let write = pending.pop_front().expect("just seen");
                        write.answer(Ok(WriteReply { log_id: entry.log_id, reply }));
                    }
                }
            }
        }
        let _ = self.notify.send(Notification::Applied { log_id: last });
        if self.batches.is_hashed(last.index)
            && let Some(hash) = self.machine.state_hash()
        {
            let own = StateHash { index: last.index, hash };
            let _ = self.notify.send(Notification::StateHashed { own });
        }
        Ok(())
    }

    /// Writes that were committed and not applied when a snapshot that covers them came: their effect is in it, their
    /// replies are not.
    fn answer_covered(&self, last: Option<LogIdOf<C>>) {
        let Some(last) = last else { return };
        for write in self.pending.take_through(last.index) {
            write.unknown("a leader's snapshot took its place before it was applied here");
        }
    }

    /// Takes the view in order; the writing of it goes on beside.
    async fn build_snapshot(&mut self) -> Result<(), StorageError> {
        let notify = self.notify.clone();
        match self.machine.snapshot_builder(self.membership.clone()).await {
            Ok(builder) => {
                let using = self.using.clone();
                self.builder = Some(self.env.spawn("snapshot", async move {
                    let built = AssertUnwindSafe(builder.build()).catch_unwind().await;
                    let result = built.unwrap_or_else(|panic| {
                        Err(StorageError::message("building a snapshot", panic_text(&*panic)))
                    });
                    let _ = notify.send(Notification::SnapshotBuilt { result });
                    drop(using);
                }));
            }
            Err(error) => {
                let _ = notify.send(Notification::SnapshotBuilt { result: Err(error) });
            }
        }
        Ok(())
    }
}

impl<C: RaftTypeConfig> Drop for StateMachineTask<C> {
    fn drop(&mut self) {
        if let Some(builder) = &self.builder {
            builder.abort();
        }
    }
}

/// Gives replication tasks the current snapshot, through the state machine's lane.
pub(crate) struct CurrentSnapshot<C: RaftTypeConfig> {
    pub(crate) commands: mpsc::UnboundedSender<StateMachineCommand<C>>,
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotProvider<C> for CurrentSnapshot<C> {
    async fn current(&self) -> Result<Option<Snapshot<C>>, StorageError> {
        let (tx, rx) = oneshot::channel();
        let gone =
            || StorageError::message("asking for the current snapshot", "the state machine has stopped");
        self.commands.send(StateMachineCommand::CurrentSnapshot { tx }).map_err(|_| gone())?;
        rx.await.map_err(|_| gone())?
    }
}
