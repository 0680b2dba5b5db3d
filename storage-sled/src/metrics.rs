//! Counters of the writer, for operators and tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the writer has done since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SledMetrics {
    /// Rounds: each takes the submissions that have gathered and makes them durable together.
    pub rounds: u64,
    /// Submissions made durable.
    pub submissions: u64,
    /// Atomic batches handed to sled.
    pub batches: u64,
    /// `fdatasync` calls on sled's file.
    pub barriers: u64,
    /// Bytes of keys and values handed to sled.
    pub payload_bytes: u64,
    /// Bytes that sled's log grew by. Divided by `payload_bytes`, the write amplification.
    pub log_bytes: u64,
    /// The most bytes that sled's log ever grew by between two barriers. Stays below the segment size.
    pub log_bytes_between_barriers_max: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) rounds: AtomicU64,
    pub(crate) submissions: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) barriers: AtomicU64,
    pub(crate) payload_bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_bytes_between_barriers_max: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> SledMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SledMetrics {
            rounds: get(&self.rounds),
            submissions: get(&self.submissions),
            batches: get(&self.batches),
            barriers: get(&self.barriers),
            payload_bytes: get(&self.payload_bytes),
            log_bytes: get(&self.log_bytes),
            log_bytes_between_barriers_max: get(&self.log_bytes_between_barriers_max),
        }
    }
}
