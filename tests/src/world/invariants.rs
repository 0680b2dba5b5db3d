//! What may never happen, in any order of events (paper, figure 3), checked after every step.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use openraft_engine::{
    AppendReply, AppendResult, HeartbeatReply, LogId, LogIdOptionExt, ServerState, Vote, VoteReply,
    VoteRequest, quorum,
};

use super::disk::Image;
use super::entry::{Entry, Payload};
use super::node::Node;

/// A rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invariant {
    /// At most one leader a term.
    ElectionSafety,
    /// A voter grants one candidate a term, over all its lives.
    OneVoteATerm,
    /// Two logs that hold the same log id are equal up to there.
    LogMatching,
    /// A new leader's log holds everything that is known to have been committed in an earlier term.
    LeaderCompleteness,
    /// All state machines apply the same entries in the same order.
    StateMachineSafety,
    /// What a node holds to be committed, a quorum holds durably.
    CommittedOnAQuorum,
    /// What was committed and durable on a node stays there.
    NothingCommittedIsLost,
    /// What a message claims to be durable is.
    DurableBeforeSaid,
    /// A read shows everything that was committed when it came.
    ReadsAreCurrent,
    /// A node's vote never goes back, in memory or on its disk.
    VoteGrows,
    /// What a node holds to be committed never goes back while it runs.
    CommitGrows,
    /// At most one membership of a log is not committed.
    OneChangeAtATime,
    /// What the engine asserts of itself: it does not panic, whatever happens to it.
    AssertionsHold,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::ElectionSafety => "election safety",
            Invariant::OneVoteATerm => "one vote a term",
            Invariant::LogMatching => "log matching",
            Invariant::LeaderCompleteness => "leader completeness",
            Invariant::StateMachineSafety => "state machine safety",
            Invariant::CommittedOnAQuorum => "committed on a quorum",
            Invariant::NothingCommittedIsLost => "nothing committed is lost",
            Invariant::DurableBeforeSaid => "durable before said",
            Invariant::ReadsAreCurrent => "reads are current",
            Invariant::VoteGrows => "votes grow",
            Invariant::CommitGrows => "commit grows",
            Invariant::OneChangeAtATime => "one change at a time",
            Invariant::AssertionsHold => "assertions hold",
        })
    }
}

/// An invariant that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// By what.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BROKEN: {}: {}", self.invariant, self.detail)
    }
}

/// Something that a search must come upon, lest it has searched nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Goal {
    /// A node came to lead.
    Elected,
    /// A write was committed and applied.
    Committed,
    /// A change of the membership was asked for and answered.
    Changed,
    /// A node installed another one's snapshot.
    Installed,
    /// Leadership was handed over.
    Transferred,
    /// A read was served.
    Read,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Goal::Elected => "a leader is elected",
            Goal::Committed => "a write is committed",
            Goal::Changed => "a change is finished",
            Goal::Installed => "a snapshot is installed",
            Goal::Transferred => "leadership is handed over",
            Goal::Read => "a read is served",
        })
    }
}

/// The goals that were come upon. Not part of what a search compares.
#[derive(Clone, Copy, Debug, Default)]
struct Reached(u8);

impl PartialEq for Reached {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Reached {}

impl Hash for Reached {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// What happened so far, as far as the invariants need it; and, if wanted, notes of it in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Of each term, who led it.
    leaders: BTreeMap<u64, u64>,
    /// Of each voter and term, who got its vote; while its disk might let it vote in that term once more.
    grants: BTreeMap<(u64, u64), u64>,
    /// Everything that was ever known to be committed.
    committed: Vec<LogId<u64>>,
    /// Of each of them, in which term that was first known.
    committed_in: Vec<u64>,
    /// Everything that was ever applied.
    applied: Vec<Arc<Entry>>,
    /// Of each node, how many leading entries were committed and durable there.
    kept: BTreeMap<u64, u64>,
    broken: Option<Broken>,
    reached: Reached,
    notes: Option<Vec<String>>,
}

impl History {
    /// From now on, what happens is told in words; see [`take_notes`](Self::take_notes).
    pub(super) fn tell(&mut self) {
        self.notes = Some(Vec::new());
    }

