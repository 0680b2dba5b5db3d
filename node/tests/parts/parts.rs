//! Nodes whose parts are an author's own: stores, state machine, network, clock and listener.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::common::{Words, end, listeners, request, tokio_listener};
use async_trait::async_trait;
use openraft_adapters::engine::{ClusterId, Replica, StoreId};
use openraft_adapters::memory::{MemApp, MemDisk, MemSnapshots, MemStateMachine};
use openraft_adapters::{
    Env, FormReply, FormRequest, FormationNetwork, Identity, IdentityStore, JoinNetwork, JoinReply,
    JoinRequest, LogIdOf, NetworkError, RaftNetwork, RaftNetworkFactory, RaftTypeConfig, ReplicaOf, Spawn,
    StorageError, TaskHandle, declare_raft_types,
};
use openraft_network_http::{HttpNetwork, HttpOptions};
use openraft_node::axum::Router;
use openraft_node::axum::routing::get;
use openraft_node::{BasicNode, Consistency, Node, NodeTypes, RaftNode};

/// An identity in memory, which outlives the node as a directory would.
struct MemIdentity<C: RaftTypeConfig> {
    own: Mutex<Identity<C::NodeId>>,
    peers: Mutex<BTreeMap<C::NodeId, ReplicaOf<C>>>,
}

impl<C: RaftTypeConfig<NodeId = u64>> MemIdentity<C> {
    fn new(node_id: u64) -> Arc<Self> {
        let replica = Replica { node_id, store_id: StoreId(u128::from(node_id) + 100) };
        let identity = Identity { replica, cluster_name: "own".to_owned(), cluster_id: None };
        Arc::new(Self { own: Mutex::new(identity), peers: Mutex::default() })
    }
}

#[async_trait]
impl<C: RaftTypeConfig> IdentityStore<C> for MemIdentity<C> {
    fn identity(&self) -> Identity<C::NodeId> {
        self.own.lock().unwrap().clone()
    }

    async fn record_peer(&self, peer: ReplicaOf<C>) -> Result<ReplicaOf<C>, StorageError> {
        Ok(*self.peers.lock().unwrap().entry(peer.node_id).or_insert(peer))
    }

    async fn record_cluster(&self, cluster_id: ClusterId) -> Result<(), StorageError> {
        self.own.lock().unwrap().cluster_id = Some(cluster_id);
        Ok(())
    }
}

/// What an application's node keeps when it is ended.
#[derive(Clone)]
struct Kept {
    identity: Arc<MemIdentity<NodeTypes<Words>>>,
    disk: MemDisk<NodeTypes<Words>>,
    snapshots: MemSnapshots<NodeTypes<Words>>,
}

impl Kept {
    fn new(id: u64) -> Self {
        Self { identity: MemIdentity::new(id), disk: MemDisk::new(), snapshots: MemSnapshots::new() }
    }

