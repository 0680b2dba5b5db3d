//! Tests of the network in memory, on virtual time, with a server that writes down what reaches it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use openraft_engine::{
    AppendHeader, AppendReply, AppendResult, BasicNode, HeartbeatReply, HeartbeatRequest, LogId,
    ReadIndexReply, ReadIndexRequest, ReadRefused, Replica, SnapshotReply, StoreId, TimeoutNowReply,
    TimeoutNowRequest, Vote, VoteReply, VoteRequest,
};
use tokio::sync::Semaphore;

use super::{Fate, MemRouter, MessageKind, RandomFaults, Transit};
use crate::{
    AppendEntriesRequest, Entry, EntryPayload, EntryRange, Env, NetworkError, RaftNetwork,
    RaftNetworkFactory, RaftServer, ServerError, SnapshotHeaderOf, SnapshotSink, SnapshotSource,
    StorageError,
};

crate::declare_raft_types!(T: D = String);

const WITHIN: Duration = Duration::from_millis(100);

fn replica(node_id: u64) -> Replica<u64> {
    Replica { node_id, store_id: StoreId(node_id.into()) }
}

/// Takes everything, and answers as many appends as there are permits.
struct Server {
    id: u64,
    env: Env,
    heard: Arc<Mutex<Vec<String>>>,
    answers: Arc<Semaphore>,
    /// The entries of the last append.
    entries: Mutex<EntryRange<T>>,
}

impl Server {
    fn new(id: u64) -> Arc<Self> {
        let answers = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let entries = Mutex::default();
        Arc::new(Self { id, env: Env::tokio(), heard: Arc::default(), answers, entries })
    }

    /// One that answers appends only as permits are added.
    fn slow(id: u64) -> Arc<Self> {
        let server = Self::new(id);
        server.answers.forget_permits(Semaphore::MAX_PERMITS);
        server
    }

    fn hear(&self, what: impl ToString) {
        self.heard.lock().unwrap().push(what.to_string());
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl RaftServer<T> for Server {
    fn append_entries(
        &self,
        request: AppendEntriesRequest<T>,
    ) -> BoxFuture<'static, Result<AppendReply<u64>, ServerError>> {
        self.hear(format!("append {}", request.header.position));
        *self.entries.lock().unwrap() = request.entries.clone();
        let (from, answers) = (replica(self.id), self.answers.clone());
        Box::pin(async move {
            answers.acquire().await.expect("never closed").forget();
            let AppendHeader { vote, position, .. } = request.header;
            Ok(AppendReply {
                from,
                vote,
                position,
                result: AppendResult::Matched(request.entries.last_log_id()),
                promised: Default::default(),
            })
        })
    }

    fn timeout_now(
        &self,
        request: TimeoutNowRequest<u64>,
    ) -> BoxFuture<'static, Result<TimeoutNowReply<u64>, ServerError>> {
        self.hear("timeout now");
        let reply = TimeoutNowReply { from: replica(self.id), vote: request.vote, accepted: true };
        Box::pin(async move { Ok(reply) })
    }

