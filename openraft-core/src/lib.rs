//! `RaftCore`, the actor, and `Raft`, the handle to it.
//!
//! A [`Raft`] is started from its [`RaftParts`]: configuration, clock, network, log and state machine. One task, the
//! core, then takes messages of callers (`client_write`), peers (`append_entries`) and replication, calls the engine,
//! and carries out the commands that it gets back. It never waits for the disk, the state machine or the network.
//!
//! # Example
//!
//! Three nodes in one process, with every adapter in memory. Another log store, network and state machine make of the
//! same lines a durable cluster of processes; `openraft-node` does that for whoever has no wishes of their own.
//!
//! ```
//! use std::{collections::BTreeMap, sync::Arc};
//! use openraft_adapters::memory::{MemApp, MemDisk, MemRouter, MemStateMachine};
//! use openraft_adapters::{Env, LogIdOf, declare_raft_types};
//! use openraft_core::{Config, Raft, RaftParts, ReadPolicy};
//! use openraft_engine::{BasicNode, Replica, StoreId};
//! use serde::{Deserialize, Serialize};
//!
//! declare_raft_types!(pub Types: D = (String, String), R = Option<String>);
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Towns(BTreeMap<String, String>);
//!
//! impl MemApp<Types> for Towns {
//!     fn apply(&mut self, _: LogIdOf<Types>, (key, value): &(String, String)) -> Option<String> {
//!         self.0.insert(key.clone(), value.clone())
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (router, mut cluster) = (MemRouter::new(), BTreeMap::new());
//!     let nodes: BTreeMap<u64, _> =
//!         (1..=3).map(|id| (id, (StoreId(id.into()), BasicNode::new(format!("node {id}"))))).collect();
//!     for (&node_id, &(store_id, _)) in &nodes {
//!         let machine = MemStateMachine::<Types, Towns>::new();
//!         let state = machine.reader();
//!         let raft = Raft::start(RaftParts {
//!             config: Config::default(),
//!             replica: Replica { node_id, store_id },
//!             env: Env::tokio(),
//!             network: Arc::new(router.factory(node_id, Env::tokio())),
//!             log: MemDisk::new().open(),
//!             state_machine: Box::new(machine),
//!         }).await?;
//!         router.register(node_id, Arc::new(raft.clone()));
//!         raft.initialize(nodes.clone()).await?;
//!         cluster.insert(node_id, (raft, state));
//!     }
//!     let leader = cluster[&1].0.wait(None).leader().await?.current_leader.expect("just waited for");
//!     let (raft, state) = &cluster[&leader];
//!     let written = raft.client_write(("capital".into(), "Oslo".into())).await?;
//!     raft.ensure_linearizable(ReadPolicy::ReadIndex).await?;
//!     println!("{}: {:?}", written.log_id, state.with(|towns| towns.0.get("capital").cloned()));
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//!
//! - [`Raft`]: the handle; [`Trigger`] what is done by request; `membership` holds its part for membership change. Its side that faces peers is the trait `RaftServer`.
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
pub mod join;
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
mod trigger;

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
pub use trigger::Trigger;
