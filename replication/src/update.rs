//! What core and replication task tell one another, and how two tellings become one.

use openraft_adapters::engine::{LogId, LogIdOptionExt, NodeId, Promised, Replica, StateHash, Vote};
use openraft_adapters::{LogIdOf, RaftTypeConfig};

use crate::Join;

/// From the core to one follower's task: what there is to replicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderUpdate<C: RaftTypeConfig> {
    /// The task's session. A task that is told another one ends.
    pub session: u64,
    /// The last entry that the leader has accepted. Everything up to it can be read from tail or log reader.
    pub last: Option<LogIdOf<C>>,
    /// The last committed entry.
    pub committed: Option<LogIdOf<C>>,
    /// The position that messages sent from now on carry. If no append that is about to be sent carries it, a heartbeat
    /// does, at once.
    pub position: u64,
    /// Send a heartbeat with `position` at once, even if an append carries it too: the reply to a heartbeat waits for
    /// neither data on the wire nor the follower's disk.
    pub heartbeat: bool,
    /// The leader's latest state hash; heartbeats carry it.
    pub state_hash: Option<StateHash>,
    /// The task is to end.
    pub stop: bool,
}

impl<C: RaftTypeConfig> LeaderUpdate<C> {
    /// The update that ends the task of `session`.
    pub fn stop(session: u64) -> Self {
        Self {
            session,
            last: None,
            committed: None,
            position: 0,
            heartbeat: false,
            state_hash: None,
            stop: true,
        }
    }
}

impl<C: RaftTypeConfig> Join for LeaderUpdate<C> {
    /// Positions by maximum; a request for a heartbeat, or to stop, stands; the rest by the latest. Another session
    /// replaces all.
    fn join(&mut self, newer: Self) {
        if newer.session != self.session {
            *self = newer;
        } else if newer.stop {
            self.stop = true;
        } else {
            self.last = newer.last;
            self.committed = newer.committed;
            self.state_hash = newer.state_hash;
            self.position = self.position.max(newer.position);
            self.heartbeat |= newer.heartbeat;
        }
    }
}

/// From one follower's task to the core: what has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationUpdate<NID> {
    /// The task's session. The core drops reports of sessions other than the one in force.
    pub session: u64,
    /// The follower. Only replies from exactly this node on this store are counted.
    pub target: Replica<NID>,
    /// The follower's durable log equals the leader's up to here.
    pub matched: Option<LogId<NID>>,
    /// The greatest position that the follower confirmed under the task's vote; 0 before the first.
    pub confirmed: u64,
    /// The latest position for which the follower promised something, and what.
    pub promised: Option<Promised>,
    /// A vote greater than the task's that the follower answered with.
    pub higher_vote: Option<Vote<NID>>,
    /// Whether the last message was answered.
    pub reachable: bool,
    /// The lowest index that the leader's log should keep for this follower.
    pub needed: u64,
    /// The task has ended by itself: what it read was not what it may send under its vote, which happens to the task
    /// of a past leader. A leader that still leads starts another session.
    pub ended: bool,
}

impl<NID: NodeId> ReplicationUpdate<NID> {
    /// The report of a task that has done nothing yet.
    pub fn new(session: u64, target: Replica<NID>) -> Self {
        Self {
            session,
            target,
            matched: None,
            confirmed: 0,
            promised: None,
            higher_vote: None,
            reachable: true,
            needed: 0,
            ended: false,
        }
    }
}

impl<NID: NodeId> Join for ReplicationUpdate<NID> {
    /// Matched, confirmed, the position promised for and higher vote by maximum, the rest by the latest. Another session replaces all.
    fn join(&mut self, newer: Self) {
        if newer.session != self.session || newer.target != self.target {
            *self = newer;
            return;
        }
        let matched = greater_index(self.matched, newer.matched);
        let higher_vote = greater_vote(self.higher_vote, newer.higher_vote);
        let promised = later_promise(self.promised, newer.promised);
        *self =
            Self { matched, confirmed: self.confirmed.max(newer.confirmed), promised, higher_vote, ..newer };
    }
}

/// Of two log ids of one log, the one further on.
pub(crate) fn greater_index<NID>(a: Option<LogId<NID>>, b: Option<LogId<NID>>) -> Option<LogId<NID>> {
    if b.next_index() > a.next_index() { b } else { a }
}

/// Of two log ids of one log, the one less far on.
pub(crate) fn lesser_index<NID>(a: Option<LogId<NID>>, b: Option<LogId<NID>>) -> Option<LogId<NID>> {
    if b.next_index() < a.next_index() { b } else { a }
}

/// Of two promises the one for the later position.
pub(crate) fn later_promise(a: Option<Promised>, b: Option<Promised>) -> Option<Promised> {
    [a, b].into_iter().flatten().max_by_key(|promised| promised.position)
}

/// The greater vote, and of two incomparable ones the first: either says that its reader leads no more.
pub(crate) fn greater_vote<NID: NodeId>(a: Option<Vote<NID>>, b: Option<Vote<NID>>) -> Option<Vote<NID>> {
    match (a, b) {
        (Some(old), Some(new)) if new > old => b,
        (Some(_), _) => a,
        (None, _) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    openraft_adapters::declare_raft_types!(Types);

    fn leader(position: u64, last: u64) -> LeaderUpdate<Types> {
        LeaderUpdate {
            session: 1,
            last: Some(LogId::new(1, 1, last)),
            committed: None,
            position,
            heartbeat: false,
            state_hash: None,
            stop: false,
        }
    }

    #[test]
    fn a_later_leader_update_keeps_the_greatest_position_and_the_requests_made_before() {
        let mut held = LeaderUpdate { heartbeat: true, ..leader(7, 3) };
        held.join(leader(6, 4));
        assert_eq!(held, LeaderUpdate { heartbeat: true, ..leader(7, 4) });
        held.join(LeaderUpdate::stop(1));
        held.join(leader(8, 5));
        assert_eq!(held, LeaderUpdate { heartbeat: true, stop: true, ..leader(8, 5) });
    }

    #[test]
    fn a_leader_update_of_another_session_replaces_all() {
        let mut held = LeaderUpdate { heartbeat: true, stop: true, ..leader(7, 3) };
        let other = LeaderUpdate { session: 2, ..leader(1, 1) };
        held.join(other);
        assert_eq!(held, other);
    }

    #[test]
    fn reports_are_joined_by_maximum_where_the_past_counts_and_by_the_latest_elsewhere() {
        let first = ReplicationUpdate {
            matched: Some(LogId::new(1, 1, 9)),
            confirmed: 5,
            higher_vote: Some(Vote::new(4, 2)),
            needed: 10,
            ..ReplicationUpdate::new(1, Replica::default())
        };
        let second = ReplicationUpdate {
            matched: Some(LogId::new(1, 1, 8)),
            confirmed: 4,
            higher_vote: Some(Vote::new(4, 3)),
            reachable: false,
            needed: 3,
            ..first
        };
        let mut held = first;
        held.join(second);
        assert_eq!(held, ReplicationUpdate { reachable: false, needed: 3, ..first });
        held.join(ReplicationUpdate { higher_vote: Some(Vote::new(5, 3)), ..second });
        assert_eq!(held.higher_vote, Some(Vote::new(5, 3)));
    }

    #[test]
    fn a_report_of_another_session_replaces_all() {
        let mut held =
            ReplicationUpdate { confirmed: 5, ..ReplicationUpdate::new(1, Replica::<u64>::default()) };
        let other = ReplicationUpdate::new(2, Replica::default());
        held.join(other);
        assert_eq!(held, other);
    }
}
