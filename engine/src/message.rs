//! What nodes say to one another.
//!
//! Every message states its sender's [`Replica`] identity; the receiver counts nothing from a store that its own
//! membership does not name. A request states besides the log id of the entry that admitted the sender (`admitted`, see
//! [`Member::admitted`](crate::Member::admitted)): a receiver whose log still names an earlier store of that node
//! listens only to a later admission. A leader's message states the store it is meant for (`to`), so that a store which
//! is in no cluster yet can tell that it has been admitted to one.
//!
//! Entries travel beside these headers, in the type of whoever carries them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{LogId, Membership, NodeId, ReadRefused, Replica, StoreId, StoredMembership, Vote};

/// A candidate asks for a vote (paper, RequestVote).
///
/// Sent only once the vote and every entry it advertises are durable at the candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteRequest<NID> {
    /// The candidate.
    pub from: Replica<NID>,
    /// The entry that admitted the candidate's store.
    pub admitted: Option<LogId<NID>>,
    /// Whether it only wants to know if it would get the vote (pre-vote, thesis 9.6): nobody promises or writes
    /// anything then. Part of the request, so that no network adapter can leave it out.
    pub pre_vote: bool,
    /// The vote it asks for, not committed.
    pub vote: Vote<NID>,
    /// The last entry of its log.
    pub last_log_id: Option<LogId<NID>>,
    /// The leader's vote that ordered this campaign, by a transfer of leadership: a voter that follows exactly this vote
    /// is released from its promise to it. `None` for a campaign of the candidate's own.
    pub deposes: Option<Vote<NID>>,
}

/// The answer to a [`VoteRequest`]. A grant leaves only once it is durable; that of a pre-vote at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteReply<NID> {
    /// The voter.
    pub from: Replica<NID>,
    /// Whether this answers a pre-vote.
    pub pre_vote: bool,
    /// The voter's own vote when it answered: the one asked for if granted.
    pub vote: Vote<NID>,
    /// Whether the vote is granted.
    pub granted: bool,
    /// The last entry of the voter's log: tells a refused candidate why.
    pub last_log_id: Option<LogId<NID>>,
    /// Whether the voter's committed membership excludes the candidate, whose log ends before that membership.
    pub removed: bool,
}

/// A leader says that it leads, how far the follower may commit, and at which position it asks to be confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatRequest<NID> {
    /// The leader.
    pub from: Replica<NID>,
    /// The entry that admitted the leader's store.
    pub admitted: Option<LogId<NID>>,
    /// The store that the message is for.
    pub to: StoreId,
    /// Its committed vote.
    pub vote: Vote<NID>,
    /// The lesser of what the follower is known to hold and what is committed.
    pub committed: Option<LogId<NID>>,
    /// The leader's latest position; a reply confirms that the sender still led when it was drawn.
    pub position: u64,
    /// For how long the follower is asked to promise, on its own clock from the receipt on, to vote for nobody else.
    pub promise: Duration,
    /// What the leader's state machine amounts to at an entry that all nodes hash, if its author provides for it.
    pub state_hash: Option<StateHash>,
}

/// A state machine's hash of itself after the entry at `index`: equal on every node whose `apply` is deterministic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateHash {
    /// The last entry applied.
    pub index: u64,
    /// The hash, by a function of the application's choice that is the same on every node.
    pub hash: u64,
}

/// The answer to a [`HeartbeatRequest`], once the vote it came under is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HeartbeatReply<NID> {
    /// The follower.
    pub from: Replica<NID>,
    /// The follower's vote; greater than the request's if the sender leads no more.
    pub vote: Vote<NID>,
    /// The position of the request.
    pub position: u64,
    /// Whether the follower follows the request's vote.
    pub accepted: bool,
    /// For how long it promises, from the receipt of the request on; zero if it does not.
    pub promised: Duration,
}

/// A leader that hands over tells the chosen follower to campaign at once (thesis 3.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNowRequest<NID> {
    /// The leader.
    pub from: Replica<NID>,
    /// The entry that admitted the leader's store.
    pub admitted: Option<LogId<NID>>,
    /// Its committed vote; only a node that follows exactly this one campaigns.
    pub vote: Vote<NID>,
    /// The entry that the follower must hold: the last of the leader's log, or of a leader that was removed the last
    /// committed one.
    pub last_log_id: Option<LogId<NID>>,
}

/// The answer to a [`TimeoutNowRequest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeoutNowReply<NID> {
    /// The follower.
    pub from: Replica<NID>,
    /// The follower's vote before it campaigns.
    pub vote: Vote<NID>,
    /// Whether it campaigns.
    pub accepted: bool,
}

