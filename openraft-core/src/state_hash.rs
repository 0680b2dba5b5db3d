//! State hashes: the alarm for a state machine whose `apply` is not deterministic.
//!
//! Every node hashes its state at the same indexes. The leader's latest hash rides in its heartbeats; a follower keeps
//! its own last few and the leader's, and compares those of one index. Nothing is stopped: which of the two is right,
//! only the application's author can find out.

use std::collections::VecDeque;

use openraft_adapters::RaftTypeConfig;
use openraft_engine::StateHash;

/// So many hashes of either side are kept: a follower further behind than that is compared when it has caught up.
const KEPT_MAX: usize = 16;

/// Two nodes that applied the same entries are in different states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateHashMismatch<C: RaftTypeConfig> {
    /// After the entry at this index.
    pub index: u64,
    /// What this node's state machine amounts to.
    pub own: u64,
    /// What the leader's amounts to.
    pub leaders: u64,
    /// The leader.
    pub leader: C::NodeId,
}

/// What a core knows of hashes.
pub(crate) struct StateHashes<C: RaftTypeConfig> {
    own: VecDeque<StateHash>,
    leaders: VecDeque<(C::NodeId, StateHash)>,
    mismatch: Option<StateHashMismatch<C>>,
}

impl<C: RaftTypeConfig> Default for StateHashes<C> {
    fn default() -> Self {
        Self { own: VecDeque::new(), leaders: VecDeque::new(), mismatch: None }
    }
}

impl<C: RaftTypeConfig> StateHashes<C> {
    /// The own hash of the greatest index.
    pub(crate) fn latest(&self) -> Option<StateHash> {
        self.own.back().copied()
    }

    /// The first mismatch seen: what went wrong later follows from it.
    pub(crate) fn mismatch(&self) -> Option<StateHashMismatch<C>> {
        self.mismatch
    }

    /// This node's state machine has hashed itself; returns a mismatch if it is the first.
    pub(crate) fn note_own(&mut self, own: StateHash) -> Option<StateHashMismatch<C>> {
        let leaders = self.leaders.iter().find(|(_, hash)| hash.index == own.index).copied();
        keep(&mut self.own, own);
        leaders.and_then(|(leader, leaders)| self.compare(own, leader, leaders))
    }

    /// A leader's heartbeat has brought its hash; returns a mismatch if it is the first.
    pub(crate) fn note_leaders(
        &mut self,
        leader: C::NodeId,
        leaders: StateHash,
    ) -> Option<StateHashMismatch<C>> {
        if self.leaders.back() == Some(&(leader, leaders)) {
            return None;
        }
        let own = self.own.iter().find(|own| own.index == leaders.index).copied();
        keep(&mut self.leaders, (leader, leaders));
        own.and_then(|own| self.compare(own, leader, leaders))
    }

    fn compare(
        &mut self,
        own: StateHash,
        leader: C::NodeId,
        leaders: StateHash,
    ) -> Option<StateHashMismatch<C>> {
        if own.hash == leaders.hash || self.mismatch.is_some() {
            return None;
        }
        self.mismatch =
            Some(StateHashMismatch { index: own.index, own: own.hash, leaders: leaders.hash, leader });
        self.mismatch
    }
}

fn keep<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() == KEPT_MAX {
        kept.pop_front();
    }
    kept.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn hash(index: u64, hash: u64) -> StateHash {
        StateHash { index, hash }
    }

    #[test]
    fn hashes_of_one_index_are_compared_whichever_comes_first_and_the_first_mismatch_stands() {
        let mut hashes = StateHashes::<T>::default();
        assert_eq!(hashes.note_own(hash(10, 1)), None);
        assert_eq!(hashes.note_leaders(2, hash(10, 1)), None);
        assert_eq!(hashes.note_leaders(2, hash(20, 7)), None, "not applied here yet");
        let expected = StateHashMismatch { index: 20, own: 8, leaders: 7, leader: 2 };
        assert_eq!(hashes.note_own(hash(20, 8)), Some(expected));
        assert_eq!(hashes.note_own(hash(30, 8)), None);
        assert_eq!(hashes.note_leaders(2, hash(30, 9)), None, "one alarm is enough");
        assert_eq!(hashes.mismatch(), Some(expected));
    }

    #[test]
    fn only_the_last_few_are_kept() {
        let mut hashes = StateHashes::<T>::default();
        for i in 0..100 {
            hashes.note_own(hash(i, i));
            hashes.note_leaders(2, hash(i + 1_000, 0));
        }
        assert_eq!((hashes.own.len(), hashes.leaders.len()), (KEPT_MAX, KEPT_MAX));
        assert_eq!(hashes.note_leaders(2, hash(3, 99)), None, "forgotten");
        assert_eq!(hashes.latest(), Some(hash(99, 99)));
    }
}
