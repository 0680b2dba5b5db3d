//! `SnapshotStore`: where a state machine that lives in memory keeps its snapshots, as a trait of its own.

use async_trait::async_trait;

use crate::{RaftTypeConfig, Snapshot, SnapshotMetaOf, SnapshotSink, StorageError};

/// The snapshots of one node: a current one, and at most one that was received and is not installed yet.
///
/// For state machines that keep nothing but snapshots on the disk, so that one machine runs on any store. Whoever writes
/// a state machine with a disk of its own needs none of this.
#[async_trait]
pub trait SnapshotStore<C: RaftTypeConfig>: Send + Sync + 'static {
    /// The current snapshot, durable. Its source reads on when a newer one replaces it.
    fn current(&self) -> Option<Snapshot<C>>;

    /// Takes the content of a snapshot of the own state. When its `finish` returns, the snapshot is durable and the current
    /// one, unless the current one covers more: then that one stays.
    fn writer(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink>;

    /// Takes the content of a snapshot that another node sends. When its `finish` returns, it is durable and
    /// [received](Self::received), in place of one received before.
    fn sink(&self, meta: &SnapshotMetaOf<C>) -> Box<dyn SnapshotSink>;

    /// The received snapshot `meta`, to be restored before [`install`](Self::install) makes it the current one.
    fn received(&self, meta: &SnapshotMetaOf<C>) -> Option<Snapshot<C>>;

    /// Makes the received snapshot `meta` the current one: durable on return, and atomic. Installing the current one again
    /// does nothing.
    ///
    /// # Errors
    /// If it has not been received, or cannot be made the current one.
    async fn install(&self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError>;
}
