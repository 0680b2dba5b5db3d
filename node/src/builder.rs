//! `NodeBuilder`: what a node is told, and how it starts: store, core, server, and its way into the cluster.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use openraft_adapters::{Env, IdentityStore};
use openraft_core::formation::Formation;
use openraft_core::join::{Admission, Joining};
use openraft_core::{Config, Raft, RaftParts};
use openraft_engine::BasicNode;
use openraft_network_http::{HttpNetwork, HttpOptions, RaftSlot, ServerLimits, ServerParts};
use openraft_storage_sled::{SledOptions, SledStore};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::arrival::{Arrival, Surroundings, arrive};
use crate::forward::Forwarder;
use crate::machine::{AppMachine, Shared};
use crate::node::Inner;
use crate::{App, Node, NodeTypes, StartError, check, routes};

/// There is one group.
const GROUP: u64 = 0;

/// What the application has against a node that asks to join, by id and address.
type Condition<A> = Box<dyn Fn(&A, u64, &str) -> Result<(), String> + Send + Sync>;

/// Describes a node and starts it. Made by [`Node::builder`].
pub struct NodeBuilder<A: App> {
    id: u64,
    directory: PathBuf,
    name: String,
    listen: Option<String>,
    advertise: Option<String>,
    cluster: Vec<(u64, BasicNode)>,
    join: Vec<BasicNode>,
    promote: bool,
    condition: Option<Condition<A>>,
    config: Config,
    app_routes: Router,
    app: PhantomData<fn() -> A>,
}

impl<A: App> NodeBuilder<A> {
    pub(crate) fn new(id: u64, directory: PathBuf) -> Self {
        Self {
            id,
            directory,
            name: "openraft".to_owned(),
            listen: None,
            advertise: None,
            cluster: Vec::new(),
            join: Vec::new(),
            promote: true,
            condition: None,
            config: Config::default(),
            app_routes: Router::new(),
            app: PhantomData,
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

    /// Admits to the cluster only whom `condition` admits, given the state as far as this node has applied it, and id and
    /// address of the node that asks. An error is the reason, told to that node, which waits and asks again: what
    /// speaks against it may pass. Without a condition whoever asks is admitted. Give every node the same one. Commands
    /// wait while it decides.
    pub fn admit_if(
        mut self,
        condition: impl Fn(&A, u64, &str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.condition = Some(Box::new(condition));
        self
    }

    /// Where to listen, `host:port`, for peers and clients. Default: the node's own address in the list.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// With [`join`](Self::join): where the others find this node, `host:port`, if that is not where it listens, as with
    /// `0.0.0.0` or behind a forwarded port. In a list given to [`cluster`](Self::cluster) every node has its address.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// The cluster's name: nodes of different names refuse one another. Default "openraft".
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Changes the configuration: timeouts, limits, snapshots.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The application's own HTTP routes, served on the node's port. Paths that begin with `/raft/` and `/node/` are the
    /// node's.
    pub fn routes(mut self, routes: Router) -> Self {
        self.app_routes = routes;
        self
    }

    /// Starts the node. On return it answers peers and clients; the cluster forms, and a leader is elected, as the other
    /// nodes come: [`Node::ready`] waits for that, writes and reads wait by themselves.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub async fn start(self) -> Result<Node<A>, StartError> {
        check::runtime()?;
        self.config.validate()?;
        if self.cluster.is_empty() == self.join.is_empty() {
            return Err(StartError::Incomplete(
                "give either cluster(), to form a new one, or join(), to become a member of one that exists"
                    .to_owned(),
            ));
        }
        let list = check::list(self.id, self.cluster.clone())?;
        let own = list.get(&self.id).map(|node| node.addr.clone());
        let Some(listen) = self.listen.clone().or(own.clone()).or(self.advertise.clone()) else {
            return Err(StartError::Incomplete(
                "a node that joins must be told by listen() where the others find it".to_owned(),
            ));
        };
        check::listens(&listen)?;
        let listener = TcpListener::bind(&listen)
            .await
            .map_err(|source| StartError::Listen { address: listen.clone(), source })?;
        // A name stays a name, for the others and for whoever admits by it; of port 0 only the system knows the number.
        let address = match listener.local_addr() {
            Ok(bound) if listen.ends_with(":0") => bound.to_string(),
            _ => listen,
        };
        let found_at = own.or(self.advertise.clone()).unwrap_or_else(|| address.clone());
        check::reachable(&format!("node {}", self.id), &found_at)?;
        check::members(&found_at, &self.join)?;
        let store = self.open().await?;
        let identity: Arc<dyn IdentityStore<NodeTypes<A>>> = store.clone();
        let env = Env::tokio();
        let network = HttpNetwork::new(identity.clone(), HttpOptions::default());
        let formation = Arc::new(Formation::new(identity.clone(), list));
        let state = Shared::new();
        let raft = Raft::start(RaftParts {
            config: self.config.clone(),
            replica: identity.identity().replica,
            env: env.clone(),
            network: Arc::new(network.clone()),
            log: store.log(GROUP),
            state_machine: Box::new(AppMachine::new(state.clone(), store.snapshots(GROUP))),
        })
        .await
        .map_err(|error| StartError::Node { id: self.id, reason: error.to_string() })?;
        let arrival = if self.join.is_empty() {
            Arrival::Forming
        } else {
            let me = BasicNode::new(found_at);
            Arrival::Joining(Joining::new(identity.clone(), me, self.join.clone(), self.promote))
        };
        let with = Surroundings { raft: raft.clone(), formation: formation.clone(), network, env };
        let waiting = arrive(arrival, with);
        let mut admission = Admission::new(identity.clone(), raft.clone());
        if let Some(condition) = self.condition {
            let state = state.clone();
            admission = admission
                .admit_if(move |id: &u64, node: &BasicNode| condition(&state.read(), *id, &node.addr));
        }
        let slot = RaftSlot::new();
        slot.set(Arc::new(raft.clone()));
        let max_bytes = usize::try_from(self.config.max_proposal_bytes).unwrap_or(usize::MAX);
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(openraft_network_http::serve(
            listener,
            ServerParts {
                join: Arc::new(admission),
                identity,
                raft: slot,
                formation: formation.clone(),
                app: self.app_routes.merge(routes::router::<A>(raft.clone(), max_bytes)),
                limits: ServerLimits::default(),
            },
            until(stopped),
        ));
        tracing::info!(id = self.id, listen = %address, data = %self.directory.display(), "the node answers");
        Ok(Node::of(Inner {
            raft,
            state,
            forwarder: Forwarder::new(),
            write_timeout: Duration::from_millis(self.config.write_timeout_ms),
            read_timeout: Duration::from_millis(self.config.read_timeout_ms),
            lease_reads: self.config.lease_reads,
            address,
            waiting,
            stop,
            server: Mutex::new(Some(server)),
        }))
    }

    async fn open(&self) -> Result<Arc<SledStore<NodeTypes<A>>>, StartError> {
        let (dir, options) = (self.directory.clone(), SledOptions::new(self.id, self.name.clone()));
        let unusable = |reason: String| StartError::Directory { dir: self.directory.clone(), reason };
        let opened = tokio::task::spawn_blocking(move || SledStore::open(&dir, options)).await;
        opened.map_err(|error| unusable(error.to_string()))?.map_err(|error| unusable(error.to_string()))
    }
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error is the end of whoever could have said so: a stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}
