//! The state machine's traits, and snapshots as things to be read or written at an offset.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{EntryRange, LogIdOf, RaftTypeConfig, SnapshotMetaOf, StorageError};

/// A snapshot with its description.
pub struct Snapshot<C: RaftTypeConfig> {
    /// What it is.
    pub meta: SnapshotMetaOf<C>,
    /// Its content.
    pub source: Box<dyn SnapshotSource>,
}

/// The content of a durable snapshot, read in chunks. It stays readable while it is held, also when a newer snapshot
/// replaces it.
#[async_trait]
pub trait SnapshotSource: Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no content.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At most `max_bytes` bytes from `offset` on; fewer only at the end.
    ///
    /// # Errors
    /// If the content cannot be read, or is not what was written.
    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError>;
}

/// Takes the content of a snapshot that another node sends.
#[async_trait]
pub trait SnapshotSink: Send + 'static {
    /// Writes `chunk` at `offset`. Chunks come in order without gaps.
    ///
    /// # Errors
    /// If it cannot be written, as on a full disk. The sink is then good for nothing but `abort`.
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError>;

    /// All has been written. On return the content is durable, but not installed.
    ///
    /// # Errors
    /// If it could not be made durable, or its own checks find it incomplete.
    async fn finish(self: Box<Self>) -> Result<(), StorageError>;

    /// Throws away what was written. Dropping the sink does the same, later.
    async fn abort(self: Box<Self>);
}

/// A consistent view of the state, to be written as a snapshot while new entries are applied.
#[async_trait]
pub trait SnapshotBuilder<C: RaftTypeConfig>: Send + 'static {
    /// Writes the snapshot. On return it is durable and is the current one, unless one that covers more was installed
    /// meanwhile: then that one stays.
    ///
    /// # Errors
    /// If it cannot be written. The snapshot before it remains the current one.
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<C>, StorageError>;
}

/// The application's state machine. One task owns it; its calls come one at a time, in log order.
#[async_trait]
pub trait RaftStateMachine<C: RaftTypeConfig>: Send + 'static {
    /// The last entry whose effect is in the state, called once at start. A machine that lives in memory restores its
    /// current snapshot first and answers with that; so must one whose state may be older than its snapshot, or the node
    /// does not start.
    ///
    /// # Errors
    /// If the state cannot be restored.
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<C>>, StorageError>;

    /// Executes entries in order and returns one reply for each [`Normal`](crate::EntryPayload::Normal) entry, in
    /// order. Blank and membership entries get no reply, but count as applied. Must be deterministic: the same
    /// entries give the same state and replies on every node.
    ///
    /// # Errors
    /// Any error stops the node. What the application refuses is a reply, not an error.
    async fn apply(&mut self, entries: EntryRange<C>) -> Result<Vec<C::R>, StorageError>;

    /// A hash of the state as it is now, by a function that gives the same on every node for the same state; `None`, the
    /// default, if there is none. Asked for after the entries at which the nodes' configuration says so
    /// (`state_hash_every`), so that followers can compare theirs with the leader's: the alarm for an `apply` that is
    /// not deterministic. Applying waits for this call: keep a hash up to date with each change, or hash only what is
    /// cheap. Must not depend on what does not survive a snapshot and its installation.
    fn state_hash(&self) -> Option<u64> {
        None
    }

    /// Takes a view of the state as it is now, quickly: applying waits for this call, not for the builder.
    ///
    /// `membership` is what was in force at the last applied entry; it belongs into the snapshot's description, as
    /// does the last applied log id.
    ///
    /// # Errors
    /// If no view can be taken.
    async fn snapshot_builder(
        &mut self,
        membership: crate::StoredMembershipOf<C>,
    ) -> Result<Box<dyn SnapshotBuilder<C>>, StorageError>;

    /// The current durable snapshot, if there is one.
    ///
    /// # Errors
    /// If there is one but it cannot be read.
    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<C>>, StorageError>;

    /// A sink for the snapshot `meta` that another node is about to send. A later call with the same description
    /// begins anew.
    ///
    /// # Errors
    /// If none can be opened.
    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<C>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError>;

    /// Replaces the whole state by the received snapshot `meta`, whose sink has finished. On return the snapshot is
    /// durable and the current one, and the state is its content: after a crash at any point the machine restores
    /// either what it was or what it became.
    ///
    /// # Errors
    /// If the content is not there or does not restore; the state is then what it was before the call, and the node
    /// goes on with it. A machine that cannot promise that must panic, which stops the node.
    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError>;
}
