//! `Engine`: one node's protocol as a value.

mod append;
mod change;
#[cfg_attr(not(debug_assertions), path = "check_off.rs")]
mod check;
mod election;
mod headers;
mod leader;
mod lease;
mod lifecycle;
mod promise;
mod reads;
mod snapshot;
mod state;
mod transfer;
mod watchdog;

#[cfg(test)]
mod tests;

pub use leader::{NotProposed, Promised, Proposed, ReplicationReport};
pub use state::RestartState;
use state::{Role, State, Timing};
pub use watchdog::Stall;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use crate::log_sizes::LogSizes;
use crate::{
    AppendReply, AppendResult, Command, EngineConfig, HeartbeatReply, LogId, LogIdOptionExt, Node, NodeId,
    Reply, SnapshotReply, StoredMembership, Timestamp, Vote, VoteReply,
};
use state::{WaitingKind, WaitingReply};

/// One node's Raft protocol: it only computes. It owns no clock, no randomness but what its seed gives, and no I/O.
///
/// Methods are of four kinds.
///
/// - *Getters* ([`role`](Engine::role), [`vote`](Engine::vote), [`committed`](Engine::committed), …) change nothing.
/// - *Arrivals*, `handle_*`: messages of peers and their replies, completions of I/O, and
///   [`handle_deadline`](Engine::handle_deadline).
/// - *Requests*: [`initialize`](Engine::initialize), [`propose`](Engine::propose),
///   [`transfer_leader`](Engine::transfer_leader),
///   [`read_index`](Engine::read_index), [`read_lease`](Engine::read_lease), [`await_applied`](Engine::await_applied),
///   [`forget_leader`](Engine::forget_leader), [`trigger_elect`](Engine::trigger_elect),
///   [`trigger_heartbeat`](Engine::trigger_heartbeat), [`trigger_snapshot`](Engine::trigger_snapshot).
/// - [`next_deadline`](Engine::next_deadline) and [`take_commands`](Engine::take_commands).
///
/// A driver loops: wait for something to arrive or for `next_deadline()`; read its clock; call the method; carry out
/// what `take_commands()` returns, each lane in order ([`Command`]). There is no tick. The same calls with the same
/// seed give the same commands. [`guide::driving`](crate::guide::driving) says all of it.
///
/// Calls that expect an answer carry a token, a number of the caller's choice; the answer is a [`Command::Respond`],
/// at once or later, exactly one for each token, unless the node stops.
#[derive(Clone, Debug)]
pub struct Engine<NID: NodeId, N: Node> {
    config: EngineConfig<NID>,
    state: State<NID, N>,
    timing: Timing<NID>,
    /// Steers when snapshots are built and how long a purge waits. Not part of the protocol's state, whose equality
    /// must not depend on how the log was cut into appends.
    sizes: LogSizes,
    commands: Vec<Command<NID, N>>,
    /// What the invariants are checked against, where debug assertions are on.
    checker: check::Checker<NID>,
}

/// No term and no index goes beyond this. A greater one from a peer is a lie or damage and is refused, so that sums of
/// what is believed never overflow. Half of the numbers, a term a nanosecond for some 290 years.
const NUMBER_MAX: u64 = u64::MAX >> 1;

