//! The seeded adversary: crashes, losses, repetitions, reordering, slow disks and slow state machines; then peace, in
//! which the cluster must come to agree.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::network::Network;
use super::node::Node;
use super::oracle::Oracle;
use crate::{MembershipChange, NewNode, ServerState, Timestamp};

struct World {
    seed: u64,
    rng: SmallRng,
    now: Timestamp,
    nodes: Vec<Node>,
    network: Network,
    oracle: Oracle,
    value: u64,
    wipes: u64,
}

/// So many nodes are in no cluster when it is formed.
const SPARE_NODES: u64 = 2;

impl World {
    fn new(seed: u64) -> Self {
        let now = Timestamp::from_nanos(1);
        let size = [3, 3, 5, 1, 2][(seed % 5) as usize];
        let mut world = Self {
            seed,
            rng: SmallRng::seed_from_u64(seed),
            now,
            nodes: (1..=size + SPARE_NODES).map(|id| Node::new(id, seed, now)).collect(),
            network: Network::default(),
            oracle: Oracle::default(),
            value: 0,
            wipes: 0,
        };
        // A cluster is formed where every node has written the initial membership.
        for i in 0..size as usize {
            world.nodes[i].initialize(now, size);
            world.settle(i);
            let pending = world.nodes[i].store.disk.pending();
            world.nodes[i].flush(now, pending);
            world.settle(i);
        }
        world
    }

    /// Carries out what node `i` ordered, and looks.
    fn settle(&mut self, i: usize) {
        self.nodes[i].turn(&mut self.oracle);
        for envelope in self.nodes[i].out.drain(..) {
            self.network.send(envelope);
        }
        self.oracle.look(&self.nodes, i as u64 + 1);
    }

    fn deliver(&mut self, loss: u32) {
        let Some(envelope) = self.network.next(&mut self.rng, loss) else { return };
        let i = envelope.to as usize - 1;
        self.nodes[i].receive(self.now, envelope.from, envelope.message);
        self.settle(i);
    }

    fn tick(&mut self, by: Duration) {
        self.now = self.now + by;
        for i in 0..self.nodes.len() {
            self.nodes[i].engine.handle_deadline(self.now);
            self.settle(i);
        }
    }

    fn flush(&mut self, i: usize, count: usize) {
        if count > 0 {
            self.nodes[i].flush(self.now, count);
            self.settle(i);
        }
    }

    fn work(&mut self, i: usize) {
        self.nodes[i].work(self.now, &mut self.oracle);
        self.settle(i);
    }

    fn propose(&mut self, i: usize) {
        let count = self.rng.random_range(1..4);
        let values: Vec<u64> = (0..count).map(|_| self.next_value()).collect();
        self.nodes[i].propose(&values);
        self.settle(i);
    }

