//! From one node to another: calls, streams of appends, snapshots. A message that has left is under way whatever
//! becomes of its sender.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft_adapters::{
    AppendEntriesRequest, AppendStream, Env, NetworkError, RaftNetwork, RaftServer, RaftTypeConfig,
    ServerError, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSource,
};
use openraft_engine::{
    AppendReply, BasicNode, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest,
    TimeoutNowReply, TimeoutNowRequest, VoteReply, VoteRequest,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::clock::{sleep, sleep_until, virtual_now};
use super::coverage::Reached;
use super::network::Network;
use super::tasks::start;
use super::trace::Message;

type AppendAnswer = Result<AppendReply<u64>, NetworkError>;

/// A call that may arrive more than once.
type Call<C, T> =
    Arc<dyn Fn(Arc<dyn RaftServer<C>>) -> BoxFuture<'static, Result<T, ServerError>> + Send + Sync>;

/// From one node to another.
pub(super) struct Link<C: RaftTypeConfig> {
    network: Network<C>,
    from: u64,
    to: u64,
    env: Env,
}

impl<C: RaftTypeConfig> Clone for Link<C> {
    fn clone(&self) -> Self {
        Self { network: self.network.clone(), from: self.from, to: self.to, env: self.env.clone() }
    }
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> Link<C> {
    pub(super) fn new(network: Network<C>, from: u64, to: u64, env: Env) -> Self {
        Self { network, from, to, env }
    }

    fn unreachable(&self, why: impl ToString) -> NetworkError {
        NetworkError::unreachable_because(self.to, why)
    }

    fn refused(&self, error: &ServerError) -> NetworkError {
        NetworkError::unreachable(self.to, error)
    }

    /// There, the call, and back; a loss on either way is silence until the deadline.
    async fn call<T>(&self, message: Message, within: Duration, call: Call<C, T>) -> Result<T, NetworkError>
    where
        T: Into<Message> + Copy + Send + 'static,
    {
        let (answered, answer) = oneshot::channel();
        if self.network.arrives_twice() {
            start(self.clone().carry(message, call.clone(), None));
        }
        start(self.clone().carry(message, call, Some(answered)));
        let exchange = async {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => std::future::pending().await,
            }
        };
        let timeout = NetworkError::Timeout { target: self.to.to_string(), after: within };
        self.env.timeout(within, exchange).await.unwrap_or(Err(timeout))
    }

    /// One message on its way, and its answer.
    async fn carry<T: Into<Message> + Copy>(
        self,
        message: Message,
        call: Call<C, T>,
        answered: Option<oneshot::Sender<Result<T, NetworkError>>>,
    ) {
        let (network, from, to) = (&self.network, self.from, self.to);
        sleep(network.delay(from, to)).await;
        if answered.is_none() {
            sleep(network.delay(from, to)).await;
        }
        if !network.passes(from, to) {
            return;
        }
        let answer = match network.server(to) {
            None => Err(self.unreachable("it is down")),
            Some(server) => {
                network.delivered(from, to, message);
                call(server).await.map_err(|error| self.refused(&error))
            }
        };
        if let Ok(answer) = &answer {
            self.answers(message, (*answer).into());
        }
        let Some(answered) = answered else { return };
        sleep(network.delay(to, from)).await;
        if !network.passes(to, from) {
            return;
        }
        if let Ok(answer) = &answer {
            network.delivered(to, from, *answer);
        }
        // Whoever asked may have given up.
        let _ = answered.send(answer);
    }

    /// A node has answered: what it says must be so.
    fn answers(&self, asked: Message, answer: Message) {
        self.network.observer().invariants(|invariants| match (asked, answer) {
            (Message::Vote(asked), Message::VoteReply(reply)) => invariants.votes(&asked, &reply),
            (Message::Heartbeat(asked), Message::HeartbeatReply(reply)) => {
                invariants.answers_heartbeat(asked.to, &reply);
            }
            (Message::Append { header, .. }, Message::AppendReply(reply)) => {
                invariants.answers_append(header.to, &reply);
            }
            _ => {}
        });
    }

    fn leads(&self, vote: openraft_engine::Vote<u64>) {
        self.network.observer().invariants(|invariants| invariants.leads(vote));
    }
}

fn append_message<C>(request: &AppendEntriesRequest<C>) -> Message
where
    C: RaftTypeConfig<NodeId = u64, Node = BasicNode>,
{
    let (last, entries) = (request.entries.last_log_id(), request.entries.len());
    Message::Append { header: request.header, last, entries }
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> RaftNetwork<C> for Link<C> {
    async fn vote(
        &self,
        request: VoteRequest<u64>,
        within: Duration,
    ) -> Result<VoteReply<u64>, NetworkError> {
        self.network.observer().invariants(|invariants| invariants.asks_for_vote(&request));
        self.call(request.into(), within, Arc::new(move |server| server.vote(request))).await
    }

    async fn heartbeat(
        &self,
        request: HeartbeatRequest<u64>,
        within: Duration,
    ) -> Result<HeartbeatReply<u64>, NetworkError> {
        self.leads(request.vote);
        self.call(request.into(), within, Arc::new(move |server| server.heartbeat(request))).await
    }

    async fn timeout_now(
        &self,
        request: TimeoutNowRequest<u64>,
        within: Duration,
    ) -> Result<TimeoutNowReply<u64>, NetworkError> {
        self.call(request.into(), within, Arc::new(move |server| server.timeout_now(request))).await
    }

    async fn read_index(
        &self,
        request: ReadIndexRequest<u64>,
        within: Duration,
    ) -> Result<ReadIndexReply<u64>, NetworkError> {
        self.call(request.into(), within, Arc::new(move |server| server.read_index(request))).await
    }

    async fn append(&self, request: AppendEntriesRequest<C>, within: Duration) -> AppendAnswer {
        self.leads(request.header.vote);
        let message = append_message(&request);
        self.call(message, within, Arc::new(move |server| server.append_entries(request.clone()))).await
    }

    fn append_stream(self: Arc<Self>, within: Duration) -> Box<dyn AppendStream<C>> {
        let (requests, queue) = mpsc::unbounded_channel();
        let (answers_tx, answers) = mpsc::unbounded_channel();
        let link = (*self).clone();
        start(pump(link.clone(), queue, answers_tx));
        Box::new(Stream { link, within, requests, answers, arrives: virtual_now(), current: VecDeque::new() })
    }

    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        source: Box<dyn SnapshotSource>,
        within: Duration,
    ) -> Result<SnapshotReplyOf<C>, NetworkError> {
        let refused = |error: ServerError| self.refused(&error);
        let broken = |error: openraft_adapters::StorageError| NetworkError::unreachable(self.to, &error);
        let (network, from, to) = (&self.network, self.from, self.to);
        self.leads(header.vote);
        sleep(network.delay(from, to)).await;
        let server = network.server(to).ok_or_else(|| self.unreachable("it is down"))?;
        let mut sink = server.begin_snapshot(header.clone()).await.map_err(refused)?;
        let mut offset = 0;
        let chunk = 1 + source.len() as usize / 4;
        while offset < source.len() {
            sleep(network.delay(from, to) / 2).await;
            if !network.passes(from, to) {
                network.observer().count(Reached::SnapshotBroken);
                return Err(self.unreachable("the snapshot's stream broke"));
            }
            let bytes = source.read_at(offset, chunk).await.map_err(broken)?;
            network.delivered(from, to, Message::SnapshotChunk { offset, bytes: bytes.len() });
            offset += bytes.len() as u64;
            sink.write_at(offset - bytes.len() as u64, bytes).await.map_err(broken)?;
        }
        sleep(network.delay(from, to)).await;
        if !network.passes(from, to) {
            return Err(self.unreachable("the snapshot's stream broke at its end"));
        }
        network.delivered(from, to, Message::Snapshot { vote: header.vote, last: header.meta.last_log_id });
        // The last frame has arrived: what follows goes on whatever becomes of the sender.
        let (answered, answer) = oneshot::channel();
        let link = self.clone();
        start(async move {
            let Ok(reply) = server.finish_snapshot(header, sink).await else { return };
            sleep(link.network.delay(link.to, link.from)).await;
            if link.network.passes(link.to, link.from) {
                link.network.delivered(link.to, link.from, reply);
                let _ = answered.send(reply);
            }
        });
        let timeout = NetworkError::Timeout { target: to.to_string(), after: within };
        match self.env.timeout(within, answer).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(self.unreachable("the snapshot's stream broke on the way back")),
            Err(_) => Err(timeout),
        }
    }
}

