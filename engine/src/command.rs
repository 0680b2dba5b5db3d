//! What the engine orders: plain data, carried out by whoever drives it.
//!
//! Commands run on lanes: the log (`SaveVote`, `AppendInputEntries`, `AppendOwnEntry`, `TruncateLog`, `PurgeLog`), the
//! state machine (`LeaderCommit`, `FollowerCommit`, `BuildSnapshot`, `InstallSnapshot`), and one lane for each peer.
//! Within a lane they are submitted in the order in which they were emitted; the lanes are free against each other.
//! Nothing needs to be held back: the engine emits what depends on another lane only when it has been told.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    AppendReply, ChangePrecondition, HeartbeatReply, InvalidChange, LeaderId, LogId, Membership, Node,
    NodeId, ReadIndexReply, Replica, SnapshotMeta, SnapshotReply, TimeoutNowReply, TimeoutNowRequest, Vote,
    VoteReply, VoteRequest,
};

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Command<NID: NodeId, N: Node> {
    /// Log lane: save the vote as write `io`.
    SaveVote {
        /// The write's number; report it with [`Engine::handle_log_flushed`](crate::Engine::handle_log_flushed).
        io: u64,
        /// What to save.
        vote: Vote<NID>,
        /// To be saved with it, as one: the longest promise that may be given under it, see
        /// [`SavedVote`](crate::SavedVote).
        promise_cap: Duration,
    },
    /// Log lane: append these of the entries just handed in, proposed or received, as write `io`. They become part of
    /// the log in memory at once.
    AppendInputEntries {
        /// The write's number.
        io: u64,
        /// The first index.
        first: u64,
        /// The last entry.
        last: LogId<NID>,
    },
    /// Log lane: append an entry that the engine itself writes.
    AppendOwnEntry {
        /// The write's number.
        io: u64,
        /// Its place.
        log_id: LogId<NID>,
        /// What it holds.
        payload: OwnPayload<NID, N>,
    },
    /// Log lane: drop the entries from `since` on.
    TruncateLog {
        /// The write's number.
        io: u64,
        /// The first index dropped.
        since: u64,
    },
    /// Log lane: drop the entries up to `upto`, which a durable snapshot covers.
    PurgeLog {
        /// The write's number.
        io: u64,
        /// The last entry dropped; the whole log, if it does not hold this entry.
        upto: LogId<NID>,
    },
    /// Log lane, without a completion: note what is committed, to shorten the next recovery.
    SaveCommitted {
        /// What is committed and applied here.
        committed: LogId<NID>,
    },
    /// State machine lane: apply these entries and answer the writes that wait for them.
    LeaderCommit {
        /// The first index.
        since: u64,
        /// The last entry.
        upto: LogId<NID>,
    },
    /// State machine lane: apply these entries. Writes that wait for them, from a time of leadership before, are
    /// answered too.
    FollowerCommit {
        /// The first index.
        since: u64,
        /// The last entry.
        upto: LogId<NID>,
    },
    /// State machine lane: build a snapshot of what is applied when it is this command's turn; report it with
    /// [`Engine::handle_snapshot_built`](crate::Engine::handle_snapshot_built).
    BuildSnapshot,
    /// State machine lane: install the received snapshot; report it with
    /// [`Engine::handle_snapshot_installed`](crate::Engine::handle_snapshot_installed).
    InstallSnapshot {
        /// Which.
        meta: SnapshotMeta<NID, N>,
    },
    /// Start and stop replication tasks. Those not named go on.
    RebuildReplications {
        /// The followers that get a task.
        start: Vec<ReplicationTarget<NID, N>>,
        /// The sessions whose tasks end.
        stop: Vec<u64>,
    },
    /// Peer lanes, all followers: the log now reaches `last`.
    ReplicateInputEntries {
        /// The last entry.
        last: LogId<NID>,
    },
    /// Peer lanes, all followers: this is committed.
    ReplicateCommitted {
        /// Up to here.
        committed: LogId<NID>,
    },
    /// Peer lanes, all followers: send a heartbeat with this position.
    SendHeartbeat {
        /// The position drawn.
        position: u64,
    },
    /// Ask `to` for its vote.
    SendVote {
        /// Whom.
        to: NID,
        /// Where it is found.
        node: N,
        /// What.
        request: VoteRequest<NID>,
    },
    /// Tell `to`, which holds the whole log, to campaign at once.
    SendTimeoutNow {
        /// Whom.
        to: NID,
        /// Where it is found.
        node: N,
        /// What.
        request: TimeoutNowRequest<NID>,
    },
    /// Answer the call that came with `token`.
    Respond {
        /// Which.
        token: u64,
        /// What.
        reply: Reply<NID>,
    },
    /// Answer every write proposed here at `since` or later: its outcome is unknown, for this node leads no more.
    AbandonWrites {
        /// The first index that is not known to be committed.
        since: u64,
    },
}

