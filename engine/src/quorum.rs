//! Quorums over sets of voters. Nothing here knows of Raft.
//!
//! A configuration is a list of voter sets: one set in normal times, two while a membership change is under way
//! (thesis 4.3). A decision needs a majority of *every* set. Both functions are total: an empty list and an empty set
//! decide everything, so that a caller's mistake shows as commitment of what it asked and not as a panic; the engine
//! never puts an empty set in force.

use std::collections::BTreeSet;

/// What a poll has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VoteResult {
    /// A majority of every set has granted.
    Won,
    /// In some set a majority can no longer be reached.
    Lost,
    /// More answers are needed.
    Pending,
}

/// How many of `n` voters are a majority.
pub const fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// The greatest value that a majority of every set has reached, where `reached` tells how far one voter is.
///
/// `None` means that some set's majority has reached nothing yet. With no voters at all the answer is the greatest
/// value there is, given as `top`.
pub fn committed<NID: Ord, T: Ord + Copy>(
    sets: &[BTreeSet<NID>],
    top: T,
    mut reached: impl FnMut(&NID) -> Option<T>,
) -> Option<T> {
    let mut least = Some(top);
    for set in sets.iter().filter(|set| !set.is_empty()) {
        let mut values: Vec<Option<T>> = set.iter().map(&mut reached).collect();
        values.sort_unstable();
        // Of n ascending values the one at n - majority(n) is reached by that very majority.
        least = least.min(values[values.len() - majority(values.len())]);
    }
    least
}

/// The result of a poll in which `answer` tells a voter's reply: granted, refused, or none yet.
pub fn vote_result<NID: Ord>(
    sets: &[BTreeSet<NID>],
    mut answer: impl FnMut(&NID) -> Option<bool>,
) -> VoteResult {
    let mut result = VoteResult::Won;
    for set in sets.iter().filter(|set| !set.is_empty()) {
        let (mut granted, mut refused) = (0, 0);
        for voter in set {
            match answer(voter) {
                Some(true) => granted += 1,
                Some(false) => refused += 1,
                None => {}
            }
        }
        let needed = majority(set.len());
        if set.len() - refused < needed {
            return VoteResult::Lost;
        }
        if granted < needed {
            result = VoteResult::Pending;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    //! Against slow obvious twins; the tables are in `tests/tables`.

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn sets() -> impl Strategy<Value = Vec<BTreeSet<u8>>> {
        prop::collection::vec(prop::collection::btree_set(0u8..7, 0..6), 0..3)
    }

    /// The obvious twin: try every value there is and count.
    fn committed_by_counting(sets: &[BTreeSet<u8>], top: u64, reached: &BTreeMap<u8, u64>) -> Option<u64> {
        (0..=top).rev().find(|value| {
            sets.iter().all(|set| {
                set.is_empty()
                    || set.iter().filter(|id| reached.get(id).is_some_and(|r| r >= value)).count() * 2
                        > set.len()
            })
        })
    }

    /// The obvious twin: win or lose whatever the missing voters will say.
    fn vote_by_trying_all(sets: &[BTreeSet<u8>], answers: &BTreeMap<u8, bool>) -> VoteResult {
        let won = |missing: bool| {
            sets.iter().all(|set| {
                set.is_empty()
                    || set.iter().filter(|id| *answers.get(id).unwrap_or(&missing)).count() * 2 > set.len()
            })
        };
        match (won(false), won(true)) {
            (true, _) => VoteResult::Won,
            (false, true) => VoteResult::Pending,
            (false, false) => VoteResult::Lost,
        }
    }

    proptest! {
        #[test]
        fn committed_agrees_with_counting(
            sets in sets(),
            reached in prop::collection::btree_map(0u8..7, 0u64..12, 0..7),
        ) {
            prop_assert_eq!(
                committed(&sets, 12, |id| reached.get(id).copied()),
                committed_by_counting(&sets, 12, &reached)
            );
        }

        #[test]
        fn vote_result_agrees_with_trying_all(
            sets in sets(),
            answers in prop::collection::btree_map(0u8..7, any::<bool>(), 0..7),
        ) {
            prop_assert_eq!(
                vote_result(&sets, |id| answers.get(id).copied()),
                vote_by_trying_all(&sets, &answers)
            );
        }
    }
}
