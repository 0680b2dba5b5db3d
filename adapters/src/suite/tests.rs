//! The suite itself is tested with stores that break one promise each: a suite that cannot fail proves nothing.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::FutureExt;

use super::log_store::{self, LogStoreHarness};
use crate::memory::{MemDisk, MemLogStore};
use crate::{
    EntryRange, IoFlushed, LogIdOf, LogState, RaftLogReader, RaftLogStorage, ReadError, SavedVoteOf,
    StorageError,
};

crate::declare_raft_types!(T: D = Vec<u8>);

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    CompletesBackwards,
    DropsCompletions,
    ForgetsTruncations,
    TruncatesOneTooMany,
    ForgetsPurges,
    ForgetsTheVoteOnReopen,
    LosesTheLastAppendOnReopen,
    ServesPurgedAsMissing,
    IgnoresTheLimit,
    CutsReadsShort,
    ShowsOneMembership,
    ShowsNoLeaderStarts,
    ForgetsTheHint,
    ForgetsSessions,
}

struct Flawed {
    inner: Arc<MemLogStore<T>>,
    flaw: Flaw,
    /// A truncation's completion, to be overtaken by the next one.
    late: Mutex<Option<IoFlushed>>,
}

impl Flawed {
    fn io(&self, io: IoFlushed) -> IoFlushed {
        match self.flaw {
            Flaw::DropsCompletions => IoFlushed::new(|_| drop(io)),
            Flaw::CompletesBackwards => {
                let overtaken = self.late.lock().unwrap().take();
                IoFlushed::new(|result| {
                    io.done(result.clone());
                    if let Some(overtaken) = overtaken {
                        overtaken.done(result);
                    }
                })
            }
            _ => io,
        }
    }
}

#[async_trait]
impl RaftLogStorage<T> for Flawed {
    async fn log_state(&self) -> Result<LogState<T>, StorageError> {
        let mut state = self.inner.log_state().await?;
        match self.flaw {
            Flaw::ForgetsTheVoteOnReopen => state.vote = SavedVoteOf::<T>::default(),
            Flaw::ShowsOneMembership => state.memberships.truncate(1),
            Flaw::ShowsNoLeaderStarts => state.leader_starts.clear(),
            Flaw::ForgetsTheHint => state.committed = None,
            _ => {}
        }
        Ok(state)
    }

    fn reader(&self) -> Arc<dyn RaftLogReader<T>> {
        Arc::new(FlawedReader { inner: self.inner.reader(), flaw: self.flaw })
    }

    fn save_vote(&self, vote: SavedVoteOf<T>, io: IoFlushed) {
        self.inner.save_vote(vote, self.io(io));
    }

    fn append(&self, mut entries: EntryRange<T>, io: IoFlushed) {
        if self.flaw == Flaw::ForgetsSessions {
            entries = EntryRange::from_entries(
                crate::EntryBatch::decode(entries.encoded().concat().into())
                    .map(|batch| batch.entries().iter().map(without_session).collect())
                    .unwrap_or_default(),
            );
        }
        self.inner.append(entries, self.io(io));
    }

    fn truncate(&self, since: u64, io: IoFlushed) {
        match self.flaw {
            Flaw::ForgetsTruncations => self.io(io).done(Ok(())),
            Flaw::CompletesBackwards => {
                *self.late.lock().unwrap() = Some(io);
                self.inner.truncate(since, IoFlushed::new(|_| ()));
            }
            Flaw::TruncatesOneTooMany => self.inner.truncate(since.saturating_sub(1), self.io(io)),
            _ => self.inner.truncate(since, self.io(io)),
        }
    }

    fn purge(&self, upto: LogIdOf<T>, io: IoFlushed) {
        match self.flaw {
            Flaw::ForgetsPurges => self.io(io).done(Ok(())),
            _ => self.inner.purge(upto, self.io(io)),
        }
    }

    fn save_committed(&self, committed: LogIdOf<T>) {
        self.inner.save_committed(committed);
    }
}

fn without_session(entry: &crate::Entry<T>) -> crate::Entry<T> {
    let payload = match &entry.payload {
        crate::EntryPayload::Blank => crate::EntryPayload::Blank,
        crate::EntryPayload::Normal(data) => crate::EntryPayload::Normal(data.clone()),
        crate::EntryPayload::Membership(membership) => crate::EntryPayload::Membership(membership.clone()),
    };
    crate::Entry::new(entry.log_id, payload)
}

struct FlawedReader {
    inner: Arc<dyn RaftLogReader<T>>,
    flaw: Flaw,
}

#[async_trait]
impl RaftLogReader<T> for FlawedReader {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<T>, ReadError> {
        let limit = if self.flaw == Flaw::IgnoresTheLimit { u64::MAX } else { max_bytes };
        match self.inner.read(indexes.clone(), limit).await {
            Err(ReadError::Compacted { .. }) if self.flaw == Flaw::ServesPurgedAsMissing => {
                Err(StorageError::message("reading", "not there").into())
            }
            Ok(found) if self.flaw == Flaw::CutsReadsShort => Ok(found.slice(0..indexes.start + 1)),
            other => other,
        }
    }
}

struct Harness {
    disk: MemDisk<T>,
    flaw: Flaw,
}

#[async_trait]
impl LogStoreHarness<T> for Harness {
    async fn open(&mut self) -> Result<Arc<dyn RaftLogStorage<T>>, StorageError> {
        if self.flaw == Flaw::LosesTheLastAppendOnReopen {
            let store = self.disk.open();
            if let Some(last) = store.log_state().await?.leader_starts.last() {
                super::flushed(|io| store.truncate(last.index, io)).await?;
            }
        }
        Ok(Arc::new(Flawed { inner: self.disk.open(), flaw: self.flaw, late: Mutex::new(None) }))
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

/// What the suite says of a store with `flaw`, or nothing.
async fn verdict(flaw: Flaw) -> Option<String> {
    let mut harness = Harness { disk: MemDisk::new(), flaw };
    let run = AssertUnwindSafe(log_store::test_all(&mut harness)).catch_unwind().await;
    run.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_store_without_flaw_passes() {
    assert_eq!(verdict(Flaw::None).await, None);
}

#[tokio::test]
async fn each_flaw_fails_with_the_promise_that_it_breaks() {
    let table = [
        (Flaw::CompletesBackwards, "in the order of the submissions"),
        (Flaw::DropsCompletions, "a permitted write succeeds"),
        (Flaw::ForgetsTruncations, "a read of an index that the log does not hold"),
        (Flaw::TruncatesOneTooMany, "every entry submitted, and not cut off, is readable"),
        (Flaw::ForgetsPurges, "a read from a purged index on answers Compacted"),
        (Flaw::ForgetsTheVoteOnReopen, "LogState::vote"),
        (Flaw::LosesTheLastAppendOnReopen, "LogState::last_log_id"),
        (Flaw::ServesPurgedAsMissing, "a read from a purged index on answers Compacted"),
        (Flaw::IgnoresTheLimit, "as many entries as weigh no more than max_bytes"),
        (Flaw::CutsReadsShort, "as many entries as weigh no more than max_bytes"),
        (Flaw::ShowsOneMembership, "LogState::memberships"),
        (Flaw::ShowsNoLeaderStarts, "LogState::leader_starts"),
        (Flaw::ForgetsTheHint, "the committed hint"),
        (Flaw::ForgetsSessions, "comes back as it was appended"),
    ];
    for (flaw, promise) in table {
        let said = verdict(flaw).await.unwrap_or_else(|| panic!("{flaw:?} passes the suite"));
        assert!(said.contains(promise), "{flaw:?}: {said}");
    }
}