/// Whether a vote that a peer states can be one: there is no election in term 0.
fn is_believable<NID>(vote: &Vote<NID>) -> bool {
    (1..=NUMBER_MAX).contains(&vote.term)
}

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServerState {
    /// In no voter set: receives the log and counts for nothing; also a node that is in no cluster yet.
    Learner,
    /// A voter that follows, or waits for a leader.
    Follower,
    /// Asks whether it would get votes.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// What the node is.
    pub fn role(&self) -> ServerState {
        match &self.state.role {
            Role::Leader(_) => ServerState::Leader,
            Role::PreCandidate(_) => ServerState::PreCandidate,
            Role::Candidate(_) => ServerState::Candidate,
            Role::Follower if self.is_voter() => ServerState::Follower,
            Role::Follower => ServerState::Learner,
        }
    }

    /// The vote in force, durable or on its way to the disk.
    pub fn vote(&self) -> Vote<NID> {
        self.state.vote
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NID> {
        match self.state.role {
            Role::Leader(_) => Some(self.id()),
            Role::Follower if self.state.leader_forgotten => None,
            // A committed vote for oneself stands also when one no longer leads.
            Role::Follower if self.state.vote.committed && self.state.vote.node_id != self.id() => {
                Some(self.state.vote.node_id)
            }
            _ => None,
        }
    }

    /// Whether this node belongs to a cluster: its log or snapshot names one.
    pub fn is_initialized(&self) -> bool {
        !self.membership().membership.is_empty()
    }

    /// The membership in force, committed or not.
    pub fn membership(&self) -> &StoredMembership<NID, N> {
        self.state.membership()
    }

    /// The last entry accepted, durable or not.
    pub fn last_log_id(&self) -> Option<LogId<NID>> {
        self.state.log.last()
    }

    /// The last entry known to be durable here.
    pub fn flushed(&self) -> Option<LogId<NID>> {
        let durable = self.state.lane.durable().min(self.last_log_id().next_index());
        durable.checked_sub(1).and_then(|index| self.state.log.get(index))
    }

    /// The last entry known to be committed.
    pub fn committed(&self) -> Option<LogId<NID>> {
        self.state.committed
    }

    /// The last entry known to be applied here.
    pub fn applied(&self) -> Option<LogId<NID>> {
        self.state.applied
    }

    /// The last entry that the durable snapshot covers.
    pub fn snapshot(&self) -> Option<LogId<NID>> {
        self.state.snapshot
    }

    /// About what the log weighs, in bytes: exact but where an append was cut by a truncation or a purge, and for what a
    /// restart found.
    pub fn log_bytes(&self) -> u64 {
        self.sizes.weight(0..u64::MAX)
    }

    /// The last entry dropped from the front of the log.
    pub fn purged(&self) -> Option<LogId<NID>> {
        self.state.log.purged()
    }

    /// The log id at `index`, if the log holds it or it is the last purged one.
    pub fn log_id_at(&self, index: u64) -> Option<LogId<NID>> {
        self.state.log.get(index)
    }

    /// Of each follower, what the leader knows: the last entry durable there, and whether it answers. Empty when this
    /// node does not lead.
    pub fn followers(&self) -> impl Iterator<Item = (NID, Option<LogId<NID>>, bool)> {
        let followers = match &self.state.role {
            Role::Leader(leader) => Some(&leader.followers),
            _ => None,
        };
        followers.into_iter().flatten().map(|(id, follower)| (*id, follower.matched, follower.reachable))
    }

    /// The protocol's state, apart from clocks, deadlines and chance: what a search compares and hashes, since it lets
    /// any armed deadline fire. Apart also from numbers of which only the order matters: writes of the log lane are
    /// counted from the last that is durable, and positions are left out of a node that does not lead, which draws its
    /// next ones for other tasks. Engines that are equal in this behave alike from here on.
    pub fn protocol_state(&self) -> impl Clone + Eq + Hash + Debug + use<NID, N> {
        self.state.counted_anew()
    }

    /// The next instant at which [`handle_deadline`](Engine::handle_deadline) wants to be called; `None`: none.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let of_role = match self.state.role {
            Role::Leader(_) => {
                let leaving = self.timing.leaving.values().copied();
                self.timing.heartbeat.into_iter().chain(self.timing.transfer).chain(leaving).min()
            }
            _ => self.timing.election,
        };
        of_role.into_iter().chain(self.timing.snapshot).min()
    }

    /// What there is to do since the last call, in order.
    pub fn take_commands(&mut self) -> Vec<Command<NID, N>> {
        self.check_commands();
        std::mem::take(&mut self.commands)
    }

    /// A deadline has come: ask whether a campaign would be won, campaign, or send heartbeats and see whether a quorum still answers. Does nothing if
    /// none has come at `now`.
    pub fn handle_deadline(&mut self, now: Timestamp) {
        self.enter("handle_deadline");
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        self.snapshot_if_due(now);
        match self.state.role {
            Role::Leader(_) => {
                self.expire_transfer(now);
                self.expire_leaving(now);
                self.beat_if_due(now);
            }
            _ if self.timing.election.is_some_and(|deadline| deadline <= now) => self.seek_election(now),
            _ => {}
        }
    }

    /// Everything that was ordered on the log lane, through write `io`, is durable.
    ///
    /// # Panics
    /// If write `io` was never ordered.
    pub fn handle_log_flushed(&mut self, now: Timestamp, io: u64) {
        self.enter("handle_log_flushed");
        self.state.lane.flushed_through(io);
        self.release_replies();
        match self.state.role {
            Role::Candidate(_) => self.ask_for_votes(now),
            Role::Leader(_) => self.advance_leader_commit(now),
            Role::Follower | Role::PreCandidate(_) => {}
        }
        self.order_apply();
    }

    /// The entry that admitted this node's store to the cluster, as its own log says; `None` if it is no member.
    ///
    /// A member that only an uncommitted membership excludes is one still: it may have to lead, and a follower whose log
    /// names an earlier store of this node would not listen to it without.
    pub fn admitted(&self) -> Option<LogId<NID>> {
        let me = &self.config.replica;
        let known = self.state.memberships.iter().rev().find(|stored| stored.membership.knows(me))?;
        known.membership.nodes().get(&me.node_id).map(|me| me.admitted)
    }

    fn id(&self) -> NID {
        self.config.replica.node_id
    }

    /// Whether this node campaigns: it votes, on the store it runs on, in the membership in force or in one before it
    /// that is still in force should the last one be truncated. A voter that only an uncommitted membership excludes
    /// may be the one whose log is needed (thesis 4.2.2).
    fn is_voter(&self) -> bool {
        let votes = |stored: &StoredMembership<NID, N>| {
            stored.membership.is_voter(&self.id()) && stored.membership.knows(&self.config.replica)
        };
        !self.state.removed && self.state.memberships.iter().any(votes)
    }

    /// Whether this node is the only voter: it has nobody to ask and nobody to wait for.
    fn is_lone_voter(&self) -> bool {
        matches!(self.membership().membership.voters(), [voters] if voters.len() == 1 && voters.contains(&self.id()))
    }

    /// Whether this node has been removed from its cluster, as far as it knows: the committed membership does not hold
    /// it on the store it runs on, though an earlier one did, or a member has said that it was removed. A new node whose
    /// admission is yet to reach it was not removed.
    pub fn is_removed(&self) -> bool {
        let stored = self.membership();
        let excludes = self.state.was_member
            && self.state.memberships.len() == 1
            && stored.log_id <= self.state.committed
            && !stored.membership.knows(&self.config.replica);
        self.state.removed || excludes
    }

    /// After the membership may have changed: a voter that waits for a leader has a deadline, others have none.
    fn settle_election_deadline(&mut self, now: Timestamp) {
        if !self.is_voter() {
            self.timing.election = None;
        } else if self.timing.election.is_none() && !matches!(self.state.role, Role::Leader(_)) {
            self.timing.arm_first_election(&self.config, now);
        }
    }

    fn push(&mut self, command: Command<NID, N>) {
        self.commands.push(command);
    }

    fn respond(&mut self, token: u64, reply: Reply<NID>) {
        self.push(Command::Respond { token, reply });
    }

    /// Answers once write `io` is durable, which may be now.
    fn respond_when_durable(&mut self, io: u64, token: u64, kind: WaitingKind<NID>) {
        let waiting = WaitingReply { io, token, vote: self.state.vote, kind };
        if io <= self.state.lane.flushed() {
            return self.send_reply(waiting, true);
        }
        let at = self.state.waiting_replies.partition_point(|earlier| earlier.io <= io);
        self.state.waiting_replies.insert(at, waiting);
    }

    /// Sends the answers whose writes are durable.
    fn release_replies(&mut self) {
        let flushed = self.state.lane.flushed();
        while self.state.waiting_replies.front().is_some_and(|waiting| waiting.io <= flushed) {
            let waiting = self.state.waiting_replies.pop_front().expect("just seen");
            self.send_reply(waiting, true);
        }
    }

    /// Withdraws the answers that were to be given under another vote: what they would claim no longer binds us.
    fn withdraw_replies(&mut self) {
        let vote = self.state.vote;
        for waiting in std::mem::take(&mut self.state.waiting_replies) {
            // The initial entry is under nobody's vote.
            if waiting.vote.same_candidate(&vote) || matches!(waiting.kind, WaitingKind::Initialize) {
                self.state.waiting_replies.push_back(waiting);
            } else {
                self.send_reply(waiting, false);
            }
        }
    }

    fn send_reply(&mut self, waiting: WaitingReply<NID>, holds: bool) {
        let WaitingReply { token, kind, .. } = waiting;
        match kind {
            WaitingKind::Vote => self.send_vote_reply(token, false, holds, false),
            WaitingKind::Heartbeat { position, promised } => {
                self.send_heartbeat_reply(token, position, holds.then_some(promised));
            }
            WaitingKind::Append { position, matched, promised } => {
                // A leader never takes back what it sent, but a peer may lie.
                let intact = matched.is_none_or(|matched| self.matches(&matched));
                let result = match (holds, intact) {
                    (true, true) => AppendResult::Matched(matched),
                    (true, false) => AppendResult::Conflict { hint: self.state.log.last() },
                    (false, _) => AppendResult::HigherVote,
                };
                self.send_append_reply(
                    token,
                    position,
                    result,
                    if holds { promised } else { Duration::ZERO },
                );
            }
            WaitingKind::Conflict { position, hint, promised } => match holds {
                true => {
                    self.send_append_reply(token, position, AppendResult::Conflict { hint }, promised);
                }
                false => self.refuse_append(token, position, AppendResult::HigherVote),
            },
            WaitingKind::Snapshot { position, matched } => {
                let result =
                    if holds { AppendResult::Matched(Some(matched)) } else { AppendResult::HigherVote };
                self.send_snapshot_reply(token, position, result);
            }
            WaitingKind::Initialize => self.respond(token, Reply::Initialize(Ok(()))),
        }
    }

    fn send_vote_reply(&mut self, token: u64, pre_vote: bool, granted: bool, removed: bool) {
        let reply = VoteReply {
            pre_vote,
            from: self.config.replica,
            vote: self.state.vote,
            granted,
            last_log_id: self.state.log.last(),
            removed,
        };
        self.respond(token, Reply::Vote(reply));
    }

    /// Answers a heartbeat: `None` refuses it, else this is promised.
    fn send_heartbeat_reply(&mut self, token: u64, position: u64, promised: Option<Duration>) {
        let reply = HeartbeatReply {
            from: self.config.replica,
            vote: self.state.vote,
            position,
            accepted: promised.is_some(),
            promised: promised.unwrap_or_default(),
        };
        self.respond(token, Reply::Heartbeat(reply));
    }

    /// Answers an append without a promise.
    fn refuse_append(&mut self, token: u64, position: u64, result: AppendResult<NID>) {
        self.send_append_reply(token, position, result, Duration::ZERO);
    }

    fn send_append_reply(
        &mut self,
        token: u64,
        position: u64,
        result: AppendResult<NID>,
        promised: Duration,
    ) {
        let reply =
            AppendReply { from: self.config.replica, vote: self.state.vote, position, result, promised };
        self.respond(token, Reply::Append(reply));
    }

    fn send_snapshot_reply(&mut self, token: u64, position: u64, result: AppendResult<NID>) {
        let reply = SnapshotReply { from: self.config.replica, vote: self.state.vote, position, result };
        self.respond(token, Reply::Snapshot(reply));
    }

    /// Puts a greater vote in force and orders its write. Whoever calls sets the role.
    fn save_vote(&mut self, vote: Vote<NID>) {
        assert!(vote > self.state.vote, "votes only grow: {vote} after {}", self.state.vote);
        self.state.vote = vote;
        self.state.leader_forgotten = false;
        self.state.seen_term = self.state.seen_term.max(vote.term);
        let io = self.state.lane.submit(self.state.log.last().next_index());
        self.state.vote_io = io;
        self.state.promise_cap = self.config.election_timeout_min;
        self.push(Command::SaveVote { io, vote, promise_cap: self.state.promise_cap });
        self.withdraw_replies();
    }

    /// Raises what is committed to `upto`, which the log must hold, and orders its application.
    fn advance_commit(&mut self, upto: Option<LogId<NID>>) {
        let Some(upto) = upto.filter(|upto| Some(*upto) > self.state.committed) else { return };
        debug_assert!(self.state.log.holds(&upto), "committed is what the log holds");
        self.state.committed = Some(upto);
        self.settle_memberships();
        if matches!(self.state.role, Role::Leader(_)) {
            self.push(Command::ReplicateCommitted { committed: upto });
            self.confirm_reads();
        }
        self.order_apply();
    }

    /// Notes whether one of the memberships known now holds this node.
    fn note_membership(&mut self) {
        let me = &self.config.replica;
        if !self.state.was_member {
            self.state.was_member = self.state.memberships.iter().any(|stored| stored.membership.knows(me));
        }
    }

    /// Forgets the memberships before the last committed one: no truncation brings them back.
    fn settle_memberships(&mut self) {
        let committed = self.state.committed;
        let memberships = &mut self.state.memberships;
        let settled = memberships.iter().rposition(|stored| stored.log_id <= committed).unwrap_or(0);
        memberships.drain(..settled);
    }

    /// Orders the application of what is committed and durable here, as much as the state machine may have before it.
    fn order_apply(&mut self) {
        if self.state.installing.is_some() {
            return;
        }
        let since = self.state.apply_ordered.next_index();
        let applied = self.state.applied.next_index();
        // One entry of any weight goes when nothing else is under way.
        let least = if applied == since { since + 1 } else { since };
        let fitting = self.sizes.fitting(applied, self.config.max_unapplied_bytes).unwrap_or(u64::MAX);
        let end = self.state.committed.next_index().min(self.state.lane.durable()).min(fitting.max(least));
        if end <= since {
            return;
        }
        let upto = self.state.log.get(end - 1).expect("what is committed and not applied is in the log");
        self.state.apply_ordered = Some(upto);
        self.push(Command::SaveCommitted { committed: upto });
        self.push(match self.state.role {
            Role::Leader(_) => Command::LeaderCommit { since, upto },
            _ => Command::FollowerCommit { since, upto },
        });
    }

    /// The state machine has applied everything up to `log_id`.
    pub fn handle_applied(&mut self, now: Timestamp, log_id: LogId<NID>) {
        self.enter("handle_applied");
        if Some(log_id) <= self.state.applied {
            return;
        }
        assert!(Some(log_id) <= self.state.apply_ordered, "{log_id} is applied but was not ordered to be");
        self.state.applied = Some(log_id);
        self.release_reads();
        self.consider_snapshot();
        self.arm_snapshot(now);
        self.consider_purge(now);
        self.order_apply();
    }
}
