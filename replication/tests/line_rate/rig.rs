//! The rig: a leader's log, a peer that answers when it is told to, and the task between them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use openraft_adapters::engine::{
    AppendReply, AppendResult, HeartbeatReply, HeartbeatRequest, LogId, ReadIndexReply, ReadIndexRequest,
    Replica, SnapshotMeta, SnapshotReply, StoreId, TimeoutNowReply, TimeoutNowRequest, Vote, VoteReply,
    VoteRequest,
};
use openraft_adapters::{
    AppendEntriesRequest, AppendStream, Entry, EntryPayload, EntryRange, Env, NetworkError, RaftLogReader,
    RaftNetwork, ReadError, Snapshot, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSource, Spawn, StorageError,
    TaskHandle,
};
use openraft_replication::{
    Join, LeaderUpdate, ReplicationConfig, ReplicationContext, ReplicationHandle, ReplicationUpdate, Slot,
    SnapshotProvider, TailReader, spawn_replication,
};
use tokio::sync::Notify;

openraft_adapters::declare_raft_types!(pub(crate) Types);

pub(crate) type Id = LogId<u64>;

/// What an entry of these tests weighs.
pub(crate) const WEIGHT: u64 = openraft_adapters::ENTRY_OVERHEAD_BYTES;
pub(crate) const SESSION: u64 = 7;
pub(crate) const ME: Replica<u64> = Replica { node_id: 1, store_id: StoreId(1) };
pub(crate) const TARGET: Replica<u64> = Replica { node_id: 2, store_id: StoreId(2) };

/// The vote of the leader in these tests.
pub(crate) fn our_vote() -> Vote<u64> {
    Vote::new_committed(3, 1)
}

/// An entry of our own term.
pub(crate) fn id(index: u64) -> Id {
    LogId::new(3, 1, index)
}

/// The leader's log. Entries before `tail_from` are not in memory, entries before `first` are purged.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) ids: Vec<Id>,
    pub(crate) tail_from: u64,
    pub(crate) first: u64,
    /// Reads of the log store wait while this is set.
    pub(crate) hang: bool,
    /// Called in the instant in which a read of the log store is done.
    pub(crate) on_read: Option<Box<dyn FnOnce() + Send>>,
    pub(crate) reads: usize,
}

impl Log {
    fn range(&self, indexes: Range<u64>, max_bytes: u64) -> EntryRange<Types> {
        let ids = &self.ids[indexes.start as usize..(indexes.end as usize).min(self.ids.len())];
        let entries = ids.iter().map(|id| Entry::new(*id, EntryPayload::Blank)).collect();
        EntryRange::from_entries(entries).limit(max_bytes)
    }
}

#[derive(Default)]
pub(crate) struct Leader {
    log: Mutex<Log>,
    released: Notify,
}

impl Leader {
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("not poisoned")
    }

    pub(crate) fn release_reads(&self) {
        self.log().hang = false;
        self.released.notify_waiters();
    }
}

impl TailReader<Types> for Leader {
    fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Option<EntryRange<Types>> {
        let log = self.log();
        (indexes.start >= log.tail_from).then(|| log.range(indexes, max_bytes))
    }

    fn log_id_at(&self, index: u64) -> Option<Id> {
        let log = self.log();
        (index >= log.tail_from || index + 1 == log.first)
            .then(|| log.ids.get(index as usize).copied())
            .flatten()
    }
}

#[async_trait]
impl RaftLogReader<Types> for Leader {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<Types>, ReadError> {
        self.log().reads += 1;
        while self.log().hang {
            self.released.notified().await;
        }
        let mut log = self.log();
        if let Some(on_read) = log.on_read.take() {
            on_read();
        }
        if indexes.start < log.first {
            return Err(ReadError::Compacted { wanted: indexes.start, first: log.first });
        }
        Ok(log.range(indexes, max_bytes))
    }
}

/// How the peer answers one kind of call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a follower does.
    Answer,
    /// At once with an error.
    Fail,
    /// Never.
    Hang,
}

