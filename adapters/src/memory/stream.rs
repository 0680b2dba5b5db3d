//! Streams of appends: one that costs next to nothing while the way is open, and one whose messages meet faults.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use openraft_engine::{AppendReply, Timestamp};
use tokio::sync::mpsc;

use super::faults::{Fate, MessageKind};
use super::link::MemNetwork;
use super::router::{Way, gone};
use crate::{AppendEntriesRequest, AppendStream, Env, NetworkError, RaftServer, RaftTypeConfig, ServerError};

type ReplyOf<C> = AppendReply<<C as RaftTypeConfig>::NodeId>;

/// The deadline of the oldest message without a reply. All messages of a stream have the same time allowed, so one
/// timer is enough, and it is set anew only when it has run out for a message that was answered in time.
struct OldestDeadline {
    timer: Option<BoxFuture<'static, ()>>,
}

impl OldestDeadline {
    /// Ready when `deadline` has passed.
    fn poll(&mut self, env: &Env, deadline: Timestamp, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let timer = self.timer.get_or_insert_with(|| env.sleep_until(deadline));
            if timer.poll_unpin(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            if env.now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

/// A message on its way and back.
struct InFlight<C: RaftTypeConfig> {
    deadline: Timestamp,
    /// `None` if it is lost.
    reply: Option<BoxFuture<'static, Result<ReplyOf<C>, ServerError>>>,
}

/// A stream without faults. It looks at the topology only when that has changed.
pub(super) struct OpenStream<C: RaftTypeConfig> {
    link: MemNetwork<C>,
    within: Duration,
    version: u64,
    /// The node at the other end; `None` once the way is cut: then this message and all later ones are lost.
    server: Option<Arc<dyn RaftServer<C>>>,
    /// The way back has been cut: no reply arrives any more.
    deaf: bool,
    in_flight: VecDeque<InFlight<C>>,
    oldest: OldestDeadline,
    broken: Option<NetworkError>,
}

impl<C: RaftTypeConfig> OpenStream<C> {
    pub(super) fn new(
        link: MemNetwork<C>,
        within: Duration,
        version: u64,
        server: Option<Arc<dyn RaftServer<C>>>,
    ) -> Self {
        let deaf = link.shared.is_cut(link.to, link.from);
        let oldest = OldestDeadline { timer: None };
        let in_flight = VecDeque::new();
        let mut stream = Self { link, within, version, server, deaf, in_flight, oldest, broken: None };
        if stream.server.is_none() {
            stream.look_again();
        }
        stream
    }

    fn look_again(&mut self) {
        let (from, to) = (self.link.from, self.link.to);
        self.version = self.link.shared.version();
        match (self.link.shared.way(from, to), &self.server) {
            (Way::Gone, _) => self.broken = Some(gone(to)),
            (Way::Faulty, _) => {
                self.broken = Some(NetworkError::unreachable_because(to, "faults were set on the way"));
            }
            (Way::Open(now), Some(before)) if !Arc::ptr_eq(&now, before) => {
                self.broken = Some(NetworkError::unreachable_because(to, "the node was started anew"));
            }
            (Way::Cut, _) => self.server = None,
            (Way::Open(_), _) => {}
        }
        if self.link.shared.is_cut(to, from) {
            // Replies already on their way are lost with all that would follow.
            self.deaf = true;
            self.in_flight.iter_mut().for_each(|message| message.reply = None);
        }
    }

    fn check(&mut self) -> Result<(), NetworkError> {
        if self.version != self.link.shared.version() {
            self.look_again();
        }
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReplyOf<C>, NetworkError>> {
        let Some(message) = self.in_flight.front_mut() else { return Poll::Pending };
        let answer = match &mut message.reply {
            Some(reply) => reply.poll_unpin(cx),
            None => Poll::Pending,
        };
        if let Poll::Ready(answer) = answer {
            self.in_flight.pop_front();
            return Poll::Ready(answer.map_err(|error| self.link.refusal(error)));
        }
        let deadline = message.deadline;
        self.oldest.poll(&self.link.env, deadline, cx).map(|()| Err(self.link.timeout(self.within)))
    }
}

#[async_trait]
impl<C: RaftTypeConfig> AppendStream<C> for OpenStream<C> {
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError> {
        self.check()?;
        let reply = self.server.as_ref().map(|server| server.append_entries(request)).filter(|_| !self.deaf);
        self.in_flight.push_back(InFlight { deadline: self.link.env.now() + self.within, reply });
        Ok(())
    }

    async fn recv(&mut self) -> Result<ReplyOf<C>, NetworkError> {
        let result = poll_fn(|cx| match self.check() {
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => self.poll_reply(cx),
        });
        let result = result.await;
        if let Err(error) = &result {
            self.broken = Some(error.clone());
        }
        result
    }
}

/// A stream whose messages meet faults, in both directions, and arrive in order.
pub(super) struct FaultyStream<C: RaftTypeConfig> {
    link: MemNetwork<C>,
    within: Duration,
    version: u64,
    requests: mpsc::UnboundedSender<(Timestamp, AppendEntriesRequest<C>)>,
    /// A message was lost, and with it all that follow.
    lost: bool,
    /// From the task that delivers: the answers to come, in order.
    delivered: mpsc::UnboundedReceiver<BoxFuture<'static, Result<ReplyOf<C>, NetworkError>>>,
    replies: FuturesOrdered<BoxFuture<'static, Result<ReplyOf<C>, NetworkError>>>,
    deadlines: VecDeque<Timestamp>,
    oldest: OldestDeadline,
    broken: Option<NetworkError>,
}

impl<C: RaftTypeConfig> FaultyStream<C> {
    pub(super) fn new(link: MemNetwork<C>, within: Duration, version: u64) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        let (deliveries, delivered) = mpsc::unbounded_channel();
        let carrier = link.clone();
        link.env.spawn("mem-stream", carry(carrier, queue, deliveries));
        Self {
            link,
            within,
            version,
            requests,
            lost: false,
            delivered,
            replies: FuturesOrdered::new(),
            deadlines: VecDeque::new(),
            oldest: OldestDeadline { timer: None },
            broken: None,
        }
    }

    fn check(&mut self) -> Result<(), NetworkError> {
        let version = self.link.shared.version();
        if self.version != version {
            self.version = version;
            match self.link.shared.way(self.link.from, self.link.to) {
                // A cut is met by the fate of each message.
                Way::Faulty => {}
                Way::Gone => self.broken = Some(gone(self.link.to)),
                Way::Cut | Way::Open(_) => {
                    let reason = "faults were cleared from the way";
                    self.broken = Some(NetworkError::unreachable_because(self.link.to, reason));
                }
            }
        }
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<ReplyOf<C>, NetworkError>> {
        while let Poll::Ready(Some(reply)) = self.delivered.poll_recv(cx) {
            self.replies.push_back(reply);
        }
        if let Poll::Ready(Some(reply)) = self.replies.poll_next_unpin(cx) {
            self.deadlines.pop_front();
            return Poll::Ready(reply);
        }
        let Some(deadline) = self.deadlines.front() else { return Poll::Pending };
        self.oldest.poll(&self.link.env, *deadline, cx).map(|()| Err(self.link.timeout(self.within)))
    }
}

/// Delivers the requests of one stream, each when it is due and none before the one ahead of it. Ends when the stream
/// is dropped and what it had sent is delivered: a message may arrive after its sender has given up.
async fn carry<C: RaftTypeConfig>(
    link: MemNetwork<C>,
    mut queue: mpsc::UnboundedReceiver<(Timestamp, AppendEntriesRequest<C>)>,
    deliveries: mpsc::UnboundedSender<BoxFuture<'static, Result<ReplyOf<C>, NetworkError>>>,
) {
    let connected_to = link.shared.server(link.to);
    while let Some((due, request)) = queue.recv().await {
        if link.env.now() < due {
            link.env.sleep_until(due).await;
        }
        if link.shared.is_cut(link.from, link.to) {
            // Lost with all that follows, of which the sender learns by its deadline only.
            while queue.recv().await.is_some() {}
            return;
        }
        let server = match (link.shared.server(link.to), &connected_to) {
            (Some(now), Some(then)) if Arc::ptr_eq(&now, then) => now,
            _ => {
                let broken = gone(link.to);
                let _ = deliveries.send(Box::pin(async { Err(broken) }));
                return;
            }
        };
        let answer = server.append_entries(request);
        let link = link.clone();
        let reply = async move {
            let answer = answer.await.map_err(|error| link.refusal(error))?;
            match link.fate(MessageKind::Append, true) {
                Fate::Deliver => {}
                Fate::Delay(delay) => link.env.sleep(delay).await,
                Fate::Drop => pending().await,
            }
            Ok(answer)
        };
        // The answers belong to the stream; nobody waits for them once it is dropped.
        let _ = deliveries.send(Box::pin(reply));
    }
}

#[async_trait]
impl<C: RaftTypeConfig> AppendStream<C> for FaultyStream<C> {
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError> {
        self.check()?;
        let now = self.link.env.now();
        self.deadlines.push_back(now + self.within);
        let delay = match self.link.fate(MessageKind::Append, false) {
            Fate::Deliver => Duration::ZERO,
            Fate::Delay(delay) => delay,
            Fate::Drop => {
                self.lost = true;
                return Ok(());
            }
        };
        if !self.lost {
            // The task takes requests for as long as this stream lives, unless it has reported why not.
            let _ = self.requests.send((now + delay, request));
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<ReplyOf<C>, NetworkError> {
        let result = poll_fn(|cx| match self.check() {
            Err(error) => Poll::Ready(Err(error)),
            Ok(()) => self.poll_reply(cx),
        });
        let result = result.await;
        if let Err(error) = &result {
            self.broken = Some(error.clone());
        }
        result
    }
}