    fn next_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }

    fn crash(&mut self, i: usize) {
        let pending = self.nodes[i].store.disk.pending();
        let kept = self.rng.random_range(0..=pending);
        self.nodes[i].restart(self.now, self.seed, kept);
        self.settle(i);
    }

    /// A change of the membership, of whoever believes to lead: most are refused.
    fn change(&mut self, i: usize) {
        let leads = |i: &usize| self.nodes[*i].engine.role() == ServerState::Leader;
        let i = if self.rng.random_bool(0.5) { (0..self.nodes.len()).find(leads).unwrap_or(i) } else { i };
        let id = self.rng.random_range(1..=self.nodes.len() as u64);
        let some = |rng: &mut SmallRng, ids: u64| (1..=ids).filter(|_| rng.random_bool(0.6)).collect();
        let change = match self.rng.random_range(0..10) {
            0..4 => {
                let store_id = self.nodes[id as usize - 1].replica.store_id;
                let promote = self.rng.random_bool(0.7);
                MembershipChange::AddLearners([(id, NewNode { store_id, node: (), promote })].into())
            }
            4 => MembershipChange::AddVoters([id].into()),
            5 => MembershipChange::RemoveVoters([id].into()),
            6 => MembershipChange::ReplaceVoters(some(&mut self.rng, self.nodes.len() as u64)),
            _ => MembershipChange::RemoveNodes([id].into()),
        };
        self.nodes[i].change(self.now, &change);
        self.settle(i);
    }

    /// A node that is no member any more loses its directory.
    fn wipe(&mut self, i: usize) {
        let replica = self.nodes[i].replica;
        let mut memberships = self.nodes.iter().map(|node| &node.engine.membership().membership);
        let removed = self.oracle.has_applied() && !self.oracle.membership().knows(&replica);
        // One that stands in any log may be on its way to become a member.
        if removed && !memberships.any(|membership| membership.knows(&replica)) {
            self.nodes[i].wipe(self.now, self.seed);
            self.settle(i);
            self.wipes += 1;
        }
    }

    fn step(&mut self) {
        let i = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..1000) {
            0..560 => self.deliver(30),
            560..760 => {
                let pending = self.nodes[i].store.disk.pending();
                let count = self.rng.random_range(0..=pending);
                self.flush(i, count);
            }
            760..860 => self.work(i),
            860..905 => self.propose(i),
            905..910 => {
                self.nodes[i].transfer(self.now);
                self.settle(i);
            }
            910..932 => self.change(i),
            932..934 => self.wipe(i),
            934..950 => {
                let floor = self.oracle.committed_end();
                self.nodes[i].read(self.now, floor);
                self.settle(i);
            }
            950..990 => self.tick(Duration::from_millis(60)),
            990..996 => self.crash(i),
            _ => {
                self.nodes[i].engine.trigger_snapshot();
                self.settle(i);
            }
        }
    }

    /// Nothing fails any more: everything under way arrives and completes.
    fn calm(&mut self) {
        while !self.network.is_empty()
            || self.nodes.iter().any(|node| node.store.disk.pending() > 0 || node.has_work())
        {
            for i in 0..self.nodes.len() {
                let pending = self.nodes[i].store.disk.pending();
                self.flush(i, pending);
                while self.nodes[i].has_work() {
                    self.work(i);
                }
            }
            self.deliver(0);
        }
    }

    /// Peace: within some seconds there is one leader, and all have applied all that it took, a last write included.
    fn converge(&mut self) {
        let mut proposed = false;
        for _ in 0..600 {
            self.calm();
            let leader = (0..self.nodes.len()).find(|i| {
                let engine = &self.nodes[*i].engine;
                let nodes = self.nodes.iter();
                let mut members = nodes.filter(|node| engine.membership().membership.knows(&node.replica));
                let outdone = members.any(|member| member.engine.vote() > engine.vote());
                engine.role() == ServerState::Leader && !outdone && !engine.holds_proposals()
            });
            if let Some(leader) = leader {
                if !proposed {
                    self.propose(leader);
                    proposed = true;
                } else {
                    let last = self.nodes[leader].engine.last_log_id();
                    let membership = &self.nodes[leader].engine.membership().membership;
                    let mut members = self.nodes.iter().filter(|node| membership.knows(&node.replica));
                    if !membership.is_joint() && members.all(|node| node.engine.applied() == last) {
                        return;
                    }
                }
            }
            self.tick(Duration::from_millis(50));
        }
        let states: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                (node.engine.role(), node.engine.vote(), node.engine.last_log_id(), node.engine.applied())
            })
            .collect();
        panic!("30 seconds of peace, and no agreement: {states:?}");
    }
}

fn run(seed: u64, steps: usize) -> World {
    let mut world = World::new(seed);
    for step in 0..steps {
        world.step();
        if step.is_multiple_of(64) {
            world.oracle.look_at_logs(&world.nodes);
        }
    }
    world.converge();
    world.oracle.look_at_logs(&world.nodes);
    let membership = world.oracle.membership();
    let members: Vec<&Node> = world.nodes.iter().filter(|node| membership.knows(&node.replica)).collect();
    let first = &members[0].store.machine;
    assert!(members.iter().all(|node| node.store.machine == *first), "the state machines differ");
    assert!(world.nodes.iter().all(|node| node.waiting_callers() == 0), "somebody was never answered");
    world
}

/// Prints the seed of a failure: `run(seed, STEPS)` repeats it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}

const STEPS: usize = 2_000;

fn run_seeds(seeds: std::ops::Range<u64>) {
    let (mut leaderships, mut committed, mut installs, mut truncations) = (0, 0, 0, 0);
    let (mut changes, mut wipes) = (0, 0);
    for seed in seeds.clone() {
        let _shown = Seed(seed);
        let world = run(seed, STEPS);
        leaderships += world.oracle.leaderships();
        committed += world.oracle.committed_end();
        changes += world.oracle.changes();
        wipes += world.wipes;
        installs += world.nodes.iter().map(|node| node.store.installs).sum::<u64>();
        truncations += world.nodes.iter().map(|node| node.store.truncations).sum::<u64>();
    }
    let runs = seeds.end - seeds.start;
    assert!(leaderships as u64 > 2 * runs, "{leaderships} leaderships in {runs} runs: too quiet a life");
    assert!(changes > runs, "{changes} changes of the membership in {runs} runs");
    assert!(wipes > runs / 4, "{wipes} directories lost in {runs} runs");
    assert!(installs > runs / 4, "{installs} snapshots installed in {runs} runs");
    assert!(truncations > runs / 4, "{truncations} truncations in {runs} runs");
    assert!(committed > 20 * runs, "{committed} entries committed in {runs} runs: too little was at stake");
}

#[test]
fn no_adversary_makes_a_cluster_lose_or_fork_and_peace_makes_it_agree() {
    run_seeds(0..400);
}

#[test]
fn no_other_adversary_does_either() {
    run_seeds(400..800);
}

#[test]
fn a_run_repeats_from_its_seed() {
    let trace = |seed| {
        let world = run(seed, 600);
        let logs: Vec<_> = world.nodes.iter().map(|node| node.store.machine.clone()).collect();
        (world.now, world.value, logs)
    };
    assert_eq!(trace(7), trace(7));
}
