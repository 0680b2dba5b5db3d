//! `MemLogStore`: a log store in memory, and `MemDisk`, the part of it that outlives a crash.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::log::{Log, Submission};
use crate::{
    EntryRange, IoFlushed, LogIdOf, LogState, RaftLogReader, RaftLogStorage, RaftTypeConfig, ReadError,
    SavedVoteOf, StorageError,
};

/// What survives when a [`MemLogStore`] is dropped. A cheap handle; clones are the same disk.
///
/// A disk made by [`new`](MemDisk::new) completes every submission before the call returns. One made by
/// [`held`](MemDisk::held) completes nothing until [`flush`](MemDisk::flush) is called, and
/// [`crash`](MemDisk::crash) chooses how many of the submissions not flushed yet survive: together they show a test
/// every state in which a real disk may come back.
///
/// ```
/// # openraft_adapters::declare_raft_types!(T: D = String);
/// # use openraft_adapters::{RaftLogStorage, IoFlushed, engine::Vote, memory::MemDisk};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let disk = MemDisk::<T>::held();
/// let store = disk.open();
/// store.save_vote(Vote::new(1, 7).into(), IoFlushed::new(|_| ()));
/// store.save_vote(Vote::new(2, 8).into(), IoFlushed::new(|_| ()));
/// disk.flush(1);
/// disk.crash(0);
/// assert_eq!(disk.open().log_state().await.unwrap().vote.vote, Vote::new(1, 7));
/// # }
/// ```
pub struct MemDisk<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
}

impl<C: RaftTypeConfig> Clone for MemDisk<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C: RaftTypeConfig> Default for MemDisk<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: RaftTypeConfig> fmt::Debug for MemDisk<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemDisk({} unflushed)", self.unflushed())
    }
}

struct Shared<C: RaftTypeConfig> {
    disk: Mutex<Disk<C>>,
    /// Woken by each submission that a held disk takes.
    submitted: Notify,
}

impl<C: RaftTypeConfig> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Disk<C>> {
        self.disk.lock().expect("no code panics while it holds the disk")
    }
}

struct Disk<C: RaftTypeConfig> {
    /// Counts openings and crashes: a store of an earlier life is fenced off.
    life: u64,
    /// The state after all submissions; what reads see.
    log: Log<C>,
    /// The hint that the next submission takes along.
    hint: Option<LogIdOf<C>>,
    held: Option<Held<C>>,
    /// Why every submission of this life fails.
    failed: Option<StorageError>,
    /// Why every read of this life fails.
    unreadable: Option<StorageError>,
    damage: Damage,
}

/// Records that are not what was written, which their checksums tell. Outlives crashes.
#[derive(Default)]
struct Damage {
    vote: bool,
    /// The indexes of entries.
    entries: BTreeSet<u64>,
}

impl Damage {
    /// What is written anew, or dropped, is damaged no more.
    fn overwritten<C: RaftTypeConfig>(&mut self, submission: &Submission<C>) {
        match submission {
            Submission::SaveVote(_) => self.vote = false,
            Submission::Append(_) => {}
            Submission::Truncate(since) => self.entries.retain(|index| index < since),
            Submission::Purge(upto) => self.entries.retain(|index| *index > upto.index),
        }
    }

    fn of(place: impl fmt::Display) -> StorageError {
        StorageError::message(
            format!("reading {place} from the disk in memory"),
            "the record does not match its checksum",
        )
    }
}

/// What a held disk knows besides: the durable base and the list of submissions that lead from there to `Disk::log`.
struct Held<C: RaftTypeConfig> {
    durable: Log<C>,
    unflushed: VecDeque<Unflushed<C>>,
}

struct Unflushed<C: RaftTypeConfig> {
    hint: Option<LogIdOf<C>>,
    submission: Submission<C>,
    flushed: IoFlushed,
}

impl<C: RaftTypeConfig> Held<C> {
    /// Makes the oldest `count` submissions durable; returns their completions in order.
    fn flush(&mut self, count: usize, damage: &mut Damage) -> Vec<IoFlushed> {
        let count = count.min(self.unflushed.len());
        let mut completions = Vec::with_capacity(count);
        for Unflushed { hint, submission, flushed } in self.unflushed.drain(..count) {
            if let Some(hint) = hint {
                self.durable.save_committed(hint);
            }
            damage.overwritten(&submission);
            self.durable.carry_out(submission).expect("what the log took once it takes again");
            completions.push(flushed);
        }
        completions
    }
}

impl<C: RaftTypeConfig> MemDisk<C> {
    /// An empty disk on which every submission is durable at once.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// An empty disk on which submissions wait for [`flush`](MemDisk::flush).
    pub fn held() -> Self {
        Self::with(Some(Held { durable: Log::default(), unflushed: VecDeque::new() }))
    }

