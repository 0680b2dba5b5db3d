//! `RaftTypeConfig`: the one type parameter of the library, and short names for what follows from it.

use std::fmt::Debug;
use std::hash::Hash;

use openraft_engine::{
    LogId, Membership, Node, NodeId, Replica, SavedVote, SnapshotHeader, SnapshotMeta, SnapshotReply,
    StoredMembership, Vote,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What an application proposes: anything that serde can carry to disk and to other nodes.
pub trait AppData: Serialize + DeserializeOwned + Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Debug + Send + Sync + 'static> AppData for T {}

/// What the state machine answers to a proposal. It stays in the process that applied it.
pub trait AppReply: Debug + Send + 'static {}
impl<T: Debug + Send + 'static> AppReply for T {}

/// The types of one application. Implemented by [`declare_raft_types!`](crate::declare_raft_types).
pub trait RaftTypeConfig: Copy + Debug + Default + Eq + Ord + Hash + Send + Sync + 'static {
    /// A proposal.
    type D: AppData;
    /// The reply of the state machine to a proposal.
    type R: AppReply;
    /// The name of a node.
    type NodeId: NodeId;
    /// What the membership keeps of a node, at least its address.
    type Node: Node;
}

/// The log id type of `C`.
pub type LogIdOf<C> = LogId<<C as RaftTypeConfig>::NodeId>;
/// The vote type of `C`.
pub type VoteOf<C> = Vote<<C as RaftTypeConfig>::NodeId>;
/// The stored form of a vote of `C`.
pub type SavedVoteOf<C> = SavedVote<<C as RaftTypeConfig>::NodeId>;
/// The replica identity type of `C`.
pub type ReplicaOf<C> = Replica<<C as RaftTypeConfig>::NodeId>;
/// The membership type of `C`.
pub type MembershipOf<C> = Membership<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
/// The stored membership type of `C`.
pub type StoredMembershipOf<C> = StoredMembership<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
/// The snapshot description type of `C`.
pub type SnapshotMetaOf<C> = SnapshotMeta<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
/// The snapshot header type of `C`.
pub type SnapshotHeaderOf<C> = SnapshotHeader<<C as RaftTypeConfig>::NodeId, <C as RaftTypeConfig>::Node>;
/// The snapshot reply type of `C`.
pub type SnapshotReplyOf<C> = SnapshotReply<<C as RaftTypeConfig>::NodeId>;

/// Declares a type that implements [`RaftTypeConfig`]; every associated type has a default.
///
/// ```
/// openraft_adapters::declare_raft_types!(
///     /// The types of my application.
///     pub MyTypes: D = String, R = Option<String>
/// );
/// ```
///
/// The defaults are `D = ()`, `R = ()`, `NodeId = u64` and `Node = BasicNode`. Those that are given keep this order.
#[macro_export]
macro_rules! declare_raft_types {
    (
        $(#[$meta:meta])* $visibility:vis $name:ident
        $(: $($key:ident = $type:ty),+ $(,)?)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $visibility struct $name;

        impl $crate::RaftTypeConfig for $name {
            $crate::__raft_types!(@d $($($key = $type,)+)?);
        }
    };
}

/// The defaults behind [`declare_raft_types!`]: one rule for each associated type that is given or left out.
#[doc(hidden)]
#[macro_export]
macro_rules! __raft_types {
    (@d D = $type:ty, $($rest:tt)*) => { type D = $type; $crate::__raft_types!(@r $($rest)*); };
    (@d $($rest:tt)*) => { type D = (); $crate::__raft_types!(@r $($rest)*); };
    (@r R = $type:ty, $($rest:tt)*) => { type R = $type; $crate::__raft_types!(@id $($rest)*); };
    (@r $($rest:tt)*) => { type R = (); $crate::__raft_types!(@id $($rest)*); };
    (@id NodeId = $type:ty, $($rest:tt)*) => { type NodeId = $type; $crate::__raft_types!(@node $($rest)*); };
    (@id $($rest:tt)*) => { type NodeId = u64; $crate::__raft_types!(@node $($rest)*); };
    (@node Node = $type:ty,) => { type Node = $type; };
    (@node) => { type Node = $crate::engine::BasicNode; };
}