    fn read_index(
        &self,
        request: ReadIndexRequest<u64>,
    ) -> BoxFuture<'static, Result<ReadIndexReply<u64>, ServerError>> {
        self.hear(format!("read index for {}", request.from.node_id));
        let reply = ReadIndexReply { from: replica(self.id), result: Err(ReadRefused::Overloaded) };
        Box::pin(async move { Ok(reply) })
    }

    fn heartbeat(
        &self,
        request: HeartbeatRequest<u64>,
    ) -> BoxFuture<'static, Result<HeartbeatReply<u64>, ServerError>> {
        self.hear("heartbeat");
        let reply = HeartbeatReply {
            from: replica(self.id),
            vote: request.vote,
            position: 0,
            accepted: true,
            ..Default::default()
        };
        Box::pin(async move { Ok(reply) })
    }

    fn vote(&self, request: VoteRequest<u64>) -> BoxFuture<'static, Result<VoteReply<u64>, ServerError>> {
        self.hear(format!("vote {} at {:?}", request.vote.term, self.env.now()));
        let reply = match request.vote.term {
            1 => Err(ServerError::Overloaded),
            2 => Err(ServerError::Refused("no cluster of yours".to_owned())),
            _ => Ok(VoteReply {
                pre_vote: false,
                from: replica(self.id),
                vote: request.vote,
                granted: true,
                last_log_id: None,
                ..Default::default()
            }),
        };
        Box::pin(async move { reply })
    }

    fn begin_snapshot(
        &self,
        _header: SnapshotHeaderOf<T>,
    ) -> BoxFuture<'static, Result<Box<dyn SnapshotSink>, ServerError>> {
        self.hear("begin");
        let sink: Box<dyn SnapshotSink> = Box::new(Sink(self.heard.clone()));
        Box::pin(async move { Ok(sink) })
    }

    fn finish_snapshot(
        &self,
        header: SnapshotHeaderOf<T>,
        sink: Box<dyn SnapshotSink>,
    ) -> BoxFuture<'static, Result<SnapshotReply<u64>, ServerError>> {
        let from = replica(self.id);
        Box::pin(async move {
            sink.finish().await.expect("this sink finishes");
            let result = AppendResult::Matched(header.meta.last_log_id);
            Ok(SnapshotReply { from, vote: header.vote, position: header.position, result })
        })
    }
}

struct Sink(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl SnapshotSink for Sink {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        self.0.lock().unwrap().push(format!("{} bytes at {offset}", chunk.len()));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.0.lock().unwrap().push("finish".to_owned());
        Ok(())
    }

    async fn abort(self: Box<Self>) {
        self.0.lock().unwrap().push("abort".to_owned());
    }
}

struct Source(u64);

#[async_trait]
impl SnapshotSource for Source {
    fn len(&self) -> u64 {
        self.0
    }

    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError> {
        Ok(Bytes::from(vec![7; max_bytes.min((self.0 - offset) as usize)]))
    }
}

/// A router with `server` registered, and the network from node 1 to it.
fn connect(server: &Arc<Server>) -> (MemRouter<T>, Arc<dyn RaftNetwork<T>>) {
    let router = MemRouter::new();
    router.register(server.id, server.clone());
    let network = router.factory(1, Env::tokio()).network(server.id, &BasicNode::default());
    (router, network)
}

fn vote_request(term: u64) -> VoteRequest<u64> {
    VoteRequest {
        pre_vote: false,
        from: replica(1),
        vote: Vote::new(term, 1),
        last_log_id: None,
        ..Default::default()
    }
}

fn heartbeat() -> HeartbeatRequest<u64> {
    HeartbeatRequest {
        from: replica(1),
        vote: Vote::new_committed(3, 1),
        committed: None,
        position: 0,
        ..Default::default()
    }
}

/// An append of one entry, with its index as the position.
fn append(index: u64) -> AppendEntriesRequest<T> {
    let (vote, prev_log_id) = (Vote::new_committed(3, 1), None);
    let header = AppendHeader {
        from: replica(1),
        vote,
        prev_log_id,
        committed: None,
        position: index,
        ..Default::default()
    };
    let entry = Entry::new(LogId::new(3, 1, index), EntryPayload::Normal(format!("e{index}")));
    AppendEntriesRequest { header, entries: EntryRange::from_entries(vec![entry]) }
}

fn appends(indexes: Range<u64>) -> Vec<String> {
    indexes.map(|i| format!("append {i}")).collect()
}

fn snapshot_header() -> SnapshotHeaderOf<T> {
    let mut header = SnapshotHeaderOf::<T> {
        from: replica(1),
        admitted: None,
        to: Default::default(),
        vote: Vote::new_committed(3, 1),
        position: 4,
        meta: Default::default(),
    };
    header.meta.last_log_id = Some(LogId::new(3, 1, 9));
    header
}

