//! Joining a cluster that exists: what an empty node asks a member, and what it is answered.

use async_trait::async_trait;
use openraft_engine::{ClusterId, Node, NodeId, Replica};
use serde::{Deserialize, Serialize};

use crate::{NetworkError, RaftTypeConfig};

/// An empty node asks to be admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct JoinRequest<NID: NodeId, N: Node> {
    /// The asker.
    pub from: Replica<NID>,
    /// Where it is found.
    pub node: N,
    /// The human name of the cluster that it wants to join.
    pub cluster_name: String,
    /// The cluster that its directory belongs to, if it was admitted before and has not received the log yet.
    pub cluster_id: Option<ClusterId>,
    /// Whether it is to become a voter by itself once it has caught up.
    pub promote: bool,
}

/// The answer to a [`JoinRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum JoinReply<N: Node> {
    /// The asker is a member, by a committed entry. It records the cluster durably before it serves.
    Admitted {
        /// The cluster.
        cluster_id: ClusterId,
    },
    /// Another node leads and admits.
    AskLeader {
        /// Where it is found.
        node: N,
    },
    /// Not at the moment: ask again.
    NotNow {
        /// Why, in words for an operator.
        reason: String,
    },
    /// Not before somebody acts.
    Refused {
        /// Why, in words for an operator, and what to do.
        reason: String,
    },
}

/// Carries [`JoinRequest`]s to members, of which no more than the address is known.
#[async_trait]
pub trait JoinNetwork<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Asks the member that `member` describes.
    ///
    /// # Errors
    /// If no answer came; the asker may have been admitted. Asking again does no harm.
    async fn join(
        &self,
        member: &C::Node,
        request: JoinRequest<C::NodeId, C::Node>,
    ) -> Result<JoinReply<C::Node>, NetworkError>;
}

/// Answers [`JoinRequest`]s.
#[async_trait]
pub trait JoinServer<C: RaftTypeConfig>: Send + Sync + 'static {
    /// Admits the asker, names the leader, or refuses.
    async fn join(&self, request: JoinRequest<C::NodeId, C::Node>) -> JoinReply<C::Node>;
}
