//! One peer as the core sees it: calls that find or make the connection they need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared as SharedFuture};
use openraft_adapters::{
    AppendEntriesRequest, AppendStream, NetworkError, RaftNetwork, RaftTypeConfig, SnapshotHeaderOf,
    SnapshotReplyOf, SnapshotSource,
};
use openraft_engine::{
    AppendReply, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest, TimeoutNowReply,
    TimeoutNowRequest, VoteReply, VoteRequest,
};
use tokio::time::{Instant, timeout};

use super::append::HttpAppendStream;
use super::connect::{self, Destination, Link, OpenError};
use super::control::Control;
use super::outage::Outage;
use super::{Shared, describe, snapshot};
use crate::body::FrameBody;
use crate::frame::Kind;
use crate::lock;
use crate::wire::{self, Lane};

/// One attempt to connect, awaited by everyone who needs the connection.
type Opening<C> = SharedFuture<BoxFuture<'static, Result<Arc<Control<C>>, NetworkError>>>;

/// The control connection.
enum ControlSlot<C: RaftTypeConfig> {
    None,
    Opening(Opening<C>),
    Open(Arc<Control<C>>),
}

/// One peer.
pub(crate) struct Peer<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    node_id: C::NodeId,
    address: String,
    /// How errors and logs name it.
    pub(crate) name: String,
    pub(crate) outage: Arc<Outage>,
    /// The addresses found last, for when the name service is down.
    resolved: Mutex<Vec<SocketAddr>>,
    control: Mutex<ControlSlot<C>>,
    /// The stream that single appends use, while none is under way on it.
    single_append: tokio::sync::Mutex<Option<HttpAppendStream<C>>>,
}

impl<C: RaftTypeConfig> Peer<C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, node_id: C::NodeId, address: String) -> Arc<Self> {
        let name = describe(&node_id, &address);
        let own_store = shared.identity.identity().replica.store_id.0;
        let seed = own_store as u64 ^ (own_store >> 64) as u64 ^ u64::from(crc32fast::hash(name.as_bytes()));
        let outage = Arc::new(Outage::new(name.clone(), seed, &shared.options));
        lock(&shared.outages).insert(node_id, Arc::downgrade(&outage));
        Arc::new(Self {
            outage,
            shared,
            node_id,
            address,
            name,
            resolved: Mutex::new(Vec::new()),
            control: Mutex::new(ControlSlot::None),
            single_append: tokio::sync::Mutex::new(None),
        })
    }

    pub(crate) fn options(&self) -> &crate::HttpOptions {
        &self.shared.options
    }

    /// Opens a stream on a connection of its own and notes how that went.
    pub(crate) async fn open(&self, lane: Lane, body: FrameBody) -> Result<Link<C::NodeId>, NetworkError> {
        self.outage.gate(Instant::now())?;
        match self.try_open(lane, body).await {
            Ok(link) => {
                self.outage.up();
                Ok(link)
            }
            Err(OpenError::Failed(error)) => {
                self.outage.failed(Instant::now(), &error);
                Err(error)
            }
            Err(OpenError::Refused(refusal)) => Err(self.outage.refused(Instant::now(), refusal)),
        }
    }

    async fn try_open(&self, lane: Lane, body: FrameBody) -> Result<Link<C::NodeId>, OpenError> {
        let options = &self.shared.options;
        let found = connect::resolve(&self.name, &self.address, options.connect_timeout).await;
        let addresses = match found {
            Ok(found) => {
                lock(&self.resolved).clone_from(&found);
                found
            }
            Err(error) => {
                let known = lock(&self.resolved).clone();
                if known.is_empty() {
                    return Err(error.into());
                }
                known
            }
        };
        let tcp = connect::tcp(&self.name, &addresses, options.connect_timeout).await?;
        let destination =
            Destination { name: &self.name, node_id: self.node_id, address: &self.address, lane };
        connect::open_stream(destination, tcp, self.shared.identity.identity(), body, options).await
    }

    /// The control connection, made if there is none. The attempt goes on when the caller gives up, so that a short
    /// deadline never keeps a slow connection from being made.
    async fn control(self: &Arc<Self>) -> Result<Arc<Control<C>>, NetworkError> {
        let opening = {
            let mut slot = lock(&self.control);
            match &*slot {
                ControlSlot::Open(control) if control.is_open() => return Ok(control.clone()),
                ControlSlot::Opening(opening) => opening.clone(),
                _ => {
                    self.outage.gate(Instant::now())?;
                    let opening = self.start_control();
                    *slot = ControlSlot::Opening(opening.clone());
                    opening
                }
            }
        };
        opening.await
    }

    fn start_control(self: &Arc<Self>) -> Opening<C> {
        let peer = self.clone();
        let attempt = tokio::spawn(async move {
            let result = Control::open(&peer).await;
            *lock(&peer.control) = match &result {
                Ok(control) => ControlSlot::Open(control.clone()),
                Err(_) => ControlSlot::None,
            };
            result
        });
        let name = self.name.clone();
        async move {
            attempt.await.unwrap_or_else(|_| {
                Err(NetworkError::unreachable_because(name, "the attempt to connect was given up"))
            })
        }
        .boxed()
        .shared()
    }

    /// One request and its answer on the control connection.
    async fn call<Q, A>(
        self: &Arc<Self>,
        (kind, answer_kind): (Kind, Kind),
        request: &Q,
        within: Duration,
        from: impl FnOnce(&A) -> openraft_engine::Replica<C::NodeId>,
    ) -> Result<A, NetworkError>
    where
        Q: serde::Serialize + Sync,
        A: serde::de::DeserializeOwned,
    {
        let payload = wire::to_payload(request);
        let call = async {
            let control = self.control().await?;
            control.call((kind, answer_kind), &payload, from).await
        };
        timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(NetworkError::Timeout { target: self.name.clone(), after: within }))
    }
}

