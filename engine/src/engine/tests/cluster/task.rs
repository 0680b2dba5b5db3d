//! The leader's replication task to one follower: `Progress`, driven by hand.

use std::time::Duration;

use super::super::bench::Entry;
use super::network::{Message, Stamp};
use super::node::Store;
use crate::{
    AppendHeader, AppendResult, LogId, LogIdOptionExt, Progress, ProgressState, ProgressWindows, Promised,
    Replica, ReplicationReport, ReplyEffect, SnapshotHeader, Vote,
};

#[derive(Debug)]
pub(super) struct Task {
    pub(super) target: Replica<u64>,
    pub(super) session: u64,
    progress: Progress<u64>,
    stream: u64,
    sent: u64,
    answered: u64,
    /// Heartbeats since the oldest message without an answer was sent.
    silent_beats: u32,
    snapshot_sent: Option<LogId<u64>>,
    confirmed: u64,
    promised: Option<Promised>,
    higher: Option<Vote<u64>>,
}

/// What every message asks for: the shortest election timeout.
pub(super) const PROMISE: Duration = Duration::from_millis(500);

/// After so many heartbeats without an answer a message counts as lost.
const SILENT_BEATS_MAX: u32 = 3;

impl Task {
    pub(super) fn new(target: Replica<u64>, session: u64, last: Option<LogId<u64>>) -> Self {
        let windows = ProgressWindows {
            max_inflight_bytes: 8,
            max_inflight_messages: 3,
            max_append_bytes: 4,
            max_append_entries: 4,
        };
        Self {
            target,
            session,
            progress: Progress::new(last, windows),
            stream: 0,
            sent: 0,
            answered: 0,
            silent_beats: 0,
            snapshot_sent: None,
            confirmed: 0,
            promised: None,
            higher: None,
        }
    }

    pub(super) fn matched(&self) -> Option<LogId<u64>> {
        self.progress.matched()
    }

    pub(super) fn stamp(&self, life: u64) -> Stamp {
        Stamp { life, session: self.session, stream: self.stream, number: self.sent }
    }

    pub(super) fn report(&self) -> ReplicationReport<u64> {
        ReplicationReport {
            session: self.session,
            target: self.target,
            matched: self.progress.matched(),
            confirmed: self.confirmed,
            needed: self.progress.needed(),
            reachable: true,
            promised: self.promised,
            higher_vote: self.higher,
        }
    }

    /// A heartbeat is sent: what was paused goes on, and what nobody answered is given up.
    pub(super) fn beat(&mut self) {
        self.progress.resume();
        self.silent_beats += 1;
        if self.silent_beats > SILENT_BEATS_MAX && (self.answered < self.sent || self.snapshot_sent.is_some())
        {
            self.break_stream();
        }
    }

    fn break_stream(&mut self) {
        self.stream += 1;
        (self.sent, self.answered, self.silent_beats) = (0, 0, 0);
        if self.snapshot_sent.take().is_some() {
            self.progress.on_snapshot_failed();
        }
        self.progress.on_broken();
    }

    /// What is to be sent now.
    pub(super) fn pump(
        &mut self,
        store: &Store,
        me: Replica<u64>,
        admitted: Option<LogId<u64>>,
        vote: Vote<u64>,
        life: u64,
        position: u64,
    ) -> Vec<Message> {
        let log = &store.disk.submitted;
        let mut out = Vec::new();
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
            let most = (plan.max_bytes as usize).max(1);
            let entries: Vec<Entry> =
                log.entries.range(plan.entries).map(|(_, entry)| entry.clone()).take(most).collect();
            let last = entries.last().map(|entry| entry.log_id).or(prev);
            self.progress.sent(prev, last, entries.len() as u64);
            if self.sent == self.answered {
                self.silent_beats = 0;
            }
            self.sent += 1;
            let header = AppendHeader {
                from: me,
                admitted,
                to: self.target.store_id,
                vote,
                prev_log_id: prev,
                committed: store.committed,
                position,
                promise: PROMISE,
            };
            out.push(Message::Append(self.stamp(life), header, entries));
        }
        if let (ProgressState::Snapshot { .. }, None) = (self.progress.state(), self.snapshot_sent)
            && let Some((meta, content)) = &store.snapshot
        {
            self.progress.on_snapshot_chosen(meta.last_log_id);
            self.snapshot_sent = meta.last_log_id;
            self.silent_beats = 0;
            let header = SnapshotHeader {
                from: me,
                admitted,
                to: self.target.store_id,
                vote,
                position,
                meta: meta.clone(),
            };
            out.push(Message::Snapshot(self.stamp(life), header, content.clone()));
        }
        out
    }

    /// Of promises the one for the latest position counts.
    pub(super) fn hear_promise(&mut self, position: u64, within: Duration) {
        let newer = Promised { position, within };
        if !within.is_zero() && self.promised.is_none_or(|promised| promised.position < position) {
            self.promised = Some(newer);
        }
    }

    /// A reply under the leader's vote confirms its position; another one may show a greater vote.
    pub(super) fn confirm(&mut self, own: Vote<u64>, vote: Vote<u64>, position: u64) {
        if vote == own {
            self.confirmed = self.confirmed.max(position);
        } else if vote > own {
            self.higher = Some(vote);
        }
    }

    pub(super) fn on_replicated(&mut self, stamp: Stamp, result: AppendResult<u64>, snapshot: bool) {
        if stamp.stream != self.stream {
            return;
        }
        if snapshot {
            let Some(last) = self.snapshot_sent.take() else { return };
            match result {
                // One that was sent before, and arrived late, may be answered now.
                AppendResult::Matched(matched) if matched.next_index() > last.index => {
                    self.progress.on_snapshot_done(Some(last));
                }
                _ => self.progress.on_snapshot_failed(),
            }
            return;
        }
        if stamp.number <= self.answered {
            return;
        }
        if stamp.number != self.answered + 1 {
            // A stream is in order: a reply that overtook another one is a broken stream.
            return self.break_stream();
        }
        self.answered += 1;
        self.silent_beats = 0;
        let effect = self.progress.on_reply(result);
        assert!(effect.is_ok(), "an honest follower is not believed: {effect:?}");
        let _: Result<ReplyEffect<u64>, _> = effect;
    }
}
