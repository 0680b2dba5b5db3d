//! What may never happen, in any order of events (paper, figure 3), checked after every step.

use std::collections::BTreeMap;
use std::fmt;

use openraft_engine::{
    AppendReply, AppendResult, HeartbeatReply, LogId, LogIdOptionExt, ServerState, Vote, VoteReply,
    VoteRequest, quorum,
};

use super::disk::Image;
use super::entry::{Entry, Members};
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
    /// A new leader's log holds everything that was ever known to be committed.
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

/// What happened so far, as far as the invariants need it; and, if wanted, notes of it in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Of each term, who led it.
    leaders: BTreeMap<u64, u64>,
    /// Of each voter and term, who got its vote.
    grants: BTreeMap<(u64, u64), u64>,
    /// Everything that was ever known to be committed.
    committed: Vec<LogId<u64>>,
    /// Everything that was ever applied.
    applied: Vec<Entry>,
    /// Of each node, the membership that was in force there when it was last looked at.
    in_force: BTreeMap<u64, Members>,
    /// Of each node, how many leading entries were committed and durable there.
    kept: BTreeMap<u64, u64>,
    broken: Option<Broken>,
    notes: Option<Vec<String>>,
}

impl History {
    /// From now on, what happens is told in words; see [`take_notes`](Self::take_notes).
    pub(super) fn tell(&mut self) {
        self.notes = Some(Vec::new());
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
        let holds = durable.vote >= said.0 && durable.last() >= said.1;
        self.hold(Invariant::DurableBeforeSaid, holds, || {
            format!("{id} asks for {} with a log to {:?}, not all durable", said.0, said.1)
        });
        self.granted(id, request.vote);
    }

    pub(super) fn voted(&mut self, id: u64, durable: &Image, asked: Vote<u64>, reply: &VoteReply<u64>) {
        if !reply.granted || reply.pre_vote {
            return;
        }
        self.hold(Invariant::DurableBeforeSaid, durable.vote >= asked, || {
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
        self.hold(Invariant::ReadsAreCurrent, read.index + 1 >= floor && applied > read.index, || {
            format!("{id} serves {read} with {applied} entries applied, though {floor} were committed")
        });
    }

    pub(super) fn apply_ordered(&mut self, id: u64, since: u64, upto: LogId<u64>, entries: &[Entry]) {
        let holds = entries.first().is_some_and(|entry| entry.log_id.index == since)
            && entries.last().is_some_and(|entry| entry.log_id == upto)
            && entries.len() as u64 == upto.index + 1 - since;
        self.hold(Invariant::StateMachineSafety, holds, || {
            format!("{id} is to apply {since} to {upto}, which are not durable there")
        });
    }

    pub(super) fn applied(&mut self, id: u64, place: u64, entry: &Entry) {
        let index = entry.log_id.index;
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

    pub(super) fn installed(&mut self, id: u64, content: &[Entry]) {
        let same = content.iter().zip(&self.applied).all(|(installed, applied)| installed == applied);
        let known = content.len() <= self.applied.len();
        self.hold(Invariant::StateMachineSafety, same && known, || {
            format!("{id} installs a state that nobody reached by applying")
        });
    }

    /// What is checked after every step.
    pub(super) fn look(&mut self, nodes: &BTreeMap<u64, Node>) {
        for node in nodes.values() {
            self.look_at_committed(nodes, node);
        }
        for node in nodes.values() {
            self.look_at_leader(node);
            self.look_at_kept(node);
        }
        self.look_at_logs(nodes);
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
        let begin = engine.purged().index().unwrap_or(0) as usize;
        let lacking =
            self.committed.iter().skip(begin).find(|id| engine.log_id_at(id.index) != Some(**id)).copied();
        self.hold(Invariant::LeaderCompleteness, lacking.is_none(), || {
            format!("{} leads term {term} without {lacking:?}, which is committed", node.id)
        });
    }

    /// What a node holds to be committed is what all others do, and is durable on a quorum when it is first known.
    fn look_at_committed(&mut self, nodes: &BTreeMap<u64, Node>, node: &Node) {
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
        let in_force = engine.membership().membership.clone();
        let before = self.in_force.insert(node.id, in_force.clone());
        for index in self.committed_end()..end {
            let Some(log_id) = engine.log_id_at(index) else { return };
            let on_quorum = [Some(&in_force), before.as_ref()].into_iter().flatten().any(|membership| {
                let holds = |id: &u64| nodes.get(id).map(|holder| u64::from(holder.is_durable(log_id)));
                quorum::committed(membership.voters(), 1, holds) == Some(1)
            });
            self.hold(Invariant::CommittedOnAQuorum, on_quorum, || {
                format!("{} holds {log_id} to be committed, and no quorum has it durably", node.id)
            });
            self.committed.push(log_id);
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

    /// Log matching, over all pairs of logs.
    fn look_at_logs(&mut self, nodes: &BTreeMap<u64, Node>) {
        let nodes: Vec<&Node> = nodes.values().collect();
        for (i, one) in nodes.iter().enumerate() {
            for other in &nodes[i + 1..] {
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

    fn entry(term: u64, index: u64) -> Entry {
        Entry { log_id: LogId::new(term, 1, index), payload: Payload::Blank }
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
