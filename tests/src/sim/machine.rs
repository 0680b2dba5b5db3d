//! The simulated state machine: a list of names, in memory, with snapshots that outlive it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{
    EntryPayload, EntryRange, LogIdOf, RaftStateMachine, Snapshot, SnapshotBuilder, SnapshotMetaOf,
    SnapshotSink, SnapshotSource, StorageError, StoredMembershipOf,
};

use super::Types;
use super::trace::Trace;

type Names = Vec<String>;

/// What a node's snapshots leave on its disk.
#[derive(Clone, Default)]
pub(super) struct SnapshotDisk(Arc<Mutex<SnapshotState>>);

#[derive(Default)]
struct SnapshotState {
    current: Option<(SnapshotMetaOf<Types>, Bytes)>,
    received: Option<Bytes>,
}

impl SnapshotDisk {
    fn lock(&self) -> MutexGuard<'_, SnapshotState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state machine of one life of a node.
pub(super) struct Machine {
    node: u64,
    trace: Trace,
    disk: SnapshotDisk,
    names: Names,
    applied: Option<LogIdOf<Types>>,
}

impl Machine {
    pub(super) fn new(node: u64, trace: Trace, disk: SnapshotDisk) -> Self {
        Self { node, trace, disk, names: Vec::new(), applied: None }
    }
}

fn decode(bytes: &[u8]) -> Result<Names, StorageError> {
    postcard::from_bytes(bytes).map_err(|error| StorageError::new("restoring a snapshot", &error))
}

#[async_trait]
impl RaftStateMachine<Types> for Machine {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<Types>>, StorageError> {
        let current = self.disk.lock().current.clone();
        if let Some((meta, bytes)) = current {
            self.names = decode(&bytes)?;
            self.applied = meta.last_log_id;
        }
        Ok(self.applied)
    }

    async fn apply(&mut self, entries: EntryRange<Types>) -> Result<Vec<u64>, StorageError> {
        let mut replies = Vec::new();
        for entry in entries.iter() {
            let data = match &entry.payload {
                EntryPayload::Normal(name) => {
                    replies.push(self.names.len() as u64);
                    self.names.push(name.clone());
                    Some(name.clone())
                }
                _ => None,
            };
            self.trace.applied(self.node, entry.log_id, data);
            self.applied = Some(entry.log_id);
        }
        Ok(replies)
    }

    fn state_hash(&self) -> Option<u64> {
        let bytes = self.names.iter().flat_map(|name| name.bytes().chain([0]));
        Some(bytes.fold(0, |hash: u64, byte| hash.wrapping_mul(0x100_0000_01b3).wrapping_add(byte.into())))
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<Types>,
    ) -> Result<Box<dyn SnapshotBuilder<Types>>, StorageError> {
        let snapshot_id = format!("n{}-{:?}", self.node, self.applied.map(|applied| applied.index));
        let meta = SnapshotMetaOf::<Types> { last_log_id: self.applied, membership, snapshot_id };
        let bytes =
            postcard::to_stdvec(&self.names).map_err(|e| StorageError::new("encoding a snapshot", &e))?;
        Ok(Box::new(Builder { disk: self.disk.clone(), meta, bytes: bytes.into() }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let current = self.disk.lock().current.clone();
        Ok(current.map(|(meta, bytes)| Snapshot { meta, source: Box::new(Source(bytes)) }))
    }

    async fn snapshot_sink(
        &mut self,
        _: &SnapshotMetaOf<Types>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(Sink { disk: self.disk.clone(), bytes: Vec::new() }))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>) -> Result<(), StorageError> {
        let received = self.disk.lock().received.take();
        let bytes =
            received.ok_or_else(|| StorageError::message("installing a snapshot", "none was received"))?;
        self.names = decode(&bytes)?;
        self.disk.lock().current = Some((meta.clone(), bytes));
        self.applied = meta.last_log_id;
        self.trace.note(format!("n{} installs a snapshot up to {:?}", self.node, meta.last_log_id));
        Ok(())
    }
}

struct Builder {
    disk: SnapshotDisk,
    meta: SnapshotMetaOf<Types>,
    bytes: Bytes,
}

#[async_trait]
impl SnapshotBuilder<Types> for Builder {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<Types>, StorageError> {
        let mut disk = self.disk.lock();
        let newer = disk.current.as_ref().is_none_or(|(meta, _)| meta.last_log_id < self.meta.last_log_id);
        if newer {
            disk.current = Some((self.meta.clone(), self.bytes));
        }
        Ok(self.meta)
    }
}

struct Source(Bytes);

#[async_trait]
impl SnapshotSource for Source {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(from..self.0.len().min(from + max_bytes)))
    }
}

struct Sink {
    disk: SnapshotDisk,
    bytes: Vec<u8>,
}

#[async_trait]
impl SnapshotSink for Sink {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        assert_eq!(offset, self.bytes.len() as u64, "chunks come in order");
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.disk.lock().received = Some(self.bytes.into());
        Ok(())
    }

    async fn abort(self: Box<Self>) {}
}
