//! What the task makes of answers, of broken pipes and of what it has read.

use std::time::Duration;

use openraft_adapters::engine::{
    AppendReply, AppendResult, HeartbeatReply, LogIdOptionExt, Promised, Replica, ReplyEffect, SnapshotReply,
    Timestamp, Vote,
};
use openraft_adapters::{LogIdOf, NetworkError, RaftTypeConfig};

use crate::fetch::{FetchError, Fetched};
use crate::line_rate_loop::{LineRate, SnapshotStep};
use crate::update::{greater_vote, later_promise};

impl<C: RaftTypeConfig> LineRate<C> {
    pub(crate) fn on_heartbeat_reply(
        &mut self,
        reply: Result<HeartbeatReply<C::NodeId>, NetworkError>,
        now: Timestamp,
    ) {
        let reply = match reply.and_then(|reply| self.is_from_target(reply.from).map(|()| reply)) {
            Ok(reply) => reply,
            Err(error) => {
                // What it said is lost with it.
                self.control.due = true;
                self.told = None;
                self.control.backoff.fail(now, &mut self.rng);
                return self.on_unreachable(&error);
            }
        };
        self.control.backoff.clear();
        self.on_reached(now);
        if self.see_vote(reply.vote) && reply.accepted {
            self.confirm(self.control.sent.position, reply.position, reply.promised);
            if self.pipe.sent.is_empty() {
                // The way to the follower is open again.
                self.pipe.backoff.shorten(now);
            }
        }
    }

    pub(crate) fn on_append_reply(
        &mut self,
        reply: Result<AppendReply<C::NodeId>, NetworkError>,
        now: Timestamp,
    ) {
        let reply = match reply.and_then(|reply| self.is_from_target(reply.from).map(|()| reply)) {
            Ok(reply) => reply,
            Err(error) => return self.on_broken(&error, now),
        };
        let Some(sent) = self.pipe.sent.pop_front() else { return };
        self.pipe.last_reply = now;
        self.on_reached(now);
        // Under another vote than ours nothing is said of our log.
        let result = if self.see_vote(reply.vote) { reply.result } else { AppendResult::HigherVote };
        if !matches!(result, AppendResult::HigherVote | AppendResult::Refused) {
            self.confirm(sent.position, reply.position, reply.promised);
        }
        match self.progress.on_reply(result) {
            Ok(ReplyEffect::Matched) => self.pipe.backoff.clear(),
            Ok(ReplyEffect::Conflict { hint }) => {
                self.fetch = None;
                let limit = hint.map(|hint| hint.leader_id);
                let (low, high) = (self.progress.matched().next_index(), self.progress.next());
                if self.source.probe_is_low_enough(high, limit) != Some(true) {
                    self.fetch = Some(Box::pin(self.source.clone().probe_at(low, high, limit)));
                }
            }
            Ok(ReplyEffect::Paused) => {
                self.fetch = None;
                match result {
                    AppendResult::Refused | AppendResult::HigherVote => {
                        self.pipe.backoff.fail(now, &mut self.rng)
                    }
                    _ => self.pipe.backoff.pause(now),
                }
            }
            Ok(ReplyEffect::Stale) => {}
            Err(error) => {
                tracing::error!(
                    session = self.ctx.session, target = %self.ctx.target, %error,
                    "a follower answered what cannot be true; it is probed anew"
                );
                self.on_broken(&NetworkError::unreachable_because(self.ctx.target, error), now);
            }
        }
    }

    /// The append stream is broken, or what was sent on it counts as lost.
    pub(crate) fn on_broken(&mut self, error: &NetworkError, now: Timestamp) {
        self.pipe.stream = None;
        self.pipe.sent.clear();
        self.fetch = None;
        self.told = None;
        self.progress.on_broken();
        self.pipe.backoff.fail(now, &mut self.rng);
        self.on_unreachable(error);
    }

    pub(crate) fn on_fetched(&mut self, fetched: Result<Fetched<C>, FetchError>, now: Timestamp) {
        // Whether the session still stands is asked after the read: it may have taken long.
        if let Some(update) = self.ctx.inbox.take() {
            self.on_update(update);
            if self.ended {
                return;
            }
        }
        match fetched {
            Ok(Fetched::Load(load)) => self.send_append(load, now),
            Ok(Fetched::ProbeAt { next }) => self.progress.lower_probe(next),
            Ok(Fetched::Compacted { first }) if first > self.progress.next() => {
                self.progress.on_compacted(first);
            }
            Ok(Fetched::Compacted { first }) => {
                tracing::error!(
                    session = self.ctx.session, target = %self.ctx.target, first, next = self.progress.next(),
                    "the last purged log id is not known; tries again later"
                );
                self.pipe.backoff.fail(now, &mut self.rng);
            }
            Err(FetchError::Storage(error)) => {
                tracing::error!(
                    session = self.ctx.session, target = %self.ctx.target, %error,
                    "the log cannot be read for a follower; tries again later"
                );
                self.pipe.backoff.fail(now, &mut self.rng);
            }
            Err(error @ FetchError::NotOurs(_)) => {
                tracing::error!(
                    session = self.ctx.session, target = %self.ctx.target, vote = %self.ctx.vote, %error,
                    "replication ends: nothing of this may be sent"
                );
                self.report.ended = true;
                self.ended = true;
            }
        }
    }

