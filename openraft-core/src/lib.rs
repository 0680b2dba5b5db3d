//! `RaftCore`, the actor, and `Raft`, the handle to it.
//!
//! A [`Raft`] is started from its [`RaftParts`]: configuration, clock, network, log and state machine. One task, the
//! core, then takes messages of callers (`client_write`), peers (`append_entries`) and replication, calls the engine,
//! and carries out the commands that it gets back. It never waits for the disk, the state machine or the network.
//!
//! # Layout
//!
//! - [`Raft`]: the handle; `membership` holds its part for membership change. Its side that faces peers is the trait `RaftServer`.
//! - [`Config`]; [`RaftMetrics`], [`Wait`]; the errors, one enum for each operation.
//! - [`formation`]: how empty directories become a cluster exactly once, before there is a core.
//! - Inside: `start` begins and ends the tasks; `core` is the actor (`turn` takes and decides, `execute` carries out,
//!   `respond` answers); `message` what reaches it, through the `gate` if a peer sent it; `pending` the writes under way;
//!   `tail` the recent log in memory; `budget` the bytes held; `state_machine` the task that applies, in `batches`;
//!   `state_hash` compares nodes; `leadership` tells the application who leads.

mod batches;
mod budget;
mod config;
mod core;
mod error;
pub mod formation;
mod gate;
mod leadership;
mod membership;
mod message;
mod metrics;
mod pending;
mod raft;
mod server;
mod start;
mod state_hash;
mod state_machine;
mod tail;

pub use openraft_engine as engine;

pub use config::{Config, InvalidConfig};
pub use error::{
    ChangeMembershipError, Fatal, ForwardToLeader, InitializeError, ReadIndexError, StartError,
    TransferError, WriteError, WriteLimit,
};
pub use leadership::{LeadershipChange, LeadershipGuard};
pub use message::WriteReply;
pub use metrics::{FollowerMetrics, RaftMetrics, ServerState, Wait, WaitError};
pub use openraft_replication::ReplicationConfig;
pub use raft::{Raft, RaftParts, ReadPolicy};
pub use state_hash::StateHashMismatch;
