//! The events of a run: each is counted, goes into the digest, and the last ones are kept for whoever reads a failure.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use openraft_engine::{
    AppendHeader, AppendReply, HeartbeatReply, HeartbeatRequest, LogId, ReadIndexReply, ReadIndexRequest,
    SnapshotReply, TimeoutNowReply, TimeoutNowRequest, Vote, VoteReply, VoteRequest,
};

/// What one node says to another.
#[derive(Clone, Copy, Hash)]
pub(super) enum Message {
    Vote(VoteRequest<u64>),
    VoteReply(VoteReply<u64>),
    Heartbeat(HeartbeatRequest<u64>),
    HeartbeatReply(HeartbeatReply<u64>),
    TimeoutNow(TimeoutNowRequest<u64>),
    TimeoutNowReply(TimeoutNowReply<u64>),
    ReadIndex(ReadIndexRequest<u64>),
    ReadIndexReply(ReadIndexReply<u64>),
    Append { header: AppendHeader<u64>, last: Option<LogId<u64>>, entries: usize },
    AppendReply(AppendReply<u64>),
    SnapshotChunk { offset: u64, bytes: usize },
    Snapshot { vote: Vote<u64>, last: Option<LogId<u64>> },
    SnapshotReply(SnapshotReply<u64>),
}

macro_rules! messages {
    ($($variant:ident: $type:ident),* $(,)?) => {
        $(impl From<$type<u64>> for Message {
            fn from(message: $type<u64>) -> Self {
                Message::$variant(message)
            }
        })*
    };
}

messages! {
    Vote: VoteRequest,
    VoteReply: VoteReply,
    Heartbeat: HeartbeatRequest,
    HeartbeatReply: HeartbeatReply,
    TimeoutNow: TimeoutNowRequest,
    TimeoutNowReply: TimeoutNowReply,
    ReadIndex: ReadIndexRequest,
    ReadIndexReply: ReadIndexReply,
    AppendReply: AppendReply,
    SnapshotReply: SnapshotReply,
}

/// A log id, or a dash before the first one.
struct At(Option<LogId<u64>>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(log_id) => write!(f, "{log_id}"),
            None => f.write_str("-"),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Vote(m) => {
                let what = if m.pre_vote { "would you vote" } else { "vote" };
                write!(f, "{what} for {} log {}", m.vote, At(m.last_log_id))?;
                if let Some(deposed) = m.deposes { write!(f, " deposing {deposed}") } else { Ok(()) }
            }
            Message::VoteReply(m) => {
                let what = if m.granted { "granted" } else { "refused" };
                let pre = if m.pre_vote { "pre-vote " } else { "" };
                write!(f, "{pre}{what}, at {} log {}", m.vote, At(m.last_log_id))
            }
            Message::Heartbeat(m) => {
                write!(f, "heartbeat {} committed {} position {}", m.vote, At(m.committed), m.position)
            }
            Message::HeartbeatReply(m) => {
                let what = if m.accepted { "follows" } else { "does not follow" };
                write!(f, "{what}, at {} position {} promises {:?}", m.vote, m.position, m.promised)
            }
            Message::TimeoutNow(m) => write!(f, "campaign now, {} log {}", m.vote, At(m.last_log_id)),
            Message::TimeoutNowReply(m) => write!(f, "campaigns: {}, at {}", m.accepted, m.vote),
            Message::ReadIndex(_) => f.write_str("read index?"),
            Message::ReadIndexReply(m) => write!(f, "read index {:?}", m.result),
            Message::Append { header, last, entries } => write!(
                f,
                "append {} after {} up to {} ({entries} entries) committed {} position {}",
                header.vote,
                At(header.prev_log_id),
                At(*last),
                At(header.committed),
                header.position
            ),
            Message::AppendReply(m) => write!(f, "{:?}, at {} position {}", m.result, m.vote, m.position),
            Message::SnapshotChunk { offset, bytes } => {
                write!(f, "snapshot bytes {offset} to {}", *offset + *bytes as u64)
            }
            Message::Snapshot { vote, last } => write!(f, "snapshot {vote} up to {}", At(*last)),
            Message::SnapshotReply(m) => write!(f, "snapshot {:?}, at {}", m.result, m.vote),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Hash)]
#[allow(clippy::large_enum_variant)] // Most events are messages.
pub(super) enum Event {
    /// A message arrived.
    Delivered { from: u64, to: u64, message: Message },
    /// So many writes became durable.
    Flushed { node: u64, writes: usize },
    /// A deadline was reached.
    Timer { node: u64 },
    /// An entry was applied.
    Applied { node: u64, log_id: LogId<u64>, payload: u64 },
    /// A client begins or ends an operation.
    Client(String),
    /// Something was broken, or mended.
    Fault { number: u64, what: String },
    /// Whatever else a reader wants to know.
    Note(String),
}

impl Event {
    /// Whether it counts as a step: a delivered message, an I/O completion, a timer, a client operation or a fault.
    fn is_step(&self) -> bool {
        !matches!(self, Event::Applied { .. } | Event::Note(_))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Delivered { from, to, message } => write!(f, "n{from} > n{to}  {message}"),
            Event::Flushed { node, writes } => write!(f, "n{node} disk: {writes} writes are durable"),
            Event::Timer { node } => write!(f, "n{node} timer"),
            Event::Applied { node, log_id, .. } => write!(f, "n{node} applies {log_id}"),
            Event::Client(what) => write!(f, "{what}"),
            Event::Fault { number, what } => write!(f, "FAULT {number}: {what}"),
            Event::Note(what) => f.write_str(what),
        }
    }
}

/// The events of a run so far.
pub(super) struct Trace {
    /// With fixed keys: the same events give the same digest in every process.
    hasher: DefaultHasher,
    steps: u64,
    /// How many of the last events are kept.
    shown: usize,
    /// With the step and the microsecond at which each happened.
    recent: VecDeque<(u64, u64, Event)>,
}

impl Trace {
    pub(super) fn new(shown: usize) -> Self {
        Self { hasher: DefaultHasher::new(), steps: 0, shown, recent: VecDeque::new() }
    }

    pub(super) fn push(&mut self, micros: u64, event: Event) {
        self.steps += u64::from(event.is_step());
        micros.hash(&mut self.hasher);
        event.hash(&mut self.hasher);
        if self.recent.len() >= self.shown {
            self.recent.pop_front();
        }
        self.recent.push_back((self.steps, micros, event));
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn digest(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last events, oldest first, in words.
    pub(super) fn recent(&self) -> Vec<String> {
        let line = |(step, micros, event): &(u64, u64, Event)| {
            format!("step {step:>6}  {:>10.3} ms  {event}", *micros as f64 / 1_000.0)
        };
        self.recent.iter().map(line).collect()
    }
}
