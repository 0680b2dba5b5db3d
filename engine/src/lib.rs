//! The Raft protocol as a value: methods go in, `Command`s come out, nothing else happens.
mod log_id;
mod membership;
mod message;
mod node;
pub mod quorum;
mod time;
mod vote;

pub use log_id::{LeaderId, LogId, LogIdOptionExt};
pub use membership::{InvalidMembership, Member, Membership, StoredMembership};
pub use message::{
    AppendHeader, AppendReply, AppendResult, HeartbeatReply, HeartbeatRequest, RaftEntry, SnapshotHeader,
    SnapshotMeta, SnapshotReply, VoteReply, VoteRequest,
};
pub use node::{BasicNode, ClusterId, InitialNodes, Node, NodeId, Replica, StoreId};
pub use time::Timestamp;
pub use vote::Vote;
