//! `MemRouter`: a network inside one process, and the cuts that a test makes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::faults::{Fate, Faults, Transit};
use super::link::MemNetwork;
use crate::{Env, NetworkError, RaftNetwork, RaftNetworkFactory, RaftServer, RaftTypeConfig};

/// Carries messages between the nodes of one process. A cheap handle; clones are the same network.
///
/// Nodes are found by their id alone. A call to a node that is not registered fails at once as unreachable. Where the
/// way is [cut](MemRouter::cut), messages vanish and the sender waits until its deadline, as on a real network.
/// Entries are shared with the receiver, neither copied nor encoded.
///
/// ```no_run
/// # openraft_adapters::declare_raft_types!(T: D = String);
/// # use std::sync::Arc;
/// # use openraft_adapters::{memory::MemRouter, Env, RaftServer};
/// # fn demo(server_of_node_1: Arc<dyn RaftServer<T>>) {
/// let router = MemRouter::<T>::new();
/// let network_of_node_1 = router.factory(1, Env::tokio());
/// router.register(1, server_of_node_1);
/// router.isolate(1);
/// router.heal();
/// # }
/// ```
pub struct MemRouter<C: RaftTypeConfig> {
    pub(super) shared: Arc<Shared<C>>,
}

pub(super) struct Shared<C: RaftTypeConfig> {
    topology: Mutex<Topology<C>>,
    /// Counts the changes of the topology, so that a stream looks at it only when it changed.
    version: AtomicU64,
}

struct Topology<C: RaftTypeConfig> {
    servers: BTreeMap<C::NodeId, Arc<dyn RaftServer<C>>>,
    /// From whom to whom nothing gets through.
    cuts: BTreeSet<(C::NodeId, C::NodeId)>,
    faults: Option<Box<dyn Faults<C::NodeId>>>,
}

impl<C: RaftTypeConfig> Clone for MemRouter<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C: RaftTypeConfig> Default for MemRouter<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: RaftTypeConfig> fmt::Debug for MemRouter<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = self.shared.lock();
        f.debug_struct("MemRouter")
            .field("nodes", &topology.servers.keys().collect::<Vec<_>>())
            .field("cuts", &topology.cuts)
            .field("faults", &topology.faults.is_some())
            .finish()
    }
}

impl<C: RaftTypeConfig> MemRouter<C> {
    /// A network without nodes.
    pub fn new() -> Self {
        let topology = Topology { servers: BTreeMap::new(), cuts: BTreeSet::new(), faults: None };
        Self { shared: Arc::new(Shared { topology: Mutex::new(topology), version: AtomicU64::new(0) }) }
    }

    /// The network as `node` sees it. Deadlines and delays of what it sends run on `env`'s clock.
    pub fn factory(&self, node: C::NodeId, env: Env) -> MemNetworkFactory<C> {
        MemNetworkFactory { shared: self.shared.clone(), node, env }
    }

    /// Messages to `node` go to `server` from now on. Streams to an earlier server of that id break.
    pub fn register(&self, node: C::NodeId, server: Arc<dyn RaftServer<C>>) {
        self.change(|topology| {
            topology.servers.insert(node, server);
        });
    }

    /// `node` is gone, as when its process ended: calls to it fail and streams to it break.
    pub fn unregister(&self, node: C::NodeId) {
        self.change(|topology| {
            topology.servers.remove(&node);
        });
    }

    /// Nothing gets from `from` to `to` any more; the other way stays open. That includes answers: what `to` asks,
    /// `from` hears, but its answer is lost.
    pub fn cut(&self, from: C::NodeId, to: C::NodeId) {
        self.change(|topology| {
            topology.cuts.insert((from, to));
        });
    }

    /// Cuts the network into two sides that hear nothing from one another. Nodes on no side keep all their ways.
    pub fn partition(&self, one: &[C::NodeId], other: &[C::NodeId]) {
        self.change(|topology| {
            for a in one {
                for b in other {
                    topology.cuts.extend([(*a, *b), (*b, *a)]);
                }
            }
        });
    }

