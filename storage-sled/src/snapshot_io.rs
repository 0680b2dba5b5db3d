//! The content of snapshots: written in checksummed chunks, read at any offset.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{RaftTypeConfig, SnapshotMetaOf, SnapshotSink, SnapshotSource, StorageError};

use crate::format::{self, Damage};
use crate::queue::{Pending, Write};
use crate::shared::Shared;
use crate::snapshot::{SledSnapshots, Stored, remove};
use crate::store::Handle;

/// How many pieces may be on their way to the disk before a writer waits for the oldest.
const PENDING_MAX: usize = 8;

/// Cuts content into chunks and submits them.
pub(crate) struct ChunkWriter<C: RaftTypeConfig> {
    handle: Arc<Handle<C>>,
    group: u64,
    number: u64,
    len: u64,
    /// Content that fills no chunk yet.
    rest: Vec<u8>,
    chunks: u64,
    writes: Vec<Write>,
    writes_bytes: usize,
    pending: VecDeque<Pending>,
    complete: bool,
}

impl<C: RaftTypeConfig> ChunkWriter<C> {
    pub(crate) fn new(handle: Arc<Handle<C>>, group: u64, number: u64) -> Self {
        Self {
            handle,
            group,
            number,
            len: 0,
            rest: Vec::new(),
            chunks: 0,
            writes: Vec::new(),
            writes_bytes: 0,
            pending: VecDeque::new(),
            complete: false,
        }
    }

    async fn write(&mut self, content: &[u8]) -> Result<(), StorageError> {
        let chunk_bytes = self.handle.shared.limits.part_bytes;
        self.len += content.len() as u64;
        let mut content = content;
        while !content.is_empty() {
            let take = content.len().min(chunk_bytes - self.rest.len());
            self.rest.extend_from_slice(&content[..take]);
            content = &content[take..];
            if self.rest.len() == chunk_bytes {
                self.chunk_full().await?;
            }
        }
        Ok(())
    }

    /// As [`write`](Self::write), of what must come at `offset`.
    async fn write_at(
        &mut self,
        what: &str,
        meta: &SnapshotMetaOf<C>,
        offset: u64,
        content: &[u8],
    ) -> Result<(), StorageError> {
        if offset != self.len {
            return Err(StorageError::message(
                format!("{what} snapshot {:?}", meta.snapshot_id),
                format!("a chunk for offset {offset} came where {} was next", self.len),
            ));
        }
        self.write(content).await
    }

    async fn chunk_full(&mut self) -> Result<(), StorageError> {
        let key = format::snapshot_chunk(self.group, self.number, self.chunks);
        let value = format::seal(&key, &[&self.rest]);
        self.rest.clear();
        self.chunks += 1;
        self.writes_bytes += key.len() + value.len();
        self.writes.push((key, Some(value)));
        if self.writes_bytes >= self.handle.shared.limits.batch_bytes / 2 {
            self.submit().await?;
        }
        Ok(())
    }

    async fn submit(&mut self) -> Result<(), StorageError> {
        if self.pending.len() >= PENDING_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.wait().await?;
        }
        self.writes_bytes = 0;
        let writes = std::mem::take(&mut self.writes);
        self.pending.push_back(self.handle.shared.queue.submit_keys(writes));
        Ok(())
    }

    /// Writes what is left and the manifest; on return all is durable.
    async fn finish(mut self, meta: SnapshotMetaOf<C>) -> Result<Arc<Stored<C>>, StorageError> {
        if !self.rest.is_empty() {
            self.chunk_full().await?;
        }
        self.submit().await?;
        let (stored, manifest) =
            Stored::complete(self.handle.clone(), self.group, self.number, meta, self.len);
        // From here on the removal is the stored snapshot's own affair.
        self.complete = true;
        // Completions come in order: the manifest's tells of all chunks.
        self.handle.shared.queue.write(manifest).await?;
        Ok(stored)
    }
}

impl<C: RaftTypeConfig> Drop for ChunkWriter<C> {
    fn drop(&mut self) {
        if !self.complete {
            remove(&self.handle, self.group, self.number, self.chunks, 0);
        }
    }
}

