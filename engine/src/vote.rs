//! `Vote`: the term, the node voted for and the leader's title, in one value with a partial order.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::LeaderId;

/// What a node has promised: to follow `node_id` in `term`, as a candidate or, once `committed`, as the leader.
///
/// The order is partial (paper, 5.2: a voter grants one node per term). A higher term is greater. Within one term a
/// committed vote is greater than every uncommitted one, and uncommitted votes for different nodes are incomparable.
/// Two committed votes of one term for different nodes would be two leaders; they are incomparable too, and the
/// engine treats meeting them as a refusal, never as a reason to follow.
///
/// The default value, term 0 and not committed, is "has never voted" and is less than every other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote<NID> {
    /// The election's number, from 1; 0 before the first.
    pub term: u64,
    /// Whom the vote is for.
    pub node_id: NID,
    /// Whether a quorum has granted it, so that it is a leader's title.
    pub committed: bool,
}

impl<NID: Copy + Ord> Vote<NID> {
    /// A candidate's vote.
    pub fn new(term: u64, node_id: NID) -> Self {
        Self { term, node_id, committed: false }
    }

    /// A leader's vote.
    pub fn new_committed(term: u64, node_id: NID) -> Self {
        Self { term, node_id, committed: true }
    }

    /// The same vote as a leader's title.
    pub fn commit(self) -> Self {
        Self { committed: true, ..self }
    }

    /// The leader id under which the holder of this vote appends.
    pub fn leader_id(&self) -> LeaderId<NID> {
        LeaderId { term: self.term, node_id: self.node_id }
    }

    /// Whether both are for one node in one term, committed or not.
    pub fn same_candidate(&self, other: &Self) -> bool {
        self.term == other.term && self.node_id == other.node_id
    }
}

impl<NID: Ord> PartialOrd for Vote<NID> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.term.cmp(&other.term) {
            Ordering::Equal => match (self.committed, other.committed) {
                (true, false) => Some(Ordering::Greater),
                (false, true) => Some(Ordering::Less),
                _ if self.node_id == other.node_id => Some(Ordering::Equal),
                _ => None,
            },
            unequal => Some(unequal),
        }
    }
}

impl<NID: fmt::Display> fmt::Display for Vote<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}{}", self.term, self.node_id, if self.committed { "+" } else { "" })
    }
}

/// A vote as it is stored: with it stands, in one record, for how long its node may have promised a leader under it to
/// vote for nobody else. A node that starts anew remembers no promise, so it waits that long before it votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SavedVote<NID> {
    /// The vote.
    pub vote: Vote<NID>,
    /// The longest promise that may be given under it.
    pub promise_cap: Duration,
}

impl<NID> From<Vote<NID>> for SavedVote<NID> {
    /// A vote under which nothing may be promised.
    fn from(vote: Vote<NID>) -> Self {
        Self { vote, promise_cap: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_votes_is_the_one_voter_one_candidate_rule() {
        let table = [
            (Vote::new(1, 1), Vote::new(1, 1), Some(Ordering::Equal)),
            (Vote::new(1, 1), Vote::new(1, 2), None),
            (Vote::new(1, 1), Vote::new_committed(1, 2), Some(Ordering::Less)),
            (Vote::new_committed(1, 1), Vote::new(1, 2), Some(Ordering::Greater)),
            (Vote::new_committed(1, 1), Vote::new_committed(1, 1), Some(Ordering::Equal)),
            (Vote::new_committed(1, 1), Vote::new_committed(1, 2), None),
            (Vote::new_committed(1, 9), Vote::new(2, 1), Some(Ordering::Less)),
            (Vote::new(3, 1), Vote::new_committed(2, 9), Some(Ordering::Greater)),
        ];
        for (a, b, expected) in table {
            assert_eq!(a.partial_cmp(&b), expected, "{a} against {b}");
            assert_eq!(b.partial_cmp(&a), expected.map(Ordering::reverse), "{b} against {a}");
        }
    }

    #[test]
    fn the_default_vote_is_below_every_vote_ever_cast() {
        assert!(Vote::<u64>::default() < Vote::new(1, 0));
        assert!(Vote::<u64>::default() < Vote::new_committed(1, 7));
    }
}
