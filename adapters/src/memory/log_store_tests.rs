//! Tests of the log store in memory: the suite in both modes, and what a crash leaves.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use openraft_engine::{LogId, Vote};

use super::MemDisk;
use crate::suite::flushed;
use crate::suite::log_store::{self, LogStoreHarness};
use crate::{
    Entry, EntryPayload, EntryRange, Env, IoFlushed, RaftLogStorage, ReadError, StorageError, TaskHandle,
};

crate::declare_raft_types!(T: D = Vec<u8>);

struct Harness {
    disk: MemDisk<T>,
    new_disk: fn() -> MemDisk<T>,
    /// Plays the disk of a held store.
    flusher: Option<TaskHandle>,
}

impl Harness {
    fn new(new_disk: fn() -> MemDisk<T>) -> Self {
        Self { disk: new_disk(), new_disk, flusher: None }
    }
}

#[async_trait]
impl LogStoreHarness<T> for Harness {
    async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<T>>, StorageError> {
        let disk = self.disk.clone();
        if let Some(flusher) = self.flusher.take() {
            flusher.abort();
        }
        self.flusher = Some(Env::tokio().spawn("disk", async move {
            loop {
                disk.submitted().await;
                disk.flush(3);
            }
        }));
        Ok(self.disk.open())
    }

