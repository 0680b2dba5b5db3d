//! `NodeBuilder`: what a node is told. `start` makes it run.

mod start;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use openraft_adapters::{Env, IdentityStore, RaftLogStorage, RaftStateMachine, SnapshotStore};
use openraft_core::Config;
use openraft_engine::BasicNode;
use openraft_network_http::{HttpOptions, ServerLimits};
use openraft_storage_sled::{SledOptions, SledStore};
use serde_json::{Map, Value};
use tokio::net::TcpListener;

use crate::machine::{AppMachine, Shared};
use crate::parts::NodeNetwork;
use crate::status::Details;
use crate::{App, Node, NodeTypeConfig, NodeTypes, RaftNode, StartError};

/// There is one group.
const GROUP: u64 = 0;

/// What the application has against a node that asks to join, by id and address.
type Condition = Box<dyn Fn(&u64, &BasicNode) -> Result<(), String> + Send + Sync>;

/// What the application serves, once there is a node.
type Routes<C> = Box<dyn FnOnce(&RaftNode<C>) -> Router + Send>;

/// Describes a node and starts it. Made by [`Node::builder`], [`Node::builder_on`] or [`RaftNode::builder`]; `M` is what
/// the state machine comes from.
pub struct NodeBuilder<C: NodeTypeConfig, M> {
    listen: Option<String>,
    listener: Option<TcpListener>,
    advertise: Option<String>,
    cluster: Vec<(u64, BasicNode)>,
    join: Vec<BasicNode>,
    promote: bool,
    condition: Option<Condition>,
    config: Config,
    network: Option<Arc<dyn NodeNetwork<C>>>,
    options: HttpOptions,
    limits: ServerLimits,
    env: Option<Env>,
    routes: Option<Routes<C>>,
    details: Details,
    machine: M,
}

/// The state machine is an [`App`], on sled or on an author's own store.
pub struct OfApp<A: App> {
    state: Shared<A>,
    place: Place<A>,
}

/// Where an application's node keeps what must not be lost.
enum Place<A: App> {
    Directory { dir: PathBuf, options: SledOptions<u64> },
    Store(Store<A>),
}

struct Store<A: App> {
    identity: Arc<dyn IdentityStore<NodeTypes<A>>>,
    log: Arc<dyn RaftLogStorage<NodeTypes<A>>>,
    snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>,
}

/// The state machine is an author's own, as are log store and identity.
pub struct OfParts<C: NodeTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    log: Arc<dyn RaftLogStorage<C>>,
    state_machine: Box<dyn RaftStateMachine<C>>,
}

impl<C: NodeTypeConfig, M> NodeBuilder<C, M> {
    fn new(machine: M) -> Self {
        Self {
            listen: None,
            listener: None,
            advertise: None,
            cluster: Vec::new(),
            join: Vec::new(),
            promote: true,
            condition: None,
            config: Config::default(),
            network: None,
            options: HttpOptions::default(),
            limits: ServerLimits::default(),
            env: None,
            routes: None,
            details: Arc::new(Map::new),
            machine,
        }
    }

