//! Answering: tokens and their callers, abandoned and expired writes, metrics.

use openraft_adapters::{RaftTypeConfig, SnapshotReplyOf};
use openraft_engine::{
    AppendReply, HeartbeatReply, InitializeError, Reply, ServerState, Timestamp, VoteReply,
};
use tokio::sync::oneshot;

use super::RaftCore;
use crate::message::{PeerCall, ReadFailure, ReadResult};
use crate::{Fatal, FollowerMetrics, ForwardToLeader, RaftMetrics, WriteError};

/// A caller that waits for the engine's answer. Whether it still does is its own business: a failed send is nothing.
pub(crate) enum Responder<C: RaftTypeConfig> {
    Append(PeerCall<AppendReply<C::NodeId>>),
    Heartbeat(PeerCall<HeartbeatReply<C::NodeId>>),
    Vote(PeerCall<VoteReply<C::NodeId>>),
    Snapshot(PeerCall<SnapshotReplyOf<C>>),
    Initialize(oneshot::Sender<Result<(), InitializeError<C::NodeId>>>),
    Read(oneshot::Sender<ReadResult<C>>, Timestamp),
}

/// The caller may have gone: that is its own business.
fn answer<T>(tx: oneshot::Sender<T>, reply: T) {
    let _ = tx.send(reply);
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// A token for a caller.
    pub(super) fn token(&mut self, responder: Responder<C>) -> u64 {
        self.work.next_token += 1;
        self.work.responders.insert(self.work.next_token, responder);
        self.work.next_token
    }

    /// Hands the engine's answer to the caller of `token`.
    pub(super) fn respond(&mut self, token: u64, reply: Reply<C::NodeId>) {
        // A read whose deadline has passed has been answered and is gone.
        let Some(responder) = self.work.responders.remove(&token) else { return };
        match (responder, reply) {
            (Responder::Append(call), Reply::Append(reply)) => call.answer(reply),
            (Responder::Heartbeat(call), Reply::Heartbeat(reply)) => call.answer(reply),
            (Responder::Vote(call), Reply::Vote(reply)) => call.answer(reply),
            (Responder::Snapshot(call), Reply::Snapshot(reply)) => call.answer(reply),
            (Responder::Initialize(tx), Reply::Initialize(result)) => answer(tx, result),
            (Responder::Read(tx, _), Reply::Read(result)) => answer(tx, result.map_err(ReadFailure::Refused)),
            (_, reply) => {
                panic!("the engine answered token {token} with {reply:?}, which is no answer to its call")
            }
        }
    }

    /// The leader, as a caller needs it.
    pub(super) fn forward_to(&self, leader: Option<C::NodeId>) -> ForwardToLeader<C> {
        let nodes = self.engine.membership().membership.nodes();
        ForwardToLeader {
            leader: leader.and_then(|id| nodes.get(&id).map(|member| (id, member.node.clone()))),
        }
    }

    /// Answers the writes from index `since` on: this node leads no more, and they may yet commit.
    pub(super) fn abandon_writes(&mut self, since: u64) {
        for write in self.work.pending.take_from(since) {
            write.unknown("the node ceased to lead after it had proposed the write");
        }
    }

    /// Some caller is to be answered by `deadline`.
    pub(super) fn note_deadline(&mut self, deadline: Timestamp) {
        self.work.earliest_deadline =
            Some(self.work.earliest_deadline.map_or(deadline, |known| known.min(deadline)));
    }

    /// Answers writes and reads whose deadline has passed. One pass over all that wait, at most once in the time that
    /// the earliest of them has left, instead of a timer for each.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.work.earliest_deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let (late, write) = self.work.pending.take_late(now);
        for write in late {
            write.unknown("its deadline passed after it was proposed and before it was applied");
        }
        let late: Vec<u64> = self
            .work
            .responders
            .iter()
            .filter(|(_, responder)| matches!(responder, Responder::Read(_, deadline) if *deadline <= now))
            .map(|(token, _)| *token)
            .collect();
        for token in late {
            if let Some(Responder::Read(tx, _)) = self.work.responders.remove(&token) {
                let _ = tx.send(Err(ReadFailure::TimedOut));
            }
        }
        let reads = self.work.responders.values().filter_map(|responder| match responder {
            Responder::Read(_, deadline) => Some(*deadline),
            _ => None,
        });
        self.work.earliest_deadline = write.into_iter().chain(reads).min();
    }

    /// Publishes what has changed.
    pub(super) fn publish_metrics(&mut self) {
        let engine = &self.engine;
        if *self.work.membership != *engine.membership() {
            self.work.membership = std::sync::Arc::new(engine.membership().clone());
        }
        let before = self.metrics.borrow();
        let changed_role = before.state != engine.role() || before.vote != engine.vote();
        let id = self.me.node_id;
        if changed_role {
            match engine.role() {
                ServerState::Leader if before.state != ServerState::Leader => {
                    tracing::info!(%id, vote = %engine.vote(), "leads");
                }
                ServerState::Leader => {}
                _ if before.state == ServerState::Leader => {
                    tracing::info!(%id, vote = %engine.vote(), "leads no more");
                }
                ServerState::PreCandidate => tracing::debug!(%id, "asks whether it would be elected"),
                ServerState::Candidate => tracing::info!(%id, vote = %engine.vote(), "campaigns"),
                _ if before.current_leader != engine.leader() => match engine.leader() {
                    Some(leader) => tracing::info!(%id, %leader, vote = %engine.vote(), "follows"),
                    None => tracing::info!(%id, vote = %engine.vote(), "has no leader"),
                },
                _ => {}
            }
        }
        drop(before);
        let membership = self.work.membership.clone();
        let (held_bytes, held_bytes_limit) = (self.budget.held(), self.budget.limit());
        self.metrics.send_if_modified(|metrics| {
            let now = RaftMetrics {
                id,
                state: engine.role(),
                vote: engine.vote(),
                current_leader: engine.leader(),
                last_log: engine.last_log_id(),
                flushed: engine.flushed(),
                committed: engine.committed(),
                applied: engine.applied(),
                snapshot: engine.snapshot(),
                purged: engine.purged(),
                membership,
                followers: engine
                    .followers()
                    .map(|(id, matched, reachable)| (id, FollowerMetrics { matched, reachable }))
                    .collect(),
                held_bytes,
                held_bytes_limit,
                fatal: None,
            };
            let changed = *metrics != now;
            if changed {
                *metrics = now;
            }
            changed
        });
    }

    /// The end: whoever waits is told why.
    pub(crate) fn publish_end(&mut self, fatal: &Fatal) {
        self.metrics.send_modify(|metrics| {
            metrics.fatal = Some(fatal.clone());
            metrics.current_leader = None;
            metrics.followers.clear();
            if metrics.state != ServerState::Learner {
                metrics.state = ServerState::Follower;
            }
        });
        for write in self.work.pending.take_from(0) {
            match fatal {
                Fatal::Stopped => write.unknown("the node stopped after it had proposed the write"),
                cause => write.answer(Err(WriteError::Fatal(cause.clone()))),
            }
        }
    }
}
