//! A simulated disk: submissions and completions apart, stalls, errors, rot, and crashes that keep a prefix.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use openraft_adapters::memory::{MemDisk, MemLogStore};
use openraft_adapters::{
    EntryPayload, EntryRange, Env, IoFlushed, LogIdOf, LogState, RaftLogReader, RaftLogStorage,
    RaftTypeConfig, ReadError, SavedVoteOf, StorageError,
};
use openraft_engine::{BasicNode, LogId, Replica};
use rand::Rng;
use serde::Serialize;
use tokio::time::Instant;

use super::chance::Chance;
use super::clock::{sleep, sleep_until, virtual_now};
use super::coverage::Reached;
use super::image::{Held, Write};
use super::observer::Observer;
use super::trace::Event;

/// A hash of what serde makes of a value: the same in every run.
pub(super) fn hash_of(value: &impl Serialize) -> u64 {
    let bytes = postcard::to_stdvec(value).expect("what is proposed can be encoded");
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The disk of one store of a node. Outlives the node's lives; clones are the same disk.
pub(super) struct SimDisk<C: RaftTypeConfig> {
    replica: Replica<u64>,
    log: MemDisk<C>,
    chance: Chance,
    observer: Observer,
    state: Arc<Mutex<State>>,
}

impl<C: RaftTypeConfig> Clone for SimDisk<C> {
    fn clone(&self) -> Self {
        Self {
            replica: self.replica,
            log: self.log.clone(),
            chance: self.chance.clone(),
            observer: self.observer.clone(),
            state: self.state.clone(),
        }
    }
}

#[derive(Default)]
struct State {
    /// Counts the openings.
    life: u64,
    /// What was submitted and is not durable yet, oldest first.
    unflushed: VecDeque<Write>,
    /// Nothing becomes durable before.
    stalled_until: Option<Instant>,
    /// No space is left until then.
    full_until: Option<Instant>,
    /// So many reads more fail.
    failing_reads: u32,
    /// A reader met a record that is rotten.
    met_rot: bool,
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> SimDisk<C> {
    pub(super) fn new(replica: Replica<u64>, chance: Chance, observer: Observer) -> Self {
        Self { replica, log: MemDisk::held(), chance, observer, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the store for a new life of its node, and plays the disk among the node's tasks.
    pub(super) fn open(&self, env: &Env) -> Arc<dyn RaftLogStorage<C>> {
        let inner = self.log.open();
        let life = {
            let mut state = self.lock();
            state.life += 1;
            state.unflushed.clear();
            state.failing_reads = 0;
            state.life
        };
        let disk = self.clone();
        env.spawn("disk", async move { disk.play().await });
        Arc::new(SimLog { disk: self.clone(), inner, life })
    }

    fn stalled_until(&self) -> Option<Instant> {
        self.lock().stalled_until.filter(|until| *until > virtual_now())
    }

    /// Makes writes durable, mostly soon, now and then late, several at once.
    async fn play(&self) {
        loop {
            self.log.submitted().await;
            let pause = match self.chance.draw(|rng| rng.random_range(0..40)) {
                0 => self.chance.micros(50_000, 800_000),
                1..=8 => self.chance.micros(4_000, 40_000),
                _ => self.chance.micros(100, 4_000),
            };
            sleep(pause).await;
            while let Some(until) = self.stalled_until() {
                sleep_until(until).await;
            }
            let writes = self.log.flush(self.chance.draw(|rng| rng.random_range(1..=8)));
            self.observer.step(Event::Flushed { node: self.replica.node_id, writes });
        }
    }

    /// The node loses power. Returns how many unflushed writes survive, and how many there were.
    pub(super) fn crash(&self) -> (usize, usize) {
        let there = self.log.unflushed();
        let kept = self.chance.draw(|rng| rng.random_range(0..=there));
        if kept < there {
            self.observer.count(Reached::CrashLosesWrites);
            if self.chance.one_in(2) {
                // The next record has reached the disk in part. A store finds that when it is opened and drops it,
                // which leaves the same prefix.
                self.observer.count(Reached::CrashTearsRecord);
            }
        }
        let survived: Vec<Write> = {
            let mut state = self.lock();
            state.life += 1;
            let unflushed = std::mem::take(&mut state.unflushed);
            unflushed.into_iter().take(kept).collect()
        };
        self.observer.invariants(|invariants| {
            survived.iter().for_each(|write| invariants.durable(self.replica, write));
        });
        self.log.crash(kept);
        (kept, there)
    }

    /// Nothing becomes durable for a while.
    pub(super) fn stall(&self, duration: Duration) {
        self.lock().stalled_until = Some(virtual_now() + duration);
        self.observer.count(Reached::DiskStall);
    }

    /// Every write fails until the store is opened anew.
    pub(super) fn fail_writes(&self) {
        self.observer.expect_failure(self.replica);
        self.observer.count(Reached::WriteError);
        self.log.fail("input/output error");
    }

    /// There is no space for a while: the next write, and every one after it, fails.
    pub(super) fn fill(&self, duration: Duration) {
        self.observer.expect_failure(self.replica);
        self.observer.count(Reached::FullDisk);
        self.lock().full_until = Some(virtual_now() + duration);
    }

    /// Whether there is no space on it now.
    pub(super) fn is_full(&self) -> bool {
        self.lock().full_until.is_some_and(|until| until > virtual_now())
    }

    /// The next reads of the log fail.
    pub(super) fn fail_reads(&self, count: u32) {
        self.observer.expect_failure(self.replica);
        self.lock().failing_reads = count;
    }

    /// A stored record rots: one of the newest entries. Returns which.
    pub(super) fn rot(&self) -> Option<u64> {
        let indexes = self.observer.invariants(|invariants| invariants.durable_indexes(self.replica));
        let from = indexes.end.saturating_sub(10).max(indexes.start);
        let index =
            (from < indexes.end).then(|| self.chance.draw(|rng| rng.random_range(from..indexes.end)))?;
        self.observer.expect_failure(self.replica);
        let rotten = self.log.rot(index);
        if rotten {
            self.observer.count(Reached::BitRot);
        }
        rotten.then_some(index)
    }

    /// Whether a record of it is rotten.
    pub(super) fn is_rotten(&self) -> bool {
        !self.log.rotten().is_empty()
    }

    /// Whether a rotten record was met, which its reader reports.
    pub(super) fn met_rot(&self) -> bool {
        self.lock().met_rot
    }

    /// Everything works again, as far as it can.
    pub(super) fn heal(&self) {
        let mut state = self.lock();
        state.stalled_until = None;
        state.full_until = None;
        state.failing_reads = 0;
    }
}

/// The store of one life of a node.
struct SimLog<C: RaftTypeConfig> {
    disk: SimDisk<C>,
    inner: Arc<MemLogStore<C>>,
    life: u64,
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> SimLog<C> {
    /// Notes a submission, and its completion when it comes.
    fn watched(&self, write: Write, flushed: IoFlushed) -> IoFlushed {
        let (disk, life) = (self.disk.clone(), self.life);
        if disk.is_full() {
            disk.log.fail("no space left on device");
        }
        let mut state = disk.lock();
        if state.life != life {
            return flushed;
        }
        disk.observer.invariants(|invariants| invariants.submitted(disk.replica, &write));
        state.unflushed.push_back(write);
        drop(state);
        IoFlushed::new(move |result| {
            if result.is_ok() {
                let write = {
                    let mut state = disk.lock();
                    if state.life == life { state.unflushed.pop_front() } else { None }
                };
                if let Some(write) = write {
                    disk.observer.invariants(|invariants| invariants.durable(disk.replica, &write));
                }
            }
            flushed.done(result);
        })
    }
}

fn held<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>>(entries: &EntryRange<C>) -> Vec<Held> {
    let held = entries.iter().map(|entry| {
        let (payload, is_joint) = match &entry.payload {
            EntryPayload::Blank => (0, false),
            EntryPayload::Normal(data) => (hash_of(data), false),
            EntryPayload::Membership(membership) => (hash_of(membership), membership.is_joint()),
        };
        let is_membership = matches!(entry.payload, EntryPayload::Membership(_));
        Held { log_id: entry.log_id, payload, is_membership, is_joint }
    });
    held.collect()
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> RaftLogStorage<C> for SimLog<C> {
    async fn log_state(&self) -> Result<LogState<C>, StorageError> {
        let state = self.inner.log_state().await?;
        let (vote, last) = (state.vote.vote, state.last_log_id);
        self.disk.observer.invariants(|invariants| invariants.started(self.disk.replica, vote, last));
        Ok(state)
    }

    fn reader(&self) -> Arc<dyn RaftLogReader<C>> {
        Arc::new(SimReader { disk: self.disk.clone(), inner: self.inner.reader() })
    }

    fn save_vote(&self, vote: SavedVoteOf<C>, flushed: IoFlushed) {
        let flushed = self.watched(Write::Vote(vote.vote), flushed);
        self.inner.save_vote(vote, flushed);
    }

    fn append(&self, entries: EntryRange<C>, flushed: IoFlushed) {
        let flushed = self.watched(Write::Append(held(&entries)), flushed);
        self.inner.append(entries, flushed);
    }

    fn truncate(&self, since: u64, flushed: IoFlushed) {
        let flushed = self.watched(Write::Truncate(since), flushed);
        self.inner.truncate(since, flushed);
    }

    fn purge(&self, upto: LogIdOf<C>, flushed: IoFlushed) {
        let flushed = self.watched(Write::Purge(LogId { ..upto }), flushed);
        self.inner.purge(upto, flushed);
    }

    fn save_committed(&self, committed: LogIdOf<C>) {
        self.inner.save_committed(committed);
    }
}

struct SimReader<C: RaftTypeConfig> {
    disk: SimDisk<C>,
    inner: Arc<dyn RaftLogReader<C>>,
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> RaftLogReader<C> for SimReader<C> {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        if self.disk.chance.one_in(4) {
            sleep(self.disk.chance.micros(100, 5_000)).await;
        }
        {
            let mut state = self.disk.lock();
            if state.failing_reads > 0 {
                state.failing_reads -= 1;
                self.disk.observer.count(Reached::ReadError);
                let action = format!("reading entries {indexes:?}");
                return Err(StorageError::message(action, "input/output error").into());
            }
        }
        let read = self.inner.read(indexes, max_bytes).await;
        if matches!(read, Err(ReadError::Storage(_))) && self.disk.is_rotten() {
            self.disk.observer.count(Reached::CorruptRecordMet);
            self.disk.lock().met_rot = true;
        }
        read
    }
}
