//! A node with everything but a core: a real server and network, and a `RaftServer` that notes what reaches it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft_adapters::{
    AppendEntriesRequest, Entry, EntryPayload, EntryRange, FormReply, FormRequest, FormationServer, Identity,
    IdentityStore, JoinReply, JoinRequest, JoinServer, RaftNetwork, RaftNetworkFactory, RaftServer,
    ServerError, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSink, StorageError,
};
use openraft_engine::{
    AppendHeader, AppendReply, AppendResult, BasicNode, ClusterId, HeartbeatReply, HeartbeatRequest, LogId,
    ReadIndexReply, ReadIndexRequest, Replica, StoreId, TimeoutNowReply, TimeoutNowRequest, Vote, VoteReply,
    VoteRequest,
};
use openraft_network_http::{HttpNetwork, HttpOptions, RaftSlot, ServerLimits, ServerParts, serve};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

openraft_adapters::declare_raft_types!(pub(crate) T: D = String);

/// Long enough never to be the reason for a result.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn replica(node_id: u64) -> Replica<u64> {
    Replica { node_id, store_id: StoreId(u128::from(node_id) * 1000) }
}

pub(crate) struct FakeIdentity(pub(crate) Mutex<Identity<u64>>);

pub(crate) fn identity(node_id: u64) -> Arc<FakeIdentity> {
    Arc::new(FakeIdentity(Mutex::new(Identity {
        replica: replica(node_id),
        cluster_name: "test".to_owned(),
        cluster_id: Some(ClusterId(42)),
    })))
}

#[async_trait]
impl IdentityStore<T> for FakeIdentity {
    fn identity(&self) -> Identity<u64> {
        self.0.lock().unwrap().clone()
    }

    async fn record_peer(&self, peer: Replica<u64>) -> Result<Replica<u64>, StorageError> {
        Ok(peer)
    }

    async fn record_cluster(&self, cluster_id: ClusterId) -> Result<(), StorageError> {
        self.0.lock().unwrap().cluster_id = Some(cluster_id);
        Ok(())
    }
}

/// What reached the node.
#[derive(Default)]
pub(crate) struct FakeRaft {
    pub(crate) node_id: u64,
    /// The first index of each append, in the order of the calls.
    pub(crate) appends: Mutex<Vec<u64>>,
    /// While true, appends are not answered.
    pub(crate) hold_appends: watch::Sender<bool>,
    pub(crate) overloaded: AtomicBool,
    /// What the sinks have written.
    pub(crate) written: Arc<Mutex<Vec<u8>>>,
    /// The content of the last snapshot that was finished.
    pub(crate) snapshot: Mutex<Option<Vec<u8>>>,
    pub(crate) refuse_snapshots: AtomicBool,
    pub(crate) disk_full: AtomicBool,
    pub(crate) aborted: Arc<Notify>,
}

impl RaftServer<T> for FakeRaft {
    fn append_entries(
        &self,
        request: AppendEntriesRequest<T>,
    ) -> BoxFuture<'static, Result<AppendReply<u64>, ServerError>> {
        self.appends.lock().unwrap().push(request.entries.first_index().unwrap_or_default());
        let mut hold = self.hold_appends.subscribe();
        let reply = AppendReply {
            from: replica(self.node_id),
            vote: request.header.vote,
            position: request.header.position,
            result: AppendResult::Matched(request.entries.last_log_id()),
            promised: Default::default(),
        };
        let overloaded = self.overloaded.load(Ordering::SeqCst);
        async move {
            let _ = hold.wait_for(|held| !held).await;
            if overloaded { Err(ServerError::Overloaded) } else { Ok(reply) }
        }
        .boxed()
    }

    fn heartbeat(
        &self,
        request: HeartbeatRequest<u64>,
    ) -> BoxFuture<'static, Result<HeartbeatReply<u64>, ServerError>> {
        let HeartbeatRequest { vote, position, .. } = request;
        let reply = HeartbeatReply {
            from: replica(self.node_id),
            vote,
            position,
            accepted: true,
            ..Default::default()
        };
        async move { Ok(reply) }.boxed()
    }

    fn timeout_now(
        &self,
        request: TimeoutNowRequest<u64>,
    ) -> BoxFuture<'static, Result<TimeoutNowReply<u64>, ServerError>> {
        let reply = TimeoutNowReply { from: replica(self.node_id), vote: request.vote, accepted: true };
        async move { Ok(reply) }.boxed()
    }

    fn read_index(
        &self,
        _request: ReadIndexRequest<u64>,
    ) -> BoxFuture<'static, Result<ReadIndexReply<u64>, ServerError>> {
        let reply = ReadIndexReply { from: replica(self.node_id), result: Ok(LogId::new(1, 1, 9)) };
        async move { Ok(reply) }.boxed()
    }

    fn vote(&self, request: VoteRequest<u64>) -> BoxFuture<'static, Result<VoteReply<u64>, ServerError>> {
        let reply = VoteReply {
            pre_vote: false,
            from: replica(self.node_id),
            vote: request.vote,
            granted: true,
            last_log_id: Some(LogId::new(1, 1, 9)),
            ..Default::default()
        };
        async move { Ok(reply) }.boxed()
    }

    fn begin_snapshot(
        &self,
        _header: SnapshotHeaderOf<T>,
    ) -> BoxFuture<'static, Result<Box<dyn SnapshotSink>, ServerError>> {
        let refuse = self.refuse_snapshots.load(Ordering::SeqCst);
        self.written.lock().unwrap().clear();
        let sink = FakeSink {
            written: self.written.clone(),
            disk_full: self.disk_full.load(Ordering::SeqCst),
            aborted: self.aborted.clone(),
        };
        async move {
            if refuse {
                return Err(ServerError::Refused("no snapshot wanted".to_owned()));
            }
            Ok(Box::new(sink) as Box<dyn SnapshotSink>)
        }
        .boxed()
    }

    fn finish_snapshot(
        &self,
        header: SnapshotHeaderOf<T>,
        sink: Box<dyn SnapshotSink>,
    ) -> BoxFuture<'static, Result<SnapshotReplyOf<T>, ServerError>> {
        *self.snapshot.lock().unwrap() = Some(std::mem::take(&mut *self.written.lock().unwrap()));
        drop(sink);
        let reply = SnapshotReplyOf::<T> {
            from: replica(self.node_id),
            vote: header.vote,
            position: header.position,
            result: AppendResult::Matched(header.meta.last_log_id),
        };
        async move { Ok(reply) }.boxed()
    }
}

