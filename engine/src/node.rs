//! Who takes part: node ids, addresses, stores and clusters.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize as SerializeDerive};

/// The name of a node, unique in its cluster and never reused for another machine while it is a member.
///
/// Implemented for every type that meets the bounds; `u64` is the usual choice. The default value names nobody and
/// stands in the leader id of the entry at index 0.
pub trait NodeId:
    Copy
    + Ord
    + Eq
    + Hash
    + Default
    + fmt::Debug
    + fmt::Display
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
}

impl<T> NodeId for T where
    T: Copy
        + Ord
        + Eq
        + Hash
        + Default
        + fmt::Debug
        + fmt::Display
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// What the cluster knows of a node besides its id: at least an address by which the network adapter finds it.
///
/// Implemented for every type that meets the bounds. It is replicated inside [`Membership`](crate::Membership).
pub trait Node:
    Clone + Eq + Ord + Hash + Default + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<T> Node for T where
    T: Clone + Eq + Ord + Hash + Default + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// A node that is known by one address, `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDerive, Deserialize)]
pub struct BasicNode {
    /// Where the node listens, `host:port`; resolved anew by the network at every reconnect.
    pub addr: String,
}

impl BasicNode {
    /// A node that listens on `addr`.
    pub fn new(addr: impl Into<String>) -> Self {
        Self { addr: addr.into() }
    }
}

impl fmt::Display for BasicNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addr)
    }
}

/// The name of one data directory, drawn at random when the directory is created.
///
/// A node whose directory was wiped comes back with another store id and thereby as somebody else: votes and
/// acknowledgements count only from the store that the counting node's own log names, so that a disk which forgot what
/// it promised cannot be counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDerive, Deserialize)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of a cluster: a hash of its human name and of the list it was formed with, computed once at forming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDerive, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Replica identity: a node together with the store it runs on. Every message between nodes states its sender's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDerive, Deserialize)]
pub struct Replica<NID> {
    /// The node.
    pub node_id: NID,
    /// The directory it runs on.
    pub store_id: StoreId,
}

impl<NID: fmt::Display> fmt::Display for Replica<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{:08x}", self.node_id, self.store_id.0 >> 96)
    }
}

/// The nodes of an initial list with their stores, as [`Engine::initialize`](crate::Engine::initialize) takes them.
pub type InitialNodes<NID, N> = BTreeMap<NID, (StoreId, N)>;