/// Carries a stream's messages in order, also when their sender is gone. When it breaks, in the midst of a message, that
/// one and those behind it are lost.
async fn pump<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>>(
    link: Link<C>,
    mut queue: mpsc::UnboundedReceiver<(Instant, AppendEntriesRequest<C>)>,
    answers: mpsc::UnboundedSender<BoxFuture<'static, AppendAnswer>>,
) {
    let (from, to) = (link.from, link.to);
    while let Some((arrives, request)) = queue.recv().await {
        let network = link.network.clone();
        sleep_until(arrives).await;
        let Some(server) = network.server(to).filter(|_| network.passes(from, to)) else {
            network.observer().count(Reached::StreamBroken);
            network.observer().note(format!("n{from} > n{to}  the append stream breaks"));
            return;
        };
        let message = append_message(&request);
        network.delivered(from, to, message);
        let answer = server.append_entries(request);
        let link = link.clone();
        let carried = async move {
            let answer = answer.await.map_err(|error| link.refused(&error))?;
            link.answers(message, answer.into());
            sleep(link.network.delay(to, from) / 2).await;
            if !link.network.passes(to, from) {
                return Err(link.unreachable("the stream broke on the way back"));
            }
            link.network.delivered(to, from, answer);
            Ok(answer)
        };
        // If nobody waits for answers any more, the messages arrive all the same.
        if let Err(unwanted) = answers.send(carried.boxed()) {
            start(async move {
                let _ = unwanted.0.await;
            });
        }
    }
}

