//! Snapshots of a group: which one is current, which one has been received, and when an old one goes.
//!
//! A snapshot is a number, a manifest (description and length) and chunks of equal size, the last one shorter. One small
//! value per group names the current one; replacing that value is what makes a snapshot current, atomically. A snapshot
//! is removed once it is neither current nor awaiting its install, and nobody holds a source that reads it. What a crash
//! leaves behind is removed when the store is opened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{
    RaftTypeConfig, Snapshot, SnapshotMetaOf, SnapshotSink, SnapshotStore, StorageError,
};
use serde::{Deserialize, Serialize};

use crate::format::{self, Damage};
use crate::queue::Write;
use crate::shared::{Shared, locked};
use crate::snapshot_io::{ChunkWriter, Sink, SnapshotWriter, Source};
use crate::store::Handle;

#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Manifest<C: RaftTypeConfig> {
    pub(crate) meta: SnapshotMetaOf<C>,
    pub(crate) len: u64,
    pub(crate) chunk_bytes: u64,
}

impl<C: RaftTypeConfig> Manifest<C> {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let manifest: Self = format::decode(bytes)?;
        match manifest.chunk_bytes {
            0 => Err(Damage::Decode("its chunks have no size".to_owned())),
            _ => Ok(manifest),
        }
    }
}

/// A complete snapshot in sled.
pub(crate) struct Stored<C: RaftTypeConfig> {
    pub(crate) handle: Arc<Handle<C>>,
    pub(crate) group: u64,
    pub(crate) number: u64,
    pub(crate) meta: SnapshotMetaOf<C>,
    pub(crate) len: u64,
    pub(crate) chunk_bytes: u64,
    manifest_parts: u64,
    /// Whether it is, or is about to be, the current one; otherwise it is removed with its last holder.
    current: AtomicBool,
}

impl<C: RaftTypeConfig> Drop for Stored<C> {
    fn drop(&mut self) {
        if !self.current.load(Ordering::Acquire) {
            let chunks = self.len.div_ceil(self.chunk_bytes);
            remove(&self.handle, self.group, self.number, chunks, self.manifest_parts);
        }
    }
}

/// Submits the removal of a snapshot's values, in pieces that fit atomic batches: nobody needs it as a whole.
pub(crate) fn remove<C: RaftTypeConfig>(
    handle: &Handle<C>,
    group: u64,
    number: u64,
    chunks: u64,
    manifest_parts: u64,
) {
    let manifest = (0..manifest_parts).map(|part| format::snapshot_manifest(group, number, part));
    let chunks = (0..chunks).map(|chunk| format::snapshot_chunk(group, number, chunk));
    let keys: Vec<Write> = manifest.chain(chunks).map(|key| (key, None)).collect();
    let limits = &handle.shared.limits;
    for some in keys.chunks(limits.batch_bytes / 2 / limits.part_bytes) {
        handle.shared.queue.write_unawaited(some.to_vec());
    }
}

struct State<C: RaftTypeConfig> {
    current: Option<Arc<Stored<C>>>,
    /// Complete, and not installed yet.
    received: Option<Arc<Stored<C>>>,
    next_number: u64,
}

impl<C: RaftTypeConfig> Default for State<C> {
    fn default() -> Self {
        Self { current: None, received: None, next_number: 1 }
    }
}

/// The snapshots of one group, for the author of a state machine. A cheap clone of a shared handle; holds the store open.
///
/// Everything goes through the store's one writer and its barrier, as the log does.
pub struct SledSnapshots<C: RaftTypeConfig> {
    handle: Arc<Handle<C>>,
    group: u64,
    state: Arc<Mutex<State<C>>>,
}

impl<C: RaftTypeConfig> Clone for SledSnapshots<C> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), group: self.group, state: self.state.clone() }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for SledSnapshots<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SledSnapshots(group {} in {})", self.group, self.handle.shared.dir.display())
    }
}

impl<C: RaftTypeConfig> SledSnapshots<C> {
    /// The current snapshot. Its source reads on when a newer snapshot replaces it.
    pub fn current(&self) -> Option<Snapshot<C>> {
        locked(&self.state).current.clone().map(snapshot_of)
    }

    /// The received snapshot `meta`, complete but not installed: to be restored into the state before
    /// [`install`](Self::install) makes it the current one.
    pub fn received(&self, meta: &SnapshotMetaOf<C>) -> Option<Snapshot<C>> {
        locked(&self.state).received.clone().filter(|stored| stored.meta == *meta).map(snapshot_of)
    }