/// What [`RaftNetwork`] is implemented on: the trait's calls take `&self`, and a connection being made must be able to
/// outlive the call.
struct Handle<C: RaftTypeConfig>(Arc<Peer<C>>);

#[async_trait]
impl<C: RaftTypeConfig> RaftNetwork<C> for Handle<C> {
    async fn vote(
        &self,
        request: VoteRequest<C::NodeId>,
        within: Duration,
    ) -> Result<VoteReply<C::NodeId>, NetworkError> {
        self.0.call((Kind::Vote, Kind::VoteReply), &request, within, |r: &VoteReply<_>| r.from).await
    }

    async fn heartbeat(
        &self,
        request: HeartbeatRequest<C::NodeId>,
        within: Duration,
    ) -> Result<HeartbeatReply<C::NodeId>, NetworkError> {
        let kinds = (Kind::Heartbeat, Kind::HeartbeatReply);
        self.0.call(kinds, &request, within, |r: &HeartbeatReply<_>| r.from).await
    }

    async fn timeout_now(
        &self,
        request: TimeoutNowRequest<C::NodeId>,
        within: Duration,
    ) -> Result<TimeoutNowReply<C::NodeId>, NetworkError> {
        let kinds = (Kind::TimeoutNow, Kind::TimeoutNowReply);
        self.0.call(kinds, &request, within, |r: &TimeoutNowReply<_>| r.from).await
    }

    async fn read_index(
        &self,
        request: ReadIndexRequest<C::NodeId>,
        within: Duration,
    ) -> Result<ReadIndexReply<C::NodeId>, NetworkError> {
        let kinds = (Kind::ReadIndex, Kind::ReadIndexReply);
        self.0.call(kinds, &request, within, |r: &ReadIndexReply<_>| r.from).await
    }

    async fn append(
        &self,
        request: AppendEntriesRequest<C>,
        within: Duration,
    ) -> Result<AppendReply<C::NodeId>, NetworkError> {
        let call = async {
            let mut slot = self.0.single_append.lock().await;
            // Taken out while in use: a call that is dropped half way leaves no stream with an answer to come.
            let mut stream = slot.take().unwrap_or_else(|| HttpAppendStream::new(self.0.clone(), within));
            stream.set_deadline(within);
            stream.send(request)?;
            let reply = stream.recv().await?;
            *slot = Some(stream);
            Ok(reply)
        };
        timeout(within, call)
            .await
            .unwrap_or_else(|_| Err(NetworkError::Timeout { target: self.0.name.clone(), after: within }))
    }

    fn append_stream(self: Arc<Self>, within: Duration) -> Box<dyn AppendStream<C>> {
        Box::new(HttpAppendStream::new(self.0.clone(), within))
    }

    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        source: Box<dyn SnapshotSource>,
        within: Duration,
    ) -> Result<SnapshotReplyOf<C>, NetworkError> {
        snapshot::send(&self.0, header, source, within).await
    }
}

impl<C: RaftTypeConfig> Peer<C> {
    /// This peer for the core.
    pub(crate) fn into_network(self: Arc<Self>) -> Arc<dyn RaftNetwork<C>> {
        Arc::new(Handle(self))
    }
}
