//! What a caller is told: one small enum for each operation.

use openraft_adapters::{MembershipOf, NetworkError, RaftTypeConfig, StorageError};
use openraft_engine::Replica;

use crate::InvalidConfig;

/// The node has stopped and does nothing any more, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The log store or the state machine failed. Mend the cause, then start the node anew on the same directory.
    #[error("the node stopped because its storage failed: {0}")]
    Storage(#[from] StorageError),
    /// A defect: an invariant did not hold, or the state machine panicked.
    #[error("the node stopped because of a panic: {0}")]
    Panicked(String),
    /// It was asked to.
    #[error("the node was shut down")]
    Stopped,
}

/// This node does not lead; who does, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node is not the leader{}", .leader.as_ref().map(|(id, _)| format!("; node {id} is")).unwrap_or_else(|| ", and it knows of none".into()))]
pub struct ForwardToLeader<C: RaftTypeConfig> {
    /// The leader, with what the membership says of it.
    pub leader: Option<(C::NodeId, C::Node)>,
}

impl<C: RaftTypeConfig> ForwardToLeader<C> {
    /// The leader with what `membership` says of it.
    pub(crate) fn of(membership: &MembershipOf<C>, leader: Option<C::NodeId>) -> Self {
        let nodes = membership.nodes();
        Self { leader: leader.and_then(|id| nodes.get(&id).map(|member| (id, member.node.clone()))) }
    }
}

/// Why a write has no reply. All but [`OutcomeUnknown`](WriteError::OutcomeUnknown) and
/// [`Fatal`](WriteError::Fatal) mean that it is certainly in no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<C: RaftTypeConfig> {
    /// Not proposed: ask the leader.
    #[error(transparent)]
    NotLeader(#[from] ForwardToLeader<C>),
    /// Not proposed: a limit of bytes on their way is reached. Try again after a pause.
    #[error("overloaded: {held} of {limit} bytes {by}")]
    Overloaded {
        /// Which limit.
        by: WriteLimit,
        /// Bytes that count for it.
        held: u64,
        /// How many may be.
        limit: u64,
    },
    /// Not proposed: larger than `max_proposal_bytes`.
    #[error("the proposal has {size} bytes, the limit is {limit}: cut it up, or raise max_proposal_bytes")]
    TooLarge {
        /// Bytes of its stored form.
        size: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// Not proposed: its deadline passed before it was its turn.
    #[error("the write's deadline passed before it was proposed")]
    NotProposedInTime,
    /// It was proposed, and may be committed now, later or never.
    #[error("the outcome is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: &'static str,
    },
    /// The node has stopped. If the write was proposed before, its outcome is unknown.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Which limit a write met that was refused as overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteLimit {
    /// Half of `memory_budget_bytes`: everything on its way holds as much.
    Memory,
    /// `max_uncommitted_bytes`: a quorum is slow, or away.
    Uncommitted,
    /// `max_unapplied_bytes`: the state machine is slow.
    Unapplied,
}

impl std::fmt::Display for WriteLimit {
    /// What the bytes are doing, and what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WriteLimit::Memory => {
                "are held by writes on their way; try again later, or raise memory_budget_bytes"
            }
            WriteLimit::Uncommitted => {
                "wait for a quorum to commit them; try again later, and see which followers are slow or away \
                 (or raise max_uncommitted_bytes)"
            }
            WriteLimit::Unapplied => {
                "are committed and wait for the state machine; try again later, and see why it is slow \
                 (or raise max_unapplied_bytes)"
            }
        })
    }
}

impl<C: RaftTypeConfig> WriteError<C> {
    /// Whether the write may still take effect.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, WriteError::OutcomeUnknown { .. } | WriteError::Fatal(_))
    }
}

/// Why a linearizable read is not served. Nothing was read; asking again does no harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError<C: RaftTypeConfig> {
    /// Ask the leader.
    #[error(transparent)]
    NotLeader(#[from] ForwardToLeader<C>),
    /// Too many reads wait. Try again after a pause.
    #[error("overloaded: max_waiting_reads wait already; try again later")]
    Overloaded,
    /// No quorum confirmed the leader in time, or this node had not applied in time what the leader named.
    #[error(
        "no quorum confirmed the leader, or this node did not catch up with it, before the read's deadline"
    )]
    TimedOut,
    /// The leader that this node follows did not answer its question for the read index. It may be gone: another one
    /// will be elected.
    #[error("the leader, node {leader}, was asked for the read index and gave no answer: {error}")]
    Unanswered {
        /// Who was asked.
        leader: C::NodeId,
        /// What came instead.
        error: NetworkError,
    },
    /// The node has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError<C: RaftTypeConfig> {
    /// Ask the leader.
    #[error(transparent)]
    NotLeader(#[from] ForwardToLeader<C>),
    /// It cannot be, or was not in time; this node leads on.
    #[error(transparent)]
    Refused(openraft_engine::TransferRefused<C::NodeId>),
    /// The node has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why the membership was not changed. All but a refusal of [`ChangeRefused::LeadershipLost`] and
/// [`Fatal`](ChangeMembershipError::Fatal) mean that nothing was begun.
///
/// [`ChangeRefused::LeadershipLost`]: openraft_engine::ChangeRefused::LeadershipLost
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeMembershipError<C: RaftTypeConfig> {
    /// Ask the leader.
    #[error(transparent)]
    NotLeader(#[from] ForwardToLeader<C>),
    /// The leader refuses, or lost its leadership meanwhile.
    #[error(transparent)]
    Refused(openraft_engine::ChangeRefused<C::NodeId>),
    /// The node has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why a cluster was not initialised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitializeError<C: RaftTypeConfig> {
    /// The list or the node's history forbids it.
    #[error(transparent)]
    Refused(openraft_engine::InitializeError<C::NodeId>),
    /// The node has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why a node did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError<C: RaftTypeConfig> {
    /// The configuration cannot work.
    #[error("the configuration cannot work: {0}")]
    Config(#[from] InvalidConfig),
    /// Store or state machine cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log belongs to a cluster in which this node has another store.
    #[error("the log says that node {} runs on another store than {me}: was a directory copied?", me.node_id)]
    OtherStore {
        /// This node on its store.
        me: Replica<C::NodeId>,
    },
    /// The state machine is older than its own snapshot: entries between the two would never be applied.
    #[error(
        "the state machine has applied up to {applied:?}, but its own snapshot reaches to {snapshot:?}: \
         it must restore the snapshot before it says what it has applied"
    )]
    BehindSnapshot {
        /// The last entry applied.
        applied: Option<u64>,
        /// The last entry that the snapshot covers.
        snapshot: Option<u64>,
    },
    /// Log and state machine do not fit together: entries are missing between them.
    #[error(
        "the state machine has applied up to {applied:?}, but the log holds {purged:?} to {last:?}: \
         they are not of one time; restore both from one backup, or wipe the node and add it anew"
    )]
    Gap {
        /// The last entry applied.
        applied: Option<u64>,
        /// The last entry purged.
        purged: Option<u64>,
        /// The last entry of the log.
        last: Option<u64>,
    },
}