/// The head of an AppendEntries message (paper, AppendEntries); the entries follow it without a gap after
/// `prev_log_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendHeader<NID> {
    /// The leader.
    pub from: Replica<NID>,
    /// The entry that admitted the leader's store.
    pub admitted: Option<LogId<NID>>,
    /// The store that the message is for.
    pub to: StoreId,
    /// Its committed vote; no entry carries a greater leader id.
    pub vote: Vote<NID>,
    /// The entry that precedes the first one sent.
    pub prev_log_id: Option<LogId<NID>>,
    /// What the leader has committed.
    pub committed: Option<LogId<NID>>,
    /// See [`HeartbeatRequest::position`].
    pub position: u64,
    /// See [`HeartbeatRequest::promise`].
    pub promise: Duration,
}

/// The answer to an append. A match is acknowledged once the entries, and the vote they came under, are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AppendReply<NID> {
    /// The follower.
    pub from: Replica<NID>,
    /// The follower's vote when it answered.
    pub vote: Vote<NID>,
    /// The position of the request.
    pub position: u64,
    /// What became of the entries.
    pub result: AppendResult<NID>,
    /// See [`HeartbeatReply::promised`].
    pub promised: Duration,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AppendResult<NID> {
    /// The follower's durable log equals the leader's up to here, and no claim is made beyond.
    Matched(Option<LogId<NID>>),
    /// The follower holds another entry, or none, at the request's `prev_log_id`. `hint` is the greatest of its log
    /// ids that is neither behind that index nor of a greater leader id: everything between need not be tried.
    Conflict {
        /// Where the leader should probe next.
        hint: Option<LogId<NID>>,
    },
    /// The sender's vote is less than the reply's vote, or not comparable to it.
    HigherVote,
    /// The follower has no memory or no leisure for entries now; it holds what it held. Probe again after a pause.
    Busy,
    /// The follower is in no cluster yet, or the sender is not of the one it is in.
    Refused,
}

/// Describes a snapshot: state up to and including `last_log_id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "NID: Serialize, N: Serialize",
    deserialize = "NID: Deserialize<'de> + Ord, N: Deserialize<'de>"
))]
pub struct SnapshotMeta<NID: Ord, N> {
    /// The last entry whose effect is in the snapshot.
    pub last_log_id: Option<LogId<NID>>,
    /// The membership in force at `last_log_id`.
    pub membership: StoredMembership<NID, N>,
    /// A name for logs and files, unique on the node that built it.
    pub snapshot_id: String,
}

impl<NID: Ord, N> SnapshotMeta<NID, N> {
    /// The membership, without the entry that stated it.
    pub fn members(&self) -> &Membership<NID, N> {
        &self.membership.membership
    }
}

/// The head of a snapshot transfer; the content follows on a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "NID: Serialize, N: Serialize",
    deserialize = "NID: Deserialize<'de> + Ord, N: Deserialize<'de>"
))]
pub struct SnapshotHeader<NID: Ord, N> {
    /// The leader.
    pub from: Replica<NID>,
    /// The entry that admitted the leader's store.
    pub admitted: Option<LogId<NID>>,
    /// The store that the message is for.
    pub to: StoreId,
    /// Its committed vote.
    pub vote: Vote<NID>,
    /// See [`HeartbeatRequest::position`].
    pub position: u64,
    /// What the content is.
    pub meta: SnapshotMeta<NID, N>,
}

/// The answer to a snapshot, once it is durable and installed, or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotReply<NID> {
    /// The follower.
    pub from: Replica<NID>,
    /// The follower's vote when it answered.
    pub vote: Vote<NID>,
    /// The position of the request.
    pub position: u64,
    /// What became of it: [`AppendResult::Matched`] with at least the snapshot's last log id, or a refusal.
    pub result: AppendResult<NID>,
}

/// A follower asks its leader up to where a linearizable read of its own state machine must wait (thesis 6.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReadIndexRequest<NID> {
    /// The follower.
    pub from: Replica<NID>,
}

/// The answer to a [`ReadIndexRequest`], once a quorum has confirmed that its sender led when the request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReadIndexReply<NID: NodeId> {
    /// The leader.
    pub from: Replica<NID>,
    /// The entry that the follower must have applied, or why the read is not served.
    pub result: Result<LogId<NID>, ReadRefused<NID>>,
}

/// What the engine reads of an entry. The payload never reaches it.
pub trait RaftEntry<NID: Ord, N> {
    /// Where the entry stands and who proposed it.
    fn log_id(&self) -> LogId<NID>;

    /// What it weighs in memory, in bytes.
    fn size(&self) -> u64;

    /// The membership it states, if it is a membership entry.
    fn membership(&self) -> Option<&Membership<NID, N>>;
}
