//! The network's traits: calls to one peer, a stream for appends, and the server's side of each.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use openraft_engine::{
    AppendHeader, AppendReply, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest,
    TimeoutNowReply, TimeoutNowRequest, VoteReply, VoteRequest,
};

use crate::{
    EntryRange, NetworkError, RaftTypeConfig, ServerError, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSink,
    SnapshotSource,
};

/// An AppendEntries message: the head and the entries, which may be none.
pub struct AppendEntriesRequest<C: RaftTypeConfig> {
    /// Who sends it, under which vote, after which entry.
    pub header: AppendHeader<C::NodeId>,
    /// The entries that follow `header.prev_log_id` without a gap.
    pub entries: EntryRange<C>,
}

impl<C: RaftTypeConfig> Clone for AppendEntriesRequest<C> {
    fn clone(&self) -> Self {
        Self { header: self.header, entries: self.entries.clone() }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for AppendEntriesRequest<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendEntriesRequest")
            .field("header", &self.header)
            .field("entries", &self.entries)
            .finish()
    }
}

/// Makes the connection to a peer. Held by the core for as long as it lives.
pub trait RaftNetworkFactory<C: RaftTypeConfig>: Send + Sync + 'static {
    /// The network to `target`, which `node` describes. Returns at once: a connection is made when it is needed, and
    /// made again when it broke.
    fn network(&self, target: C::NodeId, node: &C::Node) -> Arc<dyn RaftNetwork<C>>;
}

/// The network to one peer. Calls may run side by side; none waits behind another's bulk.
///
/// Every call has a deadline, `within` from the call on; an adapter answers [`NetworkError::Timeout`] when it passes.
/// Dropping a future gives up the answer, not the message.
#[async_trait]
pub trait RaftNetwork<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Asks for a vote.
    ///
    /// # Errors
    /// If no answer came; nothing is then known of the vote.
    async fn vote(
        &self,
        request: VoteRequest<C::NodeId>,
        within: Duration,
    ) -> Result<VoteReply<C::NodeId>, NetworkError>;

    /// Says that the sender leads. Must not queue behind appends or snapshots.
    ///
    /// # Errors
    /// If no answer came.
    async fn heartbeat(
        &self,
        request: HeartbeatRequest<C::NodeId>,
        within: Duration,
    ) -> Result<HeartbeatReply<C::NodeId>, NetworkError>;

    /// Tells the peer, to which the sender hands its leadership, to campaign at once.
    ///
    /// # Errors
    /// If no answer came; the peer may campaign all the same.
    async fn timeout_now(
        &self,
        request: TimeoutNowRequest<C::NodeId>,
        within: Duration,
    ) -> Result<TimeoutNowReply<C::NodeId>, NetworkError>;

    /// Asks the peer, which the sender takes for its leader, up to where a linearizable read must have applied. Must not
    /// queue behind appends or snapshots.
    ///
    /// # Errors
    /// If no answer came; asking again does no harm.
    async fn read_index(
        &self,
        request: ReadIndexRequest<C::NodeId>,
        within: Duration,
    ) -> Result<ReadIndexReply<C::NodeId>, NetworkError>;

    /// Sends entries and waits for the answer.
    ///
    /// # Errors
    /// If no answer came; the entries may or may not have been stored.
    async fn append(
        &self,
        request: AppendEntriesRequest<C>,
        within: Duration,
    ) -> Result<AppendReply<C::NodeId>, NetworkError>;

    /// Opens an ordered stream of appends, many of which may be under way. The default sends one at a time through
    /// [`append`](RaftNetwork::append); `within` is the deadline of each message.
    fn append_stream(self: Arc<Self>, within: Duration) -> Box<dyn AppendStream<C>> {
        Box::new(OneByOne {
            network: Arc::new(move |request| {
                let this = self.clone();
                Box::pin(async move { this.append(request, within).await })
            }),
            queue: VecDeque::new(),
            current: None,
        })
    }

    /// Sends a snapshot on a stream of its own, in chunks with checksums, and waits until the peer has installed or
    /// refused it. `within` bounds the wait for progress: for each chunk, and for the answer after the last one.
    ///
    /// # Errors
    /// If the stream broke, the source failed, or no answer came.
    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        source: Box<dyn SnapshotSource>,
        within: Duration,
    ) -> Result<SnapshotReplyOf<C>, NetworkError>;
}

/// An ordered stream of appends to one peer and of their replies.
#[async_trait]
pub trait AppendStream<C: RaftTypeConfig>: Send + 'static {
    /// Queues a message. Never waits: how much may be queued is bounded by the window of the one who sends.
    ///
    /// # Errors
    /// If the stream is broken. It stays so; open another.
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError>;

    /// The reply to the oldest message that has none yet. Waits for ever while nothing is queued.
    ///
    /// # Errors
    /// If the stream is broken; whatever was queued may or may not have arrived.
    ///
    /// # Cancellation
    /// Safe: a reply is not lost when the future is dropped.
    async fn recv(&mut self) -> Result<AppendReply<C::NodeId>, NetworkError>;
}

type Call<C> = Arc<
    dyn Fn(
            AppendEntriesRequest<C>,
        ) -> BoxFuture<'static, Result<AppendReply<<C as RaftTypeConfig>::NodeId>, NetworkError>>
        + Send
        + Sync,
>;

/// The append stream made of plain calls, one at a time.
struct OneByOne<C: RaftTypeConfig> {
    network: Call<C>,
    queue: VecDeque<AppendEntriesRequest<C>>,
    current: Option<BoxFuture<'static, Result<AppendReply<C::NodeId>, NetworkError>>>,
}

#[async_trait]
impl<C: RaftTypeConfig> AppendStream<C> for OneByOne<C> {
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError> {
        self.queue.push_back(request);
        Ok(())
    }

    async fn recv(&mut self) -> Result<AppendReply<C::NodeId>, NetworkError> {
        if self.current.is_none() {
            let Some(request) = self.queue.pop_front() else { return std::future::pending().await };
            self.current = Some((self.network)(request));
        }
        let reply = self.current.as_mut().expect("just set").await;
        self.current = None;
        reply
    }
}

/// What a node does with its peers' messages: the side of a network adapter that faces the core. Implemented by the
/// `Raft` handle.
///
/// The plain functions take the message in the order of the calls and return a future of the answer, so that a stream's
/// messages stay in order while many await their replies.
pub trait RaftServer<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Takes an append.
    fn append_entries(
        &self,
        request: AppendEntriesRequest<C>,
    ) -> BoxFuture<'static, Result<AppendReply<C::NodeId>, ServerError>>;

    /// Takes a heartbeat.
    fn heartbeat(
        &self,
        request: HeartbeatRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<HeartbeatReply<C::NodeId>, ServerError>>;

    /// Takes a vote request.
    fn vote(
        &self,
        request: VoteRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<VoteReply<C::NodeId>, ServerError>>;

    /// Takes a leader's order to campaign at once.
    fn timeout_now(
        &self,
        request: TimeoutNowRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<TimeoutNowReply<C::NodeId>, ServerError>>;

    /// Takes a follower's question for the read index.
    fn read_index(
        &self,
        request: ReadIndexRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<ReadIndexReply<C::NodeId>, ServerError>>;

    /// A sink for the snapshot that `header` announces.
    fn begin_snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
    ) -> BoxFuture<'static, Result<Box<dyn SnapshotSink>, ServerError>>;

    /// Finishes the sink, which must hold the whole content, and installs the snapshot.
    fn finish_snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        sink: Box<dyn SnapshotSink>,
    ) -> BoxFuture<'static, Result<SnapshotReplyOf<C>, ServerError>>;
}
