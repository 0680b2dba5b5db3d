//! Invariants of one node, checked after every call where debug assertions are on.
//!
//! Every way into the engine begins with [`Engine::enter`], which looks at what the call before left behind, and names
//! that call should something be wrong; [`Engine::take_commands`] looks too. Without debug assertions nothing of this is
//! compiled.
//!
//! A look costs the same however long the log and the queues are: what each call may change is compared with what was
//! seen last, and what must hold for each follower or each waiting answer is asked of a few of them at a time, in turn.
//! Only when the followers change are all of them asked.

mod leader;

use std::collections::VecDeque;

use super::Engine;
use super::state::Role;
use crate::{Command, LogId, LogIdOptionExt, Node, NodeId, Vote};

/// How many of a queue, or of the followers, one look asks.
const ASKED_AT_A_TIME: usize = 8;

/// What the looks remember from one to the next. No part of the protocol's state.
#[derive(Clone, Debug)]
pub(super) struct Checker<NID> {
    /// The call that the next look judges.
    call: &'static str,
    seen: Option<Seen<NID>>,
    /// How many of the commands that wait to be taken were looked at.
    commands: usize,
    /// The number of the last write ordered.
    io: u64,
    /// Where the questions in turn go on.
    queue_turn: usize,
    follower_turn: Option<NID>,
}

impl<NID> Default for Checker<NID> {
    fn default() -> Self {
        Self { call: "new", seen: None, commands: 0, io: 0, queue_turn: 0, follower_turn: None }
    }
}

/// What only grows, and what explains why it may.
#[derive(Clone, Debug)]
struct Seen<NID> {
    vote: Vote<NID>,
    committed: Option<LogId<NID>>,
    apply_ordered: Option<LogId<NID>>,
    applied: Option<LogId<NID>>,
    snapshot: Option<LogId<NID>>,
    purged: Option<LogId<NID>>,
    last: Option<LogId<NID>>,
    durable: u64,
    /// Position, session, greatest term heard of, writes ordered, writes flushed.
    counters: [u64; 5],
    leads: bool,
    installs: bool,
    followers: SameFollowers<NID>,
}

/// Where these are the same, so are the followers: the entry that states the membership, the last session given out,
/// and how many followers there are.
type SameFollowers<NID> = (Option<LogId<NID>>, u64, usize);

/// An assertion that names the call.
macro_rules! holds {
    ($call:expr, $condition:expr, $($words:tt)+) => {
        assert!($condition, "broken by `{}`: {}", $call, format_args!($($words)+))
    };
}
use holds;

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// A call begins.
    ///
    /// # Panics
    /// If the call before it broke an invariant, with the values.
    pub(super) fn enter(&mut self, call: &'static str) {
        self.check();
        self.checker.call = call;
    }

    fn check(&mut self) {
        let mut checker = std::mem::take(&mut self.checker);
        checker.look(self);
        self.checker = checker;
    }

    /// The commands are about to be taken.
    ///
    /// # Panics
    /// As [`enter`](Self::enter).
    pub(super) fn check_commands(&mut self) {
        self.check();
        self.checker.commands = 0;
    }
}

impl<NID: NodeId> Checker<NID> {
    fn look<N: Node>(&mut self, engine: &Engine<NID, N>) {
        self.look_at_commands(&engine.commands);
        self.look_at_log(engine);
        self.look_at_timers(engine);
        self.look_at_promise(engine);
        self.look_at_queues(engine);
        if let Some(before) = &self.seen {
            self.look_back(before, engine);
        }
        let followers = match &engine.state.role {
            Role::Leader(leader) => self.look_at_leader(engine, leader),
            Role::Candidate(candidate) => {
                let (vote, me) = (engine.state.vote, engine.id());
                holds!(self.call, !vote.committed && vote.node_id == me, "campaigns under {vote}");
                let durable = engine.state.lane.flushed() >= engine.state.vote_io;
                holds!(self.call, durable || !candidate.asked, "asks for a vote that is not durable here");
                let ordered = candidate.deposes.is_none_or(|deposed| deposed.committed && deposed < vote);
                holds!(self.call, ordered, "deposes {:?} by {vote}", candidate.deposes);
                Default::default()
            }
            Role::PreCandidate(pre) => {
                let vote = engine.state.vote;
                holds!(self.call, pre.vote > vote, "would ask for {} under {vote}", pre.vote);
                Default::default()
            }
            Role::Follower => Default::default(),
        };
        self.remember(engine, followers);
    }

