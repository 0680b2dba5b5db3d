//! Forming a cluster: how empty directories become one exactly once, whatever is wiped or restarted meanwhile.
//!
//! Every node is started with the same list. Each asks each to record its store, durably and for ever: the first store
//! that is seen for a node, in either direction, is the one. The answer states everything that the answering node has
//! recorded. A node forms once every listed node has answered with a complete record, and all records are the same.
//!
//! Why two different memberships cannot form while one store that knew the first survives: each of a membership's
//! stores had recorded the whole of it before the first node formed with it, and a store never records anything else.
//! A second membership would need an answer of that surviving node, and its answer is the first membership. A wiped
//! node has another store, which nobody that had recorded the old one will ever confirm; it waits to be re-admitted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use openraft_adapters::engine::{ClusterId, InitialNodes, NodeId, Replica, StoreId};
use openraft_adapters::{
    Env, FormReply, FormRequest, FormationNetwork, FormationServer, Identity, IdentityStore, RaftTypeConfig,
    ReplicaOf, StorageError,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};

mod members;
mod status;
#[cfg(test)]
mod tests;

pub use status::{FormationStatus, PeerFormation};

/// The first pause before peers that have not agreed are asked again; it doubles each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long one peer may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Set before what is hashed, so that no other hash of the same bytes is a cluster id.
const CLUSTER_ID_DOMAIN: &[u8] = b"openraft cluster id, version 1";

/// The id of the cluster of this name that is formed with this list: the same on every node, another for every other
/// name or list.
pub fn cluster_id<NID: NodeId, N: serde::Serialize>(name: &str, list: &BTreeMap<NID, N>) -> ClusterId {
    let named = postcard::to_stdvec(&(name, list))
        .expect("writing to memory does not fail for a type that serialises");
    let hash = Sha256::new().chain_update(CLUSTER_ID_DOMAIN).chain_update(named).finalize();
    let (first, _) = hash.split_first_chunk::<16>().expect("SHA-256 has 32 bytes");
    ClusterId(u128::from_be_bytes(*first))
}

/// Why a node cannot take part in forming. Unlike what a node waits for, none of it passes with time.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The list lacks the node itself.
    #[error("node {node_id} is not in its own list of nodes: give every node the same complete list")]
    NotListed {
        /// The node.
        node_id: String,
    },
    /// The directory is of another cluster.
    #[error(
        "this directory belongs to the cluster {found}, but the name {name:?} and the list given make {wanted}: use \
         the list that the cluster was formed with, or another directory"
    )]
    OtherCluster {
        /// The name given.
        name: String,
        /// What the directory says.
        found: ClusterId,
        /// What name and list make.
        wanted: ClusterId,
    },
    /// A promise could not be made durable.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// One node's part in forming: it asks ([`form`](Formation::form)) and answers ([`FormationServer`]).
///
/// It must answer from before the node asks until long after it formed, so that peers which come later can follow.
pub struct Formation<C: RaftTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    list: BTreeMap<C::NodeId, C::Node>,
    /// What name and list make.
    cluster_id: ClusterId,
    state: Mutex<State<C::NodeId>>,
    /// Told when the store of a node became known.
    news: Notify,
    status: watch::Sender<FormationStatus<C::NodeId>>,
}

struct State<NID> {
    /// What this process has seen to be durably recorded here, the node itself included.
    known: BTreeMap<NID, StoreId>,
    /// The stores of the members, once the node belongs to a cluster.
    formed: Option<BTreeMap<NID, StoreId>>,
}

