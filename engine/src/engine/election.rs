//! Elections: campaigning, granting, counting (paper, 5.2 and 5.4.1; thesis 3.4).

use std::collections::BTreeMap;

use super::state::{Candidate, PreCandidate, Role, WaitingKind};
use super::{Engine, NUMBER_MAX, is_believable};
use crate::quorum::{self, VoteResult};
use crate::{Command, LogId, Node, NodeId, Replica, Timestamp, Vote, VoteReply, VoteRequest};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// No leader was heard of for an election timeout: find out whether a campaign would be won (pre-vote,
    /// thesis 9.6), or campaign at once where there is nobody to ask or pre-vote is off.
    ///
    /// Nothing is promised and nothing written: a node that cannot win raises no term, its own or others'.
    pub(super) fn seek_election(&mut self, now: Timestamp) {
        if !self.config.pre_vote || self.is_lone_voter() {
            return self.campaign(now, None);
        }
        let Some(vote) = self.next_vote(now) else { return };
        self.state.role =
            Role::PreCandidate(PreCandidate { vote, answers: BTreeMap::from([(self.id(), true)]) });
        self.send_vote_requests(vote, true, None);
    }

    /// Does what an election timeout does, now: it skips the timer and nothing else. Pre-vote, promises and the
    /// completeness of the log decide as always, so that it unseats no leader which is well; under its own promise to one
    /// this node campaigns when that has ended, unless it hears of the leader again. Returns whether this node may
    /// campaign at all: it votes, and does not lead.
    pub fn trigger_elect(&mut self, now: Timestamp) -> bool {
        self.enter("trigger_elect");
        let may = self.is_voter() && !matches!(self.state.role, Role::Leader(_));
        if may {
            self.seek_election(now);
        }
        may
    }

    /// Forgets who leads until it hears of a leader again: callers are no longer sent there. The promise given to it
    /// stands, and so do the vote and the election timeout. Returns whether there was a leader to forget; one does not
    /// forget oneself.
    pub fn forget_leader(&mut self) -> bool {
        self.enter("forget_leader");
        let forgets = matches!(self.state.role, Role::Follower) && self.leader().is_some();
        self.state.leader_forgotten |= forgets;
        forgets
    }

    /// Begins an election: a new term, a vote for oneself, and a timeout drawn anew.
    ///
    /// No request leaves before the vote is durable, and with it, since the log lane is in order, every entry that the
    /// request advertises. `deposes` is the vote of the leader that ordered it, if one did.
    pub(super) fn campaign(&mut self, now: Timestamp, deposes: Option<Vote<NID>>) {
        let Some(vote) = self.next_vote(now) else { return };
        self.state.role = Role::Candidate(Candidate { asked: false, deposes, answers: BTreeMap::new() });
        self.save_vote(vote);
    }

    /// The vote to campaign for, if this node may campaign; the next attempt is due after a timeout drawn anew.
    fn next_vote(&mut self, now: Timestamp) -> Option<Vote<NID>> {
        self.timing.election = None;
        if !self.is_voter() {
            return None;
        }
        self.timing.arm_election(&self.config, now);
        if self.promise_stands(now) {
            // Only a timer that was skipped, or the quiet period of a restart, can be that early.
            self.timing.election = self.timing.promise_end;
            return None;
        }
        self.look(now);
        if self.stalled(now).is_some() {
            // It could not do a leader's work.
            return None;
        }
        if self.state.installing.is_some() {
            // The log is about to be replaced: what it would advertise is not what it will hold.
            return None;
        }
        if self.state.lane.flushed() < self.state.vote_io {
            // The disk has not yet taken the last vote; a campaign under way asks as soon as it has. One more would only
            // show the others a greater term, for a node whose disk is sick.
            return None;
        }
        // A snapshot may have outlived the vote it came under, so the log counts too.
        let logged = self.state.log.last().map_or(0, |last| last.leader_id.term);
        let term = self.state.vote.term.max(self.state.seen_term).max(logged) + 1;
        (term <= NUMBER_MAX).then(|| Vote::new(term, self.id()))
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
        let deposes = candidate.deposes;
        self.send_vote_requests(self.state.vote, false, deposes);
        self.count_votes(now);
    }

    fn send_vote_requests(&mut self, vote: Vote<NID>, pre_vote: bool, deposes: Option<Vote<NID>>) {
        let request = VoteRequest {
            from: self.config.replica,
            admitted: self.admitted(),
            pre_vote,
            vote,
            last_log_id: self.state.log.last(),
            deposes,
        };
        let me = self.id();
        let membership = &self.state.membership().membership;
        let voters = membership.voter_ids();
        let requests: Vec<_> = voters
            .into_iter()
            .filter(|id| *id != me)
            .map(|to| Command::SendVote { to, node: membership.nodes()[&to].node.clone(), request })
            .collect();
        self.commands.extend(requests);
    }

    /// Judges a request for a vote; answers [`Reply::Vote`](crate::Reply::Vote), a grant only once it is durable.
    ///
    /// A vote is granted to a greater vote whose log is at least as complete as the own one, once a term. A node that
    /// is in no cluster grants none, and none is granted to a store that the membership names differently.
    ///
    /// Who was removed, and cannot know it from its own log, is told so: only a committed membership says that, and only
    /// to a log that ends before it or with it; whoever restarts with the removal as its last entry has forgotten that it
    /// is committed, and nobody replicates to it any more. A log that reaches further may be needed (thesis 4.2.2) or
    /// hold a later admission, and is judged as usual.
    ///
    /// While a promise to a leader stands, or this node leads and a quorum is with it, every request is refused, and the
    /// own vote stays as it is, unless that leader itself has ordered the campaign. A pre-vote is judged alike, but
    /// changes nothing.
    pub fn handle_vote_request(&mut self, now: Timestamp, token: u64, request: VoteRequest<NID>) {
        self.enter("handle_vote_request");
        let known = self.is_initialized() && !self.contradicts(&request.from, request.admitted);
        let sound = is_believable(&request.vote)
            && !request.vote.committed
            && request.vote.node_id == request.from.node_id
            && request.vote.node_id != self.id();
        if !known || !sound {
            return self.send_vote_reply(token, request.pre_vote, false, false);
        }
        if self.has_removed(&request) {
            return self.send_vote_reply(token, request.pre_vote, false, true);
        }
        let bound = self.is_bound(now, request.deposes);
        let newer = request.vote > self.state.vote;
        if request.pre_vote {
            let granted = newer && !bound && request.last_log_id >= self.state.log.last();
            return self.send_vote_reply(token, true, granted, false);
        }
        if request.vote == self.state.vote {
            // Granted before: the request was repeated.
            return self.respond_when_durable(self.state.vote_io, token, WaitingKind::Vote);
        }
        if !newer || bound || request.last_log_id < self.state.log.last() {
            self.state.seen_term = self.state.seen_term.max(request.vote.term);
            return self.send_vote_reply(token, false, false, false);
        }
        // If one stood, its leader itself has released this node from it.
        self.waive_promise();
        self.become_follower(now);
        self.save_vote(request.vote);
        self.respond_when_durable(self.state.vote_io, token, WaitingKind::Vote);
    }

    /// Counts the answer to the request that asked for `asked`.
    pub fn handle_vote_reply(&mut self, now: Timestamp, asked: Vote<NID>, reply: VoteReply<NID>) {
        self.enter("handle_vote_reply");
        if !self.membership().membership.knows(&reply.from) {
            return;
        }
        if is_believable(&reply.vote) {
            self.state.seen_term = self.state.seen_term.max(reply.vote.term);
        }
        let answers = match &mut self.state.role {
            Role::PreCandidate(pre) if reply.pre_vote && asked == pre.vote => &mut pre.answers,
            Role::Candidate(candidate) if !reply.pre_vote && asked == self.state.vote => {
                &mut candidate.answers
            }
            _ => return,
        };
        if reply.removed {
            return self.hear_of_removal();
        }
        // The answer to a pre-vote states the vote that stays in force, a grant the one granted.
        let granted = reply.granted && (reply.pre_vote || reply.vote.same_candidate(&asked));
        // A grant cannot be taken back, whatever a repeated answer says.
        let answer = answers.entry(reply.from.node_id).or_insert(granted);
        *answer |= granted;
        self.count_votes(now);
    }

    fn count_votes(&mut self, now: Timestamp) {
        let (answers, pre_vote) = match &self.state.role {
            Role::PreCandidate(pre) => (&pre.answers, true),
            Role::Candidate(candidate) => (&candidate.answers, false),
            Role::Follower | Role::Leader(_) => return,
        };
        let voters = self.state.membership().membership.voters();
        match quorum::vote_result(voters, |id| answers.get(id).copied()) {
            VoteResult::Won if pre_vote => self.campaign(now, None),
            VoteResult::Won => self.become_leader(now),
            // The next attempt comes with its deadline.
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

    /// Whether the membership names another store for this node, and that was not admitted before the one that speaks:
    /// a node changes its store only by a removal and a later addition, of which this log may not know yet.
    pub(super) fn contradicts(&self, replica: &Replica<NID>, admitted: Option<LogId<NID>>) -> bool {
        let member = self.membership().membership.nodes().get(&replica.node_id);
        member.is_some_and(|known| known.store_id != replica.store_id && admitted <= Some(known.admitted))
    }

    /// Whether the committed membership excludes whoever asks, whose log holds nothing after that membership.
    fn has_removed(&self, request: &VoteRequest<NID>) -> bool {
        let committed = self.state.memberships.first().filter(|stored| stored.log_id <= self.state.committed);
        committed.is_some_and(|stored| {
            !stored.membership.is_empty()
                && !stored.membership.nodes().contains_key(&request.from.node_id)
                && request.last_log_id <= stored.log_id
        })
    }

    /// A member has said that this node was removed: campaigning would only disturb the others. A leader that speaks
    /// to this node says otherwise. Heard only in answer to what it asks now: its log may reach further since it asked
    /// before.
    fn hear_of_removal(&mut self) {
        self.state.removed = true;
        self.state.role = Role::Follower;
        self.timing.election = None;
    }
}