    /// Writes are numbered in the order in which they are ordered, without a gap.
    fn look_at_commands<N: Node>(&mut self, commands: &[Command<NID, N>]) {
        for command in &commands[self.commands..] {
            if let Some(io) = command.io() {
                holds!(self.call, io == self.io + 1, "write {io} is ordered after write {}", self.io);
                self.io = io;
            }
        }
        self.commands = commands.len();
    }

    /// applied <= ordered <= min(committed, durable), and all of it within the log; purged <= snapshot <= ordered.
    fn look_at_log<N: Node>(&self, engine: &Engine<NID, N>) {
        let (call, state) = (self.call, &engine.state);
        let end = state.log.last().next_index();
        let durable = state.lane.durable();
        holds!(
            call,
            state.committed.next_index() <= end,
            "{:?} committed, of {end} entries",
            state.committed
        );
        holds!(call, durable <= end, "{durable} entries durable of {end}");
        let ordered = state.apply_ordered;
        holds!(call, state.applied <= ordered, "{:?} applied, ordered {ordered:?}", state.applied);
        holds!(
            call,
            ordered <= state.committed,
            "{ordered:?} to be applied, committed {:?}",
            state.committed
        );
        holds!(call, ordered.next_index() <= durable, "{ordered:?} to be applied, {durable} entries durable");
        let (purged, snapshot) = (state.log.purged(), state.snapshot);
        holds!(call, purged <= snapshot, "{purged:?} purged, the durable snapshot covers {snapshot:?}");
        holds!(call, snapshot <= ordered, "the snapshot covers {snapshot:?}, to be applied was {ordered:?}");
        holds!(call, state.vote_io <= state.lane.submitted(), "the vote's write was never ordered");
        holds!(call, state.vote.term <= state.seen_term, "the own term was not heard of");
        holds!(
            call,
            self.io == state.lane.submitted(),
            "{} writes ordered, not {}",
            self.io,
            state.lane.submitted()
        );

        let stated = state.membership().log_id;
        holds!(
            call,
            stated <= state.log.last().max(snapshot),
            "the membership of {stated:?} is not in the log"
        );
        if let [.., before, _] = &state.memberships[..] {
            holds!(
                call,
                before.log_id < stated,
                "the membership of {stated:?} after that of {:?}",
                before.log_id
            );
        }
    }

    /// A deadline for each thing that waits, and none for what does not.
    fn look_at_timers<N: Node>(&self, engine: &Engine<NID, N>) {
        let timing = &engine.timing;
        let (leads, transfers) = match &engine.state.role {
            Role::Leader(leader) => (true, leader.transfer.is_some()),
            _ => (false, false),
        };
        holds!(self.call, timing.heartbeat.is_some() == leads, "leads: {leads}, {:?}", timing.heartbeat);
        holds!(
            self.call,
            timing.transfer.is_some() == transfers,
            "hands over: {transfers}, {:?}",
            timing.transfer
        );
        holds!(self.call, leads || timing.leaving.is_empty(), "a follower waits for {:?}", timing.leaving);
        holds!(
            self.call,
            leads || !engine.is_voter() || timing.election.is_some(),
            "a voter that does not lead waits for ever"
        );
    }

    /// Whoever has promised a leader to vote for nobody neither campaigns nor leads.
    fn look_at_promise<N: Node>(&self, engine: &Engine<NID, N>) {
        let state = &engine.state;
        if !state.promised {
            return;
        }
        let follows = matches!(state.role, Role::Follower);
        holds!(self.call, follows, "campaigns or leads with a promise to another given under {}", state.vote);
        holds!(self.call, engine.timing.promise_end.is_some(), "a promise without an end");
    }

