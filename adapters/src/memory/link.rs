//! The way from one node to another: single calls and snapshots. Streams of appends are beside it.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use openraft_engine::{
    AppendReply, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest, TimeoutNowReply,
    TimeoutNowRequest, VoteReply, VoteRequest,
};
use tokio::sync::oneshot;

use super::faults::{Fate, MessageKind, Transit};
use super::router::{Shared, Way, gone};
use super::stream::{FaultyStream, OpenStream};
use crate::{
    AppendEntriesRequest, AppendStream, Env, NetworkError, RaftNetwork, RaftServer, RaftTypeConfig,
    ServerError, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSink, SnapshotSource,
};

/// A snapshot travels in chunks of this many bytes, so that faults meet it in the middle too.
const SNAPSHOT_CHUNK_BYTES: usize = 64 << 10;

/// The network from one node to another.
pub(super) struct MemNetwork<C: RaftTypeConfig> {
    pub(super) shared: Arc<Shared<C>>,
    pub(super) from: C::NodeId,
    pub(super) to: C::NodeId,
    pub(super) env: Env,
}

impl<C: RaftTypeConfig> Clone for MemNetwork<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), from: self.from, to: self.to, env: self.env.clone() }
    }
}

type Answer<T> = Result<T, ServerError>;

impl<C: RaftTypeConfig> MemNetwork<C> {
    /// What a server's refusal is to the caller.
    pub(super) fn refusal(&self, error: ServerError) -> NetworkError {
        match error {
            ServerError::Refused(reason) => NetworkError::Refused { target: self.to.to_string(), reason },
            ServerError::Overloaded | ServerError::Stopped(_) => NetworkError::unreachable(self.to, &error),
        }
    }

    pub(super) fn timeout(&self, after: Duration) -> NetworkError {
        NetworkError::Timeout { target: self.to.to_string(), after }
    }

    pub(super) fn fate(&self, kind: MessageKind, reply: bool) -> Fate {
        let (from, to) = if reply { (self.to, self.from) } else { (self.from, self.to) };
        self.shared.fate(&Transit { from, to, kind, reply })
    }

    /// Carries one request and its answer.
    async fn call<T: Send + 'static>(
        &self,
        kind: MessageKind,
        within: Duration,
        deliver: impl FnOnce(&dyn RaftServer<C>) -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Result<T, NetworkError> {
        let exchange = async {
            let answer = match self.shared.way(self.from, self.to) {
                Way::Gone => return Err(gone(self.to)),
                Way::Cut => pending().await,
                Way::Open(server) => deliver(&*server).await,
                Way::Faulty => self.deliver_with_faults(kind, deliver).await?,
            };
            if matches!(answer, Err(ServerError::Stopped(_))) {
                return answer.map_err(|error| self.refusal(error));
            }
            match self.fate(kind, true) {
                Fate::Deliver => {}
                Fate::Delay(delay) => self.env.sleep(delay).await,
                Fate::Drop => pending().await,
            }
            answer.map_err(|error| self.refusal(error))
        };
        self.env.timeout(within, exchange).await.unwrap_or_else(|_| Err(self.timeout(within)))
    }

    async fn deliver_with_faults<T: Send + 'static>(
        &self,
        kind: MessageKind,
        deliver: impl FnOnce(&dyn RaftServer<C>) -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Result<Answer<T>, NetworkError> {
        let delay = match self.fate(kind, false) {
            Fate::Deliver => Duration::ZERO,
            Fate::Delay(delay) => delay,
            Fate::Drop => pending().await,
        };
        if delay.is_zero() {
            let server = self.shared.server(self.to).ok_or_else(|| gone(self.to))?;
            return Ok(deliver(&*server).await);
        }
        // A task of its own: the message arrives also when its sender no longer waits for it.
        let (mut tell, told) = oneshot::channel();
        let (shared, from, to, arrival) = (self.shared.clone(), self.from, self.to, self.env.sleep(delay));
        self.env.spawn("mem-message", async move {
            arrival.await;
            let result = match shared.server(to) {
                // Lost: the sender waits for its deadline, for as long as it holds the other end.
                Some(_) if shared.is_cut(from, to) => return tell.closed().await,
                Some(server) => Ok(deliver(&*server).await),
                None => Err(gone(to)),
            };
            // The sender may have given up.
            let _ = tell.send(result);
        });
        told.await.unwrap_or_else(|_| Err(gone(self.to)))
    }