    /// Cuts `node` off from every node registered now.
    pub fn isolate(&self, node: C::NodeId) {
        self.change(|topology| {
            let others = topology.servers.keys().copied().filter(|other| *other != node);
            topology.cuts.extend(others.flat_map(|other| [(node, other), (other, node)]));
        });
    }

    /// Opens the way from `from` to `to` again.
    pub fn mend(&self, from: C::NodeId, to: C::NodeId) {
        self.change(|topology| {
            topology.cuts.remove(&(from, to));
        });
    }

    /// Opens every way again. Lost messages stay lost, and faults stay set.
    pub fn heal(&self) {
        self.change(|topology| topology.cuts.clear());
    }

    /// From now on `faults` decides the fate of each message. Streams open now break.
    pub fn set_faults(&self, faults: impl Faults<C::NodeId>) {
        self.change(|topology| topology.faults = Some(Box::new(faults)));
    }

    /// Every message that is not cut off arrives at once again. Streams open now break.
    pub fn clear_faults(&self) {
        self.change(|topology| topology.faults = None);
    }

    fn change(&self, change: impl FnOnce(&mut Topology<C>)) {
        change(&mut self.shared.lock());
        self.shared.version.fetch_add(1, Ordering::Release);
    }
}

/// How a message would travel now.
pub(super) enum Way<C: RaftTypeConfig> {
    /// Nobody is there.
    Gone,
    /// It vanishes.
    Cut,
    /// It arrives at once.
    Open(Arc<dyn RaftServer<C>>),
    /// Its fate is decided message by message.
    Faulty,
}

impl<C: RaftTypeConfig> Shared<C> {
    fn lock(&self) -> MutexGuard<'_, Topology<C>> {
        self.topology.lock().expect("no fault hook panics")
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn way(&self, from: C::NodeId, to: C::NodeId) -> Way<C> {
        let topology = self.lock();
        match topology.servers.get(&to) {
            None => Way::Gone,
            Some(_) if topology.faults.is_some() => Way::Faulty,
            Some(_) if topology.cuts.contains(&(from, to)) => Way::Cut,
            Some(server) => Way::Open(server.clone()),
        }
    }

    pub(super) fn is_cut(&self, from: C::NodeId, to: C::NodeId) -> bool {
        self.lock().cuts.contains(&(from, to))
    }

    pub(super) fn server(&self, node: C::NodeId) -> Option<Arc<dyn RaftServer<C>>> {
        self.lock().servers.get(&node).cloned()
    }

    /// The fate of one message; a cut is decided before faults are asked.
    pub(super) fn fate(&self, message: &Transit<C::NodeId>) -> Fate {
        let mut topology = self.lock();
        if topology.cuts.contains(&(message.from, message.to)) {
            return Fate::Drop;
        }
        topology.faults.as_mut().map_or(Fate::Deliver, |faults| faults.fate(message))
    }
}

pub(super) fn gone(target: impl fmt::Display) -> NetworkError {
    NetworkError::unreachable_because(target, "no such node is registered")
}

/// Makes the networks of one node. Made by [`MemRouter::factory`].
pub struct MemNetworkFactory<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    node: C::NodeId,
    env: Env,
}

impl<C: RaftTypeConfig> Clone for MemNetworkFactory<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), node: self.node, env: self.env.clone() }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for MemNetworkFactory<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemNetworkFactory({})", self.node)
    }
}

impl<C: RaftTypeConfig> RaftNetworkFactory<C> for MemNetworkFactory<C> {
    fn network(&self, target: C::NodeId, _node: &C::Node) -> Arc<dyn RaftNetwork<C>> {
        let (shared, env) = (self.shared.clone(), self.env.clone());
        Arc::new(MemNetwork { shared, from: self.node, to: target, env })
    }
}