    async fn wipe(&mut self) -> Result<(), StorageError> {
        self.disk = (self.new_disk)();
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

#[tokio::test]
async fn a_disk_that_completes_at_once_keeps_the_contract() {
    log_store::test_all(&mut Harness::new(MemDisk::new)).await;
}

#[tokio::test]
async fn a_disk_that_holds_completions_keeps_the_contract() {
    log_store::test_all(&mut Harness::new(MemDisk::held)).await;
}

fn blanks(term: u64, indexes: std::ops::Range<u64>) -> EntryRange<T> {
    EntryRange::from_entries(
        indexes.map(|i| Entry::new(LogId::new(term, 1, i), EntryPayload::Blank)).collect(),
    )
}

/// Submissions of every kind to `disk`, and the numbers of those that were completed, in order.
fn submit_six(store: &dyn RaftLogStorage<T>) -> Arc<Mutex<Vec<u64>>> {
    let completed = Arc::new(Mutex::new(Vec::new()));
    let io = |n: u64| {
        let completed = completed.clone();
        IoFlushed::new(move |result| {
            if result.is_ok() {
                completed.lock().unwrap().push(n);
            }
        })
    };
    store.save_vote(Vote::new(1, 1).into(), io(1));
    store.append(blanks(1, 0..6), io(2));
    store.truncate(4, io(3));
    store.save_committed(LogId::new(1, 1, 3));
    store.append(blanks(2, 4..9), io(4));
    store.purge(LogId::new(1, 1, 1), io(5));
    store.save_vote(Vote::new(3, 2).into(), io(6));
    completed
}

/// Vote, purged, last log id and committed hint, in words.
async fn summary(store: &dyn RaftLogStorage<T>) -> String {
    let state = store.log_state().await.unwrap();
    let show = |id: Option<LogId<u64>>| id.map_or("none".to_owned(), |id| id.to_string());
    format!(
        "{} purged {} last {} hint {}",
        state.vote.vote,
        show(state.purged),
        show(state.last_log_id),
        show(state.committed)
    )
}

#[tokio::test]
async fn a_crash_leaves_the_state_after_exactly_the_chosen_prefix() {
    let after = [
        "T0-N0 purged none last none hint none",
        "T1-N1 purged none last none hint none",
        "T1-N1 purged none last T1-N1-5 hint none",
        "T1-N1 purged none last T1-N1-3 hint none",
        "T1-N1 purged none last T2-N1-8 hint T1-N1-3",
        "T1-N1 purged T1-N1-1 last T2-N1-8 hint T1-N1-3",
        "T3-N2 purged T1-N1-1 last T2-N1-8 hint T1-N1-3",
    ];
    for flush in 0..=6 {
        for keep in 0..=6 {
            let disk = MemDisk::held();
            let store = disk.open();
            let completed = submit_six(&*store);
            assert_eq!(disk.flush(flush), flush);
            assert_eq!(*completed.lock().unwrap(), (1..=flush as u64).collect::<Vec<_>>());
            disk.crash(keep);
            assert_eq!(completed.lock().unwrap().len(), flush, "a crash completes nothing");
            let survived = (flush + keep).min(6);
            assert_eq!(summary(&*disk.open()).await, after[survived], "flush {flush}, keep {keep}");
            assert_eq!(disk.unflushed(), 0);
        }
    }
}

#[tokio::test]
async fn a_store_from_before_a_crash_can_neither_write_nor_read() {
    for disk in [MemDisk::<T>::new(), MemDisk::held()] {
        let old = disk.open();
        let reader = old.reader();
        old.append(blanks(1, 0..2), IoFlushed::new(|_| ()));
        disk.flush_all();
        let new = disk.open();
        assert!(flushed(|io| old.save_vote(Vote::new(9, 9).into(), io)).await.is_err());
        assert!(matches!(reader.read(0..1, 0).await, Err(ReadError::Storage(_))));
        assert!(old.log_state().await.is_err());
        old.save_committed(LogId::new(1, 1, 0));
        let vote = flushed(|io| {
            new.save_vote(Vote::new(2, 2).into(), io);
            disk.flush_all();
        });
        vote.await.unwrap();
        assert_eq!(summary(&*disk.open()).await, "T2-N2 purged none last T1-N1-1 hint none");
    }
}

#[tokio::test]
async fn a_broken_disk_fails_all_writes_until_the_store_is_opened_anew() {
    let disk = MemDisk::<T>::held();
    let store = disk.open();
    let completed = submit_six(&*store);
    disk.flush(2);
    disk.fail("the head fell off");
    assert_eq!(disk.flush_all(), 0);
    assert_eq!(*completed.lock().unwrap(), [1, 2]);
    let error = flushed(|io| store.save_vote(Vote::new(9, 9).into(), io)).await.unwrap_err();
    assert!(error.to_string().contains("the head fell off"), "{error}");
    assert_eq!(summary(&*disk.open()).await, "T1-N1 purged none last T1-N1-5 hint none");
}

#[tokio::test]
async fn a_write_that_the_contract_forbids_is_refused_and_poisons_the_store() {
    let forbidden: [fn(&dyn RaftLogStorage<T>, IoFlushed); 2] =
        [|store, io| store.append(blanks(1, 7..8), io), |store, io| store.truncate(1, io)];
    for write in forbidden {
        let disk = MemDisk::<T>::new();
        let store = disk.open();
        flushed(|io| store.append(blanks(1, 0..4), io)).await.unwrap();
        flushed(|io| store.purge(LogId::new(1, 1, 1), io)).await.unwrap();
        assert!(flushed(|io| write(&*store, io)).await.is_err());
        assert!(flushed(|io| store.save_vote(Vote::new(1, 1).into(), io)).await.is_err());
        assert_eq!(summary(&*disk.open()).await, "T0-N0 purged T1-N1-1 last T1-N1-3 hint none");
    }
}

#[tokio::test]
async fn reads_share_the_entries_that_were_appended() {
    let store = MemDisk::<T>::held().open();
    let entries = blanks(1, 0..5);
    store.append(entries.clone(), IoFlushed::new(|_| ()));
    let read = store.reader().read(2..4, u64::MAX).await.unwrap();
    assert!(std::ptr::eq(read.iter().next().unwrap(), entries.iter().nth(2).unwrap()));
}

#[tokio::test]
async fn a_completion_may_submit_the_next_write() {
    for disk in [MemDisk::<T>::new(), MemDisk::held()] {
        let store = disk.open();
        let next = store.clone();
        let first = IoFlushed::new(move |_| next.save_vote(Vote::new(2, 2).into(), IoFlushed::new(|_| ())));
        store.save_vote(Vote::new(1, 1).into(), first);
        while disk.flush_all() > 0 {}
        assert_eq!(summary(&*disk.open()).await, "T2-N2 purged none last none hint none");
    }
}

#[tokio::test]
async fn a_rotten_record_is_reported_with_its_place_also_after_a_crash_and_never_served() {
    let disk = MemDisk::<T>::held();
    let store = disk.open();
    store.append(blanks(1, 0..6), IoFlushed::new(|_| ()));
    assert!(!disk.rot(3), "it is not durable yet");
    disk.flush_all();
    assert!(disk.rot(3) && !disk.rot(6));
    let mut reader = store.reader();
    for _ in 0..2 {
        assert_eq!(reader.read(0..3, u64::MAX).await.unwrap().len(), 3);
        assert_eq!(reader.read(4..6, u64::MAX).await.unwrap().len(), 2);
        let error = reader.read(2..5, u64::MAX).await.unwrap_err().to_string();
        assert!(error.contains("index 3") && error.contains("checksum"), "{error}");
        reader = disk.open().reader();
    }
    let store = disk.open();
    store.truncate(3, IoFlushed::new(|_| ()));
    store.append(blanks(2, 3..4), IoFlushed::new(|_| ()));
    disk.flush_all();
    assert_eq!(disk.rotten(), []);
    assert_eq!(store.reader().read(0..4, u64::MAX).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_store_with_a_rotten_vote_does_not_open() {
    let disk = MemDisk::<T>::new();
    flushed(|io| disk.open().save_vote(Vote::new(2, 1).into(), io)).await.unwrap();
    disk.rot_vote();
    assert!(disk.open().log_state().await.unwrap_err().to_string().contains("the vote"));
}

#[tokio::test]
async fn reads_fail_until_they_are_mended_and_writes_do_not() {
    let disk = MemDisk::<T>::new();
    let store = disk.open();
    disk.fail_reads("the cable is loose");
    flushed(|io| store.append(blanks(1, 0..2), io)).await.unwrap();
    assert!(matches!(store.reader().read(0..2, u64::MAX).await, Err(ReadError::Storage(_))));
    disk.mend_reads();
    assert_eq!(store.reader().read(0..2, u64::MAX).await.unwrap().len(), 2);
}
