//! Where the task finds what it sends: the core's tail in memory, and the current snapshot.

use std::ops::Range;

use async_trait::async_trait;
use openraft_adapters::{EntryRange, LogIdOf, RaftTypeConfig, Snapshot, StorageError};

/// The recent end of the leader's log, kept in memory by the core and shared with every follower's task.
///
/// Both functions are called often and must return at once.
pub trait TailReader<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Entries from `indexes.start` on, ending before `indexes.end`, of at most `max_bytes` together but at least one.
    /// `None` if the first of them is not in the tail; it is then looked for in the log store. `indexes` is never
    /// empty.
    fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Option<EntryRange<C>>;

    /// The log id of the entry at `index`, if it is known without reading the log store. Must be known for entries in
    /// the tail and for the last purged entry, which may be the one that a snapshot ends with.
    fn log_id_at(&self, index: u64) -> Option<LogIdOf<C>>;
}

/// Gives the snapshot to be sent to a follower that needs entries which the log no longer holds.
#[async_trait]
pub trait SnapshotProvider<C: RaftTypeConfig>: Send + Sync + 'static {
    /// The current durable snapshot, if there is one. It stays readable while it is held.
    ///
    /// # Errors
    /// If there is one but it cannot be read. The task tries again after a pause.
    async fn current(&self) -> Result<Option<Snapshot<C>>, StorageError>;
}