struct FakeSink {
    written: Arc<Mutex<Vec<u8>>>,
    disk_full: bool,
    aborted: Arc<Notify>,
}

#[async_trait]
impl SnapshotSink for FakeSink {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        let mut written = self.written.lock().unwrap();
        assert_eq!(offset, written.len() as u64);
        if self.disk_full {
            return Err(StorageError::message("writing a snapshot", "no space left"));
        }
        written.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }

    async fn abort(self: Box<Self>) {
        self.aborted.notify_one();
    }
}

/// What every node says it has recorded.
pub(crate) fn known() -> BTreeMap<u64, StoreId> {
    (1..=3).map(|id| (id, replica(id).store_id)).collect()
}

struct FakeFormation;

#[async_trait]
impl FormationServer<T> for FakeFormation {
    async fn form(&self, request: FormRequest<u64>) -> FormReply<u64> {
        if request.cluster_name == "test" {
            FormReply::Recorded { from: replica(request.to), known: known() }
        } else {
            FormReply::Refused { reason: "another name".to_owned() }
        }
    }
}

#[async_trait]
impl JoinServer<T> for FakeFormation {
    async fn join(&self, request: JoinRequest<u64, BasicNode>) -> JoinReply<BasicNode> {
        JoinReply::AskLeader { node: request.node }
    }
}

/// A node that serves on a port of its own.
pub(crate) struct TestNode {
    pub(crate) addr: SocketAddr,
    pub(crate) raft: Arc<FakeRaft>,
    /// Answers of the application's route `/slow` wait for this.
    pub(crate) slow: Arc<Notify>,
    /// Told when a request for `/slow` has come.
    pub(crate) slow_came: Arc<Notify>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Small times, so that tests of what passes with time are quick.
pub(crate) fn limits() -> ServerLimits {
    ServerLimits { drain_timeout: LONG, ..ServerLimits::default() }
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Node `node_id` with its core running.
pub(crate) async fn node(node_id: u64) -> TestNode {
    start(listener().await, identity(node_id), true, limits())
}

pub(crate) fn start(
    listener: TcpListener,
    identity: Arc<FakeIdentity>,
    running: bool,
    limits: ServerLimits,
) -> TestNode {
    let node_id = identity.identity().replica.node_id;
    let raft = Arc::new(FakeRaft { node_id, ..FakeRaft::default() });
    let slot = RaftSlot::new();
    if running {
        assert!(slot.set(raft.clone()));
    }
    let (slow, slow_came) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (wait, came) = (slow.clone(), slow_came.clone());
    let app = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route(
            "/slow",
            get(|| async move {
                came.notify_one();
                wait.notified().await;
                "at last"
            }),
        );
    let parts = ServerParts {
        identity,
        raft: slot,
        formation: Arc::new(FakeFormation),
        join: Arc::new(FakeFormation),
        app,
        limits,
    };
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(listener, parts, async {
        let _ = stopped.await;
    }));
    TestNode { addr, raft, slow, slow_came, stop: Some(stop), task }
}

impl TestNode {
    /// The network from node 1 to this node.
    pub(crate) fn network(&self) -> Arc<dyn RaftNetwork<T>> {
        network_from(identity(1), self.raft.node_id, self.addr, HttpOptions::default())
    }

    pub(crate) fn begin_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(self) {
        self.task.await.unwrap();
    }
}

pub(crate) fn network_from(
    identity: Arc<FakeIdentity>,
    target: u64,
    addr: SocketAddr,
    options: HttpOptions,
) -> Arc<dyn RaftNetwork<T>> {
    HttpNetwork::<T>::new(identity, options).network(target, &BasicNode::new(addr.to_string()))
}

pub(crate) fn heartbeat(position: u64) -> HeartbeatRequest<u64> {
    HeartbeatRequest {
        from: replica(1),
        vote: Vote::new_committed(1, 1),
        committed: None,
        position,
        ..Default::default()
    }
}

/// An append of one entry of about `bytes` bytes at `index`.
pub(crate) fn append(index: u64, bytes: usize) -> AppendEntriesRequest<T> {
    let entry = Entry::new(LogId::new(1, 1, index), EntryPayload::Normal("x".repeat(bytes)));
    AppendEntriesRequest {
        header: AppendHeader {
            from: replica(1),
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            committed: None,
            position: index,
            ..Default::default()
        },
        entries: EntryRange::from_entries(vec![entry]),
    }
}

/// `future`, which must end before a deadline that only a hanging test reaches.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("this should not take a minute")
}
