//! The nodes of one run: they start, crash, and come back with what their disks kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft_adapters::StoredMembershipOf;
use openraft_adapters::memory::MemDisk;
use openraft_core::{Config, Raft, RaftParts};
use openraft_engine::{BasicNode, InitialNodes, Replica, StoreId};
use rand::Rng;

use super::Types;
use super::machine::{Machine, SnapshotDisk};
use super::network::Network;
use super::runtime::{Chance, NodeTasks, node_env, sleep};
use super::trace::Trace;

/// A node, up or down.
struct Node {
    disk: MemDisk<Types>,
    snapshots: SnapshotDisk,
    /// How often it has lost its directory.
    wipes: u64,
    /// The membership that it was last seen with.
    membership: StoredMembershipOf<Types>,
    life: Option<Life>,
}

impl Node {
    fn empty(wipes: u64) -> Self {
        Self {
            disk: MemDisk::held(),
            snapshots: SnapshotDisk::default(),
            wipes,
            membership: StoredMembershipOf::<Types>::default(),
            life: None,
        }
    }
}

/// One life of a node.
struct Life {
    raft: Raft<Types>,
    tasks: NodeTasks,
}

pub(super) struct Cluster {
    nodes: BTreeMap<u64, Node>,
    network: Network,
    chance: Chance,
    trace: Trace,
    config: Config,
    /// Nodes up to this id form the cluster; the others wait to be admitted.
    size: u64,
}

impl Cluster {
    /// `size` nodes that form a cluster, and `spares` more.
    pub(super) fn new(
        size: u64,
        spares: u64,
        network: Network,
        chance: Chance,
        trace: Trace,
        config: Config,
    ) -> Self {
        let nodes = (1..=size + spares).map(|id| (id, Node::empty(0))).collect();
        Self { nodes, network, chance, trace, config, size }
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// A node on the store that it has now.
    pub(super) fn replica(&self, id: u64) -> Replica<u64> {
        Replica { node_id: id, store_id: StoreId(u128::from(self.nodes[&id].wipes) << 64 | u128::from(id)) }
    }

    /// The initial list, the same for all.
    fn initial(&self) -> InitialNodes<u64, BasicNode> {
        let first = |id: u64| StoreId(u128::from(id));
        (1..=self.size).map(|id| (id, (first(id), BasicNode::new(format!("n{id}"))))).collect()
    }

    /// The handle of a node that is up.
    pub(super) fn raft(&self, id: u64) -> Option<Raft<Types>> {
        self.nodes[&id].life.as_ref().map(|life| life.raft.clone())
    }

    pub(super) fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.life.is_some()).map(|(id, _)| *id).collect()
    }

    /// Starts a node on what its disk holds, and forms the cluster if it holds nothing.
    pub(super) async fn start(&mut self, id: u64) {
        let replica = self.replica(id);
        let (env, tasks) = node_env(&self.chance);
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let log = node.disk.open();
        let held = node.disk.clone();
        let chance = self.chance.clone();
        env.spawn("disk", async move {
            loop {
                held.submitted().await;
                // Mostly quick, now and then slow.
                let pause = match chance.draw(|rng| rng.random_range(0..40)) {
                    0 => chance.micros(50_000, 800_000),
                    1..=8 => chance.micros(4_000, 40_000),
                    _ => chance.micros(100, 4_000),
                };
                sleep(pause).await;
                let count = chance.draw(|rng| rng.random_range(1..=8));
                held.flush(count);
            }
        });
        let parts = RaftParts {
            config: Config { seed: self.chance.draw(Rng::random), ..self.config.clone() },
            replica,
            env: env.clone(),
            network: self.network.of(id, env),
            log,
            state_machine: Box::new(Machine::new(id, self.trace.clone(), node.snapshots.clone())),
        };
        self.trace.note(format!("n{id} starts"));
        let raft = Raft::start(parts).await.expect("a crash leaves a state from which a node starts");
        self.network.register(id, Arc::new(raft.clone()));
        if !raft.is_initialized() && id <= self.size && self.nodes[&id].wipes == 0 {
            let (forming, nodes) = (raft.clone(), self.initial());
            tasks_spawn(&tasks, async move {
                // A crash before it is durable is tried again in the next life.
                let _ = forming.initialize(nodes).await;
            });
        }
        self.nodes.get_mut(&id).expect("a node of the cluster").life = Some(Life { raft, tasks });
    }

    /// Of the memberships in force anywhere the one stated last; a node that is down counts with its last one.
    pub(super) fn newest_membership(&mut self) -> Option<&StoredMembershipOf<Types>> {
        for node in self.nodes.values_mut() {
            if let Some(life) = &node.life {
                node.membership = (*life.raft.metrics().borrow().membership).clone();
            }
        }
        let all = self.nodes.values().map(|node| &node.membership);
        all.max_by_key(|stored| stored.log_id).filter(|stored| stored.log_id.is_some())
    }

    /// A node loses its directory and comes back on an empty one.
    pub(super) async fn wipe(&mut self, id: u64) {
        self.crash(id).await;
        let wipes = self.nodes[&id].wipes + 1;
        self.trace.note(format!("n{id} has lost its directory"));
        self.nodes.insert(id, Node::empty(wipes));
        self.start(id).await;
    }

    /// A node loses power: a random part of what it had not flushed survives.
    pub(super) async fn crash(&mut self, id: u64) {
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let Some(life) = node.life.take() else { return };
        node.membership = (*life.raft.metrics().borrow().membership).clone();
        self.network.unregister(id);
        let kept = self.chance.draw(|rng| rng.random_range(0..=node.disk.unflushed()));
        self.trace
            .note(format!("n{id} crashes and keeps {kept} of {} unflushed writes", node.disk.unflushed()));
        life.tasks.kill();
        node.disk.crash(kept);
        drop(life);
        // Tasks that were ended are dropped when the runtime comes by.
        tokio::task::yield_now().await;
    }
}

fn tasks_spawn(tasks: &NodeTasks, task: impl Future<Output = ()> + Send + 'static) {
    use openraft_adapters::Spawn;
    tasks.spawn("form", Box::pin(task));
}
