//! Who a directory belongs to, and how empty directories become a cluster exactly once.

use std::collections::BTreeMap;

use async_trait::async_trait;
use openraft_engine::{ClusterId, Replica, StoreId};
use serde::{Deserialize, Serialize};

use crate::{NetworkError, RaftTypeConfig, ReplicaOf, StorageError};

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity<NID> {
    /// The node and its store.
    pub replica: Replica<NID>,
    /// The cluster's human name.
    pub cluster_name: String,
    /// The cluster, once it is formed or joined.
    pub cluster_id: Option<ClusterId>,
}

/// Keeps a directory's identity and what it has promised to other directories while a cluster forms.
#[async_trait]
pub trait IdentityStore<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Whose directory it is.
    fn identity(&self) -> Identity<C::NodeId>;

    /// Records that `peer.node_id` runs on `peer.store_id`, unless another store was recorded for that node before,
    /// and returns what is recorded now: the first one, for ever. Durable on return.
    ///
    /// # Errors
    /// If it could not be made durable.
    async fn record_peer(&self, peer: ReplicaOf<C>) -> Result<ReplicaOf<C>, StorageError>;

    /// Records the cluster that this directory belongs to. Durable on return.
    ///
    /// # Errors
    /// If it could not be made durable, or another cluster is recorded.
    async fn record_cluster(&self, cluster_id: ClusterId) -> Result<(), StorageError>;
}

/// An empty node asks a listed peer to record its store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormRequest<NID> {
    /// The asker.
    pub from: Replica<NID>,
    /// Whom it believes to be asking.
    pub to: NID,
    /// The cluster's human name.
    pub cluster_name: String,
    /// The hash of name and initial list.
    pub cluster_id: ClusterId,
}

/// The answer to a [`FormRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "NID: Serialize", deserialize = "NID: Deserialize<'de> + Ord"))]
pub enum FormReply<NID: Ord> {
    /// The asker's store is durably recorded for it, and never another one was.
    Recorded {
        /// Who answers.
        from: Replica<NID>,
        /// The store that is durably recorded at the answering node for each node it knows of, itself included.
        known: BTreeMap<NID, StoreId>,
    },
    /// The asker may not take part in forming, and why, in words for an operator.
    Refused {
        /// The reason.
        reason: String,
    },
}

/// Carries [`FormRequest`]s to nodes that are not connected yet.
#[async_trait]
pub trait FormationNetwork<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Asks `target`, which `node` describes.
    ///
    /// # Errors
    /// If no answer came.
    async fn form(
        &self,
        target: C::NodeId,
        node: &C::Node,
        request: FormRequest<C::NodeId>,
    ) -> Result<FormReply<C::NodeId>, NetworkError>;
}

/// Answers [`FormRequest`]s.
#[async_trait]
pub trait FormationServer<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Records the asker, or refuses it.
    async fn form(&self, request: FormRequest<C::NodeId>) -> FormReply<C::NodeId>;
}
