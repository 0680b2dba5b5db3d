//! The end of a run: a quorum alone is healed and must serve; then everything is, and must agree.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft_engine::Replica;
use rand::seq::SliceRandom;

use super::clock::{sleep, virtual_now};
use super::cluster::Cluster;
use super::coverage::Reached;
use super::subject::Subject;
use super::workload::Clients;

/// How long, in virtual time, a healed quorum may take until it has served every client and brought all that it reaches
/// up to date; and a healed cluster until all agree. Some elections long, and a snapshot transfer that begins with one
/// that failed.
const BOUND: Duration = Duration::from_secs(60);

/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// How many operations of each client must be answered.
const SERVED: u64 = 2;

impl<S: Subject> Cluster<S> {
    /// Nodes drawn at random that hold a quorum of every voter set that may be in force.
    fn draw_quorum(&mut self) -> Vec<u64> {
        let committed = self.observer.invariants(|invariants| invariants.committed_membership());
        let memberships = self.memberships();
        let open = memberships.iter().filter(|stated| stated.log_id >= committed);
        let sets: Vec<_> = open
            .flat_map(|stated| {
                let membership = &stated.membership;
                let able = |id: &u64| {
                    let named = Replica { node_id: *id, store_id: membership.nodes()[id].store_id };
                    self.replica(*id) == named && !self.is_destroyed(*id)
                };
                let sets = membership.voters().iter();
                sets.map(|set| (set.len() / 2 + 1, set.iter().copied().filter(able).collect::<Vec<_>>()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut order: Vec<u64> = self.ids().into_iter().filter(|id| !self.is_destroyed(*id)).collect();
        self.chance.draw(|rng| order.shuffle(rng));
        let mut drawn = Vec::new();
        for id in order {
            let reached = |(quorum, able): &(usize, Vec<u64>)| {
                able.iter().filter(|voter| drawn.contains(*voter)).count() >= *quorum
            };
            if !sets.is_empty() && sets.iter().all(reached) {
                break;
            }
            drawn.push(id);
        }
        drawn
    }

    /// Everything about these nodes works again; those among them that are down start.
    async fn mend(&mut self, nodes: &[u64]) {
        for id in nodes {
            self.disk(*id).heal();
        }
        self.revive(nodes).await;
    }

    /// What has ended by itself is started anew. A node whose disk holds a rotten record stays down.
    async fn revive(&mut self, nodes: &[u64]) {
        self.tend().await;
        for id in nodes {
            if !self.is_up(*id) && !self.is_destroyed(*id) {
                self.start(*id).await;
            }
        }
    }

    /// Whether those of these nodes that are members have applied what is at `upto`, under a membership that is settled.
    fn up_to_date(&self, nodes: &[u64], upto: u64) -> bool {
        // Whoever leads the latest term: it may be one that was not healed, but does its duty.
        let leader = self.leader().and_then(|id| self.raft(id)).map(|raft| raft.metrics().borrow().clone());
        let Some(leader) = leader.filter(|leader| leader.membership.log_id <= leader.committed) else {
            return false;
        };
        let membership = &leader.membership.membership;
        let reached = |id: u64| id == leader.id || self.network.is_whole(id, leader.id);
        let members = nodes.iter().filter(|id| membership.knows(&self.replica(**id)) && reached(**id));
        let applied = |id: &u64| self.raft(*id).and_then(|raft| raft.metrics().borrow().applied);
        !membership.is_joint()
            && members.into_iter().all(|id| applied(id).is_some_and(|applied| applied.index >= upto))
    }

    /// Waits until clients are served and all of these nodes have caught up. Fails the run if that takes too long.
    async fn await_service(&mut self, nodes: &[u64], clients: &Clients<S>, repairs: bool) {
        let before = clients.served();
        let deadline = virtual_now() + BOUND;
        let mut goal = None;
        loop {
            if self.observer.violation().is_some() {
                return;
            }
            self.revive(nodes).await;
            let repaired = !repairs || self.changing.load(Ordering::Relaxed) > 0 || !self.repair().await;
            let now = clients.served();
            let served = now.iter().zip(&before).all(|(now, before)| *now >= before + SERVED);
            if served && goal.is_none() {
                goal = self.observer.invariants(|invariants| invariants.committed_end()).checked_sub(1);
            }
            if repaired && goal.is_some_and(|goal| self.up_to_date(nodes, goal)) {
                return;
            }
            if virtual_now() >= deadline {
                self.tell_state();
                let words =
                    if served { "not all nodes have caught up" } else { "not every client is served" };
                let who = if repairs {
                    "the healed cluster".to_owned()
                } else {
                    format!("the healed quorum {nodes:?}")
                };
                return self.observer.fail(format!("{words} by {who} within {BOUND:?} of virtual time"));
            }
            sleep(GLANCE).await;
        }
    }

    /// What every node says of itself, for whoever reads the trace.
    fn tell_state(&self) {
        for id in self.ids() {
            let words = match self.raft(id).map(|raft| raft.metrics().borrow().clone()) {
                Some(metrics) => format!("at the end n{id}: {metrics:?}"),
                None => format!("at the end n{id} is down"),
            };
            self.observer.note(words);
        }
    }

    /// A quorum alone is healed, everything else stays broken: it must elect, commit, serve every client, and bring up to
    /// date whom it reaches.
    pub(super) async fn heal_a_quorum(&mut self, clients: &Clients<S>) {
        let quorum = self.draw_quorum();
        self.observer.note(format!("healed are {quorum:?}"));
        for id in self.up().into_iter().filter(|id| self.is_destroyed(*id)).collect::<Vec<_>>() {
            // What is rotten has been found by now, and its node stopped.
            self.crash(id).await;
        }
        self.network.heal_among(&quorum);
        if self.chance.one_in(2) {
            // Nobody else is to be reached at all: the quorum has only itself.
            self.cut_apart(&quorum, true);
        }
        self.mend(&quorum).await;
        self.await_service(&quorum, clients, false).await;
        if self.observer.violation().is_none() {
            self.observer.count(Reached::HealedQuorum);
        }
    }

    /// Everything is healed; an operator replaces what is lost. All must agree in the end.
    pub(super) async fn heal_all(&mut self, clients: &Clients<S>) {
        self.observer.note("everything is healed".to_owned());
        let ids = self.ids();
        self.network.heal_among(&ids);
        self.mend(&ids).await;
        self.await_service(&ids, clients, true).await;
    }
}
