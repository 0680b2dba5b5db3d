//! A network that delays, loses, breaks streams and can be cut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft_adapters::{
    AppendEntriesRequest, AppendStream, Env, NetworkError, RaftNetwork, RaftNetworkFactory, RaftServer,
    ServerError, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSource,
};
use openraft_engine::{
    AppendReply, BasicNode, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest,
    TimeoutNowReply, TimeoutNowRequest, VoteReply, VoteRequest,
};
use tokio::sync::mpsc;

use super::Types;
use super::runtime::{Chance, sleep};
use super::trace::Trace;

type AppendAnswer = Result<AppendReply<u64>, NetworkError>;

/// The network of one run.
#[derive(Clone)]
pub(super) struct Network {
    shared: Arc<Shared>,
}

struct Shared {
    chance: Chance,
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    servers: BTreeMap<u64, Arc<dyn RaftServer<Types>>>,
    /// Directed links that carry nothing.
    cut: BTreeSet<(u64, u64)>,
    /// One message in so many is lost; none if zero.
    lose_one_in: u32,
}

impl Network {
    pub(super) fn new(chance: Chance, trace: Trace) -> Self {
        Self { shared: Arc::new(Shared { chance, trace, state: Mutex::default() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, id: u64, server: Arc<dyn RaftServer<Types>>) {
        self.state().servers.insert(id, server);
    }

    pub(super) fn unregister(&self, id: u64) {
        self.state().servers.remove(&id);
    }

    /// Cuts the link from `from` to `to`, in this direction.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.state().cut.insert((from, to));
    }

    /// Makes every link whole; from now on one message in `lose_one_in` is lost.
    pub(super) fn heal(&self, lose_one_in: u32) {
        let mut state = self.state();
        state.cut.clear();
        state.lose_one_in = lose_one_in;
    }

    /// One-way delay: mostly short, now and then long.
    fn delay(&self) -> Duration {
        let chance = &self.shared.chance;
        if chance.one_in(50) { chance.micros(20_000, 300_000) } else { chance.micros(200, 5_000) }
    }

    /// Whether a message gets through.
    fn passes(&self, from: u64, to: u64) -> bool {
        let (cut, lose) = {
            let state = self.state();
            (state.cut.contains(&(from, to)), state.lose_one_in)
        };
        !cut && (lose == 0 || !self.shared.chance.one_in(lose))
    }

    fn server(&self, id: u64) -> Option<Arc<dyn RaftServer<Types>>> {
        self.state().servers.get(&id).cloned()
    }

    /// The network as node `from` sees it.
    pub(super) fn of(&self, from: u64, env: Env) -> Arc<dyn RaftNetworkFactory<Types>> {
        Arc::new(Factory { network: self.clone(), from, env })
    }
}

struct Factory {
    network: Network,
    from: u64,
    env: Env,
}

impl RaftNetworkFactory<Types> for Factory {
    fn network(&self, target: u64, _node: &BasicNode) -> Arc<dyn RaftNetwork<Types>> {
        Arc::new(Link { network: self.network.clone(), from: self.from, to: target, env: self.env.clone() })
    }
}

/// From one node to another.
#[derive(Clone)]
struct Link {
    network: Network,
    from: u64,
    to: u64,
    env: Env,
}

impl Link {
    fn unreachable(&self, why: impl ToString) -> NetworkError {
        NetworkError::unreachable_because(self.to, why)
    }

    fn refused(&self, error: &ServerError) -> NetworkError {
        NetworkError::unreachable(self.to, error)
    }

    /// There, the call, and back; a loss on either way is silence until the deadline.
    async fn call<T: Debug>(
        &self,
        what: String,
        within: Duration,
        call: impl FnOnce(Arc<dyn RaftServer<Types>>) -> BoxFuture<'static, Result<T, ServerError>>,
    ) -> Result<T, NetworkError> {
        let network = &self.network;
        let exchange = async {
            sleep(network.delay()).await;
            if !network.passes(self.from, self.to) {
                return std::future::pending().await;
            }
            let server = network.server(self.to).ok_or_else(|| self.unreachable("it is down"))?;
            network.shared.trace.note(format!("n{} > n{} {what}", self.from, self.to));
            let answer = call(server).await.map_err(|error| self.refused(&error))?;
            sleep(network.delay()).await;
            if !network.passes(self.to, self.from) {
                return std::future::pending().await;
            }
            network.shared.trace.note(format!("n{} > n{} {answer:?}", self.to, self.from));
            Ok(answer)
        };
        let timeout = NetworkError::Timeout { target: self.to.to_string(), after: within };
        self.env.timeout(within, exchange).await.unwrap_or(Err(timeout))
    }
}

#[async_trait]
impl RaftNetwork<Types> for Link {
    async fn vote(
        &self,
        request: VoteRequest<u64>,
        within: Duration,
    ) -> Result<VoteReply<u64>, NetworkError> {
        self.call(format!("{request:?}"), within, |server| server.vote(request)).await
    }

    async fn heartbeat(
        &self,
        request: HeartbeatRequest<u64>,
        within: Duration,
    ) -> Result<HeartbeatReply<u64>, NetworkError> {
        self.network.shared.trace.saw_leader(request.vote);
        self.call(format!("{request:?}"), within, |server| server.heartbeat(request)).await
    }

    async fn timeout_now(
        &self,
        request: TimeoutNowRequest<u64>,
        within: Duration,
    ) -> Result<TimeoutNowReply<u64>, NetworkError> {
        self.call(format!("{request:?}"), within, |server| server.timeout_now(request)).await
    }

    async fn read_index(
        &self,
        request: ReadIndexRequest<u64>,
        within: Duration,
    ) -> Result<ReadIndexReply<u64>, NetworkError> {
        self.call(format!("{request:?}"), within, |server| server.read_index(request)).await
    }

    async fn append(&self, request: AppendEntriesRequest<Types>, within: Duration) -> AppendAnswer {
        self.network.shared.trace.saw_leader(request.header.vote);
        self.call(format!("{request:?}"), within, |server| server.append_entries(request)).await
    }

    fn append_stream(self: Arc<Self>, within: Duration) -> Box<dyn AppendStream<Types>> {
        let (requests, queue) = mpsc::unbounded_channel();
        let (answers_tx, answers) = mpsc::unbounded_channel();
        let link = (*self).clone();
        self.env.spawn("stream", pump(link, queue, answers_tx));
        Box::new(Stream { link: (*self).clone(), within, requests, answers, current: VecDeque::new() })
    }

    async fn snapshot(
        &self,
        header: SnapshotHeaderOf<Types>,
        source: Box<dyn SnapshotSource>,
        within: Duration,
    ) -> Result<SnapshotReplyOf<Types>, NetworkError> {
        let what = format!("snapshot {:?} under {}", header.meta.last_log_id, header.vote);
        let refused = |error: ServerError| self.refused(&error);
        let begin = header.clone();
        let transfer = async {
            sleep(self.network.delay()).await;
            let server = self.network.server(self.to).ok_or_else(|| self.unreachable("it is down"))?;
            let mut sink = server.begin_snapshot(begin).await.map_err(refused)?;
            let mut offset = 0;
            while offset < source.len() {
                sleep(self.network.delay()).await;
                if !self.network.passes(self.from, self.to) {
                    return Err(self.unreachable("the snapshot's stream broke"));
                }
                let chunk =
                    source.read_at(offset, 64).await.map_err(|e| NetworkError::unreachable(self.to, &e))?;
                offset += chunk.len() as u64;
                sink.write_at(offset - chunk.len() as u64, chunk)
                    .await
                    .map_err(|e| NetworkError::unreachable(self.to, &e))?;
            }
            Ok(sink)
        };
        let sink = transfer.await?;
        self.call(what, within, move |server| server.finish_snapshot(header, sink)).await
    }
}

/// Carries a stream's messages in order. When it breaks, those that follow are lost with it.
async fn pump(
    link: Link,
    mut queue: mpsc::UnboundedReceiver<AppendEntriesRequest<Types>>,
    answers: mpsc::UnboundedSender<BoxFuture<'static, AppendAnswer>>,
) {
    while let Some(request) = queue.recv().await {
        let network = link.network.clone();
        network.shared.trace.saw_leader(request.header.vote);
        sleep(network.delay() / 4).await;
        let Some(server) = network.server(link.to).filter(|_| network.passes(link.from, link.to)) else {
            network.shared.trace.note(format!("n{} > n{} stream breaks", link.from, link.to));
            return;
        };
        network.shared.trace.note(format!("n{} > n{} {request:?}", link.from, link.to));
        let answer = server.append_entries(request);
        let link = link.clone();
        let carried = async move {
            let answer = answer.await.map_err(|error| link.refused(&error))?;
            sleep(link.network.delay() / 4).await;
            if !link.network.passes(link.to, link.from) {
                return Err(link.unreachable("the stream broke on the way back"));
            }
            link.network.shared.trace.note(format!("n{} > n{} {answer:?}", link.to, link.from));
            Ok(answer)
        };
        if answers.send(carried.boxed()).is_err() {
            return;
        }
    }
}

struct Stream {
    link: Link,
    within: Duration,
    requests: mpsc::UnboundedSender<AppendEntriesRequest<Types>>,
    answers: mpsc::UnboundedReceiver<BoxFuture<'static, AppendAnswer>>,
    /// The answer being waited for, kept so that `recv` can be given up without losing it.
    current: VecDeque<BoxFuture<'static, AppendAnswer>>,
}

#[async_trait]
impl AppendStream<Types> for Stream {
    fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), NetworkError> {
        self.requests.send(request).map_err(|_| self.link.unreachable("the stream is broken"))
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
