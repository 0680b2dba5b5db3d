//! Whose directory it is, and which stores it has recorded for other nodes.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use openraft_adapters::engine::ClusterId;
use openraft_adapters::{Identity, IdentityStore, RaftTypeConfig, ReplicaOf, StorageError};

use crate::error::OpenError;
use crate::format;
use crate::shared::{Shared, locked};
use crate::store::SledStore;

/// A value that is decided when it is submitted and told once it is durable: a second caller must meet the first one's
/// decision even if that caller went away before its write was flushed.
struct Recorded<T> {
    value: T,
    durable: bool,
}

pub(crate) struct IdentityState<C: RaftTypeConfig> {
    /// Without the cluster id.
    base: Identity<C::NodeId>,
    cluster_id: Mutex<Option<Recorded<ClusterId>>>,
    peers: Mutex<BTreeMap<C::NodeId, Recorded<ReplicaOf<C>>>>,
}

impl<C: RaftTypeConfig> IdentityState<C> {
    /// Reads the identity and compares it with what is `wanted`, or writes it into a directory that is being created.
    pub(crate) fn load(
        shared: &Shared<C>,
        wanted: Identity<C::NodeId>,
        complete: bool,
    ) -> Result<Self, OpenError> {
        let (db, dir) = (shared.db(), &shared.dir);
        let damaged =
            |cause: &dyn std::fmt::Display| OpenError::damaged(dir, format!("its identity: {cause}"));
        if !complete {
            let value = format::seal_value(format::IDENTITY, &wanted);
            db.insert(format::IDENTITY, value).map_err(|e| damaged(&e))?;
        }
        let value = db.get(format::IDENTITY).map_err(|e| damaged(&e))?;
        let value = value.ok_or_else(|| damaged(&"it is missing from the database"))?;
        let found: Identity<C::NodeId> =
            format::unseal_value(format::IDENTITY, &value).map_err(|e| damaged(&e))?;
        if found.replica != wanted.replica || found.cluster_name != wanted.cluster_name {
            let reason = format!(
                "the database is of node {}, store {}, the marker beside it of node {}, store {}",
                found.replica.node_id,
                found.replica.store_id,
                wanted.replica.node_id,
                wanted.replica.store_id
            );
            return Err(damaged(&reason));
        }
        let mut peers = BTreeMap::new();
        for item in db.scan_prefix(format::peer_prefix()) {
            let (key, value) = item.map_err(|e| damaged(&e))?;
            let peer: ReplicaOf<C> = format::unseal_value(&key, &value).map_err(|e| damaged(&e))?;
            peers.insert(peer.node_id, Recorded { value: peer, durable: true });
        }
        let cluster_id = found.cluster_id.map(|value| Recorded { value, durable: true });
        Ok(Self {
            base: Identity { cluster_id: None, ..found },
            cluster_id: Mutex::new(cluster_id),
            peers: Mutex::new(peers),
        })
    }
}

#[async_trait]
impl<C: RaftTypeConfig> IdentityStore<C> for SledStore<C> {
    fn identity(&self) -> Identity<C::NodeId> {
        let cluster_id = locked(&self.identity.cluster_id).as_ref().filter(|r| r.durable).map(|r| r.value);
        Identity { cluster_id, ..self.identity.base.clone() }
    }

    async fn record_peer(&self, peer: ReplicaOf<C>) -> Result<ReplicaOf<C>, StorageError> {
        let queue = &self.handle.shared.queue;
        let (recorded, pending) = {
            let mut peers = locked(&self.identity.peers);
            match peers.get(&peer.node_id) {
                Some(first) if first.durable => return Ok(first.value),
                // Submitted before, so that whatever is submitted now becomes durable after it.
                Some(first) => (first.value, queue.submit_keys(Vec::new())),
                None => {
                    peers.insert(peer.node_id, Recorded { value: peer, durable: false });
                    let key = format::peer(&peer.node_id);
                    let value = format::seal_value(&key, &peer);
                    (peer, queue.submit_keys(vec![(key, Some(value))]))
                }
            }
        };
        pending.wait().await?;
        if let Some(first) = locked(&self.identity.peers).get_mut(&peer.node_id) {
            first.durable = true;
        }
        Ok(recorded)
    }

    async fn record_cluster(&self, cluster_id: ClusterId) -> Result<(), StorageError> {
        let queue = &self.handle.shared.queue;
        let pending = {
            let mut recorded = locked(&self.identity.cluster_id);
            match recorded.as_ref() {
                Some(first) if first.value != cluster_id => {
                    return Err(StorageError::message(
                        format!("recording cluster {cluster_id} in {}", self.dir().display()),
                        format!("the directory belongs to cluster {}", first.value),
                    ));
                }
                Some(first) if first.durable => return Ok(()),
                Some(_) => queue.submit_keys(Vec::new()),
                None => {
                    *recorded = Some(Recorded { value: cluster_id, durable: false });
                    let identity = Identity { cluster_id: Some(cluster_id), ..self.identity.base.clone() };
                    let value = format::seal_value(format::IDENTITY, &identity);
                    queue.submit_keys(vec![(format::IDENTITY.to_vec(), Some(value))])
                }
            }
        };
        pending.wait().await?;
        if let Some(recorded) = locked(&self.identity.cluster_id).as_mut() {
            recorded.durable = true;
        }
        Ok(())
    }
}
