//! What may never happen, in any order of events (paper, figure 3).

use std::collections::{BTreeMap, BTreeSet};

use super::super::bench::{Entry, Members};
use super::node::Node;
use crate::{LogId, LogIdOptionExt, ServerState, Vote};

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Of each term, who led it.
    leaders: BTreeMap<u64, u64>,
    /// Of each voter and term, who got its vote.
    grants: BTreeMap<(u64, u64), u64>,
    /// Everything that was ever known to be committed.
    committed: Vec<LogId<u64>>,
    /// Everything that was ever applied.
    applied: Vec<Entry>,
    /// The membership that each node was last seen with.
    seen: BTreeMap<u64, Members>,
    /// The entries by which membership changes were answered.
    changes: BTreeSet<LogId<u64>>,
}

impl Oracle {
    /// How many leading entries are committed.
    pub(super) fn committed_end(&self) -> u64 {
        self.committed.len() as u64
    }

    pub(super) fn leaderships(&self) -> usize {
        self.leaders.len()
    }

    /// The membership stated last by what is applied anywhere.
    pub(super) fn membership(&self) -> &Members {
        let stated = self.applied.iter().rev().find_map(|entry| entry.membership.as_ref());
        stated.expect("index 0 states one")
    }

    pub(super) fn has_applied(&self) -> bool {
        !self.applied.is_empty()
    }

    /// A change was answered.
    pub(super) fn changed(&mut self, stated: LogId<u64>) {
        self.changes.insert(stated);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.len() as u64
    }

    /// One voter grants one candidate a term, over all its lives.
    pub(super) fn granted(&mut self, voter: u64, vote: Vote<u64>) {
        let first = *self.grants.entry((voter, vote.term)).or_insert(vote.node_id);
        assert_eq!(first, vote.node_id, "node {voter} votes twice in term {}", vote.term);
    }

    /// State machine safety.
    pub(super) fn applied(&mut self, node: u64, entry: &Entry) {
        match self.applied.get(entry.log_id.index as usize) {
            Some(first) => assert_eq!(first, entry, "node {node} applies another entry"),
            None => {
                assert_eq!(self.applied.len() as u64, entry.log_id.index);
                assert!(
                    entry.log_id.index < self.committed_end(),
                    "{} is applied, not committed",
                    entry.log_id
                );
                self.applied.push(entry.clone());
            }
        }
    }

    /// What is checked after every step of node `id`.
    pub(super) fn look(&mut self, nodes: &[Node], id: u64) {
        let node = &nodes[id as usize - 1];
        self.look_at_committed(nodes, node);
        if node.engine.role() == ServerState::Leader {
            let term = node.engine.vote().term;
            let first = !self.leaders.contains_key(&term);
            let leader = *self.leaders.entry(term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {term}");
            if first {
                self.look_at_completeness(node);
            }
        }
    }

    /// Leader completeness.
    fn look_at_completeness(&self, node: &Node) {
        let begin = node.engine.purged().index().unwrap_or(0);
        for committed in self.committed.iter().skip(begin as usize) {
            assert_eq!(
                node.engine.log_id_at(committed.index),
                Some(*committed),
                "node {} leads without what is committed",
                node.id
            );
        }
    }

    /// What a node holds to be committed is what all others do, and is durable on a majority when it is first known.
    fn look_at_committed(&mut self, nodes: &[Node], node: &Node) {
        let end = node.engine.committed().next_index();
        if let Some(known) = end.min(self.committed_end()).checked_sub(1)
            && let Some(held) = node.engine.log_id_at(known)
        {
            assert_eq!(held, self.committed[known as usize], "node {} commits another entry", node.id);
        }
        // What a step commits, it commits under the membership that was in force when it began, or, as when a change
        // ends, under the one that it put in force.
        let now = node.engine.membership().membership.clone();
        let before = self.seen.insert(node.id, now.clone()).unwrap_or_else(|| now.clone());
        for index in self.committed_end()..end {
            let log_id = node.engine.log_id_at(index).expect("what is newly committed is in the log");
            // On a majority of every voter set in force where it was committed. A node is the store that the membership
            // names, and what another one holds does not count.
            let is_held = |membership: &Members| {
                let holds = |voter: &&u64| {
                    let other = &nodes[**voter as usize - 1];
                    membership.knows(&other.replica) && other.is_durable(log_id)
                };
                membership.voters().iter().all(|set| set.iter().filter(holds).count() * 2 > set.len())
            };
            assert!(
                is_held(&now) || is_held(&before),
                "{log_id} is committed, but on no quorum of {now}, nor of {before}"
            );
            self.committed.push(log_id);
        }
    }

    /// Log matching, over all pairs of logs.
    pub(super) fn look_at_logs(&self, nodes: &[Node]) {
        for (i, one) in nodes.iter().enumerate() {
            for other in &nodes[i + 1..] {
                let (a, b) = (&one.store.disk.submitted.entries, &other.store.disk.submitted.entries);
                let mut equal_above = false;
                for (index, entry) in a.iter().rev() {
                    let Some(twin) = b.get(index) else { continue };
                    let equal = twin.log_id == entry.log_id;
                    assert!(!equal || twin == entry, "one log id, two entries: {entry:?} {twin:?}");
                    assert!(equal || !equal_above, "nodes {} and {} part before {index}", one.id, other.id);
                    equal_above |= equal;
                }
            }
        }
    }
}