impl<C: RaftTypeConfig> fmt::Debug for Formation<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Formation").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig> Formation<C> {
    /// The part of the node that `identity` describes, in the cluster of the nodes in `list`.
    pub fn new(identity: Arc<dyn IdentityStore<C>>, list: BTreeMap<C::NodeId, C::Node>) -> Self {
        let Identity { replica: me, cluster_name, .. } = identity.identity();
        let peers = list
            .keys()
            .filter(|id| **id != me.node_id)
            .map(|id| (*id, PeerFormation::Waiting { reason: "it was not asked yet".to_owned() }))
            .collect();
        Self {
            cluster_id: cluster_id(&cluster_name, &list),
            list,
            state: Mutex::new(State { known: BTreeMap::from([(me.node_id, me.store_id)]), formed: None }),
            news: Notify::new(),
            status: watch::Sender::new(FormationStatus { formed: false, peers }),
            identity,
        }
    }

    /// Says which stores the members of the node's cluster have. From then on the node confirms these and refuses all
    /// others.
    ///
    /// To be called before the node answers anyone, if its log holds a membership; [`form`](Self::form) does it by
    /// itself. May be called again when the membership changed.
    pub fn set_formed(&self, members: BTreeMap<C::NodeId, StoreId>) {
        self.state().formed = Some(members);
        self.status.send_modify(|status| status.formed = true);
    }

    /// The nodes that form the cluster.
    pub fn list(&self) -> &BTreeMap<C::NodeId, C::Node> {
        &self.list
    }

    /// How far forming has come, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<FormationStatus<C::NodeId>> {
        self.status.subscribe()
    }

    /// Forms the cluster: waits until all listed nodes agree, records the cluster id durably, and returns the initial
    /// membership, the same on every node, to be written to the empty log.
    ///
    /// To be called whenever the log is empty, also if a cluster id is recorded: a crash may have come between the two.
    /// Waits for as long as it takes, for ever where a directory was wiped; [`status`](Self::status) tells for what.
    ///
    /// # Errors
    /// See [`FormError`].
    ///
    /// # Cancellation
    /// Safe: what was promised stays promised, and a later call continues from there.
    pub async fn form(
        &self,
        network: &dyn FormationNetwork<C>,
        env: &Env,
    ) -> Result<InitialNodes<C::NodeId, C::Node>, FormError> {
        let me = self.check_directory()?;
        let mut agreed = BTreeSet::from([me.node_id]);
        let mut pause = PAUSE_MIN;
        loop {
            let open = self.list.iter().filter(|(id, _)| !agreed.contains(*id));
            let answers =
                join_all(open.map(|(id, node)| async { (*id, self.ask(me, *id, node, network, env).await) }))
                    .await;
            // Compared only after all have been taken in: one answer may complete what another is measured by.
            for (id, answer) in answers {
                let verdict = answer?.and_then(|known| self.compare(&known));
                self.publish(id, &verdict);
                if verdict.is_ok() {
                    agreed.insert(id);
                }
            }
            if agreed.len() == self.list.len() {
                return self.finish().await;
            }
            tokio::select! {
                biased;
                // There are only as many news as nodes: this cannot become a loop without pauses.
                () = self.news.notified() => pause = PAUSE_MIN,
                () = env.sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            }
        }
    }

    fn check_directory(&self) -> Result<ReplicaOf<C>, FormError> {
        let Identity { replica: me, cluster_name, cluster_id } = self.identity.identity();
        if !self.list.contains_key(&me.node_id) {
            return Err(FormError::NotListed { node_id: me.node_id.to_string() });
        }
        match cluster_id {
            Some(found) if found != self.cluster_id => {
                Err(FormError::OtherCluster { name: cluster_name, found, wanted: self.cluster_id })
            }
            _ => Ok(me),
        }
    }

    /// Asks one peer and records its store. The inner result is what the peer has recorded, or what to wait for.
    async fn ask(
        &self,
        me: ReplicaOf<C>,
        target: C::NodeId,
        node: &C::Node,
        network: &dyn FormationNetwork<C>,
        env: &Env,
    ) -> Result<Result<BTreeMap<C::NodeId, StoreId>, String>, StorageError> {
        let cluster_name = self.identity.identity().cluster_name;
        let request = FormRequest { from: me, to: target, cluster_name, cluster_id: self.cluster_id };
        let (from, known) = match env.timeout(ANSWER_WITHIN, network.form(target, node, request)).await {
            Ok(Ok(FormReply::Recorded { from, known })) => (from, known),
            Ok(Ok(FormReply::Refused { reason })) => return Ok(Err(format!("it refuses: {reason}"))),
            Ok(Err(error)) => return Ok(Err(error.to_string())),
            Err(_) => return Ok(Err(format!("it did not answer within {ANSWER_WITHIN:?}"))),
        };
        if from.node_id != target {
            return Ok(Err(format!(
                "node {} answers at its address: check the addresses in the list of nodes",
                from.node_id
            )));
        }
        let recorded = self.record(from).await?;
        if recorded != from {
            return Ok(Err(format!(
                "it comes from another store ({}) than the one recorded here ({}): its directory was wiped or replaced, or \
                 two nodes run with the id {target}. Give each node its own id; or bring the old directory back; or, as \
                 this cluster holds nothing yet, stop all nodes, clear all directories and start again",
                from.store_id, recorded.store_id
            )));
        }
        Ok(Ok(known))
    }

    /// Records the store of a peer durably, unless one is recorded already, and returns the one that is.
    async fn record(&self, peer: ReplicaOf<C>) -> Result<ReplicaOf<C>, StorageError> {
        let recorded = self.identity.record_peer(peer).await?;
        if self.state().known.insert(recorded.node_id, recorded.store_id).is_none() {
            self.news.notify_one();
        }
        Ok(recorded)
    }

    /// Whether a peer's record and our own are complete and the same.
    ///
    /// # Errors
    /// What to wait for.
    fn compare(&self, theirs: &BTreeMap<C::NodeId, StoreId>) -> Result<(), String> {
        let ours = &self.state().known;
        for id in self.list.keys() {
            match (ours.get(id), theirs.get(id)) {
                (Some(our), Some(their)) if our == their => {}
                (Some(our), Some(their)) => {
                    return Err(format!(
                        "it has recorded another store ({their}) for node {id} than this node ({our}): the directory \
                         of node {id} was wiped or replaced while the cluster formed, or two nodes run with the id {id}. \
                         Give each node its own id; then, as this cluster holds nothing yet, stop all nodes, clear all \
                         directories and start again"
                    ));
                }
                (None, _) => return Err(format!("it is ready, but node {id} was not heard of yet")),
                (_, None) => return Err(format!("it has not heard of node {id} yet")),
            }
        }
        Ok(())
    }

    /// All agree: this is the cluster.
    async fn finish(&self) -> Result<InitialNodes<C::NodeId, C::Node>, FormError> {
        self.identity.record_cluster(self.cluster_id).await?;
        let known = self.state().known.clone();
        let nodes: InitialNodes<C::NodeId, C::Node> =
            self.list.iter().map(|(id, node)| (*id, (known[id], node.clone()))).collect();
        self.set_formed(nodes.iter().map(|(id, (store_id, _))| (*id, *store_id)).collect());
        tracing::info!(cluster_id = %self.cluster_id, nodes = nodes.len(), "the cluster is formed");
        Ok(nodes)
    }

    fn publish(&self, id: C::NodeId, verdict: &Result<(), String>) {
        let now = match verdict {
            Ok(()) => PeerFormation::Recorded,
            Err(reason) => PeerFormation::Waiting { reason: reason.clone() },
        };
        self.status.send_if_modified(|status| {
            let changed = status.peers.get(&id) != Some(&now);
            if changed {
                match verdict {
                    Ok(()) => tracing::info!(target = %id, "forming a cluster: a node is ready"),
                    Err(reason) => {
                        tracing::info!(target = %id, reason, "forming a cluster: waiting for a node")
                    }
                }
                status.peers.insert(id, now);
            }
            changed
        });
    }

    fn state(&self) -> MutexGuard<'_, State<C::NodeId>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What speaks against an asker before its store is looked at.
    fn objection(&self, me: &Identity<C::NodeId>, request: &FormRequest<C::NodeId>) -> Option<String> {
        let FormRequest { from, to, cluster_name, cluster_id } = request;
        let node_id = me.replica.node_id;
        // Once a cluster is recorded its id alone counts; the list it was formed with may have been forgotten.
        let wanted = me.cluster_id.unwrap_or(self.cluster_id);
        if *cluster_name != me.cluster_name {
            return Some(format!(
                "this is the cluster {:?}, not {cluster_name:?}: give every node of a cluster the same name",
                me.cluster_name
            ));
        }
        if *to != node_id {
            return Some(format!(
                "this is node {node_id}, not node {to}: check the addresses in the list of nodes"
            ));
        }
        if from.node_id == node_id {
            return Some(if from.store_id == me.replica.store_id {
                format!("node {node_id} was asked by itself, or by a copy of its directory")
            } else {
                format!("two nodes say that they are node {node_id}: give each its own id")
            });
        }
        if *cluster_id != wanted && me.cluster_id.is_some() {
            return Some(format!(
                "this node is in a cluster already ({wanted}), which was formed with another list than yours (that makes \
                 {cluster_id}): a node that comes later must join it instead of forming one; a node that was there from \
                 the start needs its old directory or the old list"
            ));
        }
        if *cluster_id != wanted {
            return Some(format!(
                "the lists of nodes differ: yours makes the cluster {cluster_id}, this node is of {wanted}. Start \
                 every node with the same list"
            ));
        }
        None
    }
}