    fn with(held: Option<Held<C>>) -> Self {
        let (log, damage) = (Log::default(), Damage::default());
        let disk = Disk { life: 0, log, hint: None, held, failed: None, unreadable: None, damage };
        Self { shared: Arc::new(Shared { disk: Mutex::new(disk), submitted: Notify::new() }) }
    }

    /// Opens the store, in the state that the last crash left. A store opened before fails from now on, as if its
    /// process had ended; what it had not flushed, and no [`crash`](MemDisk::crash) kept, is lost.
    pub fn open(&self) -> Arc<MemLogStore<C>> {
        self.crash(0);
        let life = self.shared.lock().life;
        Arc::new(MemLogStore { shared: self.shared.clone(), life })
    }

    /// How many submissions are not flushed; always 0 on a disk that is not held.
    pub fn unflushed(&self) -> usize {
        self.shared.lock().held.as_ref().map_or(0, |held| held.unflushed.len())
    }

    /// What the entries of the log weigh together, in bytes, flushed or not.
    pub fn log_bytes(&self) -> u64 {
        self.shared.lock().log.state().log_bytes
    }

    /// Makes the oldest `count` unflushed submissions, or all if there are fewer, durable and fires their completions
    /// in order before it returns. Returns how many there were.
    ///
    /// Call it from one task at a time: completions of two calls at once would mingle.
    pub fn flush(&self, count: usize) -> usize {
        let completions = {
            let mut disk = self.shared.lock();
            let Disk { held, damage, .. } = &mut *disk;
            held.as_mut().map(|held| held.flush(count, damage)).unwrap_or_default()
        };
        let fired = completions.len();
        // Without the lock: a completion may submit the next write.
        for flushed in completions {
            flushed.done(Ok(()));
        }
        fired
    }

    /// Makes every submission durable and fires the completions. Returns how many there were.
    pub fn flush_all(&self) -> usize {
        self.flush(usize::MAX)
    }

    /// The machine loses power: of the unflushed submissions the oldest `keep` survive, the others are gone. The store
    /// that was open fails from now on, and so do the completions that it still owed. On a disk that is not held
    /// nothing is lost but a hint that no submission followed.
    pub fn crash(&self, keep: usize) {
        let lost = {
            let mut disk = self.shared.lock();
            disk.life += 1;
            disk.hint = None;
            disk.failed = None;
            disk.unreadable = None;
            let Disk { log, held, damage, .. } = &mut *disk;
            held.as_mut().map(|held| {
                let mut owed = held.flush(keep, damage);
                owed.extend(held.unflushed.drain(..).map(|u| u.flushed));
                *log = held.durable.clone();
                owed
            })
        };
        for flushed in lost.into_iter().flatten() {
            flushed.done(Err(closed()));
        }
    }

    /// The disk breaks: every submission that is not flushed, and every later one, fails with `reason` until the
    /// store is opened anew. Reads still work. What was not flushed is lost.
    pub fn fail(&self, reason: impl ToString) {
        let error = StorageError::message("writing to the disk in memory", reason);
        let failed: Vec<Unflushed<C>> = {
            let mut disk = self.shared.lock();
            disk.failed = Some(error.clone());
            disk.held.as_mut().map(|held| held.unflushed.drain(..).collect()).unwrap_or_default()
        };
        for unflushed in failed {
            unflushed.flushed.done(Err(error.clone()));
        }
    }

    /// The disk does not answer: every read of the log fails with `reason` until the store is opened anew or reads are
    /// [mended](MemDisk::mend_reads). Writes still work.
    pub fn fail_reads(&self, reason: impl ToString) {
        self.shared.lock().unreadable =
            Some(StorageError::message("reading from the disk in memory", reason));
    }

    /// Reads work again.
    pub fn mend_reads(&self) {
        self.shared.lock().unreadable = None;
    }

    /// The stored record of the entry at `index` rots. From now on, also after a crash, every read of a range that holds
    /// it fails and names the place, until the entry is truncated or purged; nothing else shows it. An entry that is
    /// not durable, or not there, does not rot: returns whether it did.
    pub fn rot(&self, index: u64) -> bool {
        let mut disk = self.shared.lock();
        let durable = disk.held.as_ref().map_or(&disk.log, |held| &held.durable);
        let there = durable.holds(index);
        if there {
            disk.damage.entries.insert(index);
        }
        there
    }

    /// The stored record of the vote rots. The store does not open any more, unless another vote is saved before.
    pub fn rot_vote(&self) {
        self.shared.lock().damage.vote = true;
    }

    /// The indexes of the entries whose stored records are rotten.
    pub fn rotten(&self) -> Vec<u64> {
        self.shared.lock().damage.entries.iter().copied().collect()
    }

