//! What the tests share: the types, short ways to write and read, and a database opened behind the store's back.

use std::path::Path;
use std::sync::Arc;

use openraft_adapters::engine::{LogId, Membership, SnapshotMeta, StoreId, StoredMembership};
use openraft_adapters::suite::flushed;
use openraft_adapters::{Entry, EntryPayload, EntryRange, RaftLogStorage, SnapshotMetaOf};
use openraft_storage_sled::{SledOptions, SledStore};

openraft_adapters::declare_raft_types!(
    /// Proposals of bytes.
    pub(crate) T: D = Vec<u8>
);

pub(crate) const SEGMENT: usize = 1 << 20;

/// Small segments, so that everything that depends on their size happens early.
pub(crate) fn options() -> SledOptions<u64> {
    SledOptions { segment_size_bytes: SEGMENT, ..SledOptions::new(1, "test") }
}

pub(crate) fn open(dir: &Path) -> Arc<SledStore<T>> {
    SledStore::open(dir, options()).unwrap()
}

/// sled itself, on the directory of a store that is closed.
pub(crate) fn raw(dir: &Path) -> sled::Db {
    let config = sled::Config::new().path(dir).segment_size(SEGMENT).flush_every_ms(None);
    loop {
        match config.open() {
            Ok(db) => return db,
            // The store's threads may still be letting go.
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                std::thread::yield_now()
            }
            Err(e) => panic!("{e}"),
        }
    }
}

pub(crate) fn id(term: u64, index: u64) -> LogId<u64> {
    LogId::new(term, 1, index)
}

pub(crate) fn normal(term: u64, index: u64, bytes: usize) -> Entry<T> {
    Entry::new(id(term, index), EntryPayload::Normal(vec![index as u8; bytes]))
}

pub(crate) fn run(term: u64, indexes: std::ops::Range<u64>, bytes: usize) -> EntryRange<T> {
    EntryRange::from_entries(indexes.map(|index| normal(term, index, bytes)).collect())
}

pub(crate) async fn append(log: &Arc<dyn RaftLogStorage<T>>, entries: EntryRange<T>) {
    flushed(|io| log.append(entries, io)).await.unwrap();
}

/// Index and length of every proposal from `first` to the end of the log.
pub(crate) async fn read_all(log: &Arc<dyn RaftLogStorage<T>>, first: u64) -> Vec<(u64, usize)> {
    let Some(last) = log.log_state().await.unwrap().last_log_id else { return Vec::new() };
    let entries = log.reader().read(first..last.index + 1, u64::MAX).await.unwrap();
    let len = |entry: &Entry<T>| match &entry.payload {
        EntryPayload::Normal(data) => {
            assert!(data.iter().all(|b| *b == entry.log_id.index as u8), "entry {}", entry.log_id);
            data.len()
        }
        _ => 0,
    };
    entries.iter().map(|entry| (entry.log_id.index, len(entry))).collect()
}

pub(crate) fn meta(last: u64) -> SnapshotMetaOf<T> {
    let membership = Membership::new_initial([(1, StoreId(7), Default::default())]);
    SnapshotMeta {
        last_log_id: Some(id(1, last)),
        membership: StoredMembership::new(id(0, 0), membership),
        snapshot_id: format!("snapshot-{last}"),
    }
}

pub(crate) fn blobs(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("blobs")).unwrap().count()
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
