//! A cluster in memory, for stories: three cores over a router, on tokio's time, which a test may pause.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use openraft_adapters::memory::{MemApp, MemDisk, MemRouter, MemSnapshots, MemStateMachine, MemStateReader};
use openraft_adapters::{Env, LogIdOf, Spawn, TaskHandle};
use openraft_core::{Config, Raft, RaftParts, ServerState};
use openraft_engine::{BasicNode, InitialNodes, Replica, StoreId};
use serde::{Deserialize, Serialize};

use crate::brake::{Brake, Braked};

openraft_adapters::declare_raft_types!(
    /// Writes are names; the reply is how many came before.
    pub Names: D = String, R = u64
);

/// The list of names written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct List(pub Vec<String>);

static DICE: AtomicU64 = AtomicU64::new(0);

impl MemApp<Names> for List {
    fn apply(&mut self, _log_id: LogIdOf<Names>, name: &String) -> u64 {
        assert_ne!(name, "panic", "a write that the application does not survive");
        if name == "dice" {
            // What no state machine may do: an outcome that only this process knows.
            self.0.push(format!("dice {}", DICE.fetch_add(1, Ordering::Relaxed)));
        } else {
            self.0.push(name.clone());
        }
        self.0.len() as u64 - 1
    }

    fn state_hash(&self) -> Option<u64> {
        let bytes = self.0.iter().flat_map(|name| name.bytes().chain([0]));
        Some(bytes.fold(0, |hash: u64, byte| hash.wrapping_mul(0x100_0000_01b3).wrapping_add(byte.into())))
    }
}

/// One node: what outlives its process, and the process while it runs.
pub struct Node {
    /// Its log.
    pub disk: MemDisk<Names>,
    /// Its snapshots.
    pub snapshots: MemSnapshots<Names>,
    /// Its state, of the latest life.
    pub state: MemStateReader<Names, List>,
    /// Holds up its state machine, in the latest life.
    pub brake: Brake,
    /// Its tasks, of the latest life.
    pub tasks: Tasks,
    /// The handle.
    pub raft: Raft<Names>,
}

/// The tasks of one life of a node.
#[derive(Clone)]
pub struct Tasks {
    spawner: Arc<dyn Spawn>,
    running: Arc<Mutex<Vec<&'static str>>>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of those that have not ended.
    pub fn running(&self) -> Vec<&'static str> {
        self.lock().clone()
    }
}

impl Spawn for Tasks {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.lock().push(name);
        let ends = Ends { name, tasks: self.clone() };
        self.spawner.spawn(
            name,
            Box::pin(async move {
                let _ends = ends;
                task.await;
            }),
        )
    }
}

/// Crosses a task off when it ends, however it does.
struct Ends {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut running = self.tasks.lock();
        let at = running.iter().position(|name| *name == self.name).expect("it was noted when it started");
        running.swap_remove(at);
    }
}

/// Nodes 1 to n.
pub struct Cluster {
    /// Their network.
    pub router: MemRouter<Names>,
    /// The nodes.
    pub nodes: BTreeMap<u64, Node>,
    config: Config,
}

impl Cluster {
    /// A formed cluster with a leader. Must run within a tokio runtime.
    pub async fn start(size: u64, config: Config) -> Self {
        let mut cluster = Self { router: MemRouter::new(), nodes: BTreeMap::new(), config };
        for id in 1..=size {
            cluster.boot(replica(id), MemDisk::new(), MemSnapshots::new()).await;
        }
        for node in cluster.nodes.values() {
            node.raft.initialize(initial(size)).await.expect("an empty node");
        }
        cluster.leader().await;
        cluster
    }

    /// Starts an empty node on its store, in no cluster: a leader whose log names that store will reach it.
    pub async fn start_empty(&mut self, replica: Replica<u64>) {
        self.boot(replica, MemDisk::new(), MemSnapshots::new()).await;
    }

    async fn boot(&mut self, replica: Replica<u64>, disk: MemDisk<Names>, snapshots: MemSnapshots<Names>) {
        let id = replica.node_id;
        let machine = MemStateMachine::<Names, List>::open(snapshots.clone());
        let state = machine.reader();
        let brake = Brake::default();
        let Env { clock, spawner } = Env::tokio();
        let tasks = Tasks { spawner, running: Arc::default() };
        let env = Env { clock, spawner: Arc::new(tasks.clone()) };
        let raft = Raft::start(RaftParts {
            config: self.config.clone(),
            replica,
            env: env.clone(),
            network: Arc::new(self.router.factory(id, env)),
            log: disk.open(),
            state_machine: Box::new(Braked { machine, brake: brake.clone() }),
        })
        .await
        .expect("a store that a node left behind");
        self.router.register(id, Arc::new(raft.clone()));
        self.nodes.insert(id, Node { disk, snapshots, state, brake, tasks, raft });
    }

    /// Stops a node and forgets its process.
    pub async fn stop(&mut self, id: u64) {
        self.router.unregister(id);
        self.nodes[&id].raft.shutdown().await.expect("a node that ran");
    }

    /// Starts a stopped node on what it left behind.
    pub async fn restart(&mut self, id: u64) {
        let node = self.nodes.remove(&id).expect("a node that was started before");
        self.boot(node.raft.replica(), node.disk, node.snapshots).await;
    }

    /// The handle of a node.
    pub fn raft(&self, id: u64) -> &Raft<Names> {
        &self.nodes[&id].raft
    }

    /// What a node has applied.
    pub fn names(&self, id: u64) -> Vec<String> {
        self.nodes[&id].state.with(|list| list.0.clone())
    }

    /// Waits until some node leads and has committed an entry of its own.
    pub async fn leader(&self) -> u64 {
        self.leader_among(&self.nodes.keys().copied().collect::<Vec<_>>()).await
    }

    /// As [`leader`](Cluster::leader), among some of the nodes.
    pub async fn leader_among(&self, ids: &[u64]) -> u64 {
        let waits = ids.iter().map(|id| {
            let wait = self.raft(*id).wait(Some(Duration::from_secs(60)));
            Box::pin(wait.metrics(
                |m| {
                    m.state == ServerState::Leader
                        && m.committed.is_some_and(|committed| committed.leader_id == m.vote.leader_id())
                },
                "a leader",
            ))
        });
        let (metrics, _) = futures::future::select_ok(waits).await.expect("somebody leads");
        metrics.id
    }

    /// Waits until a node has applied everything up to `index`.
    pub async fn applied(&self, id: u64, index: u64) {
        let wait = self.raft(id).wait(Some(Duration::from_secs(60)));
        wait.applied(index).await.expect("it is applied in time");
    }

    /// Nodes other than `id`.
    pub fn others(&self, id: u64) -> Vec<u64> {
        self.nodes.keys().copied().filter(|other| *other != id).collect()
    }
}

/// A node on its store.
pub fn replica(id: u64) -> Replica<u64> {
    Replica { node_id: id, store_id: StoreId(u128::from(id)) }
}

/// The initial list of nodes 1 to `size`.
pub fn initial(size: u64) -> InitialNodes<u64, BasicNode> {
    (1..=size).map(|id| (id, (replica(id).store_id, BasicNode::new(format!("node {id}"))))).collect()
}
