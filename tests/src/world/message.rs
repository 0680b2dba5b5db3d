//! What is under way between nodes: visible values which whoever holds the world delivers, repeats or loses.

use std::fmt;
use std::sync::Arc;

use openraft_engine::{
    AppendHeader, AppendReply, AppendResult, HeartbeatReply, HeartbeatRequest, LogId, ReadIndexReply,
    ReadIndexRequest, SnapshotHeader, SnapshotReply, TimeoutNowReply, TimeoutNowRequest, Vote, VoteReply,
    VoteRequest,
};

use super::canon::fingerprint;
use super::entry::{Address, Entry};

/// Names a message of a replication task, so that its reply finds the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The leader's life.
    pub(super) life: u64,
    pub(super) session: u64,
    /// The stream of appends, counted from the session's beginning; unused by calls of their own.
    pub(super) stream: u64,
    /// The message's number on its stream, or of the call. A reply to a message that came out of its stream's order
    /// has number 0 and finds no way back.
    pub(super) number: u64,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A candidate, or who would be one, asks for a vote.
    VoteRequest(VoteRequest<u64>),
    /// The answer, and the vote asked for.
    VoteReply(Vote<u64>, VoteReply<u64>),
    /// A leader says that it leads.
    Heartbeat(Stamp, HeartbeatRequest<u64>),
    /// The answer.
    HeartbeatReply(Stamp, HeartbeatReply<u64>),
    /// Entries.
    Append(Stamp, AppendHeader<u64>, Vec<Arc<Entry>>),
    /// The answer.
    AppendReply(Stamp, AppendReply<u64>),
    /// A snapshot, whole: everything that was applied up to it.
    Snapshot(Stamp, SnapshotHeader<u64, Address>, Vec<Arc<Entry>>),
    /// The answer.
    SnapshotReply(Stamp, SnapshotReply<u64>),
    /// Campaign at once.
    TimeoutNow(TimeoutNowRequest<u64>),
    /// The answer.
    TimeoutNowReply(TimeoutNowReply<u64>),
    /// A follower asks how far it must have applied to serve a read; the question's number.
    ReadIndex(u64, ReadIndexRequest<u64>),
    /// The answer to that question.
    ReadIndexReply(u64, ReadIndexReply<u64>),
}

impl Message {
    /// The word by which scripts name this kind of message.
    pub fn kind(&self) -> &'static str {
        match self {
            Message::VoteRequest(request) if request.pre_vote => "pre-vote",
            Message::VoteRequest(_) => "vote",
            Message::VoteReply(_, reply) if reply.pre_vote => "pre-vote-reply",
            Message::VoteReply(..) => "vote-reply",
            Message::Heartbeat(..) => "heartbeat",
            Message::HeartbeatReply(..) => "heartbeat-reply",
            Message::Append(..) => "append",
            Message::AppendReply(..) => "append-reply",
            Message::Snapshot(..) => "snapshot",
            Message::SnapshotReply(..) => "snapshot-reply",
            Message::TimeoutNow(_) => "timeout-now",
            Message::TimeoutNowReply(_) => "timeout-now-reply",
            Message::ReadIndex(..) => "read-index",
            Message::ReadIndexReply(..) => "read-index-reply",
        }
    }
}

/// Every word of [`Message::kind`].
pub const KINDS: [&str; 14] = [
    "pre-vote",
    "pre-vote-reply",
    "vote",
    "vote-reply",
    "heartbeat",
    "heartbeat-reply",
    "append",
    "append-reply",
    "snapshot",
    "snapshot-reply",
    "timeout-now",
    "timeout-now-reply",
    "read-index",
    "read-index-reply",
];

/// A message, who sent it and whom to.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The sender.
    pub from: u64,
    /// The receiver.
    pub to: u64,
    /// What it says.
    pub message: Message,
    fingerprint: u64,
    /// Counts the messages sent in a world.
    pub(super) number: u64,
}

impl Envelope {
    pub(super) fn new(from: u64, to: u64, message: Message) -> Self {
        let fingerprint = fingerprint(&(from, to, &message));
        Self { from, to, message, fingerprint, number: 0 }
    }

    /// The same message, sent as so-manieth.
    pub(super) fn numbered(&self, number: u64) -> Self {
        Self { number, ..self.clone() }
    }

    /// A number that messages which are equal have in common, and others have not.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{} {}", self.from, self.to, self.message)
    }
}

/// A log id, or `none` for what is before the first.
pub fn place(id: Option<LogId<u64>>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Message::VoteRequest(request) => {
                write!(f, " for {}, log ends {}", request.vote, place(request.last_log_id))
            }
            Message::VoteReply(asked, reply) if reply.granted => write!(f, " grants {asked}"),
            Message::VoteReply(asked, reply) if reply.removed => {
                write!(f, " refuses {asked}: removed from the cluster")
            }
            Message::VoteReply(asked, reply) => {
                write!(f, " refuses {asked}: has {}, log ends {}", reply.vote, place(reply.last_log_id))
            }
            Message::Heartbeat(_, request) => write!(
                f,
                " {}, committed {}, position {}",
                request.vote,
                place(request.committed),
                request.position
            ),
            Message::HeartbeatReply(_, reply) if reply.accepted => {
                write!(f, " confirms position {}", reply.position)
            }
            Message::HeartbeatReply(_, reply) => write!(f, " refuses: has {}", reply.vote),
            Message::Append(_, header, entries) => {
                write!(f, " {}, after {}: ", header.vote, place(header.prev_log_id))?;
                match (entries.first(), entries.last()) {
                    (Some(first), Some(last)) if entries.len() > 1 => {
                        write!(f, "{} to {}", first.log_id, last.log_id)?;
                    }
                    (Some(only), _) => write!(f, "{}", only.log_id)?,
                    _ => f.write_str("no entries")?,
                }
                write!(f, ", committed {}", place(header.committed))
            }
            Message::AppendReply(_, reply) => result(f, reply.vote, reply.result),
            Message::Snapshot(_, header, _) => {
                write!(f, " {}, up to {}", header.vote, place(header.meta.last_log_id))
            }
            Message::SnapshotReply(_, reply) => result(f, reply.vote, reply.result),
            Message::TimeoutNow(request) => {
                write!(f, " {}, if the log reaches {}", request.vote, place(request.last_log_id))
            }
            Message::TimeoutNowReply(reply) => {
                f.write_str(if reply.accepted { " campaigns" } else { " does not campaign" })
            }
            Message::ReadIndex(..) => Ok(()),
            Message::ReadIndexReply(_, reply) => match &reply.result {
                Ok(log_id) => write!(f, " {log_id}"),
                Err(refused) => write!(f, " refuses: {refused:?}"),
            },
        }
    }
}

fn result(f: &mut fmt::Formatter<'_>, vote: Vote<u64>, result: AppendResult<u64>) -> fmt::Result {
    match result {
        AppendResult::Matched(matched) => write!(f, " matched {}", place(matched)),
        AppendResult::Conflict { hint } => write!(f, " conflict, try after {}", place(hint)),
        AppendResult::HigherVote => write!(f, " refuses: has {vote}"),
        AppendResult::Busy => f.write_str(" busy"),
        AppendResult::Refused => f.write_str(" refuses"),
    }
}