impl<NID: NodeId, N: Node> Command<NID, N> {
    /// The number of the log write that this command orders; `None` if it orders none that is reported.
    pub fn io(&self) -> Option<u64> {
        match self {
            Command::SaveVote { io, .. }
            | Command::AppendInputEntries { io, .. }
            | Command::AppendOwnEntry { io, .. }
            | Command::TruncateLog { io, .. }
            | Command::PurgeLog { io, .. } => Some(*io),
            _ => None,
        }
    }
}

/// An entry that the engine writes itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum OwnPayload<NID: NodeId, N: Node> {
    /// A new leader's first entry.
    Blank,
    /// A membership.
    Membership(Membership<NID, N>),
}

/// A follower that is to be replicated to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct ReplicationTarget<NID: NodeId, N: Node> {
    /// Who, and on which store.
    pub replica: Replica<NID>,
    /// Where it is found.
    pub node: N,
    /// Names this task; what it reports carries it.
    pub session: u64,
    /// The last entry of the leader's log when the task starts.
    pub last: Option<LogId<NID>>,
}

/// An answer to a call that came with a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Reply<NID: NodeId> {
    /// To [`Engine::handle_vote_request`](crate::Engine::handle_vote_request).
    Vote(VoteReply<NID>),
    /// To [`Engine::handle_heartbeat`](crate::Engine::handle_heartbeat).
    Heartbeat(HeartbeatReply<NID>),
    /// To [`Engine::handle_timeout_now`](crate::Engine::handle_timeout_now).
    TimeoutNow(TimeoutNowReply<NID>),
    /// To [`Engine::change_membership`](crate::Engine::change_membership): the entry that states the uniform membership
    /// in which the change ended is committed; or why there is no change, or none that is known to have ended.
    Membership(Result<LogId<NID>, ChangeRefused<NID>>),
    /// To [`Engine::transfer_leader`](crate::Engine::transfer_leader): this node leads no more, or still does and why.
    Transfer(Result<(), TransferRefused<NID>>),
    /// To [`Engine::handle_append`](crate::Engine::handle_append).
    Append(AppendReply<NID>),
    /// To [`Engine::handle_install_snapshot`](crate::Engine::handle_install_snapshot).
    Snapshot(SnapshotReply<NID>),
    /// To [`Engine::initialize`](crate::Engine::initialize); durable if it is `Ok`.
    Initialize(Result<(), InitializeError<NID>>),
    /// To [`Engine::read_index`](crate::Engine::read_index): everything up to this entry is applied here, and it
    /// was the newest committed one when the read came; or to
    /// [`Engine::await_applied`](crate::Engine::await_applied).
    Read(Result<LogId<NID>, ReadRefused<NID>>),
    /// To [`Engine::handle_read_index`](crate::Engine::handle_read_index).
    ReadIndex(ReadIndexReply<NID>),
}

/// Why a cluster was not initialised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(bound = "")]
pub enum InitializeError<NID: NodeId> {
    /// There is a log or a vote already: the node belongs to a cluster.
    #[error(
        "the node has a history already (last entry {last_log_id:?}, vote {vote}); it was initialised before"
    )]
    NotAllowed {
        /// The last entry.
        last_log_id: Option<LogId<NID>>,
        /// The vote.
        vote: Vote<NID>,
    },
    /// The initial list does not name this node on this store.
    #[error("the initial list does not hold this node, {me}, on the store it runs on")]
    NotInList {
        /// This node.
        me: Replica<NID>,
    },
    /// The initial list is not a membership.
    #[error("the initial list is no membership: {0}")]
    Invalid(String),
}