    /// Writes a snapshot. On return it is durable and the current one, unless the current one covers more already: then
    /// that one stays and the new one is dropped.
    ///
    /// # Errors
    /// If it cannot be written; the current one stays.
    pub async fn write(&self, meta: SnapshotMetaOf<C>, content: Bytes) -> Result<(), StorageError> {
        let mut writer = self.writer(meta);
        writer.write(content).await?;
        writer.finish().await
    }

    /// Writes a snapshot piece by piece. Dropping the writer before it has finished drops the snapshot.
    pub fn writer(&self, meta: SnapshotMetaOf<C>) -> SnapshotWriter<C> {
        SnapshotWriter::new(self.clone(), meta, self.chunks())
    }

    /// A sink for the snapshot `meta` that another node is about to send.
    pub fn sink(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink> {
        Box::new(Sink::new(self.clone(), meta.clone(), self.chunks()))
    }

    /// Makes the received snapshot `meta` the current one. Durable on return, and atomic: after a crash at any point
    /// either this one is current or the one before. Installing the current one again does nothing.
    ///
    /// # Errors
    /// If its sink has not finished since the store was opened, the current one covers more, or the write fails.
    ///
    /// # Cancellation
    /// Dropping the future takes nothing back: the install was submitted when it was first polled.
    pub async fn install(&self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError> {
        let refused = |reason: &str| {
            let action = format!("installing snapshot {:?} of group {}", meta.snapshot_id, self.group);
            Err(StorageError::message(action, reason))
        };
        let received = {
            let mut state = locked(&self.state);
            if state.current.as_ref().is_some_and(|current| current.meta == *meta) {
                None
            } else {
                match state.received.take_if(|stored| stored.meta == *meta) {
                    None => return refused("it has not been received, or not since the store was opened"),
                    received => received,
                }
            }
        };
        match received {
            // Perhaps submitted by a caller that went away: whatever is submitted now becomes durable after it.
            None => self.handle.shared.queue.write(Vec::new()).await,
            Some(received) => {
                if self.make_current(received).await? {
                    Ok(())
                } else {
                    refused("the current snapshot covers more")
                }
            }
        }
    }

    /// Makes a complete snapshot the current one; false if the current one covers more.
    pub(crate) async fn make_current(&self, stored: Arc<Stored<C>>) -> Result<bool, StorageError> {
        let (pending, old) = {
            let mut state = locked(&self.state);
            if state
                .current
                .as_ref()
                .is_some_and(|current| current.meta.last_log_id > stored.meta.last_log_id)
            {
                return Ok(false);
            }
            let key = format::snapshot_current(self.group);
            let value = format::seal_value(&key, &stored.number);
            // Under the lock, so that sled and memory see two of these in the same order. Before the old one is let go,
            // so that its removal comes after.
            let pending = self.handle.shared.queue.submit_keys(vec![(key, Some(value))]);
            stored.current.store(true, Ordering::Release);
            let old = state.current.replace(stored);
            if let Some(old) = &old {
                old.current.store(false, Ordering::Release);
            }
            (pending, old)
        };
        drop(old);
        pending.wait().await?;
        Ok(true)
    }

    /// Keeps a complete snapshot for its install, in place of one received before.
    pub(crate) fn keep_received(&self, stored: Arc<Stored<C>>) {
        let old = locked(&self.state).received.replace(stored);
        drop(old);
    }

    fn chunks(&self) -> ChunkWriter<C> {
        let number = {
            let mut state = locked(&self.state);
            state.next_number += 1;
            state.next_number - 1
        };
        ChunkWriter::new(self.handle.clone(), self.group, number)
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotStore<C> for SledSnapshots<C> {
    fn current(&self) -> Option<Snapshot<C>> {
        SledSnapshots::current(self)
    }

    fn writer(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink> {
        Box::new(SledSnapshots::writer(self, meta.clone()))
    }

    fn sink(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink> {
        SledSnapshots::sink(self, meta)
    }

    fn received(&self, meta: &SnapshotMetaOf<C>) -> Option<Snapshot<C>> {
        SledSnapshots::received(self, meta)
    }

    async fn install(&self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError> {
        SledSnapshots::install(self, meta).await
    }
}

fn snapshot_of<C: RaftTypeConfig>(stored: Arc<Stored<C>>) -> Snapshot<C> {
    Snapshot { meta: stored.meta.clone(), source: Box::new(Source::new(stored)) }
}

impl<C: RaftTypeConfig> Stored<C> {
    /// The snapshot whose chunks have been written, and its manifest's keys and values.
    pub(crate) fn complete(
        handle: Arc<Handle<C>>,
        group: u64,
        number: u64,
        meta: SnapshotMetaOf<C>,
        len: u64,
    ) -> (Arc<Self>, Vec<Write>) {
        let chunk_bytes = handle.shared.limits.part_bytes as u64;
        let manifest = format::encode(&Manifest::<C> { meta: meta.clone(), len, chunk_bytes });
        let key = |part| format::snapshot_manifest(group, number, part);
        let parts = format::seal_parts(&manifest, handle.shared.limits.part_bytes, key);
        let writes: Vec<Write> = parts.map(|(key, value)| (key, Some(value))).collect();
        let manifest_parts = writes.len() as u64;
        let current = AtomicBool::new(false);
        let stored = Self { handle, group, number, meta, len, chunk_bytes, manifest_parts, current };
        (Arc::new(stored), writes)
    }
}

/// The current snapshots found when a store is opened, by group.
pub(crate) struct Found<C: RaftTypeConfig>(BTreeMap<u64, (u64, Manifest<C>, u64)>);

/// The snapshots of all groups.
pub(crate) struct Registry<C: RaftTypeConfig>(Mutex<BTreeMap<u64, Arc<Mutex<State<C>>>>>);

impl<C: RaftTypeConfig> Found<C> {
    pub(crate) fn attach(self, handle: &Arc<Handle<C>>) -> Registry<C> {
        let states = self.0.into_iter().map(|(group, (number, manifest, manifest_parts))| {
            let Manifest { meta, len, chunk_bytes } = manifest;
            let handle = handle.clone();
            let current = AtomicBool::new(true);
            let stored = Stored { handle, group, number, meta, len, chunk_bytes, manifest_parts, current };
            let state = State { current: Some(Arc::new(stored)), received: None, next_number: number + 1 };
            (group, Arc::new(Mutex::new(state)))
        });
        Registry(Mutex::new(states.collect()))
    }
}

impl<C: RaftTypeConfig> Registry<C> {
    pub(crate) fn group(&self, handle: &Arc<Handle<C>>, group: u64) -> SledSnapshots<C> {
        let state = locked(&self.0).entry(group).or_default().clone();
        SledSnapshots { handle: handle.clone(), group, state }
    }
}

/// Why the current snapshots could not be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the database fails: {0}")]
    Sled(#[from] sled::Error),
    #[error("the current snapshot of group {group}: {damage}")]
    Damaged { group: u64, damage: Damage },
}

/// Finds the current snapshot of each group, and the keys of all that are not.
pub(crate) fn load<C: RaftTypeConfig>(shared: &Shared<C>) -> Result<(Found<C>, Vec<Vec<u8>>), SnapshotError> {
    let db = shared.db();
    let mut found = BTreeMap::new();
    for item in db.scan_prefix(format::snapshot_current_prefix()) {
        let (key, value) = item?;
        let group = format::number(&key, 0).unwrap_or(u64::MAX);
        let damaged = |damage| SnapshotError::Damaged { group, damage };
        let number: u64 = format::unseal_value(&key, &value).map_err(damaged)?;
        let keys =
            format::snapshot_manifest(group, number, 0)..=format::snapshot_manifest(group, number, u64::MAX);
        let (bytes, parts) = format::unseal_parts(db.range(keys))?.map_err(damaged)?;
        let manifest = Manifest::decode(&bytes).map_err(damaged)?;
        found.insert(group, (number, manifest, parts));
    }

    let mut stale = Vec::new();
    for kind in format::SNAPSHOT_KINDS {
        let mut from = format::seek(kind, &[0]);
        // From one snapshot to the next, without touching the chunks of those that stay.
        while let Some(item) = db.range(from..vec![kind + 1]).keys().next() {
            let key = item?;
            let (Some(group), Some(number)) = (format::number(&key, 0), format::number(&key, 1)) else {
                break;
            };
            if found.get(&group).is_some_and(|(current, ..)| *current == number) {
                from = format::seek(kind, &[group, number + 1, 0]);
            } else {
                from = [&key[..], &[0]].concat();
                stale.push(key.to_vec());
            }
        }
    }
    Ok((Found(found), stale))
}
