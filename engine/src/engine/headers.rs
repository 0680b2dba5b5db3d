//! What every message of a leader states besides its content, filled in.

use std::time::Duration;

use super::{Engine, Promised, ReplicationReport};
use crate::{
    AppendHeader, HeartbeatRequest, LogId, Node, NodeId, Progress, ReplicationTarget, SnapshotHeader,
    SnapshotMeta, StoreId, Vote,
};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// The head of an append of entries that follow `prev_log_id`, for a follower on store `to`. It carries the newest
    /// position and asks for the promise.
    ///
    /// Meaningful only while this node leads. A driver whose senders run apart from the engine fills in the same from
    /// what it handed them: the vote must be that of the leadership for which the entries were read.
    pub fn append_header(&self, to: StoreId, prev_log_id: Option<LogId<NID>>) -> AppendHeader<NID> {
        AppendHeader {
            from: self.config.replica,
            admitted: self.admitted(),
            to,
            vote: self.state.vote,
            prev_log_id,
            committed: self.state.committed,
            position: self.state.position,
            promise: self.promise_asked(),
        }
    }

    /// A heartbeat with the newest position, for a follower on store `to` that is known to hold the log up to `matched`:
    /// it is told of no commitment beyond that. As [`append_header`](Self::append_header) otherwise.
    pub fn heartbeat_request(&self, to: StoreId, matched: Option<LogId<NID>>) -> HeartbeatRequest<NID> {
        HeartbeatRequest {
            from: self.config.replica,
            admitted: self.admitted(),
            to,
            vote: self.state.vote,
            committed: self.state.committed.min(matched),
            position: self.state.position,
            promise: self.promise_asked(),
            state_hash: None,
        }
    }

    /// The head of a snapshot, for a follower on store `to`. As [`append_header`](Self::append_header) otherwise.
    pub fn snapshot_header(&self, to: StoreId, meta: SnapshotMeta<NID, N>) -> SnapshotHeader<NID, N> {
        SnapshotHeader {
            from: self.config.replica,
            admitted: self.admitted(),
            to,
            vote: self.state.vote,
            position: self.state.position,
            meta,
        }
    }
}

impl<NID: NodeId> ReplicationReport<NID> {
    /// What `progress` tells of the follower `target`, which answers.
    pub fn new<N: Node>(target: &ReplicationTarget<NID, N>, progress: &Progress<NID>) -> Self {
        Self {
            session: target.session,
            target: target.replica,
            matched: progress.matched(),
            confirmed: 0,
            needed: progress.needed(),
            reachable: true,
            promised: None,
            higher_vote: None,
        }
    }

    /// With what an answer says besides, to a message that went out under the vote `own`: if the follower answered under
    /// that very vote, it confirms the position of the message and promises; if under a greater one, this leader is
    /// deposed.
    #[must_use]
    pub fn answered(self, own: Vote<NID>, vote: Vote<NID>, position: u64, promised: Duration) -> Self {
        if vote == own {
            let promised = (!promised.is_zero()).then_some(Promised { position, within: promised });
            Self { confirmed: position, promised, ..self }
        } else {
            Self { higher_vote: (vote > own).then_some(vote), ..self }
        }
    }
}