    /// Waits until a held disk has an unflushed submission. For the one task that plays the disk:
    ///
    /// ```no_run
    /// # openraft_adapters::declare_raft_types!(T: D = String);
    /// # use std::time::Duration;
    /// # async fn play(disk: openraft_adapters::memory::MemDisk<T>, env: openraft_adapters::Env) {
    /// loop {
    ///     disk.submitted().await;
    ///     env.sleep(Duration::from_millis(2)).await;
    ///     disk.flush_all();
    /// }
    /// # }
    /// ```
    ///
    /// # Cancellation
    /// Safe.
    pub async fn submitted(&self) {
        while self.unflushed() == 0 {
            self.shared.submitted.notified().await;
        }
    }
}

fn closed() -> StorageError {
    StorageError::message("using a store in memory", "it crashed, or its disk was opened anew")
}

/// A log store in memory. Entries are shared with whoever appended them, neither copied nor encoded. Opened by
/// [`MemDisk::open`].
pub struct MemLogStore<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    life: u64,
}

impl<C: RaftTypeConfig> fmt::Debug for MemLogStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemLogStore(life {})", self.life)
    }
}

impl<C: RaftTypeConfig> MemLogStore<C> {
    fn submit(&self, submission: Submission<C>, flushed: IoFlushed) {
        match self.take(submission, flushed) {
            Ok(None) => self.shared.submitted.notify_one(),
            Ok(Some(flushed)) => flushed.done(Ok(())),
            Err((error, flushed)) => flushed.done(Err(error)),
        }
    }

    /// Takes one submission; returns the completion if it is to be fired now, which happens without the lock.
    fn take(
        &self,
        submission: Submission<C>,
        flushed: IoFlushed,
    ) -> Result<Option<IoFlushed>, (StorageError, IoFlushed)> {
        let mut disk = self.shared.lock();
        if disk.life != self.life {
            return Err((closed(), flushed));
        }
        if let Some(error) = &disk.failed {
            return Err((error.clone(), flushed));
        }
        let again = disk.held.is_some().then(|| submission.clone());
        if again.is_none() {
            disk.damage.overwritten(&submission);
        }
        if let Err(error) = disk.log.carry_out(submission) {
            disk.failed = Some(error.clone());
            return Err((error, flushed));
        }
        let hint = disk.hint.take();
        if let Some(hint) = hint {
            disk.log.save_committed(hint);
        }
        match (&mut disk.held, again) {
            (Some(held), Some(submission)) => {
                held.unflushed.push_back(Unflushed { hint, submission, flushed });
                Ok(None)
            }
            _ => Ok(Some(flushed)),
        }
    }
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogStorage<C> for MemLogStore<C> {
    async fn log_state(&self) -> Result<LogState<C>, StorageError> {
        let disk = self.shared.lock();
        match (disk.life == self.life, disk.damage.vote) {
            (true, false) => Ok(disk.log.state()),
            (true, true) => Err(Damage::of("the vote")),
            (false, _) => Err(closed()),
        }
    }

    fn reader(&self) -> Arc<dyn RaftLogReader<C>> {
        Arc::new(MemLogReader { shared: self.shared.clone(), life: self.life })
    }

    fn save_vote(&self, vote: SavedVoteOf<C>, flushed: IoFlushed) {
        self.submit(Submission::SaveVote(vote), flushed);
    }

    fn append(&self, entries: EntryRange<C>, flushed: IoFlushed) {
        self.submit(Submission::Append(entries), flushed);
    }

    fn truncate(&self, since: u64, flushed: IoFlushed) {
        self.submit(Submission::Truncate(since), flushed);
    }

    fn purge(&self, upto: LogIdOf<C>, flushed: IoFlushed) {
        self.submit(Submission::Purge(upto), flushed);
    }

    fn save_committed(&self, committed: LogIdOf<C>) {
        let mut disk = self.shared.lock();
        if disk.life == self.life {
            disk.hint = Some(committed);
        }
    }
}

struct MemLogReader<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    life: u64,
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogReader<C> for MemLogReader<C> {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        let disk = self.shared.lock();
        if disk.life != self.life {
            return Err(closed().into());
        }
        if let Some(error) = &disk.unreadable {
            return Err(error.clone().into());
        }
        let entries = disk.log.read(indexes, max_bytes)?;
        // Of the records that are read only: a damaged one beyond them has not been looked at.
        let read = entries.first_index().unwrap_or(0)..entries.end_index().unwrap_or(0);
        match disk.damage.entries.range(read).next() {
            Some(index) => Err(Damage::of(format_args!("the entry at index {index}")).into()),
            None => Ok(entries),
        }
    }
}
