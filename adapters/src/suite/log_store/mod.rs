//! The conformance suite for log stores: every promise of [`RaftLogStorage`] that can be checked without cutting the
//! power.
//!
//! Write a [`LogStoreHarness`] for your store and call [`test_all`] from a test; it panics with the promise that is
//! broken. Each check can also be called alone, so that it becomes a test of its own. Every check begins with an
//! empty store, does the same to the store and to a simple model, and compares all that can be read, before and after
//! the store is opened anew.
//!
//! ```
//! use std::sync::Arc;
//! use async_trait::async_trait;
//! use openraft_adapters::memory::MemDisk;
//! use openraft_adapters::suite::log_store::{self, LogStoreHarness};
//! use openraft_adapters::{RaftLogStorage, StorageError, declare_raft_types};
//!
//! declare_raft_types!(Types: D = Vec<u8>);
//!
//! struct Harness(MemDisk<Types>);
//!
//! #[async_trait]
//! impl LogStoreHarness<Types> for Harness {
//!     async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<Types>>, StorageError> {
//!         Ok(self.0.open())
//!     }
//!     async fn wipe(&mut self) -> Result<(), StorageError> {
//!         self.0 = MemDisk::new();
//!         Ok(())
//!     }
//!     fn node_id(&self, n: u64) -> u64 {
//!         n
//!     }
//!     fn data(&self, n: u64, bytes: usize) -> Vec<u8> {
//!         let mut data = n.to_le_bytes().to_vec();
//!         data.resize(bytes.max(8), n as u8);
//!         data
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! log_store::test_all(&mut Harness(MemDisk::new())).await;
//! # }
//! ```

mod checks;
mod cutting;
mod model;
mod random;
mod scene;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::checks::{
    a_committed_hint_comes_along_with_a_later_write, a_new_store_is_empty, a_vote_survives,
    an_append_reads_back_in_any_range, completions_come_once_each_in_order, entries_of_megabytes_survive,
    payloads_come_back_as_they_were, reads_see_every_submission_made_before, thousands_in_one_batch_survive,
    what_the_log_does_not_hold_is_an_error,
};
pub use self::cutting::{
    a_purge_beyond_the_last_entry_empties_the_log, a_purge_drops_exactly_what_it_names,
    a_truncated_log_takes_another_leaders_entries, leader_starts_and_memberships_follow_the_log,
};
pub use self::random::{random_histories, random_history};
use crate::{RaftLogStorage, RaftTypeConfig, StorageError};

/// How the suite gets at a store, and makes values of the application's types.
#[async_trait]
pub trait LogStoreHarness<C: RaftTypeConfig>: Send {
    /// Opens the store with what it holds. The suite has dropped everything that it held of the store opened before,
    /// after all submissions were completed; if that one still winds up in the background, wait for it here.
    ///
    /// # Errors
    /// If it cannot be opened, which fails the check.
    async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<C>>, StorageError>;

    /// Throws away what the store holds. No store is open; the next [`open`](LogStoreHarness::open) finds nothing.
    ///
    /// # Errors
    /// If it cannot be emptied, which fails the check.
    async fn wipe(&mut self) -> Result<(), StorageError>;

    /// The `n`-th of some node ids, all different for small `n`, in ascending order.
    fn node_id(&self, n: u64) -> C::NodeId;

    /// A proposal that differs from those of other `n`, encoded in about `bytes` bytes (up to some MiB) as far as the
    /// type allows.
    fn data(&self, n: u64, bytes: usize) -> C::D;
}

/// Runs every check, with a few dozen random histories.
///
/// Needs a tokio runtime with time enabled and not paused.
///
/// # Panics
/// If a promise is broken, with that promise and what was seen.
pub async fn test_all<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    a_new_store_is_empty(harness).await;
    a_vote_survives(harness).await;
    an_append_reads_back_in_any_range(harness).await;
    payloads_come_back_as_they_were(harness).await;
    reads_see_every_submission_made_before(harness).await;
    completions_come_once_each_in_order(harness).await;
    what_the_log_does_not_hold_is_an_error(harness).await;
    a_truncated_log_takes_another_leaders_entries(harness).await;
    a_purge_drops_exactly_what_it_names(harness).await;
    a_purge_beyond_the_last_entry_empties_the_log(harness).await;
    leader_starts_and_memberships_follow_the_log(harness).await;
    a_committed_hint_comes_along_with_a_later_write(harness).await;
    thousands_in_one_batch_survive(harness).await;
    entries_of_megabytes_survive(harness).await;
    random_histories(harness, 0..24).await;
}
