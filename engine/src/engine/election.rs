//! Elections: campaigning, granting, counting (paper, 5.2 and 5.4.1; thesis 3.4).

use std::collections::BTreeMap;

use super::state::{Candidate, Role, WaitingKind};
use super::{Engine, NUMBER_MAX, is_believable};
use crate::quorum::{self, VoteResult};
use crate::{Command, Node, NodeId, Timestamp, Vote, VoteReply, VoteRequest};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Begins an election: a new term, a vote for oneself, and a timeout drawn anew.
    ///
    /// No request leaves before the vote is durable, and with it, since the log lane is in order, every entry that the
    /// request advertises.
    pub(super) fn campaign(&mut self, now: Timestamp) {
        self.timing.election = None;
        if !self.is_voter() {
            return;
        }
        self.timing.arm_election(&self.config, now);
        if self.state.installing.is_some() {
            // The log is about to be replaced: what it would advertise is not what it will hold.
            return;
        }
        if matches!(&self.state.role, Role::Candidate(candidate) if !candidate.asked) {
            // The disk has not yet taken the vote of the last campaign, which asks as soon as it has.
            return;
        }
        // A snapshot may have outlived the vote it came under, so the log counts too.
        let logged = self.state.log.last().map_or(0, |last| last.leader_id.term);
        let term = self.state.vote.term.max(self.state.seen_term).max(logged) + 1;
        if term > NUMBER_MAX {
            return;
        }
        self.state.role = Role::Candidate(Candidate { asked: false, answers: BTreeMap::new() });
        self.save_vote(Vote::new(term, self.id()));
    }

    /// The own vote may have become durable: count it, and ask the others.
    pub(super) fn ask_for_votes(&mut self, now: Timestamp) {
        let durable = self.state.lane.flushed() >= self.state.vote_io;
        let me = self.id();
        let Role::Candidate(candidate) = &mut self.state.role else { return };
        if candidate.asked || !durable {
            return;
        }
        candidate.asked = true;
        candidate.answers.insert(me, true);
        let request = VoteRequest {
            from: self.config.replica,
            vote: self.state.vote,
            last_log_id: self.state.log.last(),
        };
        let membership = &self.state.membership().membership;
        let voters = membership.voter_ids();
        let requests: Vec<_> = voters
            .into_iter()
            .filter(|id| *id != me)
            .map(|to| Command::SendVote { to, node: membership.nodes()[&to].node.clone(), request })
            .collect();
        self.commands.extend(requests);
        self.count_votes(now);
    }

    /// Judges a request for a vote; answers [`Reply::Vote`](crate::Reply::Vote), a grant only once it is durable.
    ///
    /// A vote is granted to a greater vote whose log is at least as complete as the own one, once a term. A node that
    /// is in no cluster grants none, and none is granted to a store that the membership names differently.
    pub fn handle_vote_request(&mut self, now: Timestamp, token: u64, request: VoteRequest<NID>) {
        let known = self.is_initialized() && !self.contradicts(&request.from);
        let sound = is_believable(&request.vote)
            && !request.vote.committed
            && request.vote.node_id == request.from.node_id
            && request.vote.node_id != self.id();
        if !known || !sound {
            return self.send_vote_reply(token, false);
        }
        if request.vote == self.state.vote {
            // Granted before: the request was repeated.
            return self.respond_when_durable(self.state.vote_io, token, WaitingKind::Vote);
        }
        let newer = request.vote > self.state.vote;
        if !newer || request.last_log_id < self.state.log.last() {
            self.state.seen_term = self.state.seen_term.max(request.vote.term);
            return self.send_vote_reply(token, false);
        }
        self.become_follower(now);
        self.save_vote(request.vote);
        self.respond_when_durable(self.state.vote_io, token, WaitingKind::Vote);
    }

    /// Counts the answer to the request that asked for `asked`.
    pub fn handle_vote_reply(&mut self, now: Timestamp, asked: Vote<NID>, reply: VoteReply<NID>) {
        if !self.membership().membership.knows(&reply.from) {
            return;
        }
        if is_believable(&reply.vote) {
            self.state.seen_term = self.state.seen_term.max(reply.vote.term);
        }
        if asked != self.state.vote {
            return;
        }
        let Role::Candidate(candidate) = &mut self.state.role else { return };
        let granted = reply.granted && reply.vote.same_candidate(&asked);
        // A grant cannot be taken back, whatever a repeated answer says.
        let answer = candidate.answers.entry(reply.from.node_id).or_insert(granted);
        *answer |= granted;
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Timestamp) {
        let Role::Candidate(candidate) = &self.state.role else { return };
        let voters = self.state.membership().membership.voters();
        match quorum::vote_result(voters, |id| candidate.answers.get(id).copied()) {
            VoteResult::Won => self.become_leader(now),
            // The next campaign comes with its deadline.
            VoteResult::Lost | VoteResult::Pending => {}
        }
    }

    /// Follows, and gives up what a leader or candidate was doing.
    pub(super) fn become_follower(&mut self, now: Timestamp) {
        if matches!(self.state.role, Role::Leader(_)) {
            self.give_up_leadership();
        }
        self.state.role = Role::Follower;
        self.timing.election = None;
        if self.is_voter() {
            self.timing.arm_election(&self.config, now);
        }
    }

    /// Whether the membership names another store for this node.
    pub(super) fn contradicts(&self, replica: &crate::Replica<NID>) -> bool {
        let membership = &self.membership().membership;
        membership.nodes().contains_key(&replica.node_id) && !membership.knows(replica)
    }
}