fn is_timeout<V>(result: &Result<V, NetworkError>) -> bool {
    matches!(result, Err(NetworkError::Timeout { after: WITHIN, .. }))
}

fn is_unreachable<V>(result: &Result<V, NetworkError>) -> bool {
    matches!(result, Err(NetworkError::Unreachable { .. }))
}

#[tokio::test(start_paused = true)]
async fn calls_reach_the_node_of_that_id_and_come_back() {
    let server = Server::new(2);
    let (_router, network) = connect(&server);
    assert!(network.vote(vote_request(3), WITHIN).await.unwrap().granted);
    assert_eq!(network.heartbeat(heartbeat(), WITHIN).await.unwrap().from, replica(2));
    let reply = network.append(append(5), WITHIN).await.unwrap();
    assert_eq!(reply.result, AppendResult::Matched(Some(LogId::new(3, 1, 5))));
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_told_apart_from_what_did_not_arrive() {
    let (_router, network) = connect(&Server::new(2));
    assert!(is_unreachable(&network.vote(vote_request(1), WITHIN).await));
    let refused = network.vote(vote_request(2), WITHIN).await;
    assert!(matches!(refused, Err(NetworkError::Refused { reason, .. }) if reason == "no cluster of yours"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_registered_is_unreachable_at_once() {
    let (router, network) = connect(&Server::new(2));
    let mut stream = network.clone().append_stream(WITHIN);
    router.unregister(2);
    let before = Env::tokio();
    assert!(is_unreachable(&network.vote(vote_request(3), WITHIN).await));
    assert!(is_unreachable(&network.snapshot(snapshot_header(), Box::new(Source(1)), WITHIN).await));
    assert!(is_unreachable(&stream.send(append(1))));
    assert!(is_unreachable(&network.append_stream(WITHIN).send(append(1))));
    assert_eq!(before.now(), openraft_engine::Timestamp::ZERO, "nobody waited");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_costs_the_deadline_and_no_more() {
    let (_router, network) = connect(&Server::slow(2));
    let env = Env::tokio();
    assert!(is_timeout(&network.append(append(1), WITHIN).await));
    assert_eq!(env.now().as_nanos(), WITHIN.as_nanos() as u64);
}

#[tokio::test(start_paused = true)]
async fn a_stream_delivers_many_appends_before_the_first_reply() {
    let server = Server::slow(2);
    let (_router, network) = connect(&server);
    let mut stream = network.append_stream(WITHIN);
    for index in 0..50 {
        stream.send(append(index)).unwrap();
    }
    assert_eq!(server.heard(), appends(0..50));
    server.answers.add_permits(50);
    for index in 0..50 {
        assert_eq!(stream.recv().await.unwrap().position, index);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_recv_loses_no_reply() {
    let server = Server::slow(2);
    let (router, network) = connect(&server);
    for faulty in [false, true] {
        if faulty {
            router.set_faults(|_: &Transit<u64>| Fate::Deliver);
        }
        let mut stream = network.clone().append_stream(WITHIN);
        stream.send(append(1)).unwrap();
        stream.send(append(2)).unwrap();
        assert!(Env::tokio().timeout(Duration::from_millis(1), stream.recv()).await.is_err());
        server.answers.add_permits(2);
        assert_eq!(stream.recv().await.unwrap().position, 1);
        assert_eq!(stream.recv().await.unwrap().position, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_stream_has_its_own_deadline() {
    let server = Server::slow(2);
    let (_router, network) = connect(&server);
    let env = Env::tokio();
    let mut stream = network.append_stream(WITHIN);
    stream.send(append(0)).unwrap();
    env.sleep(WITHIN / 2).await;
    stream.send(append(1)).unwrap();
    server.answers.add_permits(1);
    stream.recv().await.unwrap();
    assert!(is_timeout(&stream.recv().await));
    assert_eq!(env.now().since(Default::default()), WITHIN / 2 + WITHIN);
    assert!(is_timeout(&stream.send(append(2))), "a broken stream stays broken");
}

#[tokio::test(start_paused = true)]
async fn a_stream_shares_the_entries_with_the_server() {
    let server = Server::new(2);
    let (_router, network) = connect(&server);
    let request = append(3);
    let sent = request.entries.clone();
    network.append_stream(WITHIN).send(request).unwrap();
    let received = server.entries.lock().unwrap().clone();
    assert!(std::ptr::eq(sent.iter().next().unwrap(), received.iter().next().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn where_the_way_is_cut_messages_vanish_until_it_is_mended() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    router.register(1, Server::new(1));
    let cuts: [fn(&MemRouter<T>); 3] = [|r| r.cut(1, 2), |r| r.partition(&[1], &[2, 3]), |r| r.isolate(2)];
    for cut in cuts {
        server.heard.lock().unwrap().clear();
        cut(&router);
        assert!(is_timeout(&network.vote(vote_request(3), WITHIN).await));
        assert!(is_timeout(&network.snapshot(snapshot_header(), Box::new(Source(1)), WITHIN).await));
        let mut stream = network.clone().append_stream(WITHIN);
        stream.send(append(0)).unwrap();
        assert!(is_timeout(&stream.recv().await));
        assert_eq!(server.heard(), [""; 0]);
        router.heal();
        assert!(network.vote(vote_request(3), WITHIN).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_back_loses_the_answer_but_not_the_message() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    let mut before = network.clone().append_stream(WITHIN);
    router.cut(2, 1);
    assert!(is_timeout(&network.heartbeat(heartbeat(), WITHIN).await));
    before.send(append(0)).unwrap();
    assert!(is_timeout(&before.recv().await));
    let mut after = network.clone().append_stream(WITHIN);
    after.send(append(1)).unwrap();
    assert!(is_timeout(&after.recv().await));
    assert_eq!(server.heard(), ["heartbeat", "append 0", "append 1"]);
    router.mend(2, 1);
    assert!(network.heartbeat(heartbeat(), WITHIN).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_a_way_that_was_cut_loses_all_that_follows() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    let mut stream = network.append_stream(WITHIN);
    stream.send(append(0)).unwrap();
    router.cut(1, 2);
    stream.send(append(1)).unwrap();
    router.heal();
    stream.send(append(2)).unwrap();
    assert_eq!(stream.recv().await.unwrap().position, 0);
    assert!(is_timeout(&stream.recv().await));
    assert_eq!(server.heard(), appends(0..1));
}

#[tokio::test(start_paused = true)]
async fn a_node_started_anew_breaks_the_streams_to_its_former_self() {
    let (router, network) = connect(&Server::new(2));
    let again = Server::new(2);
    for faulty in [false, true] {
        if faulty {
            router.set_faults(|_: &Transit<u64>| Fate::Deliver);
        }
        let mut stream = network.clone().append_stream(WITHIN);
        stream.send(append(0)).unwrap();
        stream.recv().await.unwrap();
        router.register(2, again.clone());
        let broken = match stream.send(append(1)) {
            Ok(()) => stream.recv().await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(is_unreachable(&broken), "{broken:?}");
        assert_eq!(again.heard(), [""; 0]);
        router.register(2, Server::new(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_arrives_in_chunks_and_is_finished() {
    let server = Server::new(2);
    let (_router, network) = connect(&server);
    let reply = network.snapshot(snapshot_header(), Box::new(Source(150_000)), WITHIN).await.unwrap();
    assert_eq!(reply.result, AppendResult::Matched(Some(LogId::new(3, 1, 9))));
    let chunks = ["begin", "65536 bytes at 0", "65536 bytes at 65536", "18928 bytes at 131072", "finish"];
    assert_eq!(server.heard(), chunks);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_chunk_is_lost_is_aborted() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    let mut steps = 0;
    router.set_faults(move |message: &Transit<u64>| {
        steps += 1;
        // Request and answer of the beginning, then those of the first chunk; the second chunk is lost.
        if message.kind == MessageKind::Snapshot && steps == 5 { Fate::Drop } else { Fate::Deliver }
    });
    let result = network.snapshot(snapshot_header(), Box::new(Source(150_000)), WITHIN).await;
    assert!(is_timeout(&result));
    assert_eq!(server.heard(), ["begin", "65536 bytes at 0", "abort"]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_message_arrives_although_its_sender_gave_up() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    router.set_faults(|message: &Transit<u64>| match message.reply {
        false => Fate::Delay(WITHIN * 2),
        true => Fate::Deliver,
    });
    assert!(is_timeout(&network.vote(vote_request(3), WITHIN).await));
    assert_eq!(server.heard(), [""; 0]);
    Env::tokio().sleep(WITHIN * 2).await;
    assert_eq!(server.heard(), ["vote 3 at 200ms"]);
}

#[tokio::test(start_paused = true)]
async fn delays_on_a_stream_keep_its_order_and_do_not_add_up() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    let mut delays = [30, 10, 20].into_iter();
    router.set_faults(move |message: &Transit<u64>| match message.reply {
        false => delays.next().map_or(Fate::Deliver, |ms| Fate::Delay(Duration::from_millis(ms))),
        true => Fate::Delay(Duration::from_millis(5)),
    });
    let env = Env::tokio();
    let mut stream = network.append_stream(WITHIN);
    for index in 0..3 {
        stream.send(append(index)).unwrap();
    }
    for index in 0..3 {
        assert_eq!(stream.recv().await.unwrap().position, index);
    }
    assert_eq!(server.heard(), appends(0..3));
    assert!((35..40).contains(&(env.now().as_nanos() / 1_000_000)), "{:?}", env.now());
}

#[tokio::test(start_paused = true)]
async fn a_message_lost_on_a_stream_takes_the_rest_along() {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    let mut sent = 0;
    router.set_faults(move |message: &Transit<u64>| {
        sent += u64::from(!message.reply);
        if sent == 3 { Fate::Drop } else { Fate::Deliver }
    });
    let mut stream = network.append_stream(WITHIN);
    for index in 0..2 {
        stream.send(append(index)).unwrap();
        stream.recv().await.unwrap();
    }
    for index in 2..6 {
        stream.send(append(index)).unwrap();
    }
    assert!(is_timeout(&stream.recv().await));
    assert_eq!(server.heard(), appends(0..2));
}

/// What a server hears, and what its caller learns, of 200 calls and as many appends under random faults.
async fn story(seed: u64) -> Vec<String> {
    let server = Server::new(2);
    let (router, network) = connect(&server);
    router.set_faults(RandomFaults::new(seed, 0.05, Duration::ZERO..Duration::from_millis(60)));
    let mut learned = Vec::new();
    let mut stream = network.clone().append_stream(WITHIN);
    for index in 0..200 {
        learned.push(format!("{:?}", network.vote(vote_request(3), WITHIN).await));
        let sent = stream.send(append(index));
        let reply = if sent.is_ok() { stream.recv().await.map(|_| ()) } else { sent };
        if reply.is_err() {
            stream = network.clone().append_stream(WITHIN);
        }
        learned.push(format!("{reply:?}"));
    }
    learned.extend(server.heard());
    learned
}

#[tokio::test(start_paused = true)]
async fn one_seed_makes_one_story_and_another_seed_another() {
    let first = story(1).await;
    assert!(first.iter().any(|line| line.contains("Timeout")), "something was lost");
    assert_ne!(first, story(2).await);
}

#[test]
fn the_story_of_a_seed_repeats_in_another_runtime() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(story(7))
    };
    assert_eq!(run(), run());
}
