//! The types and the network that a node of this crate takes.

use openraft_adapters::{FormationNetwork, JoinNetwork, RaftNetworkFactory, RaftTypeConfig};
use openraft_engine::BasicNode;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What this crate asks of an application's types, beyond the library: node ids are `u64`, a node is known by its
/// address, and a reply can travel to the node that was asked. Implemented for all that are so, as those of
/// [`declare_raft_types!`](openraft_adapters::declare_raft_types) are by default.
pub trait NodeTypeConfig:
    RaftTypeConfig<NodeId = u64, Node = BasicNode, R: Serialize + DeserializeOwned>
{
}

impl<C> NodeTypeConfig for C where
    C: RaftTypeConfig<NodeId = u64, Node = BasicNode, R: Serialize + DeserializeOwned>
{
}

/// The whole of what a node sends to its peers: Raft's messages, and those of forming and joining a cluster. Implemented
/// for all that implement the three.
pub trait NodeNetwork<C: RaftTypeConfig>:
    RaftNetworkFactory<C> + FormationNetwork<C> + JoinNetwork<C>
{
}

impl<C: RaftTypeConfig, T: RaftNetworkFactory<C> + FormationNetwork<C> + JoinNetwork<C>> NodeNetwork<C>
    for T
{
}
