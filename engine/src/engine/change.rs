//! Membership change (thesis 4.1 to 4.3): begun by a request or a promotion, joint, finished by whoever leads.
//!
//! A membership is in force from the moment it is appended. At most one is not committed: a change begins only from a
//! committed, uniform membership, and the uniform one that ends it is appended only after the joint one is committed,
//! by whichever leader then leads.

use std::collections::BTreeSet;

use super::Engine;
use super::state::{Follower, Leaving, Readers, Role, Round};
use crate::{
    ChangePrecondition, ChangeRefused, Command, LogId, LogIdOptionExt, Member, Membership, MembershipChange,
    Node, NodeId, OwnPayload, Replica, ReplicationTarget, Reply, TimeoutNowRequest, Timestamp,
};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Changes the membership, if every precondition holds. Answers [`Reply::Membership`] when the uniform membership
    /// that the change leads to is committed, or at once if the change is refused. Where it is in force already nothing
    /// is written, and the answer comes when a quorum has confirmed that this node still leads: it may have been
    /// deposed, and the membership changed, without its knowing.
    ///
    /// The answer comes at commit, not at apply. If leadership is lost meanwhile, the answer is
    /// [`ChangeRefused::LeadershipLost`], and the next leader finishes what it finds in its log.
    pub fn change_membership(
        &mut self,
        now: Timestamp,
        token: u64,
        change: &MembershipChange<NID, N>,
        preconditions: &[ChangePrecondition<NID>],
    ) {
        self.enter("change_membership");
        match self.plan_change(now, change, preconditions) {
            Err(refused) => self.respond(token, Reply::Membership(Err(refused))),
            Ok(None) => {
                let stated = self.membership().log_id.expect("a leader's membership is stated by an entry");
                self.wait_for_quorum(now, Readers::Unchanged(token, stated));
            }
            Ok(Some(membership)) => {
                if let Role::Leader(leader) = &mut self.state.role {
                    leader.change = Some(token);
                }
                self.append_membership(now, membership);
            }
        }
    }

    /// The membership by which `change` begins; `None` if there is nothing to change.
    fn plan_change(
        &self,
        now: Timestamp,
        change: &MembershipChange<NID, N>,
        preconditions: &[ChangePrecondition<NID>],
    ) -> Result<Option<Membership<NID, N>>, ChangeRefused<NID>> {
        let Role::Leader(leader) = &self.state.role else {
            return Err(ChangeRefused::NotLeader { leader: self.leader() });
        };
        if let Some(transfer) = &leader.transfer {
            return Err(ChangeRefused::Transferring { to: transfer.to });
        }
        self.check_preconditions(preconditions)?;
        if self.state.committed < Some(leader.first_own) {
            return Err(ChangeRefused::NotReady);
        }
        let stored = self.membership();
        if stored.membership.is_joint() || stored.log_id > self.state.committed {
            let log_id = stored.log_id.expect("what is not committed is stated by an entry");
            let voters = stored.membership.voters().last().cloned().unwrap_or_default();
            return Err(ChangeRefused::InProgress { log_id, voters });
        }
        let Some(changed) =
            stored.membership.changed(change, self.next_own()).map_err(ChangeRefused::Invalid)?
        else {
            return Ok(None);
        };
        match changed.joining_voters().into_iter().find(|id| !self.is_caught_up(now, id)) {
            Some(id) => Err(self.not_caught_up(id)),
            None => Ok(Some(changed)),
        }
    }

    fn check_preconditions(
        &self,
        preconditions: &[ChangePrecondition<NID>],
    ) -> Result<(), ChangeRefused<NID>> {
        let (membership, last_log) = (self.membership().log_id, self.state.log.last());
        let leader = self.state.vote.leader_id();
        let broken = preconditions.iter().find(|expected| match expected {
            ChangePrecondition::Membership(log_id) => membership != Some(*log_id),
            ChangePrecondition::LastLog(log_id) => last_log != Some(*log_id),
            ChangePrecondition::Leader(id) => leader != *id,
        });
        match broken {
            Some(expected) => {
                Err(ChangeRefused::Precondition { expected: *expected, membership, last_log, leader })
            }
            None => Ok(()),
        }
    }

    fn not_caught_up(&self, id: NID) -> ChangeRefused<NID> {
        let follower = match &self.state.role {
            Role::Leader(leader) => leader.followers.get(&id),
            _ => None,
        };
        ChangeRefused::NotCaughtUp {
            id,
            matched: follower.and_then(|follower| follower.matched.index()),
            last: self.state.log.last().index(),
            reachable: follower.is_some_and(|follower| follower.reachable),
        }
    }

    /// Where the leader's next entry stands.
    fn next_own(&self) -> LogId<NID> {
        LogId { leader_id: self.state.vote.leader_id(), index: self.state.log.last().next_index() }
    }

    /// Appends a membership, which is in force at once: its nodes are replicated to, and decisions are by its voters.
    fn append_membership(&mut self, now: Timestamp, membership: Membership<NID, N>) {
        let before = self.membership().membership.clone();
        let log_id = self.next_own();
        self.append_own(log_id, OwnPayload::Membership(membership));
        self.update_replications(now, &before);
        self.push(Command::ReplicateInputEntries { last: log_id });
        // With fewer voters, what the remaining ones hold may be enough.
        self.advance_leader_commit(now);
    }

    /// Starts and stops replication as the membership in force, which followed `before`, demands. Tasks that it does
    /// not concern go on; a node at another address, or on another store, gets another task.
    pub(super) fn update_replications(&mut self, now: Timestamp, before: &Membership<NID, N>) {
        let me = self.id();
        let stored = self.membership().clone();
        let last = self.state.log.last();
        let log_end = last.next_index();
        let mut session = self.state.session;
        let (mut start, mut stop) = (Vec::new(), Vec::new());
        let Role::Leader(leader) = &mut self.state.role else { return };
        for (id, member) in stored.membership.nodes().iter().filter(|(id, _)| **id != me) {
            let moved = before.nodes().get(id).is_some_and(|known| known.node != member.node);
            match leader.followers.get_mut(id).filter(|known| known.store_id == member.store_id) {
                Some(known) if known.leaving.is_none() && !moved => continue,
                Some(known) => {
                    stop.push(known.session);
                    session += 1;
                    known.session = session;
                    known.leaving = None;
                }
                None => {
                    session += 1;
                    let new = Follower::new(member.store_id, session);
                    stop.extend(leader.followers.insert(*id, new).map(|old| old.session));
                    self.timing.confirmed_at.remove(id);
                    self.timing.promised_until.remove(id);
                    self.timing.rounds.insert(*id, Round { began: now, end: log_end });
                }
            }
            self.timing.leaving.remove(id);
            start.push(target(*id, member, session, last));
        }
        for (id, follower) in &mut leader.followers {
            if follower.leaving.is_none() && !stored.membership.nodes().contains_key(id) {
                let stated = stored.log_id.expect("a membership that removes a node is stated by an entry");
                follower.leaving = Some(Leaving { stated, position: None });
                self.timing.leaving.insert(*id, now + self.config.removed_node_timeout);
            }
        }
        self.state.session = session;
        // Only what is started anew stops here; who leaves is replicated to until it knows.
        if !start.is_empty() {
            self.push(Command::RebuildReplications { start, stop });
        }
    }

    /// Something was committed: takes the next step of a change under way, answers its caller at the end, and lets go
    /// of who was removed, oneself included.
    pub(super) fn settle_change(&mut self, now: Timestamp) {
        let committed = self.state.committed;
        let stored = self.membership();
        let Role::Leader(leader) = &self.state.role else { return };
        if stored.log_id > committed || committed < Some(leader.first_own) {
            return;
        }
        if let Some(finished) = stored.membership.finished() {
            return self.append_membership(now, finished);
        }
        let stated = stored.log_id.expect("a leader's membership is stated by an entry");
        let me = self.id();
        let leads_on = stored.membership.is_voter(&me);
        if let Role::Leader(leader) = &mut self.state.role
            && let Some(token) = leader.change.take()
        {
            self.respond(token, Reply::Membership(Ok(stated)));
        }
        if !leads_on {
            return self.leave_to_the_best(now);
        }
        self.dismiss_removed(now);
        self.consider_promotion(now);
    }

    /// A removed leader has led until its removal was committed. It tells the voter that holds most of the log to
    /// campaign at once, and steps down.
    fn leave_to_the_best(&mut self, now: Timestamp) {
        let membership = &self.membership().membership;
        let Role::Leader(leader) = &self.state.role else { return };
        let voters = leader.followers.iter().filter(|(id, _)| membership.is_voter(id));
        let best = voters.max_by_key(|(_, follower)| (follower.reachable, follower.matched.next_index()));
        let best = best.and_then(|(id, _)| Some((*id, membership.nodes().get(id)?.node.clone())));
        if let Some((to, node)) = best {
            let request = TimeoutNowRequest {
                from: self.config.replica,
                admitted: self.admitted(),
                vote: self.state.vote,
                last_log_id: self.state.committed,
            };
            self.push(Command::SendTimeoutNow { to, node, request });
        }
        self.become_follower(now);
    }

    /// Ends the replication to nodes whose removal is committed once they know of it: what they hold and confirmed
    /// after they held it.
    pub(super) fn dismiss_removed(&mut self, now: Timestamp) {
        let committed = self.state.committed;
        let Role::Leader(leader) = &mut self.state.role else { return };
        let mut stop = Vec::new();
        let mut tell = Vec::new();
        leader.followers.retain(|id, follower| {
            let Some(leaving) = &follower.leaving else { return true };
            let held =
                follower.matched.next_index() > leaving.stated.index && committed >= Some(leaving.stated);
            let knows = leaving.position.is_some_and(|position| follower.confirmed >= position);
            if held && knows {
                stop.push(follower.session);
                self.timing.leaving.remove(id);
                return false;
            }
            if held && leaving.position.is_none() {
                tell.push(*id);
            }
            true
        });
        if !stop.is_empty() {
            self.push(Command::RebuildReplications { start: Vec::new(), stop });
        }
        if tell.is_empty() {
            return;
        }
        let position = self.draw_position(now);
        if let Role::Leader(leader) = &mut self.state.role {
            let leaving = leader.followers.iter_mut().filter(|(id, _)| tell.contains(id));
            for leaving in leaving.filter_map(|(_, follower)| follower.leaving.as_mut()) {
                leaving.position = Some(position);
            }
        }
        self.push(Command::SendHeartbeat { position });
    }

    /// Ends the replication to removed nodes that have not acknowledged in time.
    pub(super) fn expire_leaving(&mut self, now: Timestamp) {
        let late: BTreeSet<NID> =
            self.timing.leaving.iter().filter(|(_, deadline)| **deadline <= now).map(|(id, _)| *id).collect();
        if late.is_empty() {
            return;
        }
        self.timing.leaving.retain(|id, _| !late.contains(id));
        let Role::Leader(leader) = &mut self.state.role else { return };
        let stop = late.iter().filter_map(|id| leader.followers.remove(id)).map(|follower| follower.session);
        let stop = stop.collect();
        self.push(Command::RebuildReplications { start: Vec::new(), stop });
    }

    /// Moves on the catch-up round of a follower that has just reported.
    pub(super) fn note_round(&mut self, now: Timestamp, id: NID) {
        let end = self.state.log.last().next_index();
        let limit = self.config.election_timeout_min;
        let Role::Leader(leader) = &mut self.state.role else { return };
        let Some(follower) = leader.followers.get_mut(&id) else { return };
        let round = self.timing.rounds.entry(id).or_insert(Round { began: now, end });
        if follower.matched.next_index() >= round.end {
            follower.caught_up = now.since(round.began) <= limit;
            *round = Round { began: now, end };
        }
    }

    /// Whether a learner may become a voter: it answers, and holds the whole log or keeps up with it (thesis 4.2.1).
    fn is_caught_up(&self, now: Timestamp, id: &NID) -> bool {
        let Role::Leader(leader) = &self.state.role else { return false };
        let Some(follower) = leader.followers.get(id).filter(|follower| follower.reachable) else {
            return false;
        };
        let in_time = self
            .timing
            .rounds
            .get(id)
            .is_some_and(|round| now.since(round.began) <= self.config.election_timeout_min);
        follower.matched == self.state.log.last() || (follower.caught_up && in_time)
    }

    /// Makes voters of the learners that are to become voters by themselves and have caught up, if nothing else is
    /// under way. The wish stands in the log, so that every leader knows of it.
    pub(super) fn consider_promotion(&mut self, now: Timestamp) {
        let membership = &self.membership().membership;
        let wishes = membership.nodes().iter().filter(|(_, member)| member.promote);
        let ready: BTreeSet<NID> =
            wishes.filter(|(id, _)| self.is_caught_up(now, id)).map(|(id, _)| *id).collect();
        if ready.is_empty() {
            return;
        }
        // Refused while something else is under way; looked at again with the next report.
        if let Ok(Some(changed)) = self.plan_change(now, &MembershipChange::AddVoters(ready), &[]) {
            self.append_membership(now, changed);
        }
    }
}

impl<NID: NodeId> Follower<NID> {
    /// A follower of whom nothing is known. Until it reports, it may need everything.
    pub(super) fn new(store_id: crate::StoreId, session: u64) -> Self {
        Self {
            store_id,
            session,
            matched: None,
            confirmed: 0,
            needed: 0,
            reachable: true,
            caught_up: false,
            leaving: None,
        }
    }
}

/// The task that replicates to a member.
pub(super) fn target<NID: NodeId, N: Node>(
    id: NID,
    member: &Member<NID, N>,
    session: u64,
    last: Option<LogId<NID>>,
) -> ReplicationTarget<NID, N> {
    let replica = Replica { node_id: id, store_id: member.store_id };
    ReplicationTarget { replica, node: member.node.clone(), session, last }
}
