//! The conformance suite of the adapters crate, over this store.

use std::sync::Arc;

use async_trait::async_trait;
use openraft_adapters::suite::log_store::{self, LogStoreHarness};
use openraft_adapters::{RaftLogStorage, StorageError};
use openraft_storage_sled::SledStore;

use crate::support::{T, options};

struct Harness {
    dir: tempfile::TempDir,
}

#[async_trait]
impl LogStoreHarness<T> for Harness {
    async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<T>>, StorageError> {
        let store = SledStore::open(self.dir.path(), options())
            .map_err(|e| StorageError::new("opening the store", &e))?;
        Ok(store.log(3))
    }

    async fn wipe(&mut self) -> Result<(), StorageError> {
        self.dir = tempfile::tempdir().unwrap();
        Ok(())
    }

    fn node_id(&self, n: u64) -> u64 {
        n
    }

    fn data(&self, n: u64, bytes: usize) -> Vec<u8> {
        let mut data = n.to_le_bytes().to_vec();
        data.resize(bytes.max(8), n as u8);
        data
    }
}

macro_rules! checks {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $name() {
                log_store::$name(&mut Harness { dir: tempfile::tempdir().unwrap() }).await;
            }
        )*
    };
}

checks! {
    a_new_store_is_empty
    a_vote_survives
    an_append_reads_back_in_any_range
    payloads_come_back_as_they_were
    reads_see_every_submission_made_before
    completions_come_once_each_in_order
    what_the_log_does_not_hold_is_an_error
    a_truncated_log_takes_another_leaders_entries
    a_purge_drops_exactly_what_it_names
    a_purge_beyond_the_last_entry_empties_the_log
    leader_starts_and_memberships_follow_the_log
    a_committed_hint_comes_along_with_a_later_write
    thousands_in_one_batch_survive
    entries_of_megabytes_survive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn random_histories_agree_with_the_model() {
    log_store::random_histories(&mut Harness { dir: tempfile::tempdir().unwrap() }, 0..16).await;
}
