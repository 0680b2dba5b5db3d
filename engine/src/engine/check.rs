//! Invariants of one node's state, checked before every hand-over of commands where debug assertions are on.

use super::Engine;
use super::state::Role;
use crate::{LogIdOptionExt, Node, NodeId};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// # Panics
    /// If an invariant is broken, with the values.
    pub(super) fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let state = &self.state;
        let end = state.log.last().next_index();
        assert!(state.committed.next_index() <= end, "committed {:?} beyond the log {end}", state.committed);
        assert!(state.lane.durable() <= end, "durable {} beyond the log {end}", state.lane.durable());
        assert!(
            state.applied <= state.apply_ordered,
            "applied {:?} > ordered {:?}",
            state.applied,
            state.apply_ordered
        );
        assert!(state.apply_ordered <= state.committed, "ordered to apply what is not committed");
        assert!(
            state.apply_ordered.next_index() <= state.lane.durable(),
            "ordered to apply {:?}, but only {} entries are durable",
            state.apply_ordered,
            state.lane.durable()
        );
        assert!(
            state.log.purged() <= state.snapshot,
            "purged {:?} without a durable snapshot that covers it ({:?})",
            state.log.purged(),
            state.snapshot
        );
        assert!(!state.memberships.is_empty(), "there is always a membership");
        assert!(
            state.memberships.windows(2).all(|pair| pair[0].log_id < pair[1].log_id),
            "memberships ascend"
        );
        assert!(
            state.membership().log_id <= state.log.last().max(state.snapshot),
            "a membership that is not in the log"
        );
        match &state.role {
            Role::Leader(leader) => {
                assert!(
                    state.vote.committed && state.vote.node_id == self.id(),
                    "leads under {}",
                    state.vote
                );
                assert!(
                    leader.first_own.leader_id == state.vote.leader_id(),
                    "first entry of another leadership"
                );
                assert!(
                    leader.followers.values().all(|f| f.matched.next_index() <= end),
                    "matched beyond the log"
                );
            }
            Role::Candidate(_) => {
                assert!(
                    !state.vote.committed && state.vote.node_id == self.id(),
                    "campaigns under {}",
                    state.vote
                );
            }
            Role::PreCandidate(pre) => {
                assert!(pre.vote > state.vote, "would ask for {} under {}", pre.vote, state.vote);
            }
            Role::Follower => {}
        }
        if state.promised {
            assert!(
                matches!(state.role, Role::Follower),
                "campaigns or leads with a promise to another given under {}",
                state.vote
            );
            assert!(self.timing.promise_end.is_some(), "a promise without an end");
        }
        assert!(
            state.waiting_replies.iter().all(|waiting| waiting.io > state.lane.flushed()),
            "an answer waits for a write that is durable"
        );
    }
}
