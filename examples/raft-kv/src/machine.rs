//! The state machine: a map in memory, restored from a snapshot and the log that follows it.

use async_trait::async_trait;
use openraft_adapters::{
    EntryPayload, EntryRange, LogIdOf, RaftStateMachine, Snapshot, SnapshotBuilder, SnapshotMetaOf,
    SnapshotSink, StorageError, StoredMembershipOf,
};
use openraft_storage_sled::SledSnapshots;

use crate::snapshot_format::{Chunks, Restorer};
use crate::state::{KvState, Reply, SharedState, Types};

/// How much of a snapshot is read at a time.
const READ_BYTES: usize = 256 * 1024;

/// Applies entries to the shared state; its snapshots lie in the node's store.
pub(crate) struct KvMachine {
    state: SharedState,
    snapshots: SledSnapshots<Types>,
    last_applied: Option<LogIdOf<Types>>,
}

impl KvMachine {
    pub(crate) fn new(state: SharedState, snapshots: SledSnapshots<Types>) -> Self {
        Self { state, snapshots, last_applied: None }
    }

    async fn restore(&mut self, snapshot: Snapshot<Types>) -> Result<(), StorageError> {
        let restored = read(&snapshot).await?;
        *self.state.write() = restored;
        self.last_applied = snapshot.meta.last_log_id;
        Ok(())
    }
}

/// The state that a snapshot holds.
async fn read(snapshot: &Snapshot<Types>) -> Result<KvState, StorageError> {
    let Snapshot { meta, source } = snapshot;
    let action = || format!("restoring snapshot {:?}", meta.snapshot_id);
    let (mut restorer, mut offset) = (Restorer::default(), 0);
    while offset < source.len() {
        let piece = source.read_at(offset, READ_BYTES).await?;
        if piece.is_empty() {
            return Err(StorageError::message(action(), format!("its content ends at byte {offset}")));
        }
        offset += piece.len() as u64;
        restorer.push(&piece).map_err(|e| StorageError::new(action(), &e))?;
    }
    restorer.finish(meta.last_log_id.map(|id| id.index)).map_err(|e| StorageError::new(action(), &e))
}

#[async_trait]
impl RaftStateMachine<Types> for KvMachine {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<Types>>, StorageError> {
        if let Some(snapshot) = self.snapshots.current() {
            self.restore(snapshot).await?;
        }
        Ok(self.last_applied)
    }

    async fn apply(&mut self, entries: EntryRange<Types>) -> Result<Vec<Reply>, StorageError> {
        let mut replies = Vec::with_capacity(entries.len());
        let mut state = self.state.write();
        for entry in entries.iter() {
            let index = entry.log_id.index;
            match &entry.payload {
                EntryPayload::Normal(command) => replies.push(state.apply(index, command)),
                EntryPayload::Blank | EntryPayload::Membership(_) => state.advance(index),
            }
            self.last_applied = Some(entry.log_id);
        }
        Ok(replies)
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<Types>,
    ) -> Result<Box<dyn SnapshotBuilder<Types>>, StorageError> {
        let last_log_id = self.last_applied;
        let snapshot_id = last_log_id.map_or("empty".to_owned(), |id| id.to_string());
        Ok(Box::new(Builder {
            view: self.state.view(),
            meta: SnapshotMetaOf::<Types> { last_log_id, membership, snapshot_id },
            snapshots: self.snapshots.clone(),
        }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        Ok(self.snapshots.current())
    }

    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(self.snapshots.sink(meta))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>) -> Result<(), StorageError> {
        // Restored before it becomes the current one: what does not restore must never be found at the next start.
        let received =
            self.snapshots.received(meta).or_else(|| self.snapshots.current().filter(|s| s.meta == *meta));
        let received = received.ok_or_else(|| {
            StorageError::message(
                format!("installing snapshot {:?}", meta.snapshot_id),
                "it has not been received",
            )
        })?;
        let restored = read(&received).await?;
        self.snapshots.install(meta).await?;
        *self.state.write() = restored;
        self.last_applied = meta.last_log_id;
        Ok(())
    }
}

/// A view of the state, to be written while the state moves on.
struct Builder {
    view: KvState,
    meta: SnapshotMetaOf<Types>,
    snapshots: SledSnapshots<Types>,
}

#[async_trait]
impl SnapshotBuilder<Types> for Builder {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<Types>, StorageError> {
        let Self { view, meta, snapshots } = *self;
        let mut writer = snapshots.writer(meta.clone());
        for chunk in Chunks::new(view) {
            writer.write(chunk).await?;
        }
        writer.finish().await?;
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft_adapters::Entry;
    use openraft_adapters::engine::LogId;
    use openraft_storage_sled::{SledOptions, SledStore};

