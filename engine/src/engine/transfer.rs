//! Handing leadership over (thesis 3.10): catch the target up, tell it to campaign, and a way back.

use super::Engine;
use super::state::{Role, Transfer};
use crate::{
    Command, LogIdOptionExt, Node, NodeId, Reply, TimeoutNowReply, TimeoutNowRequest, Timestamp,
    TransferRefused,
};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Whether proposals are held back while leadership is handed over. A driver leaves them queued meanwhile, which
    /// is at most the shortest election timeout; reads and heartbeats go on.
    pub fn holds_proposals(&self) -> bool {
        matches!(&self.state.role, Role::Leader(leader) if leader.transfer.is_some())
    }

    /// Hands leadership to the voter `to`, or to the one that answers and holds most of the log. Answers
    /// [`Reply::Transfer`]: `Ok` once this node leads no more.
    ///
    /// The target is caught up first and then told to campaign, without asking whether it would win. It has the
    /// shortest election timeout for all of that; then this node leads on and takes proposals again.
    pub fn transfer_leader(&mut self, now: Timestamp, token: u64, to: Option<NID>) {
        self.enter("transfer_leader");
        let target = self.transfer_target(to);
        let Role::Leader(leader) = &mut self.state.role else {
            let leader = self.leader();
            return self.respond(token, Reply::Transfer(Err(TransferRefused::NotLeader { leader })));
        };
        if let Some(Transfer { to, .. }) = leader.transfer {
            return self.respond(token, Reply::Transfer(Err(TransferRefused::InProgress { to })));
        }
        let Some(to) = target else {
            return self.respond(token, Reply::Transfer(Err(TransferRefused::NoTarget)));
        };
        leader.transfer = Some(Transfer { to, token, told: false });
        self.timing.transfer = Some(now + self.config.election_timeout_min);
        self.tell_target();
    }

    /// The voter asked for, or the best one.
    fn transfer_target(&self, wanted: Option<NID>) -> Option<NID> {
        let Role::Leader(leader) = &self.state.role else { return None };
        let membership = &self.membership().membership;
        let candidates = leader
            .followers
            .iter()
            .filter(|(id, _)| membership.is_voter(id) && wanted.is_none_or(|wanted| wanted == **id))
            .filter(|(_, follower)| follower.reachable);
        candidates.max_by_key(|(_, follower)| follower.matched.next_index()).map(|(id, _)| *id)
    }

    /// Tells the target, once, when it holds the whole log.
    pub(super) fn tell_target(&mut self) {
        let last_log_id = self.state.log.last();
        let request = TimeoutNowRequest {
            from: self.config.replica,
            admitted: self.admitted(),
            vote: self.state.vote,
            last_log_id,
        };
        let Role::Leader(leader) = &mut self.state.role else { return };
        let Some(transfer) = leader.transfer.as_mut().filter(|transfer| !transfer.told) else { return };
        let to = transfer.to;
        if leader.followers.get(&to).is_none_or(|follower| follower.matched != last_log_id) {
            return;
        }
        let membership = self.state.memberships.last().map(|stored| &stored.membership);
        // Whoever was removed meanwhile is not told; the transfer ends by its deadline.
        let Some(member) = membership.and_then(|membership| membership.nodes().get(&to)) else { return };
        let node = member.node.clone();
        transfer.told = true;
        leader.released = true;
        self.push(Command::SendTimeoutNow { to, node, request });
    }

    /// The target took too long: this node leads on. Should it win yet, this node hears of it as of any election.
    pub(super) fn expire_transfer(&mut self, now: Timestamp) {
        if self.timing.transfer.is_none_or(|deadline| now < deadline) {
            return;
        }
        self.timing.transfer = None;
        let Role::Leader(leader) = &mut self.state.role else { return };
        if let Some(Transfer { to, token, .. }) = leader.transfer.take() {
            self.respond(token, Reply::Transfer(Err(TransferRefused::TimedOut { to })));
        }
    }

    /// The leader hands over to this node: campaign at once, without regard to the promise given to it, if it is the
    /// leader that this node follows and this log is as complete as its own. Answers [`Reply::TimeoutNow`].
    pub fn handle_timeout_now(&mut self, now: Timestamp, token: u64, request: TimeoutNowRequest<NID>) {
        self.enter("handle_timeout_now");
        let follows = request.vote == self.state.vote
            && request.vote.committed
            && request.vote.node_id == request.from.node_id
            && request.vote.node_id != self.id()
            && !self.contradicts(&request.from, request.admitted)
            && !matches!(self.state.role, Role::Leader(_) | Role::Candidate(_));
        let accepted = follows && self.is_voter() && self.state.log.last() >= request.last_log_id;
        let reply = TimeoutNowReply { from: self.config.replica, vote: self.state.vote, accepted };
        self.respond(token, Reply::TimeoutNow(reply));
        if accepted {
            // The leader that this node promised to itself asks for the campaign.
            self.waive_promise();
            self.campaign(now, Some(request.vote));
        }
    }
}