    /// From now on nothing is told, and no goal has been reached.
    pub(super) fn hush(&mut self) {
        self.notes = None;
        self.reached = Reached::default();
    }

    pub(super) fn reach(&mut self, goal: Goal) {
        self.reached.0 |= 1 << goal as u8;
    }

    /// The goals reached since the beginning or the last [`hush`](super::World::hush), a bit each.
    pub fn reached(&self) -> u8 {
        self.reached.0
    }

    pub(super) fn note(&mut self, words: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(words());
        }
    }

    pub(super) fn take_notes(&mut self) -> Vec<String> {
        self.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The first invariant broken.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// How many leading entries are known to be committed.
    pub fn committed_end(&self) -> u64 {
        self.committed.len() as u64
    }

    /// A part of the world has panicked.
    pub(super) fn panicked(&mut self, detail: String) {
        self.hold(Invariant::AssertionsHold, false, || detail);
    }

    fn hold(&mut self, invariant: Invariant, holds: bool, detail: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { invariant, detail: detail() });
        }
    }

    /// A node came back on another disk: what it kept, it need no longer.
    pub(super) fn wiped(&mut self, id: u64) {
        self.kept.remove(&id);
    }

    /// Before anything happened, this node led that term.
    pub(super) fn led(&mut self, term: u64, id: u64) {
        self.leaders.insert(term, id);
    }

    pub(super) fn asked_for_vote(&mut self, id: u64, durable: &Image, request: &VoteRequest<u64>) {
        if request.pre_vote {
            return;
        }
        let said = (request.vote, request.last_log_id);
        let holds = durable.vote.same_candidate(&said.0) && durable.last() >= said.1;
        self.hold(Invariant::DurableBeforeSaid, holds, || {
            format!("{id} asks for {} with a log to {:?}, not all durable", said.0, said.1)
        });
        self.granted(id, request.vote);
    }

    pub(super) fn voted(&mut self, id: u64, durable: &Image, asked: Vote<u64>, reply: &VoteReply<u64>) {
        if !reply.granted || reply.pre_vote {
            return;
        }
        // Nor has it voted since: the vote of a term that is over is not granted any more.
        self.hold(Invariant::DurableBeforeSaid, durable.vote.same_candidate(&asked), || {
            format!("{id} grants {asked}, and its disk says {}", durable.vote)
        });
        self.granted(id, asked);
    }

    fn granted(&mut self, id: u64, vote: Vote<u64>) {
        let first = *self.grants.entry((id, vote.term)).or_insert(vote.node_id);
        self.hold(Invariant::OneVoteATerm, first == vote.node_id, || {
            format!("{id} votes for {first} and for {} in term {}", vote.node_id, vote.term)
        });
    }

    pub(super) fn heartbeat_answered(&mut self, id: u64, durable: &Image, reply: &HeartbeatReply<u64>) {
        let holds = !reply.accepted || durable.vote >= reply.vote;
        self.hold(Invariant::DurableBeforeSaid, holds, || {
            format!("{id} follows {}, and its disk says {}", reply.vote, durable.vote)
        });
    }

    pub(super) fn acknowledged(&mut self, node: &Node, reply: &AppendReply<u64>) {
        let AppendResult::Matched(Some(matched)) = reply.result else { return };
        let holds = node.is_durable(matched) && node.disk().durable.vote >= reply.vote;
        self.hold(Invariant::DurableBeforeSaid, holds, || {
            format!("{} acknowledges {matched} under {}, not durable", node.id, reply.vote)
        });
    }

    pub(super) fn read(&mut self, id: u64, read: LogId<u64>, floor: u64, applied: u64) {
        self.reach(Goal::Read);
        self.hold(Invariant::ReadsAreCurrent, read.index + 1 >= floor && applied > read.index, || {
            format!("{id} serves {read} with {applied} entries applied, though {floor} were committed")
        });
    }

    pub(super) fn apply_ordered(&mut self, id: u64, since: u64, upto: LogId<u64>, entries: &[Arc<Entry>]) {
        let holds = entries.first().is_some_and(|entry| entry.log_id.index == since)
            && entries.last().is_some_and(|entry| entry.log_id == upto)
            && entries.len() as u64 == upto.index + 1 - since;
        self.hold(Invariant::StateMachineSafety, holds, || {
            format!("{id} is to apply {since} to {upto}, which are not durable there")
        });
    }

    pub(super) fn applied(&mut self, id: u64, place: u64, entry: &Arc<Entry>) {
        let index = entry.log_id.index;
        if matches!(entry.payload, Payload::Write(_)) {
            self.reach(Goal::Committed);
        }
        self.hold(Invariant::StateMachineSafety, index == place, || {
            format!("{id} applies {} after {place} entries", entry.log_id)
        });
        match self.applied.get(index as usize) {
            Some(first) => {
                let same = first == entry;
                let first = first.log_id;
                self.hold(Invariant::StateMachineSafety, same, || {
                    format!("{id} applies {} where {first} was applied", entry.log_id)
                });
            }
            None => {
                let committed = index < self.committed_end();
                self.hold(Invariant::StateMachineSafety, committed, || {
                    format!("{id} applies {}, which is not committed", entry.log_id)
                });
                if self.applied.len() as u64 == index {
                    self.applied.push(entry.clone());
                }
            }
        }
    }

    pub(super) fn installed(&mut self, id: u64, content: &[Arc<Entry>]) {
        self.reach(Goal::Installed);
        let same = content.iter().zip(&self.applied).all(|(installed, applied)| installed == applied);
        let known = content.len() <= self.applied.len();
        self.hold(Invariant::StateMachineSafety, same && known, || {
            format!("{id} installs a state that nobody reached by applying")
        });
    }

    /// What is checked after every step, in which only the node `changed` has changed.
    pub(super) fn look(&mut self, nodes: &BTreeMap<u64, Arc<Node>>, changed: u64) {
        let Some(node) = nodes.get(&changed) else { return };
        let committed = self.committed.len();
        let term = node.disk().durable.vote.term;
        self.grants.retain(|(voter, granted), _| *voter != changed || *granted >= term);
        self.look_at_committed(nodes, node);
        self.look_at_leader(node);
        if self.committed.len() > committed {
            nodes.values().for_each(|node| self.look_at_kept(node));
            nodes.values().for_each(|node| self.look_at_changes(node));
        } else {
            self.look_at_kept(node);
            self.look_at_changes(node);
        }
        for other in nodes.values().filter(|other| other.id != changed) {
            self.look_at_logs(node, other);
        }
    }

    /// A node's vote and what it holds to be committed, before a step and after it.
    pub(super) fn went_on(&mut self, id: u64, votes: [Vote<u64>; 2], committed: [Option<LogId<u64>>; 2]) {
        let ([before, now], [held, holds]) = (votes, committed);
        self.hold(Invariant::VoteGrows, now >= before, || format!("{id} goes from {before} to {now}"));
        let grows = holds >= held && holds.next_index() >= held.next_index();
        self.hold(Invariant::CommitGrows, grows, || {
            format!("{id} held {held:?} to be committed, and then {holds:?}")
        });
    }

    /// A vote is to replace the one before it on a node's disk.
    pub(super) fn saves_vote(&mut self, id: u64, before: Vote<u64>, vote: Vote<u64>) {
        self.hold(Invariant::VoteGrows, vote >= before, || {
            format!("{id} saves {vote}, and its disk says {before}")
        });
    }

    /// Of what is not committed, at most one entry of a log is a membership.
    fn look_at_changes(&mut self, node: &Node) {
        let open = node.disk().submitted.entries.range(self.committed_end()..);
        let changes = open.filter(|(_, entry)| matches!(entry.payload, Payload::Membership(_))).count();
        self.hold(Invariant::OneChangeAtATime, changes <= 1, || {
            format!("{} holds {changes} memberships that are not committed", node.id)
        });
    }

    fn look_at_leader(&mut self, node: &Node) {
        let Some(engine) = node.engine().filter(|engine| engine.role() == ServerState::Leader) else {
            return;
        };
        let term = engine.vote().term;
        let known = self.leaders.insert(term, node.id);
        let first = known.unwrap_or(node.id);
        self.hold(Invariant::ElectionSafety, first == node.id, || {
            format!("{first} and {} lead in term {term}", node.id)
        });
        if known.is_some() {
            return;
        }
        self.reach(Goal::Elected);
        let begin = engine.purged().index().unwrap_or(0) as usize;
        // Whoever wins an election late, in a term that is over, may lack what was committed since (paper, 5.4.3).
        let before = self.committed.iter().zip(&self.committed_in).skip(begin).filter(|(_, by)| **by < term);
        let lacking = before.map(|(id, _)| *id).find(|id| engine.log_id_at(id.index) != Some(*id));
        self.hold(Invariant::LeaderCompleteness, lacking.is_none(), || {
            format!("{} leads term {term} without {lacking:?}, which is committed", node.id)
        });
    }

    /// What a node holds to be committed is what all others do, and is durable on a quorum when it is first known.
    fn look_at_committed(&mut self, nodes: &BTreeMap<u64, Arc<Node>>, node: &Node) {
        let Some(engine) = node.engine() else { return };
        let end = engine.committed().next_index();
        if let Some(known) = end.min(self.committed_end()).checked_sub(1)
            && let Some(held) = engine.log_id_at(known)
        {
            let first = self.committed[known as usize];
            self.hold(Invariant::StateMachineSafety, held == first, || {
                format!("{} holds {held} to be committed, where {first} was", node.id)
            });
        }
        // In one step a node may commit under one membership and append the next.
        for index in self.committed_end()..end {
            let Some(log_id) = engine.log_id_at(index) else { return };
            let on_quorum = node.decided_by().any(|membership| {
                let holds = |id: &u64| nodes.get(id).map(|holder| u64::from(holder.is_durable(log_id)));
                quorum::committed(membership.voters(), 1, holds) == Some(1)
            });
            self.hold(Invariant::CommittedOnAQuorum, on_quorum, || {
                format!("{} holds {log_id} to be committed, and no quorum has it durably", node.id)
            });
            self.committed.push(log_id);
            self.committed_in.push(engine.vote().term);
        }
    }

    /// What is committed and durable on a node stays there.
    fn look_at_kept(&mut self, node: &Node) {
        let before = self.kept.get(&node.id).copied().unwrap_or(0);
        let lost = self.committed[..before as usize]
            .iter()
            .find(|id| Some(**id) > node.disk().durable.purged && !node.is_durable(**id));
        let lost = lost.copied();
        self.hold(Invariant::NothingCommittedIsLost, lost.is_none(), || {
            format!("{} no longer has {lost:?} on its disk, which is committed", node.id)
        });
        let more = self.committed[before as usize..].iter().take_while(|id| node.is_durable(**id)).count();
        self.kept.insert(node.id, before + more as u64);
    }

    /// Log matching, of two nodes' logs.
    fn look_at_logs(&mut self, one: &Node, other: &Node) {
        let (a, b) = (&one.disk().submitted.entries, &other.disk().submitted.entries);
        let mut equal_above = false;
        for (index, entry) in a.iter().rev() {
            let Some(twin) = b.get(index) else { continue };
            let equal = twin.log_id == entry.log_id;
            let holds = if equal { twin == entry } else { !equal_above };
            self.hold(Invariant::LogMatching, holds, || {
                format!(
                    "{} has {} and {} has {} at index {index}",
                    one.id, entry.log_id, other.id, twin.log_id
                )
            });
            equal_above |= equal;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft_engine::Replica;

    use super::super::entry::Payload;
    use super::*;

    fn broken(history: &History) -> Option<Invariant> {
        history.broken().map(|broken| broken.invariant)
    }

    fn entry(term: u64, index: u64) -> Arc<Entry> {
        Arc::new(Entry { log_id: LogId::new(term, 1, index), payload: Payload::Blank })
    }

    #[test]
    fn a_second_vote_in_one_term_is_reported() {
        let mut history = History::default();
        history.granted(3, Vote::new(5, 1));
        history.granted(3, Vote::new(6, 2));
        assert_eq!(broken(&history), None, "another term is another vote");
        history.granted(3, Vote::new(5, 2));
        assert_eq!(broken(&history), Some(Invariant::OneVoteATerm));
    }

    #[test]
    fn a_vote_or_a_commit_that_goes_back_is_reported() {
        let votes = [Vote::new(2, 1), Vote::new_committed(2, 1)];
        let committed = [None, Some(LogId::new(2, 1, 4))];
        let mut history = History::default();
        history.went_on(1, votes, committed);
        history.saves_vote(1, votes[0], votes[1]);
        assert_eq!(broken(&history), None);
        history.went_on(1, votes, [committed[1], committed[0]]);
        assert_eq!(broken(&history), Some(Invariant::CommitGrows));
        let mut history = History::default();
        history.went_on(1, [votes[1], votes[0]], committed);
        assert_eq!(broken(&history), Some(Invariant::VoteGrows));
        let mut history = History::default();
        history.saves_vote(1, Vote::new(2, 1), Vote::new(2, 3));
        assert_eq!(broken(&history), Some(Invariant::VoteGrows), "nor does it change within a term");
    }

    #[test]
    fn a_request_under_a_vote_that_is_not_durable_is_reported() {
        let request = VoteRequest { vote: Vote::new(2, 1), ..VoteRequest::default() };
        let mut history = History::default();
        history.asked_for_vote(1, &Image { vote: Vote::new(2, 1), ..Image::default() }, &request);
        assert_eq!(broken(&history), None);
        history.asked_for_vote(1, &Image::default(), &request);
        assert_eq!(broken(&history), Some(Invariant::DurableBeforeSaid));
    }

    #[test]
    fn a_grant_that_is_not_durable_is_reported_and_a_pre_vote_is_none() {
        let asked = Vote::new(2, 1);
        let reply = VoteReply { granted: true, pre_vote: true, vote: asked, ..VoteReply::default() };
        let mut history = History::default();
        history.voted(2, &Image::default(), asked, &reply);
        assert_eq!(broken(&history), None);
        history.voted(2, &Image::default(), asked, &VoteReply { pre_vote: false, ..reply });
        assert_eq!(broken(&history), Some(Invariant::DurableBeforeSaid));
    }

    #[test]
    fn following_in_an_answer_under_a_vote_that_is_not_durable_is_reported() {
        let from = Replica::default();
        let reply =
            HeartbeatReply { from, vote: Vote::new_committed(2, 1), accepted: true, ..Default::default() };
        let mut history = History::default();
        history.heartbeat_answered(2, &Image::default(), &reply);
        assert_eq!(broken(&history), Some(Invariant::DurableBeforeSaid));
    }

    #[test]
    fn applying_what_is_not_committed_another_entry_or_out_of_order_is_reported() {
        let mut uncommitted = History::default();
        uncommitted.applied(1, 0, &entry(0, 0));
        assert_eq!(broken(&uncommitted), Some(Invariant::StateMachineSafety));

        let committed = History { committed: vec![LogId::default(); 2], ..History::default() };
        let mut other = committed.clone();
        other.applied(1, 0, &entry(1, 0));
        assert_eq!(broken(&other), None);
        other.applied(2, 0, &entry(2, 0));
        assert_eq!(broken(&other), Some(Invariant::StateMachineSafety));

        let mut skipped = committed;
        skipped.applied(1, 0, &entry(1, 1));
        assert_eq!(broken(&skipped), Some(Invariant::StateMachineSafety));
    }

    #[test]
    fn a_read_that_misses_what_was_committed_before_it_came_is_reported() {
        let mut history = History::default();
        history.read(1, LogId::new(1, 1, 4), 5, 5);
        assert_eq!(broken(&history), None);
        history.read(1, LogId::new(1, 1, 3), 5, 5);
        assert_eq!(broken(&history), Some(Invariant::ReadsAreCurrent));
    }
}
