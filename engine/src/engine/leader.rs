//! The leader's side: proposals, followers' reports, commit, heartbeats, and stepping down.

use std::collections::BTreeMap;
use std::time::Duration;

use super::state::{Leader, Role, Transfer};
use super::{Engine, is_believable};
use crate::{
    ChangeRefused, Command, LeaderId, LogId, LogIdOptionExt, Node, NodeId, OwnPayload, ReadRefused, Replica,
    Reply, Timestamp, TransferRefused, Vote, quorum,
};

/// The places that proposals got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed<NID> {
    /// Under whom they stand.
    pub leader_id: LeaderId<NID>,
    /// The index of the first; the others follow.
    pub first_index: u64,
}

/// Why proposals were not taken. They are certainly not in any log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotProposed<NID> {
    /// This node does not lead.
    NotLeader {
        /// Who does, as far as it is known.
        leader: Option<NID>,
    },
    /// Leadership is being handed over; see [`Engine::holds_proposals`].
    Transferring {
        /// To whom.
        to: NID,
    },
}

/// A follower's promise to vote for nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Promised {
    /// The position of the message that it answered: the promise began no earlier than that was drawn.
    pub position: u64,
    /// For how long, on the follower's clock.
    pub within: Duration,
}

/// What a replication task reports, joined over all that it learned since it last did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationReport<NID> {
    /// The task.
    pub session: u64,
    /// Whose replica it talks to.
    pub target: Replica<NID>,
    /// The last entry known to be durable there.
    pub matched: Option<LogId<NID>>,
    /// The greatest position confirmed under this leader's vote.
    pub confirmed: u64,
    /// The lowest index that is still needed from the log.
    pub needed: u64,
    /// Whether the follower answers.
    pub reachable: bool,
    /// The latest position for which it promised something, and what.
    pub promised: Option<Promised>,
    /// A vote there that is greater than ours, if one was seen.
    pub higher_vote: Option<Vote<NID>>,
}

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Takes `count` proposals, which weigh `bytes` together ([`RaftEntry::size`](crate::RaftEntry::size)), into the
    /// log, if this node leads. The entries are those that the driver has at hand;
    /// the [`Command::AppendInputEntries`] that follows names their place.
    ///
    /// # Errors
    /// [`NotProposed`]: nothing was taken.
    ///
    /// # Panics
    /// If `count` is zero.
    pub fn propose(&mut self, count: u64, bytes: u64) -> Result<Proposed<NID>, NotProposed<NID>> {
        self.enter("propose");
        assert!(count > 0, "a proposal has at least one entry");
        match &self.state.role {
            Role::Leader(Leader { transfer: Some(transfer), .. }) => {
                return Err(NotProposed::Transferring { to: transfer.to });
            }
            Role::Leader(_) => {}
            _ => return Err(NotProposed::NotLeader { leader: self.leader() }),
        }
        let leader_id = self.state.vote.leader_id();
        let first = self.state.log.last().next_index();
        let last = LogId { leader_id, index: first + count - 1 };
        for index in first..=last.index {
            self.state.log.append(LogId { leader_id, index });
        }
        self.sizes.append(count, bytes);
        let io = self.state.lane.submit(last.index + 1);
        self.push(Command::AppendInputEntries { io, first, last });
        self.push(Command::ReplicateInputEntries { last });
        Ok(Proposed { leader_id, first_index: first })
    }

    /// A quorum has granted: lead, and begin with a blank entry, by whose commitment everything before it is committed
    /// (paper, 5.4.2 and 8).
    pub(super) fn become_leader(&mut self, now: Timestamp) {
        self.timing.election = None;
        self.timing.heartbeat = Some(now + self.config.heartbeat_interval);
        self.timing.led_since = now;
        self.timing.confirmed_at.clear();
        self.timing.promised_until.clear();
        self.timing.commit_watch = Default::default();
        self.timing.drawn.clear();
        let vote = self.state.vote.commit();
        let first_own = LogId { leader_id: vote.leader_id(), index: self.state.log.last().next_index() };
        self.timing.rounds.clear();
        self.timing.leaving.clear();
        self.state.role = Role::Leader(Leader {
            first_own,
            followers: BTreeMap::new(),
            change: None,
            transfer: None,
            released: false,
            reads: Default::default(),
        });
        self.save_vote(vote);
        let membership = self.membership().membership.clone();
        self.update_replications(now, &membership);
        self.append_own(first_own, OwnPayload::Blank);
        self.push(Command::ReplicateInputEntries { last: first_own });
        self.send_heartbeat(now);
    }

    /// Draws a position.
    pub(super) fn draw_position(&mut self, now: Timestamp) -> u64 {
        self.state.position += 1;
        self.timing.note_drawn(self.state.position, now);
        self.state.position
    }

    pub(super) fn send_heartbeat(&mut self, now: Timestamp) {
        let position = self.draw_position(now);
        self.push(Command::SendHeartbeat { position });
    }

    /// Sends a heartbeat now, if this node leads; returns whether it does. The next one comes when it would have.
    pub fn trigger_heartbeat(&mut self, now: Timestamp) -> bool {
        self.enter("trigger_heartbeat");
        let leads = matches!(self.state.role, Role::Leader(_));
        if leads {
            self.send_heartbeat(now);
        }
        leads
    }

    /// The heartbeat is due: send it, unless no quorum has answered for an election timeout (check-quorum, thesis 6.2),
    /// or something stands still; then step down.
    pub(super) fn beat_if_due(&mut self, now: Timestamp) {
        if self.timing.heartbeat.is_none_or(|deadline| now < deadline) {
            return;
        }
        let heard = self.quorum_heard_at(now);
        self.look(now);
        if now.since(heard) > self.config.election_timeout_max || self.stalled(now).is_some() {
            return self.become_follower(now);
        }
        self.timing.heartbeat = Some(now + self.config.heartbeat_interval);
        self.send_heartbeat(now);
    }

    /// The latest instant at which a quorum had not yet left this leader, as far as is known: when the messages that a
    /// quorum answered were sent, but not before the leadership began.
    pub(super) fn quorum_heard_at(&self, now: Timestamp) -> Timestamp {
        let me = self.id();
        let confirmed = &self.timing.confirmed_at;
        quorum::committed(self.membership().membership.voters(), now, |id| {
            if *id == me { Some(now) } else { confirmed.get(id).copied() }
        })
        .unwrap_or(Timestamp::ZERO)
        .max(self.timing.led_since)
    }

    /// What a replication task has learned. Reports of other sessions than the present one are dropped.
    pub fn handle_replication_report(&mut self, now: Timestamp, report: ReplicationReport<NID>) {
        self.enter("handle_replication_report");
        let Role::Leader(leader) = &mut self.state.role else { return };
        let Some(follower) = leader.followers.get_mut(&report.target.node_id) else { return };
        if follower.session != report.session {
            return;
        }
        if let Some(higher) = report.higher_vote
            && higher > self.state.vote
            && is_believable(&higher)
        {
            self.state.seen_term = self.state.seen_term.max(higher.term);
            return self.become_follower(now);
        }
        // No follower can hold more than was sent; a report beyond the log is a peer that lies.
        let matched = report.matched.filter(|matched| self.state.log.holds(matched));
        follower.matched = follower.matched.max(matched);
        // Nor can it have been asked to confirm a position that is not drawn yet.
        let confirmed = if report.confirmed <= self.state.position { report.confirmed } else { 0 };
        follower.confirmed = follower.confirmed.max(confirmed);
        // A task that has just begun knows less of the follower than was learned before it.
        follower.needed = report.needed.max(follower.matched.next_index());
        follower.reachable = report.reachable;
        if let Some(at) = self.timing.drawn_at(confirmed) {
            let latest = self.timing.confirmed_at.entry(report.target.node_id).or_insert(at);
            *latest = at.max(*latest);
        }
        if let Some(promised) = report.promised {
            self.note_promise(report.target.node_id, promised);
        }
        self.note_round(now, report.target.node_id);
        self.advance_leader_commit(now);
        self.dismiss_removed(now);
        self.consider_promotion(now);
        self.confirm_reads();
        self.consider_purge(now);
        self.tell_target();
    }

    /// The replication task of `session` has ended by itself. If this node still leads, another one is started.
    pub fn handle_replication_ended(&mut self, target: NID, session: u64) {
        self.enter("handle_replication_ended");
        let last = self.state.log.last();
        let membership = self.membership().membership.clone();
        let next_session = self.state.session + 1;
        let Role::Leader(leader) = &mut self.state.role else { return };
        let Some(follower) = leader.followers.get_mut(&target).filter(|follower| follower.session == session)
        else {
            return;
        };
        let Some(member) = membership.nodes().get(&target) else { return };
        follower.session = next_session;
        self.state.session = next_session;
        let start = super::change::target(target, member, next_session, last);
        self.push(Command::RebuildReplications { start: vec![start], stop: vec![session] });
    }

    /// Commits what a quorum of every voter set holds durably, if it is an entry of this leadership
    /// (paper, 5.4.2: never by counting entries of an earlier term).
    pub(super) fn advance_leader_commit(&mut self, now: Timestamp) {
        let Role::Leader(leader) = &self.state.role else { return };
        let me = self.id();
        let own = self.state.lane.durable();
        let end = quorum::committed(
            self.membership().membership.voters(),
            self.state.log.last().next_index(),
            |id| {
                if *id == me { Some(own) } else { leader.followers.get(id).map(|f| f.matched.next_index()) }
            },
        );
        let Some(index) = end.and_then(|end| end.checked_sub(1)) else { return };
        if index < leader.first_own.index {
            return;
        }
        self.advance_commit(self.state.log.get(index));
        self.settle_change(now);
    }

    /// Ends the leadership: its tasks stop, its undecided writes are of unknown outcome, its waiting reads are told.
    pub(super) fn give_up_leadership(&mut self) {
        let Role::Leader(leader) = std::mem::replace(&mut self.state.role, Role::Follower) else { return };
        self.timing.heartbeat = None;
        self.timing.transfer = None;
        self.timing.leaving.clear();
        if let Some(token) = leader.change {
            self.respond(token, Reply::Membership(Err(ChangeRefused::LeadershipLost)));
        }
        if let Some(Transfer { token, told, .. }) = leader.transfer {
            // Not told, the target cannot be who ended it.
            let result = if told { Ok(()) } else { Err(TransferRefused::NotLeader { leader: None }) };
            self.respond(token, Reply::Transfer(result));
        }
        let stop = leader.followers.values().map(|follower| follower.session).collect();
        self.push(Command::RebuildReplications { start: Vec::new(), stop });
        self.push(Command::AbandonWrites { since: self.state.committed.next_index() });
        for read in leader.reads {
            self.refuse_read(read.readers, ReadRefused::NotLeader { leader: None });
        }
    }
}