/// The peer, and all that was sent to it.
pub(crate) struct Peer {
    pub(crate) heartbeat_mode: Mode,
    /// `Fail` refuses to send.
    pub(crate) append_mode: Mode,
    pub(crate) snapshot_mode: Mode,
    pub(crate) vote: Vote<u64>,
    pub(crate) from: Replica<u64>,
    pub(crate) heartbeats: Vec<HeartbeatRequest<u64>>,
    pub(crate) appends: Vec<AppendEntriesRequest<Types>>,
    pub(crate) snapshots: Vec<SnapshotHeaderOf<Types>>,
    pub(crate) streams: usize,
    /// Positions of the messages that have no reply yet.
    waiting: VecDeque<u64>,
    replies: VecDeque<Result<AppendReply<u64>, NetworkError>>,
}

pub(crate) struct Network {
    peer: Mutex<Peer>,
    changed: Notify,
}

impl Network {
    fn new() -> Arc<Self> {
        let peer = Peer {
            heartbeat_mode: Mode::Answer,
            append_mode: Mode::Answer,
            snapshot_mode: Mode::Answer,
            vote: our_vote(),
            from: TARGET,
            heartbeats: vec![],
            appends: vec![],
            snapshots: vec![],
            streams: 0,
            waiting: VecDeque::new(),
            replies: VecDeque::new(),
        };
        Arc::new(Self { peer: Mutex::new(peer), changed: Notify::new() })
    }

    pub(crate) fn peer(&self) -> MutexGuard<'_, Peer> {
        self.peer.lock().expect("not poisoned")
    }
}

fn down() -> NetworkError {
    NetworkError::unreachable_because("the peer", "the test says so")
}

#[async_trait]
impl RaftNetwork<Types> for Network {
    async fn vote(&self, _: VoteRequest<u64>, _: Duration) -> Result<VoteReply<u64>, NetworkError> {
        Err(down())
    }

    async fn timeout_now(
        &self,
        _: TimeoutNowRequest<u64>,
        _: Duration,
    ) -> Result<TimeoutNowReply<u64>, NetworkError> {
        Err(down())
    }

    async fn read_index(
        &self,
        _: ReadIndexRequest<u64>,
        _: Duration,
    ) -> Result<ReadIndexReply<u64>, NetworkError> {
        Err(down())
    }

    async fn heartbeat(
        &self,
        request: HeartbeatRequest<u64>,
        _within: Duration,
    ) -> Result<HeartbeatReply<u64>, NetworkError> {
        self.peer().heartbeats.push(request);
        while self.peer().heartbeat_mode == Mode::Hang {
            self.changed.notified().await;
        }
        let peer = self.peer();
        if peer.heartbeat_mode == Mode::Fail {
            return Err(down());
        }
        let accepted = peer.vote == request.vote;
        Ok(HeartbeatReply {
            from: peer.from,
            vote: peer.vote,
            position: request.position,
            accepted,
            ..Default::default()
        })
    }

    async fn append(
        &self,
        _: AppendEntriesRequest<Types>,
        _: Duration,
    ) -> Result<AppendReply<u64>, NetworkError> {
        Err(down())
    }

    fn append_stream(self: Arc<Self>, _within: Duration) -> Box<dyn AppendStream<Types>> {
        let mut peer = self.peer();
        peer.streams += 1;
        peer.waiting.clear();
        peer.replies.clear();
        drop(peer);
        Box::new(Stream(self))
    }

    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<Types>,
        _source: Box<dyn SnapshotSource>,
        _within: Duration,
    ) -> Result<SnapshotReplyOf<Types>, NetworkError> {
        let (position, last) = (header.position, header.meta.last_log_id);
        self.peer().snapshots.push(header);
        while self.peer().snapshot_mode == Mode::Hang {
            self.changed.notified().await;
        }
        let peer = self.peer();
        if peer.snapshot_mode == Mode::Fail {
            return Err(down());
        }
        Ok(SnapshotReply { from: peer.from, vote: peer.vote, position, result: AppendResult::Matched(last) })
    }
}

struct Stream(Arc<Network>);