/// What an asker is told whose store is not the one that is known.
fn wiped<NID: NodeId>(me: NID, asker: Replica<NID>, known: StoreId) -> String {
    let id = asker.node_id;
    format!(
        "node {me} knows node {id} under another store ({known}): the directory of node {id} was wiped or replaced, or two \
         nodes run with the id {id}. Give each node its own id; or bring the old directory back; or remove node {id} from \
         the cluster and have it join again: with its old list it waits for ever"
    )
}

#[async_trait]
impl<C: RaftTypeConfig> FormationServer<C> for Formation<C> {
    async fn form(&self, request: FormRequest<C::NodeId>) -> FormReply<C::NodeId> {
        let me = self.identity.identity();
        let (asker, my_id) = (request.from, me.replica.node_id);
        if let Some(reason) = self.objection(&me, &request) {
            return FormReply::Refused { reason };
        }
        let formed = self.state().formed.clone();
        if let Some(members) = formed {
            return match members.get(&asker.node_id) {
                Some(store_id) if *store_id == asker.store_id => {
                    FormReply::Recorded { from: me.replica, known: members }
                }
                Some(store_id) => FormReply::Refused { reason: wiped(my_id, asker, *store_id) },
                None => FormReply::Refused {
                    reason: format!(
                        "node {} is not a member of this cluster, which is formed already: it must join it instead",
                        asker.node_id
                    ),
                },
            };
        }
        if !self.list.contains_key(&asker.node_id) {
            let reason = format!("node {} is not in the list of nodes", asker.node_id);
            return FormReply::Refused { reason };
        }
        match self.record(asker).await {
            Ok(recorded) if recorded == asker => {
                FormReply::Recorded { from: me.replica, known: self.state().known.clone() }
            }
            Ok(recorded) => FormReply::Refused { reason: wiped(my_id, asker, recorded.store_id) },
            Err(error) => FormReply::Refused { reason: format!("node {my_id} cannot record you: {error}") },
        }
    }
}
