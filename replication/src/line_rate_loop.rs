//! `line_rate_loop`: the task of one follower. This file holds its state and its turns; `sending` what it sends,
//! `replies` what it makes of the answers.
//!
//! A turn: wait for the first event, take what else is ready, read the clock once, see which deadlines have passed,
//! report, send. Everything that takes time (a log read, a heartbeat, a snapshot) is a future held in the task and
//! polled beside the others, so that none of them keeps the leader's heartbeats from the follower.

use std::collections::VecDeque;
use std::future::Future;

use futures::FutureExt;
use futures::future::BoxFuture;
use openraft_adapters::engine::{AppendReply, HeartbeatReply, Progress, Timestamp};
use openraft_adapters::{
    AppendStream, LogIdOf, NetworkError, RaftTypeConfig, Snapshot, SnapshotReplyOf, StorageError,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::backoff::Backoff;
use crate::fetch::{FetchError, Fetched, Source};
use crate::{LeaderUpdate, ReplicationContext, ReplicationHandle, ReplicationUpdate, Slot};

/// So many events are taken in one turn at most, so that a busy stream does not put off sending and reporting.
const MAX_EVENTS_PER_TURN: usize = 64;

/// Starts the task of one follower. It runs until its handle stops it or is dropped.
pub fn spawn_replication<C: RaftTypeConfig>(context: ReplicationContext<C>) -> ReplicationHandle<C> {
    let (session, inbox) = (context.session, context.inbox.clone());
    let env = context.env.clone();
    let task = env.spawn("replication", line_rate_loop(context));
    ReplicationHandle::new(session, inbox, task)
}

/// Replicates to one follower until it is told to stop: sends while the windows are open, never waits for one reply
/// before the next send, and probes when the pipe breaks.
async fn line_rate_loop<C: RaftTypeConfig>(context: ReplicationContext<C>) {
    LineRate::new(context).run().await;
}

/// The task's state.
pub(crate) struct LineRate<C: RaftTypeConfig> {
    pub(crate) ctx: ReplicationContext<C>,
    pub(crate) source: Source<C>,
    pub(crate) rng: SmallRng,
    pub(crate) progress: Progress<C::NodeId>,
    /// The core's updates, joined.
    pub(crate) latest: LeaderUpdate<C>,
    pub(crate) pipe: Pipe<C>,
    pub(crate) control: Control<C>,
    /// The log read under way. There is one at most, and while there is one no append is sent.
    pub(crate) fetch: Option<BoxFuture<'static, Result<Fetched<C>, FetchError>>>,
    /// The snapshot transfer under way.
    pub(crate) snapshot: Option<BoxFuture<'static, SnapshotStep<C>>>,
    /// The greatest committed log id that the follower was told of while it held it; `None` when that may be lost.
    pub(crate) told: Option<LogIdOf<C>>,
    /// The greatest position that any message has carried.
    pub(crate) position_sent: u64,
    pub(crate) report: ReplicationUpdate<C::NodeId>,
    reported: ReplicationUpdate<C::NodeId>,
    timer: Option<(Timestamp, BoxFuture<'static, ()>)>,
    pub(crate) ended: bool,
}

/// The data side: appends and snapshots.
pub(crate) struct Pipe<C: RaftTypeConfig> {
    /// Opened when there is something to send, dropped when it breaks.
    pub(crate) stream: Option<Box<dyn AppendStream<C>>>,
    /// The messages that wait for their replies, as [`Progress`] holds them.
    pub(crate) sent: VecDeque<Sent>,
    pub(crate) last_reply: Timestamp,
    /// While it waits, nothing is sent on this side. Whenever progress is paused, this waits.
    pub(crate) backoff: Backoff,
}

/// When a message was sent, and what a reply to it confirms.
pub(crate) struct Sent {
    pub(crate) position: u64,
    pub(crate) at: Timestamp,
}

/// The control side: heartbeats, one under way at most.
pub(crate) struct Control<C: RaftTypeConfig> {
    pub(crate) reply: Option<BoxFuture<'static, Result<HeartbeatReply<C::NodeId>, NetworkError>>>,
    pub(crate) sent: Sent,
    /// One was asked for, or lost.
    pub(crate) due: bool,
    pub(crate) backoff: Backoff,
}

/// How far a snapshot transfer has come.
pub(crate) enum SnapshotStep<C: RaftTypeConfig> {
    Chosen(Result<Option<Snapshot<C>>, StorageError>),
    Answered { last: Option<LogIdOf<C>>, position: u64, reply: Result<SnapshotReplyOf<C>, NetworkError> },
}

/// What a turn waits for.
pub(crate) enum Event<C: RaftTypeConfig> {
    Update(LeaderUpdate<C>),
    Heartbeat(Result<HeartbeatReply<C::NodeId>, NetworkError>),
    Append(Result<AppendReply<C::NodeId>, NetworkError>),
    Fetched(Result<Fetched<C>, FetchError>),
    Snapshot(SnapshotStep<C>),
    Timer,
}

impl<C: RaftTypeConfig> LineRate<C> {
    fn new(ctx: ReplicationContext<C>) -> Self {
        let source = Source { tail: ctx.tail.clone(), log: ctx.log.clone(), leader_id: ctx.vote.leader_id() };
        let backoff = || Backoff::new(ctx.config.backoff_min, ctx.config.backoff_max);
        let report = ReplicationUpdate::new(ctx.session, ctx.target);
        Self {
            source,
            rng: SmallRng::seed_from_u64(ctx.seed),
            progress: Progress::new(ctx.last, ctx.config.windows()),
            latest: LeaderUpdate { stop: false, ..LeaderUpdate::stop(ctx.session) },
            pipe: Pipe {
                stream: None,
                sent: VecDeque::new(),
                last_reply: Timestamp::ZERO,
                backoff: backoff(),
            },
            control: Control {
                reply: None,
                sent: Sent { position: 0, at: Timestamp::ZERO },
                due: false,
                backoff: backoff(),
            },
            fetch: None,
            snapshot: None,
            told: None,
            position_sent: 0,
            report,
            reported: report,
            timer: None,
            ended: false,
            ctx,
        }
    }

    async fn run(mut self) {
        let first = self.ctx.inbox.recv().await;
        self.turn(Event::Update(first));
        while !self.ended {
            let event = self.next_event().await;
            self.turn(event);
        }
        self.put_report();
    }

    /// One turn, which never waits.
    fn turn(&mut self, first: Event<C>) {
        let now = self.ctx.env.now();
        self.on_event(first, now);
        for _ in 1..MAX_EVENTS_PER_TURN {
            if self.ended {
                return;
            }
            let Some(event) = self.next_event().now_or_never() else { break };
            self.on_event(event, now);
        }
        self.expire(now);
        // The core waits for the report to commit; what is sent next may change it again.
        self.put_report();
        self.send_what_is_due(now);
        self.put_report();
        self.arm_timer();
    }

    /// The next thing that happens.
    ///
    /// # Cancellation
    /// Safe: all that it waits for is kept in the task.
    async fn next_event(&mut self) -> Event<C> {
        let inbox: &Slot<_> = &self.ctx.inbox;
        let stream = self.pipe.stream.as_mut().filter(|_| !self.pipe.sent.is_empty());
        tokio::select! {
            biased;
            update = inbox.recv() => Event::Update(update),
            reply = finish(&mut self.control.reply) => Event::Heartbeat(reply),
            reply = recv(stream) => Event::Append(reply),
            fetched = finish(&mut self.fetch) => Event::Fetched(fetched),
            step = finish(&mut self.snapshot) => Event::Snapshot(step),
            () = ring(&mut self.timer) => Event::Timer,
        }
    }

    fn on_event(&mut self, event: Event<C>, now: Timestamp) {
        match event {
            Event::Update(update) => self.on_update(update),
            Event::Heartbeat(reply) => self.on_heartbeat_reply(reply, now),
            Event::Append(reply) => self.on_append_reply(reply, now),
            Event::Fetched(fetched) => self.on_fetched(fetched, now),
            Event::Snapshot(step) => self.on_snapshot_step(step, now),
            Event::Timer => {}
        }
    }

    pub(crate) fn on_update(&mut self, update: LeaderUpdate<C>) {
        if update.stop || update.session != self.ctx.session {
            self.ended = true;
            return;
        }
        self.latest.last = update.last;
        self.latest.committed = update.committed;
        self.latest.state_hash = update.state_hash;
        self.latest.position = self.latest.position.max(update.position);
        self.control.due |= update.heartbeat;
    }

    /// Sees which deadlines have passed.
    fn expire(&mut self, now: Timestamp) {
        self.control.backoff.expire(now);
        if self.pipe.backoff.expire(now) {
            self.progress.resume();
        }
        let timeout = self.ctx.config.rpc_timeout;
        let lost = || NetworkError::Timeout { target: self.ctx.target.to_string(), after: timeout };
        let heartbeat = self.heartbeat_deadline().filter(|at| *at <= now).map(|_| lost());
        let append = self.append_deadline().filter(|at| *at <= now).map(|_| lost());
        if let Some(error) = heartbeat {
            self.control.reply = None;
            self.on_heartbeat_reply(Err(error), now);
        }
        if let Some(error) = append {
            self.on_broken(&error, now);
        }
    }

    fn heartbeat_deadline(&self) -> Option<Timestamp> {
        self.control.reply.as_ref().map(|_| self.control.sent.at + self.ctx.config.rpc_timeout)
    }

    /// Counted from the last reply where that is later than the sending: behind a full window on a slow line a message
    /// may wait longer than it takes to call one lost.
    fn append_deadline(&self) -> Option<Timestamp> {
        let oldest = self.pipe.sent.front()?;
        Some(oldest.at.max(self.pipe.last_reply) + self.ctx.config.rpc_timeout)
    }

    /// Arms the timer for the nearest deadline. One that was armed for an earlier instant is left as it is: it costs
    /// one turn in which nothing is due, where arming anew would cost work with every message. A task without
    /// deadlines is thus woken once more at most, and then no more.
    fn arm_timer(&mut self) {
        let deadlines = [
            self.control.backoff.until(),
            self.pipe.backoff.until(),
            self.heartbeat_deadline(),
            self.append_deadline(),
        ];
        let Some(nearest) = deadlines.into_iter().flatten().min() else { return };
        if self.timer.as_ref().is_none_or(|(armed, _)| *armed > nearest) {
            self.timer = Some((nearest, self.ctx.env.sleep_until(nearest)));
        }
    }

    /// Tells the core what has changed.
    fn put_report(&mut self) {
        self.report.matched = self.progress.matched();
        self.report.needed = self.progress.needed();
        if self.report != self.reported {
            self.reported = self.report;
            if self.ctx.outbox.put(self.report) {
                (self.ctx.wake)();
            }
        }
    }
}

/// Completes with the future held, which is then gone; never while none is held.
async fn finish<T>(held: &mut Option<BoxFuture<'static, T>>) -> T {
    let Some(future) = held else { return std::future::pending().await };
    let output = future.await;
    *held = None;
    output
}

/// The stream's next reply; never while no stream is given.
async fn recv<C: RaftTypeConfig>(
    stream: Option<&mut Box<dyn AppendStream<C>>>,
) -> Result<AppendReply<C::NodeId>, NetworkError> {
    match stream {
        Some(stream) => stream.recv().await,
        None => std::future::pending().await,
    }
}

/// Completes when the timer rings, which is then no longer armed.
async fn ring(timer: &mut Option<(Timestamp, impl Future<Output = ()> + Unpin)>) {
    let Some((_, sleep)) = timer else { return std::future::pending().await };
    sleep.await;
    *timer = None;
}
