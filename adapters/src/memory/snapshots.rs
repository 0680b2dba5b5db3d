//! `MemSnapshots`: the snapshots of one node in memory, the part of a state machine that outlives a restart.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    LogIdOf, RaftTypeConfig, Snapshot, SnapshotMetaOf, SnapshotSink, SnapshotSource, SnapshotStore,
    StorageError, StoredMembershipOf,
};

/// The current snapshot of one node, and one that was received but not installed. A cheap handle; clones are the same
/// snapshots.
pub struct MemSnapshots<C: RaftTypeConfig> {
    kept: Arc<Mutex<Kept<C>>>,
}

struct Kept<C: RaftTypeConfig> {
    current: Option<Arc<MemSnapshot<C>>>,
    /// Finished by a sink and waiting for its installation.
    received: Option<MemSnapshot<C>>,
    /// Counts the snapshots built here, for their names.
    built: u64,
}

/// A snapshot with its content.
pub(super) struct MemSnapshot<C: RaftTypeConfig> {
    pub(super) meta: SnapshotMetaOf<C>,
    pub(super) content: Bytes,
}

impl<C: RaftTypeConfig> MemSnapshot<C> {
    pub(super) fn to_snapshot(&self) -> Snapshot<C> {
        Snapshot { meta: self.meta.clone(), source: Box::new(MemSource(self.content.clone())) }
    }
}

impl<C: RaftTypeConfig> Clone for MemSnapshots<C> {
    fn clone(&self) -> Self {
        Self { kept: self.kept.clone() }
    }
}

impl<C: RaftTypeConfig> Default for MemSnapshots<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: RaftTypeConfig> fmt::Debug for MemSnapshots<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemSnapshots").field("current", &self.current_meta()).finish()
    }
}

impl<C: RaftTypeConfig> MemSnapshots<C> {
    /// None yet.
    pub fn new() -> Self {
        Self { kept: Arc::new(Mutex::new(Kept { current: None, received: None, built: 0 })) }
    }

    /// What the current snapshot is, if there is one.
    pub fn current_meta(&self) -> Option<SnapshotMetaOf<C>> {
        self.lock().current.as_ref().map(|current| current.meta.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept<C>> {
        self.kept.lock().expect("no code panics while it holds the snapshots")
    }

    pub(super) fn current(&self) -> Option<Arc<MemSnapshot<C>>> {
        self.lock().current.clone()
    }

    /// Keeps a snapshot built here. One that was installed meanwhile and goes further stays the current one.
    pub(super) fn built(
        &self,
        last_log_id: Option<LogIdOf<C>>,
        membership: StoredMembershipOf<C>,
        content: Vec<u8>,
    ) -> SnapshotMetaOf<C> {
        let mut kept = self.lock();
        kept.built += 1;
        let place = last_log_id.map_or_else(|| "empty".to_owned(), |id| id.to_string());
        let snapshot_id = format!("{place}-{}", kept.built);
        let meta = SnapshotMetaOf::<C> { last_log_id, membership, snapshot_id };
        kept.keep_built(MemSnapshot { meta: meta.clone(), content: content.into() });
        meta
    }

    /// The content received for `meta`.
    pub(super) fn received(&self, meta: &SnapshotMetaOf<C>) -> Result<Bytes, StorageError> {
        match &self.lock().received {
            Some(received) if received.meta == *meta => Ok(received.content.clone()),
            _ => Err(StorageError::message(
                format!("installing snapshot {}", meta.snapshot_id),
                "no sink has finished it",
            )),
        }
    }

    /// Makes the received `content` the current snapshot.
    pub(super) fn install(&self, meta: &SnapshotMetaOf<C>, content: Bytes) {
        let mut kept = self.lock();
        kept.received = None;
        kept.current = Some(Arc::new(MemSnapshot { meta: meta.clone(), content }));
    }
}

impl<C: RaftTypeConfig> Kept<C> {
    fn keep_built(&mut self, built: MemSnapshot<C>) {
        let further = |current: &Arc<MemSnapshot<C>>| current.meta.last_log_id <= built.meta.last_log_id;
        if self.current.as_ref().is_none_or(further) {
            self.current = Some(Arc::new(built));
        }
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotStore<C> for MemSnapshots<C> {
    fn current(&self) -> Option<Snapshot<C>> {
        self.lock().current.as_ref().map(|current| current.to_snapshot())
    }

    fn writer(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink> {
        Box::new(MemSink { built_here: true, ..MemSink::new(meta.clone(), self.clone()) })
    }

    fn sink(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink> {
        Box::new(MemSink::new(meta.clone(), self.clone()))
    }

    fn received(&self, meta: &SnapshotMetaOf<C>) -> Option<Snapshot<C>> {
        self.lock().received.as_ref().filter(|received| received.meta == *meta).map(MemSnapshot::to_snapshot)
    }

    async fn install(&self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError> {
        if self.current_meta().as_ref() != Some(meta) {
            let content = MemSnapshots::received(self, meta)?;
            MemSnapshots::install(self, meta, content);
        }
        Ok(())
    }
}

struct MemSource(Bytes);

#[async_trait]
impl SnapshotSource for MemSource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError> {
        let from = usize::try_from(offset).map_or(self.0.len(), |offset| offset.min(self.0.len()));
        let to = from.saturating_add(max_bytes).min(self.0.len());
        Ok(self.0.slice(from..to))
    }
}

/// Takes the content of a snapshot into a [`MemSnapshots`].
pub(super) struct MemSink<C: RaftTypeConfig> {
    meta: SnapshotMetaOf<C>,
    content: Vec<u8>,
    snapshots: MemSnapshots<C>,
    /// Whether it is a snapshot of the own state, rather than one that is received.
    built_here: bool,
}

impl<C: RaftTypeConfig> MemSink<C> {
    pub(super) fn new(meta: SnapshotMetaOf<C>, snapshots: MemSnapshots<C>) -> Self {
        Self { meta, content: Vec::new(), snapshots, built_here: false }
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotSink for MemSink<C> {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        if offset != self.content.len() as u64 {
            return Err(StorageError::message(
                format!("receiving snapshot {}", self.meta.snapshot_id),
                format!("a chunk for offset {offset} came after {} bytes", self.content.len()),
            ));
        }
        self.content.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        let snapshot = MemSnapshot { meta: self.meta, content: self.content.into() };
        let mut kept = self.snapshots.lock();
        match self.built_here {
            true => kept.keep_built(snapshot),
            false => kept.received = Some(snapshot),
        }
        Ok(())
    }

    async fn abort(self: Box<Self>) {}
}
