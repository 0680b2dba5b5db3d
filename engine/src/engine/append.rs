//! The follower's side: heartbeats and appends, conflicts, and what may be acknowledged when.

use std::cmp::Ordering;

use super::state::{Role, WaitingKind};
use super::{Engine, is_believable};
use crate::{
    AppendHeader, AppendResult, Command, HeartbeatRequest, LogId, LogIdOptionExt, Node, NodeId, RaftEntry,
    Replica, StoreId, StoredMembership, Timestamp, Vote,
};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// A leader says that it leads; answers [`Reply::Heartbeat`](crate::Reply::Heartbeat) once its vote is durable
    /// here.
    pub fn handle_heartbeat(&mut self, now: Timestamp, token: u64, request: HeartbeatRequest<NID>) {
        self.enter("handle_heartbeat");
        let sender = Sender { from: request.from, admitted: request.admitted, to: request.to };
        if !self.accept_leader(now, &sender, request.vote) {
            return self.send_heartbeat_reply(token, request.position, None);
        }
        let promised = self.give_promise(now, request.promise);
        // The leader has seen that our log equals its own up to what it states here, unless it was lost since.
        // While a snapshot is being installed nothing moves under it: a later heartbeat says the same.
        if self.state.installing.is_none() {
            self.advance_commit(request.committed.filter(|committed| self.state.log.holds(committed)));
        }
        self.respond_when_durable(
            self.state.vote_io,
            token,
            WaitingKind::Heartbeat { position: request.position, promised },
        );
    }

    /// A leader's entries. Accepts what follows `header.prev_log_id`, truncates what conflicts, and answers
    /// [`Reply::Append`](crate::Reply::Append): a match once entries and vote are durable.
    ///
    /// The driver keeps the entries; those accepted are named by the [`Command::AppendInputEntries`] that this call
    /// emits. Entries that do not follow one another and `prev_log_id`, that carry a greater leader id than the vote,
    /// that state a membership which is none, or that contradict what is committed here, are refused whole.
    pub fn handle_append<'a, E>(
        &mut self,
        now: Timestamp,
        token: u64,
        header: AppendHeader<NID>,
        entries: impl Iterator<Item = &'a E> + Clone,
    ) where
        E: RaftEntry<NID, N> + 'a,
    {
        self.enter("handle_append");
        let position = header.position;
        let sender = Sender::of_append(&header);
        if !self.listens_to(&sender) {
            return self.refuse_append(token, position, AppendResult::Refused);
        }
        if !well_formed(&header, entries.clone()) {
            return self.refuse_append(token, position, AppendResult::Refused);
        }
        if !self.accept_leader(now, &sender, header.vote) {
            return self.refuse_append(token, position, AppendResult::HigherVote);
        }
        let promised = self.give_promise(now, header.promise);
        if self.state.installing.is_some() {
            let promised = self.binding_at_once(promised);
            return self.send_append_reply(token, position, AppendResult::Busy, promised);
        }
        if let Some(prev) = header.prev_log_id
            && !self.matches(&prev)
        {
            if prev.index < self.state.committed.next_index() {
                // What is committed is in every leader's log (paper, 5.4.3): this one lies, or the data is damaged.
                return self.refuse_append(token, position, AppendResult::Refused);
            }
            let hint = self.state.log.conflict_hint(prev);
            return self.respond_when_durable(
                self.state.vote_io,
                token,
                WaitingKind::Conflict { position, hint, promised },
            );
        }
        let matched = entries.clone().last().map(RaftEntry::log_id).or(header.prev_log_id);
        if !self.take_entries(entries) {
            return self.refuse_append(token, position, AppendResult::Refused);
        }
        self.settle_election_deadline(now);
        if let Some(matched) = matched {
            // What the leader committed beyond the entries checked here may be other than what we hold there.
            let upto = header.committed.map(|committed| committed.min(matched));
            self.advance_commit(upto.filter(|upto| self.state.log.holds(upto)));
        }
        let durable = matched.next_index() <= self.state.lane.durable();
        let io = if durable { self.state.vote_io } else { self.state.lane.submitted() };
        self.respond_when_durable(io, token, WaitingKind::Append { position, matched, promised });
    }

    /// A leader's message was refused for want of memory: it still is a message of the leader. Answers "busy".
    pub fn handle_append_refused_busy(&mut self, now: Timestamp, token: u64, header: AppendHeader<NID>) {
        self.enter("handle_append_refused_busy");
        let sender = Sender::of_append(&header);
        if !self.listens_to(&sender) {
            return self.refuse_append(token, header.position, AppendResult::Refused);
        }
        if !self.accept_leader(now, &sender, header.vote) {
            return self.refuse_append(token, header.position, AppendResult::HigherVote);
        }
        let promised = self.give_promise(now, header.promise);
        let promised = self.binding_at_once(promised);
        self.send_append_reply(token, header.position, AppendResult::Busy, promised);
    }

    /// Whether a leader's message is for this store, from a store that the own log does not contradict.
    ///
    /// A node that is in no cluster yet listens as well, and becomes a member by what it is sent: a leader whose log
    /// names this very store has admitted it. A wiped node is on a new store, which no log names.
    pub(super) fn listens_to(&self, sender: &Sender<NID>) -> bool {
        sender.to == self.config.replica.store_id && !self.contradicts(&sender.from, sender.admitted)
    }

    /// Whether `vote` is, or becomes, the leader that this node follows.
    pub(super) fn accept_leader(&mut self, now: Timestamp, sender: &Sender<NID>, vote: Vote<NID>) -> bool {
        if !vote.committed
            || vote.node_id != sender.from.node_id
            || vote.node_id == self.id()
            || !is_believable(&vote)
            || !self.listens_to(sender)
        {
            return false;
        }
        match vote.partial_cmp(&self.state.vote) {
            // The leader that was given up for lost is there.
            Some(Ordering::Equal) => self.state.role = Role::Follower,
            Some(Ordering::Greater) => {
                self.become_follower(now);
                self.save_vote(vote);
            }
            _ => return false,
        }
        self.timing.heard = Some(now);
        self.state.leader_forgotten = false;
        // Whoever was removed is spoken to no more.
        self.state.removed = false;
        self.look(now);
        self.timing.election = None;
        if self.is_voter() {
            self.timing.arm_first_election(&self.config, now);
        }
        true
    }

    /// Whether this log holds `log_id`, or has committed and dropped what stood there.
    pub(super) fn matches(&self, log_id: &LogId<NID>) -> bool {
        // What is purged was committed, and every leader's log holds what is committed (paper, 5.4.3). The last one
        // purged is still known, so that nothing is ever appended behind another entry than it.
        Some(log_id.index) < self.state.log.purged().index() || self.state.log.holds(log_id)
    }

    /// Skips what the log holds, truncates what conflicts, appends the rest. False, and nothing is changed, if the
    /// entries contradict what is committed.
    fn take_entries<'a, E>(&mut self, entries: impl Iterator<Item = &'a E> + Clone) -> bool
    where
        E: RaftEntry<NID, N> + 'a,
    {
        let held = entries.clone().take_while(|entry| self.matches(&entry.log_id())).count();
        let mut new = entries.skip(held);
        let Some(first) = new.next() else { return true };
        let since = first.log_id().index;
        if since < self.state.log.last().next_index() {
            if since < self.state.committed.next_index() {
                return false;
            }
            self.truncate(since);
        }
        let (mut last, mut count, mut bytes) = (first.log_id(), 0, 0u64);
        for entry in std::iter::once(first).chain(new) {
            last = entry.log_id();
            self.state.log.append(last);
            count += 1;
            bytes = bytes.saturating_add(entry.size());
            if let Some(membership) = entry.membership() {
                self.state.memberships.push(StoredMembership::new(last, membership.clone()));
            }
        }
        self.note_membership();
        self.sizes.append(count, bytes);
        let io = self.state.lane.submit(last.index + 1);
        self.push(Command::AppendInputEntries { io, first: since, last });
        true
    }

    /// Drops the log from `since` on, and with it the memberships stated there.
    pub(super) fn truncate(&mut self, since: u64) {
        debug_assert!(matches!(self.state.role, Role::Follower), "only a follower truncates");
        self.state.log.truncate(since);
        self.sizes.truncate(since);
        self.state.lane.truncate(since);
        let memberships = &mut self.state.memberships;
        let stay = memberships.partition_point(|stored| stored.log_id.next_index() <= since).max(1);
        memberships.truncate(stay);
        let io = self.state.lane.submit(since);
        self.push(Command::TruncateLog { io, since });
    }
}

/// Who speaks as a leader, and to which store.
pub(super) struct Sender<NID> {
    pub(super) from: Replica<NID>,
    pub(super) admitted: Option<LogId<NID>>,
    pub(super) to: StoreId,
}

impl<NID: Copy> Sender<NID> {
    fn of_append(header: &AppendHeader<NID>) -> Self {
        Self { from: header.from, admitted: header.admitted, to: header.to }
    }
}

/// Whether the entries follow `prev_log_id` and one another, with leader ids that do not fall and do not exceed the
/// vote's, and whether every membership they state is one.
fn well_formed<'a, NID: NodeId, N: Node, E: RaftEntry<NID, N> + 'a>(
    header: &AppendHeader<NID>,
    entries: impl Iterator<Item = &'a E>,
) -> bool {
    let mut prev = header.prev_log_id;
    for entry in entries {
        let log_id = entry.log_id();
        if log_id.index != prev.next_index() || prev.is_some_and(|prev| log_id.leader_id < prev.leader_id) {
            return false;
        }
        if entry.membership().is_some_and(|membership| membership.validate().is_err()) {
            return false;
        }
        prev = Some(log_id);
    }
    prev.is_none_or(|last| last.leader_id <= header.vote.leader_id())
}
