//! The follower's promise: for how long it votes for nobody, and what releases it.
//!
//! Every message of a leader asks for a promise as long as its shortest election timeout. A follower that acknowledges
//! the message promises that much, or as much as its store holds a cap for, from the receipt on: to grant neither vote
//! nor pre-vote, to itself included. So no rival is elected while a quorum's promises stand; a leader that counts them,
//! from when it sent, knows until when it leads (thesis 6.4.1, where the followers' timeouts are taken for granted; here
//! they are stated, and survive restarts).
//!
//! The cap stands in the record of the vote under which the promise is given, and an answer leaves only once that is
//! durable. A node that starts anew remembers no promise; it keeps quiet for as long as the cap that it finds, unless the
//! vote beside it is for itself: whoever votes for itself is bound by no promise.

use std::time::Duration;

use super::Engine;
use super::state::Role;
use crate::{Node, NodeId, Timestamp, Vote};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Whether this node, by a promise to a leader or because it has just started, votes for nobody at `now`.
    pub fn is_promised(&self, now: Timestamp) -> bool {
        self.state.promised && self.timing.promise_end.is_some_and(|end| now < end)
    }

    /// The promise that every message of this node, when it leads, asks for.
    pub fn promise_asked(&self) -> Duration {
        self.config.election_timeout_min
    }

    /// Promises the leader that was just accepted what it asks for, but no more than the cap. From now on, whenever the
    /// answer leaves; should it never leave, nothing is lost but a little time.
    pub(super) fn give_promise(&mut self, now: Timestamp, asked: Duration) -> Duration {
        let within = asked.min(self.state.promise_cap);
        if !within.is_zero() {
            self.state.promised = true;
            self.timing.promise_end = self.timing.promise_end.max(Some(now + within));
        }
        within
    }

    /// What of a promise may be told in an answer that does not wait for the vote to be durable.
    pub(super) fn binding_at_once(&self, promised: Duration) -> Duration {
        if self.state.lane.flushed() >= self.state.vote_io { promised } else { Duration::ZERO }
    }

    /// As [`is_promised`](Self::is_promised); forgets a promise that has ended.
    pub(super) fn promise_stands(&mut self, now: Timestamp) -> bool {
        if !self.is_promised(now) {
            self.waive_promise();
        }
        self.state.promised
    }

    /// The promise, if one stands, binds no more.
    pub(super) fn waive_promise(&mut self) {
        self.state.promised = false;
        self.timing.promise_end = None;
    }

    /// At a start: whatever was promised before may still stand.
    pub(super) fn begin_quietly(&mut self, now: Timestamp) {
        let (cap, vote) = (self.state.promise_cap, self.state.vote);
        if !cap.is_zero() && vote.node_id != self.id() {
            self.state.promised = true;
            self.timing.promise_end = Some(now + cap);
        }
    }

    /// Whether a request for a vote is refused whoever asks, for the sake of a leader, perhaps of this node's own
    /// leadership. Not if the campaign was ordered by that very leader, whose vote it then names.
    pub(super) fn is_bound(&mut self, now: Timestamp, deposes: Option<Vote<NID>>) -> bool {
        let ordered = self.state.vote.committed && deposes == Some(self.state.vote);
        match &self.state.role {
            Role::Leader(leader) => {
                let released = ordered && leader.released;
                !released && now.since(self.quorum_heard_at(now)) < self.config.election_timeout_min
            }
            _ => self.promise_stands(now) && !ordered,
        }
    }
}