/// Why a membership was not changed. All but [`LeadershipLost`](ChangeRefused::LeadershipLost) mean that nothing was
/// begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(bound = "")]
pub enum ChangeRefused<NID: NodeId> {
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who leads, as far as it is known.
        leader: Option<NID>,
    },
    /// Leadership is being handed over.
    #[error("leadership is being handed to node {to}; ask again when that is over")]
    Transferring {
        /// To whom.
        to: NID,
    },
    /// This leadership has just begun: its first entry is not committed yet (Ongaro, "bug in single-server membership
    /// changes", 2015).
    #[error("this leadership has just begun; ask again when its first entry is committed")]
    NotReady,
    /// Another change is under way.
    #[error("another membership change is under way, to {}", list(.voters))]
    InProgress {
        /// The entry that states how far it has come.
        log_id: LogId<NID>,
        /// The voters it leads to.
        voters: BTreeSet<NID>,
    },
    /// A precondition does not hold.
    #[error(
        "{expected}, which does not hold: the membership is that of {}, the log ends with {}, and {leader} leads",
        named(.membership), named(.last_log)
    )]
    Precondition {
        /// What was asked for.
        expected: ChangePrecondition<NID>,
        /// The entry that states the membership in force.
        membership: Option<LogId<NID>>,
        /// The last entry of the log.
        last_log: Option<LogId<NID>>,
        /// The leader.
        leader: LeaderId<NID>,
    },
    /// The change does not lead to a membership.
    #[error(transparent)]
    Invalid(InvalidChange<NID>),
    /// A node that would become a voter lags behind, so that the cluster would wait for it (thesis 4.2.1).
    #[error(
        "node {id} has not caught up: it holds the log up to {} of {}{}; add it as a learner that is promoted by itself, or ask again later",
        index(.matched), index(.last), if *.reachable { "" } else { ", and does not answer" }
    )]
    NotCaughtUp {
        /// The node.
        id: NID,
        /// The last index that is known to be durable there.
        matched: Option<u64>,
        /// The last index of the leader's log.
        last: Option<u64>,
        /// Whether it answers.
        reachable: bool,
    },
    /// Leadership was lost while the change was under way: whoever leads next finishes it, or it never was.
    #[error(
        "leadership was lost after the change had begun; whether it takes effect is open: look at the membership"
    )]
    LeadershipLost,
}

/// A log id that may be missing, as an operator reads it.
fn named<NID: NodeId>(log_id: &Option<LogId<NID>>) -> String {
    log_id.map_or_else(|| "nothing".to_owned(), |log_id| log_id.to_string())
}

/// An index that may be missing, as an operator reads it.
fn index(index: &Option<u64>) -> String {
    index.map_or_else(|| "nothing".to_owned(), |index| format!("index {index}"))
}

/// The ids, as an operator reads them.
fn list<NID: NodeId>(ids: &BTreeSet<NID>) -> String {
    let names: Vec<String> = ids.iter().map(NID::to_string).collect();
    format!("{{{}}}", names.join(","))
}

/// Why a read is not served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum ReadRefused<NID: NodeId> {
    /// This node does not lead, or ceased to while the read waited.
    NotLeader {
        /// Who leads, as far as it is known.
        leader: Option<NID>,
    },
    /// Too many reads wait already.
    Overloaded,
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(bound = "")]
pub enum TransferRefused<NID: NodeId> {
    /// This node does not lead, or ceased to for another reason meanwhile.
    #[error("this node does not lead")]
    NotLeader {
        /// Who leads, as far as it is known.
        leader: Option<NID>,
    },
    /// The one asked for is no other voter, or there is none that answers.
    #[error("there is no such voter besides this node that answers")]
    NoTarget,
    /// Another transfer is under way.
    #[error("leadership is being handed to node {to} already")]
    InProgress {
        /// To whom.
        to: NID,
    },
    /// The target did not take over in time; this node leads on and serves again.
    #[error("node {to} did not take over in time; this node leads on")]
    TimedOut {
        /// The target.
        to: NID,
    },
}
