//! Answering: tokens and their callers, abandoned and expired writes, metrics.

use std::sync::Arc;

use openraft_adapters::{LogIdOf, RaftTypeConfig, SnapshotReplyOf};
use openraft_engine::{
    AppendReply, ChangeRefused, HeartbeatReply, InitializeError, ReadIndexReply, Reply, ServerState,
    TimeoutNowReply, Timestamp, TransferRefused, VoteReply,
};
use tokio::sync::oneshot;

use super::RaftCore;
use crate::message::{PeerCall, ReadFailure, ReadResult};
use crate::{Fatal, ForwardToLeader, RaftMetrics, WriteError};

/// A caller that waits for the engine's answer. Whether it still does is its own business: a failed send is nothing.
pub(crate) enum Responder<C: RaftTypeConfig> {
    Append(PeerCall<AppendReply<C::NodeId>>),
    Heartbeat(PeerCall<HeartbeatReply<C::NodeId>>),
    TimeoutNow(PeerCall<TimeoutNowReply<C::NodeId>>),
    Membership(oneshot::Sender<Result<LogIdOf<C>, ChangeRefused<C::NodeId>>>),
    Transfer(oneshot::Sender<Result<(), TransferRefused<C::NodeId>>>),
    ReadIndex(PeerCall<ReadIndexReply<C::NodeId>>),
    Vote(PeerCall<VoteReply<C::NodeId>>),
    Snapshot(PeerCall<SnapshotReplyOf<C>>),
    Initialize(oneshot::Sender<Result<(), InitializeError<C::NodeId>>>),
    Read(oneshot::Sender<ReadResult<C>>, Timestamp),
}

/// Tells the log of a change of role or leader.
fn announce<C: RaftTypeConfig>(before: &RaftMetrics<C>, now: &RaftMetrics<C>) {
    let (id, vote) = (now.id, now.vote);
    if before.state == now.state && before.current_leader == now.current_leader {
        return;
    }
    if before.state == ServerState::Leader && now.state != ServerState::Leader {
        tracing::info!(%id, %vote, "leads no more");
    }
    match (now.state, now.current_leader) {
        (ServerState::Leader, _) => tracing::info!(%id, %vote, "leads"),
        (ServerState::Candidate, _) => tracing::info!(%id, %vote, "campaigns"),
        (ServerState::PreCandidate, _) => tracing::info!(%id, %vote, "hears of no leader, asks for votes"),
        (_, Some(leader)) => tracing::info!(%id, %leader, %vote, "follows"),
        (_, None) => tracing::info!(%id, %vote, "has no leader"),
    }
}

/// The caller may have gone: that is its own business.
fn answer<T>(tx: oneshot::Sender<T>, reply: T) {
    let _ = tx.send(reply);
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// A token for a caller.
    pub(super) fn token(&mut self, responder: Responder<C>) -> u64 {
        let token = self.work.new_token();
        self.work.responders.insert(token, responder);
        token
    }

    /// Hands the engine's answer to the caller of `token`.
    pub(super) fn respond(&mut self, token: u64, reply: Reply<C::NodeId>) {
        // A read whose deadline has passed has been answered and is gone.
        let Some(responder) = self.work.responders.remove(&token) else { return };
        match (responder, reply) {
            (Responder::Append(call), Reply::Append(reply)) => call.answer(reply),
            (Responder::Heartbeat(call), Reply::Heartbeat(reply)) => call.answer(reply),
            (Responder::TimeoutNow(call), Reply::TimeoutNow(reply)) => call.answer(reply),
            (Responder::Membership(tx), Reply::Membership(result)) => answer(tx, result),
            (Responder::Transfer(tx), Reply::Transfer(result)) => answer(tx, result),
            (Responder::ReadIndex(call), Reply::ReadIndex(reply)) => call.answer(reply),
            (Responder::Vote(call), Reply::Vote(reply)) => call.answer(reply),
            (Responder::Snapshot(call), Reply::Snapshot(reply)) => call.answer(reply),
            (Responder::Initialize(tx), Reply::Initialize(result)) => answer(tx, result),
            (Responder::Read(tx, _), Reply::Read(result)) => answer(tx, result.map_err(ReadFailure::Refused)),
            (_, reply) => {
                panic!("the engine answered token {token} with {reply:?}, which is no answer to its call")
            }
        }
    }

    /// Answers a read, unless its deadline has passed.
    pub(super) fn fail_read(&mut self, token: u64, failure: ReadFailure<C::NodeId>) {
        if let Some(Responder::Read(tx, _)) = self.work.responders.remove(&token) {
            answer(tx, Err(failure));
        }
    }

    /// The leader, as a caller needs it.
    pub(super) fn forward_to(&self, leader: Option<C::NodeId>) -> ForwardToLeader<C> {
        ForwardToLeader::of(&self.engine.membership().membership, leader)
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
            self.fail_read(token, ReadFailure::TimedOut);
        }
        let reads = self.work.responders.values().filter_map(|responder| match responder {
            Responder::Read(_, deadline) => Some(*deadline),
            _ => None,
        });
        self.work.earliest_deadline = write.into_iter().chain(reads).min();
    }

    /// Publishes what has changed.
    pub(super) fn publish_metrics(&mut self) {
        if *self.work.membership != *self.engine.membership() {
            self.work.membership = Arc::new(self.engine.membership().clone());
            self.forget_networks();
        }
        let mut now =
            RaftMetrics::of(self.me.node_id, &self.engine, &self.budget, self.work.membership.clone());
        (now.uncommitted_bytes, now.unapplied_bytes) = self.tail.undecided();
        now.state_hash_mismatch = self.work.state_hashes.mismatch();
        self.metrics.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            announce(before, &now);
            *before = now;
            true
        });
    }

    /// Drops the connections to nodes that are no members any more and that nothing is sent to.
    fn forget_networks(&mut self) {
        let nodes = self.work.membership.membership.nodes();
        let replications = &self.work.replications;
        self.work.networks.retain(|id, _| nodes.contains_key(id) || replications.contains_key(id));
    }

    /// The end: whoever waits is told why.
    pub(crate) fn publish_end(&mut self, fatal: &Fatal) {
        self.hooks.end();
        self.metrics.send_modify(|metrics| {
            metrics.fatal = Some(fatal.clone());
            metrics.current_leader = None;
            metrics.followers.clear();
            if metrics.state != ServerState::Learner {
                metrics.state = ServerState::Follower;
            }
        });
        let mut queued = std::mem::take(&mut self.work.held);
        queued.extend(std::iter::from_fn(|| self.io.writes.try_recv().ok()));
        for write in queued {
            let error = match fatal {
                Fatal::Stopped => self.left_to_another(),
                cause => WriteError::Fatal(cause.clone()),
            };
            self.refuse_write(write, error);
        }
        for write in self.work.pending.take_from(0) {
            match fatal {
                Fatal::Stopped => write.unknown("the node stopped after it had proposed the write"),
                cause => write.answer(Err(WriteError::Fatal(cause.clone()))),
            }
        }
    }
}
