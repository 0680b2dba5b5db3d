//! The leader's replication task to one follower: the real `Progress`, driven without I/O by the rules of
//! `line_rate_loop`.
//!
//! One heartbeat at most is under way; appends travel on an ordered stream; what got no answer in time counts as lost,
//! and with it the stream. After a failure nothing is sent on the stream until a heartbeat is answered or a pause ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft_engine::{
    AppendHeader, AppendReply, AppendResult, HeartbeatReply, HeartbeatRequest, LogId, LogIdOptionExt,
    Progress, ProgressState, ProgressWindows, Promised, RaftEntry, Replica, ReplicationReport, ReplyEffect,
    SnapshotHeader, SnapshotReply, Timestamp, Vote,
};

use super::disk::Image;
use super::entry::Entry;
use super::message::{Message, Stamp};
use super::node::Snapshot;
use super::time::At;

/// After so long without an answer a heartbeat or an append counts as lost.
pub const RPC_TIMEOUT: Duration = Duration::from_millis(300);

/// The same for a snapshot.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(3);

/// After so long a task that was paused tries again, heartbeat's reply or none.
pub const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What every message of a leadership states.
#[derive(Clone, Debug)]
pub(super) struct Leadership {
    pub(super) me: Replica<u64>,
    pub(super) admitted: Option<LogId<u64>>,
    pub(super) vote: Vote<u64>,
    pub(super) life: u64,
    pub(super) promise: Duration,
    pub(super) committed: Option<LogId<u64>>,
    pub(super) position: u64,
    pub(super) now: Timestamp,
}

/// A message that waits for its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Sent {
    number: u64,
    position: u64,
    at: At,
}

/// What a task's message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Heartbeat,
    Append,
    Snapshot,
}

/// The task of one follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub(super) target: Replica<u64>,
    pub(super) session: u64,
    progress: Progress<u64>,
    stream: u64,
    /// Appends that wait for their answers, as [`Progress`] holds them.
    sent: VecDeque<Sent>,
    last_reply: At,
    number: u64,
    heartbeat: Option<Sent>,
    heartbeat_due: bool,
    snapshot: Option<(Option<LogId<u64>>, Sent)>,
    /// While this stands nothing is sent on the stream.
    paused_until: Option<At>,
    /// The greatest committed log id that the follower was told of while it held it; `None` when that may be lost.
    told: Option<LogId<u64>>,
    position_sent: u64,
    confirmed: u64,
    promised: Option<Promised>,
    higher: Option<Vote<u64>>,
    reachable: bool,
}

impl Task {
    pub(super) fn new(
        target: Replica<u64>,
        session: u64,
        last: Option<LogId<u64>>,
        windows: ProgressWindows,
    ) -> Self {
        Self {
            target,
            session,
            progress: Progress::new(last, windows),
            stream: 0,
            sent: VecDeque::new(),
            last_reply: At::default(),
            number: 0,
            heartbeat: None,
            heartbeat_due: false,
            snapshot: None,
            paused_until: None,
            told: None,
            position_sent: 0,
            confirmed: 0,
            promised: None,
            higher: None,
            reachable: true,
        }
    }

    /// The flow control's state.
    pub fn progress(&self) -> &Progress<u64> {
        &self.progress
    }

    /// Whether it sends nothing on the stream until a heartbeat is answered or a pause ends.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Whether the reply to this message, should it come, finds somebody who waits for it.
    pub(super) fn awaits(&self, stamp: &Stamp, kind: Kind) -> bool {
        let is = |sent: &Sent| sent.number == stamp.number;
        stamp.session == self.session
            && match kind {
                Kind::Heartbeat => self.heartbeat.as_ref().is_some_and(is),
                Kind::Append => stamp.stream == self.stream && self.sent.iter().any(is),
                Kind::Snapshot => self.snapshot.as_ref().is_some_and(|(_, sent)| is(sent)),
            }
    }

