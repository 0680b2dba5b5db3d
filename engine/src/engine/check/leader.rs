//! Invariants of a leader: of its log, its followers and the membership changes that it makes.

use std::ops::Bound::{Excluded, Unbounded};

use super::{ASKED_AT_A_TIME, Checker, SameFollowers, ascends, holds};
use crate::engine::Engine;
use crate::engine::state::{Follower, Leader};
use crate::{Membership, Node, NodeId, StoreId};

impl<NID: NodeId> Checker<NID> {
    /// Returns by what the followers are known to be the same as before.
    pub(super) fn look_at_leader<N: Node>(
        &mut self,
        engine: &Engine<NID, N>,
        leader: &Leader<NID>,
    ) -> SameFollowers<NID> {
        let (call, state, me) = (self.call, &engine.state, engine.id());
        let vote = state.vote;
        holds!(call, vote.committed && vote.node_id == me, "leads under {vote}");
        let own = vote.leader_id();
        holds!(call, leader.first_own.leader_id == own, "the first entry of {vote} is {}", leader.first_own);
        let last = state.log.last();
        let ends_own = last.is_some_and(|last| last.leader_id == own);
        holds!(call, ends_own, "the log of the leader {vote} ends with {last:?}");
        let reads = &leader.reads;
        let turn = self.queue_turn;
        holds!(
            call,
            ascends(reads, turn, |read| (read.position, read.log_id)),
            "reads wait out of order: {reads:?}"
        );
        self.look_at_changes(engine, leader);

        let stated = state.membership().log_id;
        let same = (stated, state.session, leader.followers.len());
        let changed = self.seen.as_ref().is_none_or(|before| !before.leads || before.followers != same);
        let membership = &state.membership().membership;
        if changed {
            for id in membership.nodes().keys().filter(|id| **id != me) {
                holds!(call, leader.followers.contains_key(id), "nobody replicates to node {id}");
            }
        }
        let asked = if changed { usize::MAX } else { ASKED_AT_A_TIME };
        let turn = std::mem::take(&mut self.follower_turn).map_or(Unbounded, Excluded);
        let turn = if changed { Unbounded } else { turn };
        for (id, follower) in leader.followers.range((turn, Unbounded)).take(asked) {
            self.look_at_follower(
                engine,
                *id,
                follower,
                membership.nodes().get(id).map(|member| member.store_id),
            );
            self.follower_turn = Some(*id);
        }
        if self.follower_turn.as_ref() == leader.followers.keys().next_back() {
            self.follower_turn = None;
        }
        same
    }

    fn look_at_follower<N: Node>(
        &self,
        engine: &Engine<NID, N>,
        id: NID,
        follower: &Follower<NID>,
        store: Option<StoreId>,
    ) {
        let (call, state) = (self.call, &engine.state);
        let matched = follower.matched;
        let held = matched.is_none_or(|matched| engine.matches(&matched));
        holds!(call, held, "node {id} matches up to {matched:?}, which the log does not hold");
        let drawn = follower.confirmed <= state.position && follower.session <= state.session;
        holds!(call, drawn, "node {id} confirms what was not asked: {follower:?}");
        let store = store.filter(|_| follower.leaving.is_none());
        let member = follower.leaving.is_some() || store == Some(follower.store_id);
        holds!(call, member, "node {id} is replicated to on {}, a member on {store:?}", follower.store_id);
        let votes = state.membership().membership.is_voter(&id);
        holds!(call, follower.leaving.is_none() || !votes, "node {id} leaves, and votes");
    }

    /// One change at a time, each from a committed membership (thesis 4.1, 4.3; Ongaro, "bug in single-server
    /// membership changes", 2015), and each step to a membership whose quorums meet those of the one before.
    fn look_at_changes<N: Node>(&self, engine: &Engine<NID, N>, leader: &Leader<NID>) {
        let (call, state) = (self.call, &engine.state);
        let [.., before, now] = &state.memberships[..] else { return };
        if state.committed < Some(leader.first_own) {
            return;
        }
        let settled = before.log_id <= state.committed;
        holds!(call, settled, "two memberships are not committed: {:?} and {:?}", before.log_id, now.log_id);
        if now.log_id.is_some_and(|stated| stated.leader_id == state.vote.leader_id()) {
            let meets = is_step(&before.membership, &now.membership);
            holds!(call, meets, "{:?} follows {:?}", now.membership, before.membership);
        }
    }
}

/// Whether a leader may state `now` after `before`: the same voters, or joint with others, or the end of that.
fn is_step<NID: Ord + Copy + Default, N: Clone>(
    before: &Membership<NID, N>,
    now: &Membership<NID, N>,
) -> bool {
    match (before.voters(), now.voters()) {
        ([old], [same]) => old == same,
        ([old], [first, _]) => old == first,
        ([_, new], [end]) => new == end,
        _ => false,
    }
}
