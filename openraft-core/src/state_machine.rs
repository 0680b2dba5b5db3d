//! The state machine's task: applies in order, answers the writes that wait, builds and installs snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use openraft_adapters::{
    EntryPayload, EntryRange, Env, LogIdOf, RaftLogReader, RaftStateMachine, RaftTypeConfig, Snapshot,
    SnapshotMetaOf, SnapshotSink, StorageError, StoredMembershipOf,
};
use openraft_engine::StoredMembership;
use openraft_replication::SnapshotProvider;
use tokio::sync::{mpsc, oneshot};

use crate::message::{Notification, WriteResult};
use crate::{WriteError, WriteReply};

/// Entries read back from the log store to be applied weigh at most this together, in bytes.
const APPLY_READ_BYTES: u64 = 1 << 20;

/// A write that waits to be applied.
pub(crate) struct Waiting<C: RaftTypeConfig> {
    pub(crate) index: u64,
    pub(crate) tx: oneshot::Sender<WriteResult<C>>,
}

/// An order on the state machine's lane.
pub(crate) enum StateMachineCommand<C: RaftTypeConfig> {
    /// Apply the entries from `since` to `upto`. `tail` holds them from its first index on; those before it are read
    /// from the log store.
    Apply { since: u64, upto: LogIdOf<C>, tail: EntryRange<C>, waiting: VecDeque<Waiting<C>> },
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
}

impl<C: RaftTypeConfig> StateMachineTask<C> {
    /// Carries out commands until the core is gone or the machine fails.
    pub(crate) async fn run(mut self) {
        while let Some(command) = self.commands.recv().await {
            if let Err(error) = self.execute(command).await {
                let _ = self.notify.send(Notification::StateMachineFailed { error });
                return;
            }
        }
    }

    async fn execute(&mut self, command: StateMachineCommand<C>) -> Result<(), StorageError> {
        match command {
            StateMachineCommand::Apply { since, upto, tail, waiting } => {
                self.apply(since, upto, tail, waiting).await
            }
            StateMachineCommand::BuildSnapshot => self.build_snapshot().await,
            StateMachineCommand::InstallSnapshot { meta } => {
                let result = self.machine.install_snapshot(&meta).await;
                if result.is_ok() {
                    self.membership = meta.membership;
                }
                let _ = self.notify.send(Notification::SnapshotInstalled { result });
                Ok(())
            }
            StateMachineCommand::OpenSink { meta, tx } => {
                let _ = tx.send(self.machine.snapshot_sink(&meta).await);
                Ok(())
            }
            StateMachineCommand::CurrentSnapshot { tx } => {
                let _ = tx.send(self.machine.current_snapshot().await);
                Ok(())
            }
        }
    }

    async fn apply(
        &mut self,
        since: u64,
        upto: LogIdOf<C>,
        tail: EntryRange<C>,
        mut waiting: VecDeque<Waiting<C>>,
    ) -> Result<(), StorageError> {
        let mut next = since;
        let in_tail = tail.first_index().unwrap_or(upto.index + 1);
        while next < in_tail {
            let entries = self.log.read(next..in_tail, APPLY_READ_BYTES).await.map_err(|error| {
                StorageError::new(format!("reading entries {next}..{in_tail} to apply them"), &error)
            })?;
            next = self.apply_entries(entries, next, &mut waiting).await?;
        }
        if !tail.is_empty() {
            self.apply_entries(tail, next, &mut waiting).await?;
        }
        Ok(())
    }

    /// Applies one run, which must begin at `next`, answers its writes, and returns the index after it.
    async fn apply_entries(
        &mut self,
        entries: EntryRange<C>,
        next: u64,
        waiting: &mut VecDeque<Waiting<C>>,
    ) -> Result<u64, StorageError> {
        let Some(last) = entries.last_log_id().filter(|_| entries.first_index() == Some(next)) else {
            let action = format!("applying from index {next}");
            return Err(StorageError::message(action, format!("the log store gave {entries:?}")));
        };
        let mut replies = self.machine.apply(entries.clone()).await?.into_iter();
        for entry in entries.iter() {
            let index = entry.log_id.index;
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(entry.log_id, membership.clone());
                }
                EntryPayload::Normal(_) => {
                    let Some(reply) = replies.next() else { return Err(wrong_count(&entries)) };
                    if waiting.front().is_some_and(|waiting| waiting.index == index) {
                        let waiting = waiting.pop_front().expect("just seen");
                        // The caller may have given up.
                        let _ = waiting.tx.send(Ok(WriteReply { log_id: entry.log_id, reply }));
                    }
                }
            }
        }
        if replies.next().is_some() {
            return Err(wrong_count(&entries));
        }
        let _ = self.notify.send(Notification::Applied { log_id: last });
        Ok(last.index + 1)
    }

    /// Takes the view in order; the writing of it goes on beside.
    async fn build_snapshot(&mut self) -> Result<(), StorageError> {
        let notify = self.notify.clone();
        match self.machine.snapshot_builder(self.membership.clone()).await {
            Ok(builder) => {
                self.env.spawn("snapshot", async move {
                    let _ = notify.send(Notification::SnapshotBuilt { result: builder.build().await });
                });
            }
            Err(error) => {
                let _ = notify.send(Notification::SnapshotBuilt { result: Err(error) });
            }
        }
        Ok(())
    }
}

fn wrong_count<C: RaftTypeConfig>(entries: &EntryRange<C>) -> StorageError {
    StorageError::message(
        format!("applying {entries:?}"),
        "the state machine must return exactly one reply for each Normal entry",
    )
}

impl<C: RaftTypeConfig> Drop for StateMachineTask<C> {
    /// Writes that were handed over and not applied are of unknown outcome.
    fn drop(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let StateMachineCommand::Apply { waiting, .. } = command {
                for waiting in waiting {
                    let reason = "the node stopped after the write was committed and before it was applied";
                    let _ = waiting.tx.send(Err(WriteError::OutcomeUnknown { reason }));
                }
            }
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