    /// What waits is in order, and waits for what has not come.
    fn look_at_queues<N: Node>(&mut self, engine: &Engine<NID, N>) {
        let (call, state) = (self.call, &engine.state);
        self.queue_turn += ASKED_AT_A_TIME;
        let replies = &state.waiting_replies;
        let flushed = state.lane.flushed();
        let late = replies.front().is_some_and(|first| first.io <= flushed);
        holds!(call, !late, "an answer waits for a write that is durable");
        let turn = self.queue_turn;
        holds!(
            call,
            ascends(replies, turn, |reply| reply.io),
            "answers wait out of their order: {replies:?}"
        );
        let reads = &state.confirmed_reads;
        let late = reads.front().is_some_and(|first| first.log_id.index < state.applied.next_index());
        holds!(call, !late, "a read waits for an entry that is applied");
        holds!(
            call,
            ascends(reads, turn, |read| read.log_id.index),
            "reads wait out of their order: {reads:?}"
        );
    }

    /// Against the state before the call.
    fn look_back<N: Node>(&self, before: &Seen<NID>, engine: &Engine<NID, N>) {
        let (call, state) = (self.call, &engine.state);
        let grew = state.vote >= before.vote;
        holds!(call, grew, "the vote went from {} to {}", before.vote, state.vote);
        for (name, then, now) in [
            ("committed", before.committed, state.committed),
            ("ordered to be applied", before.apply_ordered, state.apply_ordered),
            ("applied", before.applied, state.applied),
            ("snapshot", before.snapshot, state.snapshot),
            ("purged", before.purged, state.log.purged()),
        ] {
            holds!(
                call,
                then <= now && then.next_index() <= now.next_index(),
                "{name} fell from {then:?} to {now:?}"
            );
        }
        let counters = counters(engine);
        let grew = before.counters.iter().zip(&counters).all(|(then, now)| then <= now);
        holds!(call, grew, "a counter fell, of {:?} to {counters:?}", before.counters);
        // State machine safety (paper, figure 3) begins here: what was committed is there until it is purged.
        if let Some(committed) = before.committed {
            let there = committed.index < state.log.purged().next_index() || state.log.holds(&committed);
            holds!(call, there, "{committed} was committed, and the log no longer holds it");
        }
        let kept = before.durable.min(before.committed.next_index());
        let durable = state.lane.durable();
        holds!(call, durable >= kept, "{kept} committed entries were durable, {durable} are");
        if before.installs && state.installing.is_some() {
            let moved = state.log.last() != before.last || state.committed != before.committed;
            holds!(call, !moved, "the log moved under a snapshot that is being installed");
        }
        if before.leads && matches!(state.role, Role::Leader(_)) && before.vote == state.vote {
            // Leader append-only (paper, figure 3).
            holds!(call, before.last <= state.log.last(), "a leader's log fell to {:?}", state.log.last());
            let own = state.committed.is_some_and(|committed| committed.leader_id == state.vote.leader_id());
            let by_own = state.committed == before.committed || own;
            holds!(call, by_own, "{:?} committed by counting an earlier leader's entry", state.committed);
        }
    }

    fn remember<N: Node>(&mut self, engine: &Engine<NID, N>, followers: SameFollowers<NID>) {
        let state = &engine.state;
        self.seen = Some(Seen {
            vote: state.vote,
            committed: state.committed,
            apply_ordered: state.apply_ordered,
            applied: state.applied,
            snapshot: state.snapshot,
            purged: state.log.purged(),
            last: state.log.last(),
            durable: state.lane.durable(),
            counters: counters(engine),
            leads: matches!(state.role, Role::Leader(_)),
            installs: state.installing.is_some(),
            followers,
        });
    }
}

fn counters<NID: NodeId, N: Node>(engine: &Engine<NID, N>) -> [u64; 5] {
    let state = &engine.state;
    [state.position, state.session, state.seen_term, state.lane.submitted(), state.lane.flushed()]
}

/// Whether a few neighbours, from about the place `turn` on, stand in order.
fn ascends<T, K: PartialOrd>(queue: &VecDeque<T>, turn: usize, key: impl Fn(&T) -> K) -> bool {
    let Some(pairs) = queue.len().checked_sub(1).filter(|pairs| *pairs > 0) else { return true };
    let begin = turn % pairs;
    (begin..pairs.min(begin + ASKED_AT_A_TIME)).all(|i| key(&queue[i]) <= key(&queue[i + 1]))
}