#[async_trait]
impl AppendStream<Types> for Stream {
    fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), NetworkError> {
        let mut peer = self.0.peer();
        peer.waiting.push_back(request.header.position);
        peer.appends.push(request);
        if peer.append_mode == Mode::Fail { Err(down()) } else { Ok(()) }
    }

    async fn recv(&mut self) -> Result<AppendReply<u64>, NetworkError> {
        loop {
            if let Some(reply) = self.0.peer().replies.pop_front() {
                return reply;
            }
            self.0.changed.notified().await;
        }
    }
}

/// A snapshot without content, up to `last`.
#[derive(Default)]
pub(crate) struct Snapshots {
    pub(crate) last: Mutex<Option<Id>>,
}

struct NoContent;

#[async_trait]
impl SnapshotSource for NoContent {
    fn len(&self) -> u64 {
        0
    }

    async fn read_at(&self, _: u64, _: usize) -> Result<Bytes, StorageError> {
        Ok(Bytes::new())
    }
}

#[async_trait]
impl SnapshotProvider<Types> for Snapshots {
    async fn current(&self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let last = *self.last.lock().expect("not poisoned");
        Ok(last.map(|last| Snapshot {
            meta: SnapshotMeta { last_log_id: Some(last), ..SnapshotMeta::default() },
            source: Box::new(NoContent),
        }))
    }
}

/// Counts how often its tasks are polled.
struct Counting(Arc<dyn Spawn>, Arc<AtomicUsize>);

impl Spawn for Counting {
    fn spawn(&self, name: &'static str, mut task: BoxFuture<'static, ()>) -> TaskHandle {
        let polls = self.1.clone();
        self.0.spawn(
            name,
            Box::pin(std::future::poll_fn(move |context| {
                polls.fetch_add(1, Ordering::Relaxed);
                task.as_mut().poll(context)
            })),
        )
    }
}

/// The limits of these tests: messages of two entries, three under way.
pub(crate) fn config() -> ReplicationConfig {
    ReplicationConfig {
        max_inflight_bytes: 1 << 20,
        max_inflight_messages: 3,
        max_append_bytes: 2 * WEIGHT,
        max_append_entries: 100,
        rpc_timeout: Duration::from_millis(300),
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(200),
        snapshot_timeout: Duration::from_secs(5),
    }
}

pub(crate) struct Rig {
    pub(crate) leader: Arc<Leader>,
    pub(crate) network: Arc<Network>,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) handle: ReplicationHandle<Types>,
    pub(crate) env: Env,
    pub(crate) inbox: Arc<Slot<LeaderUpdate<Types>>>,
    outbox: Arc<Slot<ReplicationUpdate<u64>>>,
    reported: Mutex<ReplicationUpdate<u64>>,
    pub(crate) wakes: Arc<AtomicUsize>,
    polls: Arc<AtomicUsize>,
    latest: Mutex<LeaderUpdate<Types>>,
}

impl Rig {
    /// A task under a leader that was elected with `entries` entries of its own term in its log and the whole of it in
    /// memory. Nothing is told to it yet.
    pub(crate) fn new(entries: u64) -> Self {
        Self::with((0..entries).map(id).collect(), config())
    }