    async fn start(&self, cluster: &[(u64, String)]) -> Node<Words> {
        let node = Node::<Words>::builder_on(
            self.identity.clone(),
            self.disk.open(),
            Arc::new(self.snapshots.clone()),
        );
        node.cluster(cluster.to_vec()).start().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_on_stores_of_the_authors_own_keeps_its_state_in_their_log_and_snapshots() {
    let cluster: Vec<_> = listeners(3).into_iter().map(|(id, address, _)| (id, address)).collect();
    let kept: Vec<Kept> = (1..=3).map(Kept::new).collect();
    let mut nodes = Vec::new();
    for kept in &kept {
        nodes.push(kept.start(&cluster).await);
    }
    nodes[0].write("in the snapshot".to_owned()).await.unwrap();
    for node in &nodes {
        // Whoever has not applied it yet would take an older one.
        node.read(0, Consistency::Linearizable).await.unwrap();
        node.raft().trigger().snapshot().await.unwrap();
        node.raft().metrics().wait_for(|m| m.snapshot.is_some()).await.unwrap();
    }
    nodes[1].write("in the log".to_owned()).await.unwrap();
    end(nodes).await;
    assert!(kept.iter().all(|kept| kept.snapshots.current_meta().is_some()));
    let mut nodes = Vec::new();
    for kept in &kept {
        nodes.push(kept.start(&cluster).await);
    }
    for node in &nodes {
        node.raft_node().confirm_read(Consistency::Linearizable).await.unwrap();
        let words = node.peek(|words| words.0.clone());
        assert_eq!(words, ["in the snapshot", "in the log"]);
    }
    end(nodes).await;
}

declare_raft_types!(Types: D = u64, R = u64);

/// A sum, as a full state machine in memory.
#[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
struct Sum(u64);

impl MemApp<Types> for Sum {
    fn apply(&mut self, _: LogIdOf<Types>, add: &u64) -> u64 {
        self.0 += add;
        self.0
    }
}

/// The network over HTTP/2, with a look at what goes through it.
struct Counting {
    network: HttpNetwork<Types>,
    formed: Arc<AtomicUsize>,
}

impl RaftNetworkFactory<Types> for Counting {
    fn network(&self, target: u64, node: &BasicNode) -> Arc<dyn RaftNetwork<Types>> {
        self.network.network(target, node)
    }
}

#[async_trait]
impl FormationNetwork<Types> for Counting {
    async fn form(
        &self,
        target: u64,
        node: &BasicNode,
        request: FormRequest<u64>,
    ) -> Result<FormReply<u64>, NetworkError> {
        self.formed.fetch_add(1, Ordering::Relaxed);
        self.network.form(target, node, request).await
    }
}

#[async_trait]
impl JoinNetwork<Types> for Counting {
    async fn join(
        &self,
        member: &BasicNode,
        request: JoinRequest<u64, BasicNode>,
    ) -> Result<JoinReply<BasicNode>, NetworkError> {
        self.network.join(member, request).await
    }
}

/// Tokio's tasks, with their names.
struct Named {
    tokio: Env,
    names: Arc<Mutex<Vec<&'static str>>>,
}

impl Spawn for Named {
    fn spawn(&self, name: &'static str, task: futures::future::BoxFuture<'static, ()>) -> TaskHandle {
        self.names.lock().unwrap().push(name);
        self.tokio.spawn(name, task)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_state_machine_a_network_and_an_env_of_the_authors_own_make_a_node_that_finds_the_leader() {
    let bound = listeners(3);
    let cluster: Vec<_> = bound.iter().map(|(id, address, _)| (*id, address.clone())).collect();
    let (formed, names) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let mut nodes = Vec::new();
    for (id, _, listener) in bound {
        let identity: Arc<dyn IdentityStore<Types>> = MemIdentity::new(id);
        let machine = MemStateMachine::<Types, Sum>::new();
        let state = machine.reader();
        let network = HttpNetwork::new(identity.clone(), HttpOptions::default());
        let tokio = Env::tokio();
        let spawner = Arc::new(Named { tokio: tokio.clone(), names: names.clone() });
        let node = RaftNode::builder(identity, MemDisk::new().open(), machine)
            .cluster(cluster.clone())
            .listener(tokio_listener(listener))
            .network(Counting { network, formed: formed.clone() })
            .env(Env { clock: tokio.clock, spawner })
            .routes(|node: RaftNode<Types>| {
                let id = node.replica().node_id;
                Router::new().route("/who", get(move || async move { format!("node {id}") }))
            });
        nodes.push((node.start().await.unwrap(), state));
    }
    for (i, (node, _)) in (1..).zip(&nodes) {
        let written = node.write(i).await.unwrap();
        assert_eq!(written.reply, i * (i + 1) / 2);
        assert!(written.log_id.index > 0);
    }
    for (i, (node, state)) in (1..).zip(&nodes) {
        node.confirm_read(Consistency::Linearizable).await.unwrap();
        assert_eq!(state.with(|sum| sum.0), 6);
        assert_eq!(request(node.address(), "GET", "/who", b"").await.body, format!("node {i}").as_bytes());
    }
    assert!(formed.load(Ordering::Relaxed) >= 3);
    let names = names.lock().unwrap().clone();
    for name in ["raft-core", "arrival", "server"] {
        assert_eq!(names.iter().filter(|known| **known == name).count(), 3, "{name} in {names:?}");
    }
    for (node, _) in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_another_node_or_another_cluster_is_not_carried_out() {
    let kept = Kept::new(1);
    let cluster: Vec<_> = listeners(1).into_iter().map(|(id, address, _)| (id, address)).collect();
    let node = kept.start(&cluster).await;
    node.ready().await.unwrap();
    let own = kept.identity.identity().cluster_id.unwrap();
    // The first byte of the answer is its kind.
    for (to, cluster_id, kind, written) in
        [(2_u64, own, 1, 0), (1, ClusterId(own.0 + 1), 1, 0), (1, own, 0, 1)]
    {
        let address = postcard::to_stdvec(&(to, cluster_id, 5_000_u64)).unwrap();
        let order = postcard::to_stdvec(&(0_u8, "word")).unwrap();
        let answer = request(node.address(), "POST", "/node/v1/order", &[address, order].concat()).await;
        let words = String::from_utf8_lossy(&answer.body);
        assert_eq!((answer.status, answer.body[0]), (200, kind), "to {to} of {cluster_id}: {words}");
        assert_eq!(node.peek(|words| words.0.len()), written);
    }
    end(vec![node]).await;
}