    use super::*;
    use crate::state::Command;

    fn machine(dir: &std::path::Path) -> (KvMachine, SharedState) {
        let store = SledStore::<Types>::open(dir, SledOptions::new(1, "test")).unwrap();
        let state = SharedState::default();
        (KvMachine::new(state.clone(), store.snapshots(0)), state)
    }

    fn put(index: u64, key: &str) -> Entry<Types> {
        let value = Bytes::from(vec![b'v'; 50_000]);
        Entry::new(LogId::new(1, 1, index), EntryPayload::Normal(Command::Put { key: key.into(), value }))
    }

    #[tokio::test]
    async fn a_state_is_restored_from_its_snapshot_and_not_from_what_was_applied_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, state) = machine(dir.path());
        assert_eq!(first.last_applied().await.unwrap(), None);
        let blank = Entry::new(LogId::new(1, 1, 0), EntryPayload::Blank);
        let entries = (1..=20).map(|i| put(i, &format!("key-{i}")));
        let replies =
            first.apply(EntryRange::from_entries([blank].into_iter().chain(entries).collect())).await;
        assert_eq!(replies.unwrap().len(), 20);
        let builder = first.snapshot_builder(StoredMembershipOf::<Types>::default()).await.unwrap();
        first.apply(EntryRange::from_entries(vec![put(21, "late")])).await.unwrap();
        let meta = builder.build().await.unwrap();
        assert_eq!(meta.last_log_id, Some(LogId::new(1, 1, 20)));
        assert!(state.read().get("late").is_some());
        drop(first);

        let (mut second, state) = machine(dir.path());
        assert_eq!(second.last_applied().await.unwrap(), Some(LogId::new(1, 1, 20)));
        let state = state.read();
        assert_eq!((state.len(), state.applied_index()), (20, Some(20)));
        assert!(state.get("late").is_none());
        assert_eq!(state.get("key-7").unwrap().version, 7);
    }

    #[tokio::test]
    async fn an_installed_snapshot_replaces_the_whole_state() {
        let dir = tempfile::tempdir().unwrap();
        let (mut leader, _) = machine(&dir.path().join("leader"));
        leader.apply(EntryRange::from_entries(vec![put(0, "a"), put(1, "b")])).await.unwrap();
        let builder = leader.snapshot_builder(StoredMembershipOf::<Types>::default()).await.unwrap();
        let meta = builder.build().await.unwrap();
        let source = leader.current_snapshot().await.unwrap().unwrap().source;

        let (mut follower, state) = machine(&dir.path().join("follower"));
        follower.apply(EntryRange::from_entries(vec![put(0, "mine")])).await.unwrap();
        let mut sink = follower.snapshot_sink(&meta).await.unwrap();
        sink.write_at(0, source.read_at(0, usize::MAX).await.unwrap()).await.unwrap();
        sink.finish().await.unwrap();
        follower.install_snapshot(&meta).await.unwrap();
        assert!(state.read().get("mine").is_none() && state.read().get("b").is_some());
        assert_eq!(state.read().applied_index(), Some(1));
        // Again, as after a lost reply.
        follower.install_snapshot(&meta).await.unwrap();
        assert_eq!(state.read().len(), 2);
    }
}