    /// The nodes that form the cluster, `(id, "host:port")`, this one among them: the same list on every node. It is
    /// used once; a directory that belongs to a cluster knows its members.
    pub fn cluster<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = (u64, S)>) -> Self {
        self.cluster = nodes.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
        self
    }

    /// Joins a cluster that exists, instead of forming one: `members` are addresses, `"host:port"`, of which one that
    /// answers is enough. The node becomes a voter by itself once it has caught up. Used once, as
    /// [`cluster`](Self::cluster) is. [`listen`](Self::listen) must say where the others find this node, or
    /// [`advertise`](Self::advertise), where that differs.
    pub fn join<S: Into<String>>(mut self, members: impl IntoIterator<Item = S>) -> Self {
        self.join = members.into_iter().map(BasicNode::new).collect();
        self
    }

    /// With [`join`](Self::join): the node stays a learner, which receives the log and counts for nothing.
    pub fn learner(mut self) -> Self {
        self.promote = false;
        self
    }

    /// Where to listen, `host:port`, for peers and clients. Default: the node's own address in the list.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Listens on what is bound already, as by a test on port 0 or by a supervisor, instead of binding an address. Where
    /// the others find the node is said as without it; for a node that joins, by default where this listens.
    pub fn listener(mut self, listener: TcpListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// With [`join`](Self::join): where the others find this node, `host:port`, if that is not where it listens, as with
    /// `0.0.0.0` or behind a forwarded port. In a list given to [`cluster`](Self::cluster) every node has its address.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Changes the configuration: timeouts, limits, snapshots.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Reaches peers by this network instead of HTTP/2. What arrives is handed by its server to [`RaftNode::raft`],
    /// [`RaftNode::formation_server`] and [`RaftNode::join_server`]. Orders that go to the leader, and the admin routes,
    /// travel by HTTP as before, to the address of the node.
    pub fn network(mut self, network: impl NodeNetwork<C>) -> Self {
        self.network = Some(Arc::new(network));
        self
    }

    /// Changes times and sizes of the network over HTTP/2 and of the server.
    pub fn http(mut self, change: impl FnOnce(&mut HttpOptions, &mut ServerLimits)) -> Self {
        change(&mut self.options, &mut self.limits);
        self
    }

    /// Takes clock and tasks from here instead of tokio. Sockets remain tokio's.
    pub fn env(mut self, env: Env) -> Self {
        self.env = Some(env);
        self
    }

    fn condition(
        mut self,
        condition: impl Fn(u64, &str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.condition = Some(Box::new(move |id, node| condition(*id, &node.addr)));
        self
    }
}

impl<A: App> NodeBuilder<NodeTypes<A>, OfApp<A>> {
    pub(crate) fn in_directory(id: u64, dir: PathBuf) -> Self {
        let place = Place::Directory { dir, options: SledOptions::new(id, "openraft") };
        Self::new(OfApp { state: Shared::new(), place })
    }

    pub(crate) fn on_store(
        identity: Arc<dyn IdentityStore<NodeTypes<A>>>,
        log: Arc<dyn RaftLogStorage<NodeTypes<A>>>,
        snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>,
    ) -> Self {
        let place = Place::Store(Store { identity, log, snapshots });
        Self::new(OfApp { state: Shared::new(), place })
    }

    /// The cluster's name: nodes of different names refuse one another. Default "openraft". A node on an author's own
    /// store has the name that its identity says.
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.sled(|options| options.cluster_name = name)
    }

    /// Changes how the directory is opened, as the size of its cache; without effect on an author's own store.
    pub fn sled(mut self, change: impl FnOnce(&mut SledOptions<u64>)) -> Self {
        if let Place::Directory { options, .. } = &mut self.machine.place {
            change(options);
        }
        self
    }

    /// Admits to the cluster only whom `condition` admits, given the state as far as this node has applied it, and id and
    /// address of the node that asks. An error is the reason, told to that node, which waits and asks again: what
    /// speaks against it may pass. Without a condition whoever asks is admitted. Give every node the same one. Commands
    /// wait while it decides.
    pub fn admit_if(
        self,
        condition: impl Fn(&A, u64, &str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let state = self.machine.state.clone();
        self.condition(move |id, address| condition(&state.read(), id, address))
    }

    /// The application's own HTTP routes, served on the node's port. They are given the node, and hold it: it ends only by
    /// [`Node::shutdown`] then. Paths that begin with `/raft/` and `/node/` are the node's.
    pub fn routes(mut self, routes: impl FnOnce(Node<A>) -> Router + Send + 'static) -> Self {
        let state = self.machine.state.clone();
        self.routes = Some(Box::new(move |node| routes(Node::of(node.clone(), state))));
        self
    }

    /// What the application adds to [`NodeStatus`](crate::NodeStatus), as field and value. Commands wait meanwhile.
    pub fn status_details(
        mut self,
        details: impl Fn(&A) -> Map<String, Value> + Send + Sync + 'static,
    ) -> Self {
        let state = self.machine.state.clone();
        self.details = Arc::new(move || details(&state.read()));
        self
    }

    /// Starts the node. On return it answers peers and clients; the cluster forms, and a leader is elected, as the other
    /// nodes come: [`Node::ready`] waits for that, writes and reads wait by themselves.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub async fn start(self) -> Result<Node<A>, StartError> {
        let state = self.machine.state.clone();
        let id = match &self.machine.place {
            Place::Directory { options, .. } => options.node_id,
            Place::Store(store) => store.identity.identity().replica.node_id,
        };
        let node = self.start_with(id, async |app: OfApp<A>| {
            let Store { identity, log, snapshots } = match app.place {
                Place::Store(store) => store,
                Place::Directory { dir, options } => open(dir, options).await?,
            };
            let state_machine = Box::new(AppMachine::new(app.state, snapshots));
            Ok(OfParts { identity, log, state_machine })
        });
        Ok(Node::of(node.await?, state))
    }
}

impl<C: NodeTypeConfig> NodeBuilder<C, OfParts<C>> {
    pub(crate) fn of_parts(
        identity: Arc<dyn IdentityStore<C>>,
        log: Arc<dyn RaftLogStorage<C>>,
        state_machine: Box<dyn RaftStateMachine<C>>,
    ) -> Self {
        Self::new(OfParts { identity, log, state_machine })
    }

    /// Admits to the cluster only whom `condition` admits, given id and address of the node that asks. An error is the
    /// reason, told to that node, which waits and asks again. Must not block.
    pub fn admit_if(
        self,
        condition: impl Fn(u64, &str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.condition(condition)
    }

    /// The application's own HTTP routes, served on the node's port. They are given the node, and hold it: it ends only by
    /// [`RaftNode::shutdown`] then. Paths that begin with `/raft/` and `/node/` are the node's.
    pub fn routes(mut self, routes: impl FnOnce(RaftNode<C>) -> Router + Send + 'static) -> Self {
        self.routes = Some(Box::new(|node| routes(node.clone())));
        self
    }

    /// What the application adds to [`NodeStatus`](crate::NodeStatus), as field and value. Must not block.
    pub fn status_details(
        mut self,
        details: impl Fn() -> Map<String, Value> + Send + Sync + 'static,
    ) -> Self {
        self.details = Arc::new(details);
        self
    }

    /// Starts the node. On return it answers peers and clients; the cluster forms, and a leader is elected, as the other
    /// nodes come: [`RaftNode::ready`] waits for that, writes and reads wait by themselves.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub async fn start(self) -> Result<RaftNode<C>, StartError> {
        let id = self.machine.identity.identity().replica.node_id;
        self.start_with(id, async |parts| Ok(parts)).await
    }
}

async fn open<A: App>(dir: PathBuf, options: SledOptions<u64>) -> Result<Store<A>, StartError> {
    let path = dir.clone();
    let opened = tokio::task::spawn_blocking(move || SledStore::open(&path, options)).await;
    let unusable = |reason: String| StartError::Directory { dir: dir.clone(), reason };
    let store = opened.map_err(|error| unusable(error.to_string()))?;
    let store = store.map_err(|error| unusable(error.to_string()))?;
    Ok(Store { log: store.log(GROUP), snapshots: Arc::new(store.snapshots(GROUP)), identity: store })
}
