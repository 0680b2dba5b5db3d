//! Snapshots and purge: when to build one, what may then be dropped, and installing a leader's.

use super::append::Sender;
use super::state::{Installing, Role, WaitingKind};
use super::{Engine, NUMBER_MAX};
use crate::{
    AppendResult, Command, LogId, LogIdOptionExt, Node, NodeId, SnapshotHeader, SnapshotMeta,
    StoredMembership, Timestamp,
};

/// Whether one log can hold both, `earlier` first: indexes and leaders ascend together.
fn precedes<NID: NodeId>(earlier: &LogId<NID>, later: &LogId<NID>) -> bool {
    earlier == later || (earlier.index < later.index && earlier.leader_id <= later.leader_id)
}

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Orders a snapshot of what is applied, unless one is being built or nothing was applied since the last one.
    /// Returns whether it was ordered.
    pub fn trigger_snapshot(&mut self) -> bool {
        self.enter("trigger_snapshot");
        self.order_snapshot()
    }

    fn order_snapshot(&mut self) -> bool {
        let nothing_new = self.state.applied <= self.state.snapshot;
        if self.state.building_snapshot || self.state.installing.is_some() || nothing_new {
            return false;
        }
        self.state.building_snapshot = true;
        self.timing.snapshot = None;
        self.push(Command::BuildSnapshot);
        true
    }

    /// The snapshot ordered last is durable and covers everything up to `last_log_id`; or `None`: it failed, and the
    /// one before it remains.
    pub fn handle_snapshot_built(&mut self, now: Timestamp, last_log_id: Option<LogId<NID>>) {
        self.enter("handle_snapshot_built");
        self.state.building_snapshot = false;
        if last_log_id.is_none() {
            self.state.snapshot_failed_at = self.state.applied.next_index();
        }
        self.state.snapshot = self.state.snapshot.max(last_log_id);
        self.arm_snapshot(now);
        self.consider_purge(now);
    }

    /// Orders a snapshot if enough was applied since the last one, or since the last attempt that failed.
    pub(super) fn consider_snapshot(&mut self) {
        let begun = self.state.snapshot.next_index().max(self.state.snapshot_failed_at);
        let end = self.state.applied.next_index();
        let enough = |every: Option<u64>, found: u64| every.is_some_and(|every| found >= every.max(1));
        if enough(self.config.snapshot_every_entries, end.saturating_sub(begun))
            || enough(self.config.snapshot_every_bytes, self.sizes.weight(begun..end))
        {
            self.order_snapshot();
        }
    }

    /// Something was applied since the last snapshot: another one is due an interval from now, if it is not already.
    pub(super) fn arm_snapshot(&mut self, now: Timestamp) {
        let Some(interval) = self.config.snapshot_interval else { return };
        if self.state.applied > self.state.snapshot && !self.state.building_snapshot {
            self.timing.snapshot.get_or_insert(now + interval);
        }
    }

    /// Orders the snapshot whose interval is over.
    pub(super) fn snapshot_if_due(&mut self, now: Timestamp) {
        if self.timing.snapshot.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.timing.snapshot = None;
        if !self.order_snapshot() {
            // A snapshot is being built or installed: what it does not cover is looked at again.
            self.arm_snapshot(now);
        }
    }

    /// Orders the purge of what the durable snapshot covers and is applied, less the tail that is kept and less what
    /// followers need. Purges come in bites of at least an eighth of the kept tail, so that they are not one for every
    /// entry applied.
    pub(super) fn consider_purge(&mut self, now: Timestamp) {
        let begin = self.state.log.purged().next_index();
        let bite = (self.config.snapshot_keep_entries / 8).max(1);
        let covered = self.state.snapshot.next_index().min(self.state.applied.next_index());
        let wanted = covered.saturating_sub(self.config.snapshot_keep_entries);
        if wanted < begin.saturating_add(bite) {
            return;
        }
        let end = self.pinned(now, wanted);
        if end < begin.saturating_add(bite) {
            return;
        }
        let upto = self.state.log.get(end - 1).expect("what is applied and not purged is in the log");
        self.purge(upto);
    }

    /// Up to where the followers let the entries before `end` be purged. One pins what it needs, unless that weighs more
    /// than `purge_pin_bytes` or it has not answered for `purge_pin_absence`: it gets the snapshot then.
    fn pinned(&self, now: Timestamp, end: u64) -> u64 {
        let Role::Leader(leader) = &self.state.role else { return end };
        let led = now.since(self.timing.led_since);
        let pins = leader.followers.iter().filter(|(id, follower)| {
            // A new leader knows nothing yet: most likely nobody needs more than a little, whatever the log weighs.
            if follower.needed == 0 && led < self.config.election_timeout_max {
                return true;
            }
            let absent = self.timing.confirmed_at.get(id).map_or(led, |at| now.since(*at).min(led));
            absent < self.config.purge_pin_absence
                && self.sizes.weight(follower.needed..end) <= self.config.purge_pin_bytes
        });
        pins.map(|(_, follower)| follower.needed).min().unwrap_or(end).min(end)
    }

    fn purge(&mut self, upto: LogId<NID>) {
        self.state.log.purge(upto);
        self.sizes.purge(upto.index + 1);
        let io = self.state.lane.submit(self.state.log.last().next_index());
        self.push(Command::PurgeLog { io, upto });
    }

    /// A leader's snapshot has been received whole and is durable. Answers
    /// [`Reply::Snapshot`](crate::Reply::Snapshot) once it is installed, or at once if it is refused: an old vote, a
    /// description that is none or that contradicts what is committed here, or another install under way ("busy"). One
    /// that covers nothing new is matched, and nothing is installed.
    pub fn handle_install_snapshot(&mut self, now: Timestamp, token: u64, header: SnapshotHeader<NID, N>) {
        self.enter("handle_install_snapshot");
        let position = header.position;
        let Some(last) = header.meta.last_log_id else {
            return self.send_snapshot_reply(token, position, AppendResult::Refused);
        };
        let sound = header.meta.members().validate().is_ok()
            && header.meta.membership.log_id.is_some_and(|stated| precedes(&stated, &last))
            && last.leader_id <= header.vote.leader_id()
            && last.index <= NUMBER_MAX;
        let sender = Sender { from: header.from, admitted: header.admitted, to: header.to };
        if !sound || !self.listens_to(&sender) {
            return self.send_snapshot_reply(token, position, AppendResult::Refused);
        }
        if !self.accept_leader(now, &sender, header.vote) {
            return self.send_snapshot_reply(token, position, AppendResult::HigherVote);
        }
        if self.state.installing.is_some() {
            return self.send_snapshot_reply(token, position, AppendResult::Busy);
        }
        if self.contradicts_commit(&header.meta) {
            return self.send_snapshot_reply(token, position, AppendResult::Refused);
        }
        if last.index < self.state.committed.next_index() {
            if last.index < self.state.lane.durable() {
                let kind = WaitingKind::Snapshot { position, matched: last };
                return self.respond_when_durable(self.state.vote_io, token, kind);
            }
            return self.send_snapshot_reply(token, position, AppendResult::Busy);
        }
        let meta = header.meta;
        self.push(Command::InstallSnapshot { meta: meta.clone() });
        self.state.installing = Some(Installing { meta, token, position, vote: header.vote });
    }

    /// Whether a snapshot is of another history than what is committed here. Every leader's log holds what is committed
    /// (paper, 5.4.3): it is a lie, or damage, or of another cluster.
    fn contradicts_commit(&self, meta: &SnapshotMeta<NID, N>) -> bool {
        let (Some(last), Some(committed)) = (meta.last_log_id, self.state.committed) else { return false };
        if last.index <= committed.index {
            return self.state.log.get(last.index).is_some_and(|held| held != last);
        }
        // It covers all that is committed here, so that its membership is the one known here to be committed, or a later.
        let known = self.state.memberships.iter().rfind(|stored| stored.log_id <= Some(committed));
        let stated = &meta.membership;
        let older_membership = known.is_some_and(|known| {
            known.log_id > stated.log_id || (known.log_id == stated.log_id && known != stated)
        });
        !precedes(&committed, &last) || older_membership
    }

    /// The snapshot ordered to be installed is durable, is the current one, and is the state machine's state. `false`:
    /// it did not restore, and everything is as before.
    pub fn handle_snapshot_installed(&mut self, installed: bool) {
        self.enter("handle_snapshot_installed");
        let Some(Installing { meta, token, position, vote }) = self.state.installing.take() else { return };
        let last = meta.last_log_id.expect("checked when it came");
        if !installed {
            self.send_snapshot_reply(token, position, AppendResult::Refused);
            return self.order_apply();
        }
        self.state.snapshot = self.state.snapshot.max(Some(last));
        self.timing.snapshot = None;
        if self.state.log.holds(&last) {
            self.state.lane.cover(last.index + 1);
            self.purge(last);
        } else {
            self.drop_log_for(last);
            self.state.lane.cover(last.index + 1);
        }
        self.state.committed = self.state.committed.max(Some(last));
        self.state.apply_ordered = self.state.apply_ordered.max(Some(last));
        self.state.applied = self.state.applied.max(Some(last));
        self.take_snapshot_membership(&meta.membership);
        if let Some(heard) = self.timing.heard {
            self.settle_election_deadline(heard);
        }
        self.release_reads();
        let kind = WaitingKind::Snapshot { position, matched: last };
        if vote.same_candidate(&self.state.vote) {
            self.respond_when_durable(self.state.lane.submitted(), token, kind);
        } else {
            self.send_snapshot_reply(token, position, AppendResult::HigherVote);
        }
        self.order_apply();
    }

    /// Orders the whole log to be dropped, for a snapshot up to `last`, which it does not hold.
    pub(super) fn drop_log_for(&mut self, last: LogId<NID>) {
        let begin = self.state.log.purged().next_index();
        if begin < self.state.log.last().next_index() {
            self.state.log.truncate(begin);
            self.sizes.truncate(begin);
            self.state.lane.truncate(begin);
            let io = self.state.lane.submit(begin);
            self.push(Command::TruncateLog { io, since: begin });
        }
        self.purge(last);
    }

    /// The snapshot's membership replaces everything stated up to its last entry, and everything after it that the log
    /// holds no more.
    pub(super) fn take_snapshot_membership(&mut self, stored: &StoredMembership<NID, N>) {
        let covered = self.state.snapshot;
        let held = self.state.log.last();
        let mut memberships = vec![stored.clone()];
        // What the snapshot states is no later than what it covers. A log that was dropped ends where the snapshot does.
        memberships.extend(
            std::mem::take(&mut self.state.memberships)
                .into_iter()
                .filter(|later| later.log_id > covered && later.log_id <= held),
        );
        self.state.memberships = memberships;
        self.note_membership();
    }
}