struct Stream<C: RaftTypeConfig> {
    link: Link<C>,
    within: Duration,
    requests: mpsc::UnboundedSender<(Instant, AppendEntriesRequest<C>)>,
    answers: mpsc::UnboundedReceiver<BoxFuture<'static, AppendAnswer>>,
    /// When the last message sent arrives: none overtakes another.
    arrives: Instant,
    /// The answer being waited for, kept so that `recv` can be given up without losing it.
    current: VecDeque<BoxFuture<'static, AppendAnswer>>,
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> AppendStream<C> for Stream<C> {
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError> {
        self.link.leads(request.header.vote);
        let delay = self.link.network.delay(self.link.from, self.link.to) / 2;
        self.arrives = self.arrives.max(virtual_now() + delay);
        let sent = self.requests.send((self.arrives, request));
        sent.map_err(|_| self.link.unreachable("the stream is broken"))
    }

    async fn recv(&mut self) -> AppendAnswer {
        if self.current.is_empty() {
            let next =
                self.answers.recv().await.ok_or_else(|| self.link.unreachable("the stream is broken"))?;
            let timeout = NetworkError::Timeout { target: self.link.to.to_string(), after: self.within };
            let (env, within) = (self.link.env.clone(), self.within);
            let bounded = async move { env.timeout(within, next).await.unwrap_or(Err(timeout)) };
            self.current.push_back(bounded.boxed());
        }
        let answer = self.current.front_mut().expect("just put there").await;
        self.current.clear();
        answer
    }
}