    /// Carries one part of a snapshot: waits for the fate of request and answer, and for `step` between them.
    async fn snapshot_step<T>(
        &self,
        within: Duration,
        step: impl Future<Output = Result<T, NetworkError>> + Send,
    ) -> Result<T, NetworkError> {
        let exchange = async {
            self.travel(false).await?;
            let result = step.await?;
            self.travel(true).await?;
            Ok(result)
        };
        self.env.timeout(within, exchange).await.unwrap_or_else(|_| Err(self.timeout(within)))
    }

    async fn travel(&self, reply: bool) -> Result<(), NetworkError> {
        if self.shared.server(self.to).is_none() {
            return Err(gone(self.to));
        }
        match self.fate(MessageKind::Snapshot, reply) {
            Fate::Deliver => {}
            Fate::Delay(delay) => self.env.sleep(delay).await,
            Fate::Drop => pending().await,
        }
        Ok(())
    }

    async fn send_chunks(
        &self,
        sink: &mut dyn SnapshotSink,
        source: &dyn SnapshotSource,
        within: Duration,
    ) -> Result<(), NetworkError> {
        let mut offset = 0;
        while offset < source.len() {
            let chunk = source
                .read_at(offset, SNAPSHOT_CHUNK_BYTES)
                .await
                .map_err(|error| NetworkError::unreachable(self.to, &error))?;
            if chunk.is_empty() {
                let reason = format!("the snapshot ends at {offset} instead of {}", source.len());
                return Err(NetworkError::unreachable_because(self.to, reason));
            }
            let length = chunk.len() as u64;
            let written = async {
                let written = sink.write_at(offset, chunk).await;
                written.map_err(|error| NetworkError::unreachable(self.to, &error))
            };
            self.snapshot_step(within, written).await?;
            offset += length;
        }
        Ok(())
    }
}

#[async_trait]
impl<C: RaftTypeConfig> RaftNetwork<C> for MemNetwork<C> {
    async fn vote(
        &self,
        request: VoteRequest<C::NodeId>,
        within: Duration,
    ) -> Result<VoteReply<C::NodeId>, NetworkError> {
        self.call(MessageKind::Vote, within, move |server| server.vote(request)).await
    }

    async fn heartbeat(
        &self,
        request: HeartbeatRequest<C::NodeId>,
        within: Duration,
    ) -> Result<HeartbeatReply<C::NodeId>, NetworkError> {
        self.call(MessageKind::Heartbeat, within, move |server| server.heartbeat(request)).await
    }

    async fn timeout_now(
        &self,
        request: TimeoutNowRequest<C::NodeId>,
        within: Duration,
    ) -> Result<TimeoutNowReply<C::NodeId>, NetworkError> {
        self.call(MessageKind::TimeoutNow, within, move |server| server.timeout_now(request)).await
    }

    async fn read_index(
        &self,
        request: ReadIndexRequest<C::NodeId>,
        within: Duration,
    ) -> Result<ReadIndexReply<C::NodeId>, NetworkError> {
        self.call(MessageKind::ReadIndex, within, move |server| server.read_index(request)).await
    }

    async fn append(
        &self,
        request: AppendEntriesRequest<C>,
        within: Duration,
    ) -> Result<AppendReply<C::NodeId>, NetworkError> {
        self.call(MessageKind::Append, within, move |server| server.append_entries(request)).await
    }

    fn append_stream(self: Arc<Self>, within: Duration) -> Box<dyn AppendStream<C>> {
        let link = (*self).clone();
        // The version is read first: a change in between breaks the stream instead of being missed by it.
        let version = self.shared.version();
        match self.shared.way(self.from, self.to) {
            Way::Open(server) => Box::new(OpenStream::new(link, within, version, Some(server))),
            Way::Gone | Way::Cut => Box::new(OpenStream::new(link, within, version, None)),
            Way::Faulty => Box::new(FaultyStream::new(link, within, version)),
        }
    }

    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        source: Box<dyn SnapshotSource>,
        within: Duration,
    ) -> Result<SnapshotReplyOf<C>, NetworkError> {
        let server = self.shared.server(self.to).ok_or_else(|| gone(self.to))?;
        let begun =
            async { server.begin_snapshot(header.clone()).await.map_err(|error| self.refusal(error)) };
        let mut sink = self.snapshot_step(within, begun).await?;
        if let Err(error) = self.send_chunks(&mut *sink, &*source, within).await {
            sink.abort().await;
            return Err(error);
        }
        let finished =
            async { server.finish_snapshot(header, sink).await.map_err(|error| self.refusal(error)) };
        self.snapshot_step(within, finished).await
    }
}