    pub(crate) fn with(ids: Vec<Id>, config: ReplicationConfig) -> Self {
        let last = ids.last().copied();
        let leader = Arc::new(Leader { log: Mutex::new(Log { ids, ..Log::default() }), ..Leader::default() });
        let (network, snapshots) = (Network::new(), Arc::new(Snapshots::default()));
        let (inbox, outbox) = (Arc::new(Slot::new()), Arc::new(Slot::new()));
        let (wakes, polls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tokio = Env::tokio();
        let env = Env { spawner: Arc::new(Counting(tokio.spawner.clone(), polls.clone())), ..tokio };
        let handle = spawn_replication(ReplicationContext {
            target: TARGET,
            session: SESSION,
            admitted: None,
            promise: Duration::ZERO,
            me: ME,
            vote: our_vote(),
            last,
            env: env.clone(),
            network: network.clone(),
            log: leader.clone(),
            tail: leader.clone(),
            snapshots: snapshots.clone(),
            config,
            seed: 1,
            inbox: inbox.clone(),
            outbox: outbox.clone(),
            wake: {
                let wakes = wakes.clone();
                Arc::new(move || _ = wakes.fetch_add(1, Ordering::Relaxed))
            },
        });
        Self {
            leader,
            network,
            snapshots,
            handle,
            env,
            inbox,
            outbox,
            reported: Mutex::new(ReplicationUpdate::new(SESSION, TARGET)),
            wakes,
            polls,
            latest: Mutex::new(LeaderUpdate { last, stop: false, ..LeaderUpdate::stop(SESSION) }),
        }
    }

    /// A task whose follower holds the log of `entries` entries and has said so.
    pub(crate) async fn replicating(entries: u64) -> Self {
        let rig = Self::new(entries);
        rig.update(|_| {}).await;
        rig.answer(AppendResult::Matched(Some(id(entries - 1)))).await;
        rig.network.peer().appends.clear();
        rig
    }

    /// Tells the task what the last update said, changed by `change`, and lets it work.
    pub(crate) async fn update(&self, change: impl FnOnce(&mut LeaderUpdate<Types>)) {
        let update = {
            let mut latest = self.latest.lock().expect("not poisoned");
            latest.heartbeat = false;
            change(&mut latest);
            *latest
        };
        self.handle.update(update);
        self.settle().await;
    }

    /// Accepts entries up to `last` of our own term.
    pub(crate) async fn propose(&self, last: u64) {
        {
            let mut log = self.leader.log();
            let next = log.ids.len() as u64;
            log.ids.extend((next..=last).map(id));
        }
        self.update(|update| update.last = Some(id(last))).await;
    }

    /// Answers the oldest append that has no answer, under our vote.
    pub(crate) async fn answer(&self, result: AppendResult<u64>) {
        let (vote, from) = (our_vote(), TARGET);
        self.answer_as(|position| AppendReply { from, vote, position, result, promised: Duration::ZERO })
            .await;
    }

    /// Answers the oldest append that has no answer.
    pub(crate) async fn answer_as(&self, reply: impl FnOnce(u64) -> AppendReply<u64>) {
        {
            let mut peer = self.network.peer();
            let position = peer.waiting.pop_front().expect("an append waits for an answer");
            peer.replies.push_back(Ok(reply(position)));
        }
        self.network.changed.notify_waiters();
        self.settle().await;
    }

    pub(crate) async fn break_stream(&self) {
        self.network.peer().replies.push_back(Err(down()));
        self.network.changed.notify_waiters();
        self.settle().await;
    }

    /// Tells the task of entries up to the log's end and breaks the stream before any is answered, until the follower
    /// is asked anew.
    pub(crate) async fn break_stream_while_sending(&self) {
        let last = self.leader.log().ids.last().copied();
        self.update(|update| update.last = last).await;
        self.break_stream().await;
        self.pass(20).await;
    }

    /// Changes how the peer behaves, and lets calls that hang go on.
    pub(crate) async fn set_peer(&self, change: impl FnOnce(&mut Peer)) {
        change(&mut self.network.peer());
        self.network.changed.notify_waiters();
        self.settle().await;
    }

    /// Lets all tasks do what they can without time going on.
    pub(crate) async fn settle(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn pass(&self, millis: u64) {
        self.env.sleep(Duration::from_millis(millis)).await;
        self.settle().await;
    }

    /// All that was reported so far, joined.
    pub(crate) fn report(&self) -> ReplicationUpdate<u64> {
        let mut reported = self.reported.lock().expect("not poisoned");
        if let Some(update) = self.outbox.take() {
            reported.join(update);
        }
        *reported
    }

    pub(crate) fn polls(&self) -> usize {
        self.polls.load(Ordering::Relaxed)
    }

    /// Of each append sent so far: the index before its entries, and how many there are.
    pub(crate) fn appends(&self) -> Vec<(Option<u64>, usize)> {
        let peer = self.network.peer();
        peer.appends.iter().map(|m| (m.header.prev_log_id.map(|id| id.index), m.entries.len())).collect()
    }

    pub(crate) fn snapshots_sent(&self) -> usize {
        self.network.peer().snapshots.len()
    }

    pub(crate) fn heartbeats(&self) -> usize {
        self.network.peer().heartbeats.len()
    }
}