    pub(crate) fn on_snapshot_step(&mut self, step: SnapshotStep<C>, now: Timestamp) {
        let failure = match step {
            SnapshotStep::Chosen(Ok(Some(snapshot))) => {
                let ends = snapshot.meta.last_log_id.next_index();
                if ends >= self.progress.needed() {
                    return self.send_snapshot(snapshot);
                }
                format!("it covers the log before {ends}, which begins at {}", self.progress.needed())
            }
            SnapshotStep::Chosen(Ok(None)) => "there is none".to_owned(),
            SnapshotStep::Chosen(Err(error)) => error.to_string(),
            SnapshotStep::Answered { last, position, reply } => {
                match reply.and_then(|reply| self.is_from_target(reply.from).map(|()| reply)) {
                    Ok(reply) => {
                        self.on_reached(now);
                        if self.snapshot_is_installed(&reply, last, position) {
                            self.progress.on_snapshot_done(last);
                            self.pipe.backoff.clear();
                            return;
                        }
                        format!("the follower answered {:?}", reply.result)
                    }
                    Err(error) => {
                        self.on_unreachable(&error);
                        error.to_string()
                    }
                }
            }
        };
        tracing::warn!(
            session = self.ctx.session, target = %self.ctx.target, reason = failure,
            "a snapshot was not sent; tries again later"
        );
        self.progress.on_snapshot_failed();
        self.pipe.backoff.fail(now, &mut self.rng);
    }

    /// Whether the follower holds the snapshot that ends with `last`. A claim of more is not believed beyond it.
    fn snapshot_is_installed(
        &mut self,
        reply: &SnapshotReply<C::NodeId>,
        last: Option<LogIdOf<C>>,
        position: u64,
    ) -> bool {
        if !self.see_vote(reply.vote) {
            return false;
        }
        match reply.result {
            AppendResult::Matched(matched) => {
                self.confirm(position, reply.position, Duration::ZERO);
                matched == last || matched.next_index() > last.next_index()
            }
            AppendResult::Busy | AppendResult::Conflict { .. } => {
                self.confirm(position, reply.position, Duration::ZERO);
                false
            }
            AppendResult::HigherVote | AppendResult::Refused => false,
        }
    }

    /// Only the replica that the membership names is listened to: another store on the same node may have forgotten
    /// what this one promised.
    fn is_from_target(&self, from: Replica<C::NodeId>) -> Result<(), NetworkError> {
        if from == self.ctx.target {
            return Ok(());
        }
        let target = self.ctx.target.to_string();
        Err(NetworkError::Refused {
            target,
            reason: format!("it is {from}, not the replica of the membership"),
        })
    }

    /// Whether a reply was given under our vote; a greater one is reported.
    fn see_vote(&mut self, vote: Vote<C::NodeId>) -> bool {
        if vote > self.ctx.vote {
            self.report.higher_vote = greater_vote(self.report.higher_vote, Some(vote));
        }
        vote == self.ctx.vote
    }

    /// A reply under our vote confirms the position of the message that it answers, and no other; what it promises
    /// counts for no more than was asked.
    fn confirm(&mut self, sent: u64, answered: u64, promised: Duration) {
        if sent != answered {
            return;
        }
        self.report.confirmed = self.report.confirmed.max(sent);
        let within = promised.min(self.ctx.promise);
        if !within.is_zero() {
            self.report.promised =
                later_promise(self.report.promised, Some(Promised { position: sent, within }));
        }
    }

    fn on_reached(&mut self, now: Timestamp) {
        // A heartbeat that waits because the one before was lost need not wait as long as for a follower that is down.
        self.control.backoff.shorten(now);
        if !self.report.reachable {
            self.report.reachable = true;
            tracing::info!(session = self.ctx.session, target = %self.ctx.target, "the follower answers again");
        }
    }

    fn on_unreachable(&mut self, error: &NetworkError) {
        if self.report.reachable {
            self.report.reachable = false;
            tracing::warn!(session = self.ctx.session, target = %self.ctx.target, %error, "the follower does not answer");
        }
    }
}
