//! The Raft protocol as a value: methods go in, [`Command`]s come out, nothing else happens.
//!
//! No clock, no source of chance, no runtime and no I/O: time and seed are arguments. Use it below the rest of this
//! library, or alone: [`guide::driving`] says how, [`guide::example`] is a cluster in one page.
//!
//! # Layout
//!
//! - [`Engine`]: one node's protocol. [`EngineConfig`]: what it is told once. [`RestartState`]: what it finds.
//! - [`Command`], [`Reply`]: what it orders; all of them in [`guide::commands`].
//! - Messages: [`VoteRequest`], [`HeartbeatRequest`], [`AppendHeader`], [`SnapshotHeader`], [`TimeoutNowRequest`],
//!   [`ReadIndexRequest`] and their replies; all of them in [`guide::messages`].
//! - [`Progress`]: the flow control of one follower. [`ReplicationReport`]: what it tells the engine.
//! - [`MembershipChange`]: what may be changed, from any set of voters to any other.
//! - [`Vote`], [`LogId`], [`Membership`], [`Timestamp`]: the values it computes with; [`quorum`]: how it decides.
//!
//! Sources: D. Ongaro and J. Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended Version)" (the
//! paper); D. Ongaro, "Consensus: Bridging Theory and Practice" (the thesis).

mod command;
mod config;
mod engine;
pub mod guide;
mod log_id;
mod log_ids;
mod log_lane;
mod log_sizes;
mod membership;
mod membership_change;
mod message;
mod node;
mod progress;
pub mod quorum;
mod time;
mod vote;

pub use command::{
    ChangeRefused, Command, InitializeError, OwnPayload, ReadRefused, ReplicationTarget, Reply,
    TransferRefused,
};
pub use config::{ConfigError, EngineConfig};
pub use engine::{
    Engine, NotProposed, Promised, Proposed, ReplicationReport, RestartState, ServerState, Stall,
};
pub use log_id::{LeaderId, LogId, LogIdOptionExt};
pub use membership::{InvalidMembership, Member, Membership, StoredMembership};
pub use membership_change::{ChangePrecondition, InvalidChange, MembershipChange, NewNode};
pub use message::{
    AppendHeader, AppendReply, AppendResult, HeartbeatReply, HeartbeatRequest, RaftEntry, ReadIndexReply,
    ReadIndexRequest, SnapshotHeader, SnapshotMeta, SnapshotReply, StateHash, TimeoutNowReply,
    TimeoutNowRequest, VoteReply, VoteRequest,
};
pub use node::{BasicNode, ClusterId, InitialNodes, Node, NodeId, Replica, StoreId};
pub use progress::{Aim, AppendPlan, Progress, ProgressState, ProgressWindows, ReplyEffect, UntruthfulReply};
pub use time::Timestamp;
pub use vote::{SavedVote, Vote};
