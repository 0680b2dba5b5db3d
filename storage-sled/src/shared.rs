//! What the handles of one store and its writer share: the database, the barrier's descriptor, the queue and the sizes.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_adapters::{LogIdOf, RaftTypeConfig, StorageError};

use crate::format::SEAL_BYTES;
use crate::metrics::Counters;
use crate::queue::Queue;

/// Sizes that follow from sled's segment size.
///
/// sled moves any page of more than a quarter of a segment out of its log into a file below `blobs/`, which it never
/// syncs. A leaf of its tree holds at most 17 items before it is split and some 20 after a merge; values of a 128th of a
/// segment keep the largest leaf at about an eighth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most bytes of content in one value.
    pub(crate) part_bytes: usize,
    /// The most bytes in one atomic batch, but for a value's overhang. With leaves rewritten as they fill and split,
    /// sled writes several times as much to its log: a third of a segment is the most seen.
    pub(crate) batch_bytes: usize,
    /// The most keys in one atomic batch.
    pub(crate) batch_keys: usize,
    /// A barrier is due once sled's log has grown by this much since the last one.
    pub(crate) barrier_bytes: u64,
    /// sled's segment, in bytes.
    pub(crate) segment_bytes: u64,
}

impl Limits {
    pub(crate) fn of_segment(segment_size: usize) -> Self {
        Self {
            part_bytes: segment_size / 128 - SEAL_BYTES - 64,
            batch_bytes: segment_size / 32,
            batch_keys: 256,
            barrier_bytes: segment_size as u64 / 8,
            segment_bytes: segment_size as u64,
        }
    }
}

/// What readers know of a log. Changed by the writer before what it takes away is removed from sled, and after what it
/// adds is inserted.
pub(crate) struct View<C: RaftTypeConfig> {
    /// Counts truncations and purges: a read during which it changed is read again.
    pub(crate) version: u64,
    pub(crate) purged: Option<LogIdOf<C>>,
    pub(crate) last: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Default for View<C> {
    fn default() -> Self {
        Self { version: 0, purged: None, last: None }
    }
}

pub(crate) struct Shared<C: RaftTypeConfig> {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) queue: Queue<C>,
    pub(crate) counters: Counters,
    views: Mutex<BTreeMap<u64, Arc<Mutex<View<C>>>>>,
    /// `None` only while being dropped.
    db: Option<sled::Db>,
    /// Our own descriptor of sled's file, for the barrier.
    barrier: File,
    /// Held for as long as the database is open; dropped after it.
    _lock: File,
}

/// Locks what no panic can leave half changed.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C: RaftTypeConfig> Shared<C> {
    pub(crate) fn new(dir: &Path, db: sled::Db, barrier: File, lock: File, limits: Limits) -> Self {
        Self {
            dir: dir.to_owned(),
            limits,
            queue: Queue::new(),
            counters: Counters::default(),
            views: Mutex::new(BTreeMap::new()),
            db: Some(db),
            barrier,
            _lock: lock,
        }
    }

    pub(crate) fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("the database is open for as long as anyone holds it")
    }

    pub(crate) fn view(&self, group: u64) -> Arc<Mutex<View<C>>> {
        locked(&self.views).entry(group).or_default().clone()
    }

    /// How far sled's log has been written: its own count of bytes, which only grows. Exact after a flush.
    pub(crate) fn position(&self) -> u64 {
        // Hidden in sled's documentation but public. Should another version of sled count something else, the tests that
        // count barriers and the bytes between them fail.
        u64::try_from(self.db().context.pagecache.log.stable_offset()).unwrap_or(0)
    }

    /// The barrier: all that sled has flushed survives a power cut from here on.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.barrier.sync_data().map_err(|e| StorageError::new(format!("fdatasync of {}", self.file()), &e))
    }

    /// sled's file, for error messages.
    pub(crate) fn file(&self) -> String {
        self.dir.join("db").display().to_string()
    }

    /// A read of `what` failed because of `cause`.
    pub(crate) fn read_failed(&self, what: impl std::fmt::Display, cause: impl ToString) -> StorageError {
        StorageError::message(format!("reading {what} from {}", self.file()), cause)
    }
}

impl<C: RaftTypeConfig> Drop for Shared<C> {
    fn drop(&mut self) {
        // sled syncs once more when it is dropped and panics if that fails, as after a failed barrier it may. Nothing
        // depends on that sync, and whoever drops a failed store has been told of the failure.
        let db = self.db.take();
        if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            tracing::error!(dir = %self.dir.display(), "sled panicked while it was closed");
        }
    }
}

/// Runs a read of sled where it may block: on tokio's blocking threads, or here if there is no tokio.
pub(crate) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(read).await.map_err(|e| {
            StorageError::message("a read of the store", format!("the reading thread ended: {e}"))
        }),
        Err(_) => Ok(read()),
    }
}