/// Writes a snapshot of one's own piece by piece. From [`SledSnapshots::writer`].
pub struct SnapshotWriter<C: RaftTypeConfig> {
    snapshots: SledSnapshots<C>,
    meta: SnapshotMetaOf<C>,
    chunks: ChunkWriter<C>,
}

impl<C: RaftTypeConfig> SnapshotWriter<C> {
    pub(crate) fn new(snapshots: SledSnapshots<C>, meta: SnapshotMetaOf<C>, chunks: ChunkWriter<C>) -> Self {
        Self { snapshots, meta, chunks }
    }

    /// Adds `content` at the end. Waits for the disk when it falls behind.
    ///
    /// # Errors
    /// If the store fails. The writer is then to be dropped.
    pub async fn write(&mut self, content: Bytes) -> Result<(), StorageError> {
        self.chunks.write(&content).await
    }

    /// All has been written. On return the snapshot is durable and the current one, unless the current one covers more.
    ///
    /// # Errors
    /// If it could not be made durable; the current one stays.
    pub async fn finish(self) -> Result<(), StorageError> {
        let Self { snapshots, meta, chunks } = self;
        let stored = chunks.finish(meta).await?;
        snapshots.make_current(stored).await?;
        Ok(())
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotSink for SnapshotWriter<C> {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        self.chunks.write_at("writing", &self.meta, offset, &chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        SnapshotWriter::finish(*self).await
    }

    async fn abort(self: Box<Self>) {
        // Dropping the chunks removes them.
    }
}

/// Takes a snapshot that another node sends.
pub(crate) struct Sink<C: RaftTypeConfig> {
    snapshots: SledSnapshots<C>,
    meta: SnapshotMetaOf<C>,
    chunks: ChunkWriter<C>,
}

impl<C: RaftTypeConfig> Sink<C> {
    pub(crate) fn new(snapshots: SledSnapshots<C>, meta: SnapshotMetaOf<C>, chunks: ChunkWriter<C>) -> Self {
        Self { snapshots, meta, chunks }
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotSink for Sink<C> {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        self.chunks.write_at("receiving", &self.meta, offset, &chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        let Self { snapshots, meta, chunks } = *self;
        let stored = chunks.finish(meta).await?;
        snapshots.keep_received(stored);
        Ok(())
    }

    async fn abort(self: Box<Self>) {
        // Dropping the chunks removes them.
    }
}

/// Reads a stored snapshot; keeps it from being removed.
pub(crate) struct Source<C: RaftTypeConfig> {
    stored: Arc<Stored<C>>,
}

impl<C: RaftTypeConfig> Source<C> {
    pub(crate) fn new(stored: Arc<Stored<C>>) -> Self {
        Self { stored }
    }
}

#[async_trait]
impl<C: RaftTypeConfig> SnapshotSource for Source<C> {
    fn len(&self) -> u64 {
        self.stored.len
    }

    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError> {
        let stored = self.stored.clone();
        self.stored.handle.read(move |shared| read_at(shared, &stored, offset, max_bytes)).await
    }
}

fn read_at<C: RaftTypeConfig>(
    shared: &Shared<C>,
    stored: &Stored<C>,
    offset: u64,
    max_bytes: usize,
) -> Result<Bytes, StorageError> {
    let end = stored.len.min(offset.saturating_add(max_bytes as u64));
    let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
    let mut at = offset;
    while at < end {
        let chunk = at / stored.chunk_bytes;
        let failed = |cause: &dyn std::fmt::Display| {
            shared.read_failed(
                format_args!(
                    "chunk {chunk} of snapshot {:?} of group {}",
                    stored.meta.snapshot_id, stored.group
                ),
                cause,
            )
        };
        let key = format::snapshot_chunk(stored.group, stored.number, chunk);
        let value = shared.db().get(&key).map_err(|e| failed(&e))?.ok_or_else(|| failed(&Damage::Missing))?;
        let body = format::unseal(&key, &value).map_err(|e| failed(&e))?;
        let begin = chunk * stored.chunk_bytes;
        let wanted = body.get((at - begin) as usize..(end - begin).min(stored.chunk_bytes) as usize);
        out.extend_from_slice(wanted.ok_or_else(|| failed(&Damage::Short))?);
        at = begin + stored.chunk_bytes;
    }
    Ok(Bytes::from(out))
}
