//! Tests of `Durable` over a toy store, which has a log of its calls and breaks or waits when told to.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::future::BoxFuture;
use openraft_engine::{LogId, Vote};
use tokio::sync::Semaphore;

use super::*;
use crate::memory::{MemDisk, MemLogStore};
use crate::suite::flushed;
use crate::suite::log_store::{self, LogStoreHarness};
use crate::{Entry, EntryPayload};

crate::declare_raft_types!(T: D = Vec<u8>);

/// What a test sees of the toy, and decides for it.
#[derive(Clone)]
struct Control {
    calls: Arc<Mutex<Vec<String>>>,
    /// Each write takes one permit.
    permits: Arc<Semaphore>,
    /// The call that fails, or panics if it begins with `panic `.
    breaks_at: Arc<Mutex<Option<String>>>,
}

struct Toy {
    store: Arc<MemLogStore<T>>,
    control: Control,
}

impl Toy {
    fn new(disk: &MemDisk<T>) -> (Self, Control) {
        let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let control = Control { calls: Arc::default(), permits, breaks_at: Arc::default() };
        (Self { store: disk.open(), control: control.clone() }, control)
    }

    async fn call(&self, name: String) -> Result<(), StorageError> {
        self.control.permits.acquire().await.expect("never closed").forget();
        self.control.calls.lock().unwrap().push(name.clone());
        match &*self.control.breaks_at.lock().unwrap() {
            Some(at) if *at == name => Err(StorageError::message(name, "told to fail")),
            Some(at) if *at == format!("panic {name}") => panic!("told to panic"),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl SimpleLogStore<T> for Toy {
    async fn log_state(&mut self) -> Result<LogState<T>, StorageError> {
        self.store.log_state().await
    }

    async fn read(&mut self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<T>, ReadError> {
        self.store.reader().read(indexes, max_bytes).await
    }

    async fn save_vote(&mut self, vote: SavedVoteOf<T>) -> Result<(), StorageError> {
        self.call(format!("vote {}", vote.vote)).await?;
        flushed(|io| self.store.save_vote(vote, io)).await
    }

    async fn append(&mut self, entries: EntryRange<T>) -> Result<(), StorageError> {
        self.call(format!("append {entries:?}")).await?;
        flushed(|io| self.store.append(entries, io)).await
    }

    async fn truncate(&mut self, since: u64) -> Result<(), StorageError> {
        self.call(format!("truncate {since}")).await?;
        flushed(|io| self.store.truncate(since, io)).await
    }

    async fn purge(&mut self, upto: LogIdOf<T>) -> Result<(), StorageError> {
        self.call(format!("purge {upto}")).await?;
        flushed(|io| self.store.purge(upto, io)).await
    }

    async fn save_committed(&mut self, committed: LogIdOf<T>) -> Result<(), StorageError> {
        self.call(format!("committed {committed}")).await?;
        self.store.save_committed(committed);
        Ok(())
    }
}

struct Harness {
    disk: MemDisk<T>,
    closed: BoxFuture<'static, ()>,
}

#[async_trait]
impl LogStoreHarness<T> for Harness {
    async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<T>>, StorageError> {
        (&mut self.closed).await;
        let store = Durable::new(Toy::new(&self.disk).0, &Env::tokio());
        self.closed = Box::pin(store.closed());
        Ok(Arc::new(store))
    }

    async fn wipe(&mut self) -> Result<(), StorageError> {
        self.disk = MemDisk::new();
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
async fn a_simple_store_made_durable_keeps_the_contract() {
    let mut harness = Harness { disk: MemDisk::new(), closed: Box::pin(std::future::ready(())) };
    log_store::test_all(&mut harness).await;
}

fn blanks(indexes: Range<u64>) -> EntryRange<T> {
    let entries = indexes.map(|i| Entry::new(LogId::new(1, 1, i), EntryPayload::Blank));
    EntryRange::from_entries(entries.collect())
}

fn open() -> (Durable<T>, Control) {
    let (toy, control) = Toy::new(&MemDisk::new());
    (Durable::new(toy, &Env::tokio()), control)
}

#[tokio::test]
async fn appends_that_wait_for_one_another_become_one_call_and_keep_their_completions() {
    let (store, control) = open();
    control.permits.forget_permits(Semaphore::MAX_PERMITS);
    let mut completions = vec![Box::pin(flushed(|io| store.append(blanks(0..1), io))) as BoxFuture<_>];
    // The first append is under way before the others come.
    assert!(futures::poll!(&mut completions[0]).is_pending());
    tokio::task::yield_now().await;
    for index in 1..4 {
        let mut next = Box::pin(flushed({
            let (store, entries) = (&store, blanks(index..index + 1));
            move |io| store.append(entries, io)
        }));
        assert!(futures::poll!(&mut next).is_pending());
        completions.push(next);
    }
    store.save_committed(LogId::new(1, 1, 0));
    let mut vote = Box::pin(flushed(|io| store.save_vote(Vote::new(1, 1).into(), io)));
    assert!(futures::poll!(&mut vote).is_pending());
    let mut last = Box::pin(flushed(|io| store.append(blanks(4..5), io)));
    assert!(futures::poll!(&mut last).is_pending());
    control.permits.add_permits(100);
    for completion in completions {
        completion.await.unwrap();
    }
    vote.await.unwrap();
    last.await.unwrap();
    let calls = [
        "append [T1-N1-0..=T1-N1-0]",
        "committed T1-N1-0",
        "append [T1-N1-1..=T1-N1-3]",
        "vote T1-N1",
        "append [T1-N1-4..=T1-N1-4]",
    ];
    assert_eq!(*control.calls.lock().unwrap(), calls);
}

#[tokio::test]
async fn a_failed_write_fails_all_that_follows_and_calls_the_store_no_more() {
    let (store, control) = open();
    *control.breaks_at.lock().unwrap() = Some("truncate 1".to_owned());
    flushed(|io| store.append(blanks(0..3), io)).await.unwrap();
    let error = flushed(|io| store.truncate(1, io)).await.unwrap_err();
    *control.breaks_at.lock().unwrap() = None;
    assert_eq!(flushed(|io| store.append(blanks(1..2), io)).await, Err(error.clone()));
    assert_eq!(flushed(|io| store.save_vote(Vote::new(1, 1).into(), io)).await, Err(error.clone()));
    let read = store.reader().read(0..1, 0).await;
    assert_eq!(read.err(), Some(ReadError::Storage(error)));
    assert_eq!(control.calls.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_store_that_panics_fails_its_writes_and_reads_instead_of_leaving_them_waiting() {
    let (store, control) = open();
    *control.breaks_at.lock().unwrap() = Some("panic vote T1-N1".to_owned());
    assert!(flushed(|io| store.save_vote(Vote::new(1, 1).into(), io)).await.is_err());
    assert!(flushed(|io| store.save_vote(Vote::new(2, 1).into(), io)).await.is_err());
    assert!(store.reader().read(0..1, 0).await.is_err());
    assert!(store.log_state().await.is_err());
    store.closed().await;
}

#[tokio::test]
async fn everything_submitted_is_carried_out_before_the_task_ends() {
    let disk = MemDisk::new();
    let store = Durable::new(Toy::new(&disk).0, &Env::tokio());
    for index in 0..20 {
        store.append(blanks(index..index + 1), IoFlushed::new(|result| result.unwrap()));
    }
    let closed = store.closed();
    drop(store);
    closed.await;
    assert_eq!(disk.open().log_state().await.unwrap().last_log_id, Some(LogId::new(1, 1, 19)));
}