    /// Whether it waits for an answer.
    pub fn waits(&self) -> bool {
        self.heartbeat.is_some() || !self.sent.is_empty() || self.snapshot.is_some()
    }

    /// Whether the last message was answered.
    pub fn is_reachable(&self) -> bool {
        self.reachable
    }

    pub(super) fn report(&self) -> ReplicationReport<u64> {
        ReplicationReport {
            session: self.session,
            target: self.target,
            matched: self.progress.matched(),
            confirmed: self.confirmed,
            needed: self.progress.needed(),
            reachable: self.reachable,
            promised: self.promised,
            higher_vote: self.higher,
        }
    }

    /// The engine asks for a heartbeat.
    pub(super) fn beat(&mut self) {
        self.heartbeat_due = true;
    }

    /// The next instant at which something counts as lost or a pause ends.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let append = self.sent.front().map(|oldest| oldest.at.0.max(self.last_reply.0) + RPC_TIMEOUT);
        let heartbeat = self.heartbeat.map(|sent| sent.at.0 + RPC_TIMEOUT);
        let snapshot = self.snapshot.map(|(_, sent)| sent.at.0 + SNAPSHOT_TIMEOUT);
        [append, heartbeat, snapshot, self.paused_until.map(|at| at.0)].into_iter().flatten().min()
    }

    /// Sees which deadlines have passed at `now`. Returns whether the follower was found not to answer.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        if self.paused_until.is_some_and(|at| at.0 <= now) {
            self.resume();
        }
        let mut lost = false;
        if self.heartbeat.is_some_and(|sent| sent.at.0 + RPC_TIMEOUT <= now) {
            self.heartbeat = None;
            self.heartbeat_due = true;
            self.told = None;
            lost = true;
        }
        if self.sent.front().is_some_and(|oldest| oldest.at.0.max(self.last_reply.0) + RPC_TIMEOUT <= now) {
            self.break_stream(now);
            lost = true;
        }
        if self.snapshot.is_some_and(|(_, sent)| sent.at.0 + SNAPSHOT_TIMEOUT <= now) {
            self.snapshot = None;
            self.progress.on_snapshot_failed();
            self.pause(now);
            lost = true;
        }
        self.reachable &= !lost;
        lost
    }

    /// Everything under way counts as lost now, whatever the clock says.
    pub(super) fn lose_everything(&mut self, now: Timestamp) {
        self.reachable = false;
        self.told = None;
        if self.heartbeat.take().is_some() {
            self.heartbeat_due = true;
        }
        if self.snapshot.take().is_some() {
            self.progress.on_snapshot_failed();
        }
        self.break_stream(now);
    }

    fn break_stream(&mut self, now: Timestamp) {
        self.stream += 1;
        self.sent.clear();
        self.told = None;
        self.progress.on_broken();
        self.pause(now);
    }

    fn pause(&mut self, now: Timestamp) {
        self.paused_until = Some(At(now + RETRY_AFTER));
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        self.progress.resume();
    }

    /// What is to be sent now: a heartbeat first, then as many appends as the windows admit, or a snapshot.
    pub(super) fn send(
        &mut self,
        log: &Image,
        snapshot: Option<&Snapshot>,
        leader: &Leadership,
    ) -> Vec<Message> {
        let mut out = Vec::new();
        if self.heartbeat_due {
            self.send_heartbeat(leader, &mut out);
        }
        if self.paused_until.is_none() {
            self.send_appends(log, leader, &mut out);
            self.send_snapshot(snapshot, leader, &mut out);
        }
        if leader.position > self.position_sent || self.commit_is_untold(leader) {
            self.send_heartbeat(leader, &mut out);
        }
        out
    }

    fn committed_there(&self, leader: &Leadership) -> Option<LogId<u64>> {
        let matched = self.progress.matched();
        if leader.committed.next_index() < matched.next_index() { leader.committed } else { matched }
    }

    /// Whether the follower does not know of a commit and no append is on its way to tell it.
    fn commit_is_untold(&self, leader: &Leadership) -> bool {
        self.progress.state() == ProgressState::Replicate
            && self.sent.is_empty()
            && self.committed_there(leader).next_index() > self.told.next_index()
    }

    fn next_number(&mut self, leader: &Leadership) -> Sent {
        self.number += 1;
        self.position_sent = self.position_sent.max(leader.position);
        Sent { number: self.number, position: leader.position, at: At(leader.now) }
    }

    fn stamp(&self, sent: Sent, leader: &Leadership) -> Stamp {
        Stamp { life: leader.life, session: self.session, stream: self.stream, number: sent.number }
    }

    fn send_heartbeat(&mut self, leader: &Leadership, out: &mut Vec<Message>) {
        if self.heartbeat.is_some() {
            return;
        }
        let committed = self.committed_there(leader);
        let sent = self.next_number(leader);
        self.heartbeat = Some(sent);
        self.heartbeat_due = false;
        if committed.next_index() > self.told.next_index() {
            self.told = committed;
        }
        let request = HeartbeatRequest {
            from: leader.me,
            admitted: leader.admitted,
            to: self.target.store_id,
            vote: leader.vote,
            committed,
            position: leader.position,
            promise: leader.promise,
            state_hash: None,
        };
        out.push(Message::Heartbeat(self.stamp(sent, leader), request));
    }

    fn send_appends(&mut self, log: &Image, leader: &Leadership, out: &mut Vec<Message>) {
        while let Some(plan) = self.progress.next_send(log.last().next_index()) {
            let begin = log.purged.next_index();
            let start = plan.entries.start;
            if start < begin {
                self.progress.on_compacted(begin);
                continue;
            }
            let prev = match start.checked_sub(1) {
                None => None,
                Some(index) if Some(index) == log.purged.index() => log.purged,
                Some(index) => Some(log.entries[&index].log_id),
            };
            let mut bytes = 0;
            let mut entries: Vec<Arc<Entry>> = Vec::new();
            for (_, entry) in log.entries.range(plan.entries) {
                if !entries.is_empty() && bytes + entry.size() > plan.max_bytes {
                    break;
                }
                bytes += entry.size();
                entries.push(entry.clone());
            }
            let last = entries.last().map(|entry| entry.log_id).or(prev);
            self.progress.sent(prev, last, bytes);
            let sent = self.next_number(leader);
            self.sent.push_back(sent);
            let told =
                if last.next_index() < leader.committed.next_index() { last } else { leader.committed };
            if told.next_index() > self.told.next_index() {
                self.told = told;
            }
            let header = AppendHeader {
                from: leader.me,
                admitted: leader.admitted,
                to: self.target.store_id,
                vote: leader.vote,
                prev_log_id: prev,
                committed: leader.committed,
                position: leader.position,
                promise: leader.promise,
            };
            out.push(Message::Append(self.stamp(sent, leader), header, entries));
        }
    }

    fn send_snapshot(&mut self, snapshot: Option<&Snapshot>, leader: &Leadership, out: &mut Vec<Message>) {
        let ProgressState::Snapshot { .. } = self.progress.state() else { return };
        let Some(snapshot) = snapshot.filter(|_| self.snapshot.is_none()) else { return };
        let last = snapshot.meta.last_log_id;
        if last.next_index() < self.progress.needed() {
            return;
        }
        self.progress.on_snapshot_chosen(last);
        let sent = self.next_number(leader);
        self.snapshot = Some((last, sent));
        let header = SnapshotHeader {
            from: leader.me,
            admitted: leader.admitted,
            to: self.target.store_id,
            vote: leader.vote,
            position: leader.position,
            meta: snapshot.meta.clone(),
        };
        out.push(Message::Snapshot(self.stamp(sent, leader), header, snapshot.content.clone()));
    }

    /// Whether a reply was given under `own`; a greater vote is reported.
    fn see_vote(&mut self, own: Vote<u64>, vote: Vote<u64>) -> bool {
        if vote > own && self.higher.is_none_or(|higher| vote > higher) {
            self.higher = Some(vote);
        }
        vote == own
    }

    /// A reply under our vote confirms the position of the message that it answers, and no other.
    fn confirm(&mut self, sent: u64, answered: u64, promised: Duration, asked: Duration) {
        if sent != answered {
            return;
        }
        self.confirmed = self.confirmed.max(sent);
        let within = promised.min(asked);
        if !within.is_zero() && self.promised.is_none_or(|promised| promised.position <= sent) {
            self.promised = Some(Promised { position: sent, within });
        }
    }

    pub(super) fn on_heartbeat_reply(
        &mut self,
        stamp: Stamp,
        reply: &HeartbeatReply<u64>,
        leader: &Leadership,
    ) {
        let Some(sent) = self.heartbeat.filter(|sent| sent.number == stamp.number) else { return };
        if reply.from != self.target {
            return;
        }
        self.heartbeat = None;
        self.reachable = true;
        if self.see_vote(leader.vote, reply.vote) && reply.accepted {
            self.confirm(sent.position, reply.position, reply.promised, leader.promise);
            if self.sent.is_empty() {
                // The way to the follower is open again.
                self.resume();
            }
        }
    }

    pub(super) fn on_append_reply(
        &mut self,
        stamp: Stamp,
        reply: &AppendReply<u64>,
        leader: &Leadership,
        log: &Image,
    ) {
        if stamp.stream != self.stream || reply.from != self.target {
            return;
        }
        match self.sent.front() {
            Some(oldest) if oldest.number == stamp.number => {}
            // A repeated reply, or one to a message that came out of the stream's order.
            Some(oldest) if stamp.number < oldest.number => return,
            // A stream is in order: a reply that overtook another one is a broken stream.
            Some(_) => return self.break_stream(leader.now),
            None => return,
        }
        let sent = self.sent.pop_front().expect("just seen");
        self.last_reply = At(leader.now);
        self.reachable = true;
        let result =
            if self.see_vote(leader.vote, reply.vote) { reply.result } else { AppendResult::HigherVote };
        if !matches!(result, AppendResult::HigherVote | AppendResult::Refused) {
            self.confirm(sent.position, reply.position, reply.promised, leader.promise);
        }
        match self.progress.on_reply(result) {
            Ok(ReplyEffect::Matched) => self.resume(),
            Ok(ReplyEffect::Conflict { hint }) => {
                let limit = hint.map(|hint| hint.leader_id);
                let (low, high) = (self.progress.matched().next_index(), self.progress.next());
                // After the last entry whose leader id does not exceed the hint's; what is purged counts as low enough.
                let next = log
                    .entries
                    .range(low..high)
                    .find(|(_, entry)| Some(entry.log_id.leader_id) > limit)
                    .map_or(high, |(index, _)| *index);
                self.progress.lower_probe(next);
            }
            Ok(ReplyEffect::Paused) => self.pause(leader.now),
            Ok(ReplyEffect::Stale) => {}
            Err(_) => self.break_stream(leader.now),
        }
    }

    pub(super) fn on_snapshot_reply(
        &mut self,
        stamp: Stamp,
        reply: &SnapshotReply<u64>,
        leader: &Leadership,
    ) {
        let Some((last, sent)) = self.snapshot.filter(|(_, sent)| sent.number == stamp.number) else {
            return;
        };
        if reply.from != self.target {
            return;
        }
        self.snapshot = None;
        self.reachable = true;
        let ours = self.see_vote(leader.vote, reply.vote);
        if ours && !matches!(reply.result, AppendResult::HigherVote | AppendResult::Refused) {
            self.confirm(sent.position, reply.position, Duration::ZERO, leader.promise);
        }
        match reply.result {
            AppendResult::Matched(matched) if ours && matched.next_index() >= last.next_index() => {
                self.progress.on_snapshot_done(last);
                self.resume();
            }
            _ => {
                self.progress.on_snapshot_failed();
                self.pause(leader.now);
            }
        }
    }
}
