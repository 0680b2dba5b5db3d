//! What reaches the core: `RaftMsg` from callers, peers and replication, `Notification` from its own I/O.

use openraft_adapters::{
    AppendEntriesRequest, LogIdOf, NetworkError, RaftTypeConfig, SnapshotHeaderOf, SnapshotMetaOf,
    SnapshotReplyOf, StorageError, VoteOf,
};
use openraft_engine::{
    AppendHeader, AppendReply, ChangePrecondition, ChangeRefused, HeartbeatReply, HeartbeatRequest,
    InitialNodes, InitializeError, MembershipChange, ReadIndexReply, ReadIndexRequest, ReadRefused,
    StateHash, TimeoutNowReply, TimeoutNowRequest, Timestamp, TransferRefused, VoteReply, VoteRequest,
};
use tokio::sync::oneshot;

use crate::gate::Place;
use crate::{Fatal, ReadPolicy, WriteError};

/// The reply to a write that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteReply<C: RaftTypeConfig> {
    /// Where the write stands.
    pub log_id: LogIdOf<C>,
    /// What the state machine answered.
    pub reply: C::R,
}

pub(crate) type WriteResult<C> = Result<WriteReply<C>, WriteError<C>>;

/// A write on its way to the core.
pub(crate) struct ClientWriteRequest<C: RaftTypeConfig> {
    pub(crate) data: C::D,
    /// What its entry will weigh; held in the budget.
    pub(crate) weight: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) tx: oneshot::Sender<WriteResult<C>>,
}

/// A peer that waits for an answer. It keeps its place among the peers' messages until it is answered, also when it no
/// longer waits: what the core holds for peers is thus bounded, however fast they give up and ask again.
pub(crate) struct PeerCall<T> {
    tx: oneshot::Sender<T>,
    _place: Place,
}

impl<T> PeerCall<T> {
    pub(crate) fn new(tx: oneshot::Sender<T>, place: Place) -> Self {
        Self { tx, _place: place }
    }

    /// The peer may have gone: that is its own business.
    pub(crate) fn answer(self, reply: T) {
        let _ = self.tx.send(reply);
    }
}

/// A message to the core.
pub(crate) enum RaftMsg<C: RaftTypeConfig> {
    /// A peer's append; the entries' weight is held in the budget.
    AppendEntries { request: AppendEntriesRequest<C>, tx: PeerCall<AppendReply<C::NodeId>> },
    /// A peer's append for whose entries there is no memory.
    AppendWithoutRoom { header: AppendHeader<C::NodeId>, tx: PeerCall<AppendReply<C::NodeId>> },
    /// A peer's heartbeat.
    Heartbeat { request: HeartbeatRequest<C::NodeId>, tx: PeerCall<HeartbeatReply<C::NodeId>> },
    /// A leader's order to campaign at once.
    TimeoutNow { request: TimeoutNowRequest<C::NodeId>, tx: PeerCall<TimeoutNowReply<C::NodeId>> },
    /// A follower's question for the read index.
    ReadIndex { request: ReadIndexRequest<C::NodeId>, tx: PeerCall<ReadIndexReply<C::NodeId>> },
    /// A peer's vote request.
    Vote { request: VoteRequest<C::NodeId>, tx: PeerCall<VoteReply<C::NodeId>> },
    /// A peer's snapshot, received and durable.
    InstallSnapshot { header: SnapshotHeaderOf<C>, tx: PeerCall<SnapshotReplyOf<C>> },
    /// A caller forms a cluster.
    Initialize {
        nodes: InitialNodes<C::NodeId, C::Node>,
        tx: oneshot::Sender<Result<(), InitializeError<C::NodeId>>>,
    },
    /// A caller wants to read.
    EnsureLinearizable { policy: ReadPolicy, deadline: Timestamp, tx: oneshot::Sender<ReadResult<C>> },
    /// A caller changes the membership.
    ChangeMembership {
        change: MembershipChange<C::NodeId, C::Node>,
        preconditions: Vec<ChangePrecondition<C::NodeId>>,
        tx: oneshot::Sender<Result<LogIdOf<C>, ChangeRefused<C::NodeId>>>,
    },
    /// A caller hands leadership over.
    TransferLeader { to: Option<C::NodeId>, tx: oneshot::Sender<Result<(), TransferRefused<C::NodeId>>> },
    /// A caller wants something done now; whether there was anything to do.
    Trigger { what: Triggered, tx: oneshot::Sender<bool> },
    /// A replication task has put a report into its outbox.
    UpdateReplicationMatched { target: C::NodeId, session: u64 },
    /// A peer has answered a vote request.
    VoteReplied { asked: VoteOf<C>, reply: VoteReply<C::NodeId> },
    /// The leader has answered this node's question `number` for the read index, or has not.
    ReadIndexAnswered { number: u64, answer: Result<ReadIndexReply<C::NodeId>, NetworkError> },
    /// A caller stops the node.
    Shutdown { deadline: Timestamp },
}

/// What a caller may want done now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Triggered {
    Elect,
    Heartbeat,
    Snapshot,
    ForgetLeader,
}

/// What became of a read: the entry up to which the state machine has applied, or why not.
pub(crate) type ReadResult<C> = Result<LogIdOf<C>, ReadFailure<<C as RaftTypeConfig>::NodeId>>;

/// Why a read was not served.
#[derive(Clone, Debug)]
pub(crate) enum ReadFailure<NID: openraft_engine::NodeId> {
    Refused(ReadRefused<NID>),
    /// The leader that this node asked did not answer.
    Unanswered {
        leader: NID,
        error: NetworkError,
    },
    TimedOut,
}

/// What the core's own I/O tells it.
pub(crate) enum Notification<C: RaftTypeConfig> {
    /// The log lane is durable through write `io`, or failed.
    LogFlushed { io: u64, result: Result<(), StorageError> },
    /// The state machine has applied everything up to `log_id`.
    Applied { log_id: LogIdOf<C> },
    /// The state machine has hashed itself.
    StateHashed { own: StateHash },
    /// A snapshot was built, or not.
    SnapshotBuilt { result: Result<SnapshotMetaOf<C>, StorageError> },
    /// A received snapshot was installed, or not.
    SnapshotInstalled { result: Result<(), StorageError> },
    /// The state machine cannot go on.
    StateMachineFailed { fatal: Fatal },
}
