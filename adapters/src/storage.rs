//! The log store's traits: submissions that return at once, completions that tell of durability.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{EntryRange, LogIdOf, RaftTypeConfig, ReadError, SavedVoteOf, StorageError, StoredMembershipOf};

/// The completion of one submission. Fire it with [`done`](IoFlushed::done) once the write is durable, or with what
/// went wrong.
///
/// Dropping it unfired reports an error: a write of which nobody will ever hear again.
pub struct IoFlushed {
    callback: Option<Callback>,
}

type Callback = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

impl IoFlushed {
    /// A completion that calls `callback` once, from whatever thread the store fires it on. The callback must not
    /// block.
    pub fn new(callback: impl FnOnce(Result<(), StorageError>) + Send + 'static) -> Self {
        Self { callback: Some(Box::new(callback)) }
    }

    /// The write, and every earlier one of the same lane, is durable; or it failed.
    pub fn done(mut self, result: Result<(), StorageError>) {
        if let Some(callback) = self.callback.take() {
            callback(result);
        }
    }
}

impl Drop for IoFlushed {
    fn drop(&mut self) {
        if let Some(callback) = self.callback.take() {
            callback(Err(StorageError::message(
                "a write to the log store",
                "the store dropped its completion",
            )));
        }
    }
}

impl fmt::Debug for IoFlushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IoFlushed")
    }
}

/// What a log store holds when it is opened, readable without a scan of the log.
#[derive(Clone, Debug)]
pub struct LogState<C: RaftTypeConfig> {
    /// The last vote saved, with what may have been promised under it, or the default.
    pub vote: SavedVoteOf<C>,
    /// The last entry that was purged; the log begins after it.
    pub purged: Option<LogIdOf<C>>,
    /// The last entry, or `purged` if there is none after it.
    pub last_log_id: Option<LogIdOf<C>>,
    /// For each leader id that occurs in the log after `purged`, the log id of its first entry there; ascending.
    pub leader_starts: Vec<LogIdOf<C>>,
    /// The last two memberships stated in the log, older first; fewer if the log has fewer.
    pub memberships: Vec<StoredMembershipOf<C>>,
    /// The last committed hint saved. May be behind, and is used only if the log holds exactly this entry.
    pub committed: Option<LogIdOf<C>>,
    /// About what the entries of the log weigh together ([`EntryRange::weight`]), in bytes; 0 if the store cannot tell
    /// without reading them. Steers when a snapshot is built and what a follower may hold back from being purged.
    pub log_bytes: u64,
}

impl<C: RaftTypeConfig> Default for LogState<C> {
    fn default() -> Self {
        Self {
            vote: SavedVoteOf::<C>::default(),
            purged: None,
            last_log_id: None,
            leader_starts: Vec::new(),
            memberships: Vec::new(),
            committed: None,
            log_bytes: 0,
        }
    }
}

/// Reads entries of the log, from any task, also while writes are under way.
#[async_trait]
pub trait RaftLogReader<C: RaftTypeConfig>: Send + Sync + 'static {
    /// The entries of `indexes` from its first index on, as many as weigh no more than `max_bytes`
    /// ([`EntryRange::weight`]) but at least one. Every submission made before the call is visible to it.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] if the first index was purged. [`ReadError::Storage`] if an entry within `indexes` is
    /// missing or fails its checksum; a damaged entry is never returned and never skipped.
    ///
    /// # Cancellation
    /// Dropping the future has no effect but to stop the read.
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError>;
}

/// The durable log of one group: entries, vote and hints, written by one [`RaftCore`] only.
///
/// Writes are *submissions*: they return at once and are carried out in the order in which they were made. A
/// completion tells that its submission and all earlier ones are durable. After a crash the store opens in the state
/// after some prefix of its submissions, not shorter than what its last completion promised. A failed submission fails
/// all later ones until the store is opened anew.
///
/// A store may complete several submissions by firing only the last one's completion late: firing one late is always
/// right, firing one early never.
///
/// [`RaftCore`]: https://docs.rs/openraft-core
#[async_trait]
pub trait RaftLogStorage<C: RaftTypeConfig>: Send + Sync + 'static {
    /// What the store holds. Called once, before any submission.
    ///
    /// # Errors
    /// If the store cannot be read or holds what it never wrote.
    async fn log_state(&self) -> Result<LogState<C>, StorageError>;

    /// A reader of this log.
    fn reader(&self) -> Arc<dyn RaftLogReader<C>>;

    /// Replaces the vote, and what may be promised under it: one record, which a crash keeps or loses whole.
    fn save_vote(&self, vote: SavedVoteOf<C>, flushed: IoFlushed);

    /// Appends entries, which follow the last one without a gap.
    fn append(&self, entries: EntryRange<C>, flushed: IoFlushed);

    /// Drops the entries from index `since` on.
    fn truncate(&self, since: u64, flushed: IoFlushed);

    /// Drops the entries up to and including `upto`. `upto` may lie beyond the last entry, as after an installed
    /// snapshot; then the log is empty and begins after it.
    fn purge(&self, upto: LogIdOf<C>, flushed: IoFlushed);

    /// Notes what is committed. A hint: it is written with a later submission and no completion tells of it.
    fn save_committed(&self, committed: LogIdOf<C>);
}
