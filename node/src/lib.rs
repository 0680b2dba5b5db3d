//! The short way in: an author writes one trait, [`App`], and has a replicated, durable application.
//!
//! ```no_run
//! use openraft_node::{App, Consistency, LogId, Node};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Default, Serialize, Deserialize)]
//! struct Counter(u64);
//!
//! impl App for Counter {
//!     type Command = u64;
//!     type Reply = u64;
//!     type Query = ();
//!     type Answer = u64;
//!
//!     fn apply(&mut self, _: LogId<u64>, add: &u64) -> u64 {
//!         self.0 += add;
//!         self.0
//!     }
//!
//!     fn query(&self, _: ()) -> u64 {
//!         self.0
//!     }
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = [(1, "10.0.0.1:7000"), (2, "10.0.0.2:7000"), (3, "10.0.0.3:7000")];
//! let node = Node::<Counter>::builder(1, "/var/lib/counter").cluster(cluster).start().await?;
//! println!("{}", node.write(5).await?);
//! println!("{}", node.read((), Consistency::Linearizable).await?);
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A node holds a durable log and its snapshots on sled, talks to its peers over HTTP/2 and serves clients on the same
//! port. [`Node::write`] and [`Node::read`] work on every node: a write goes to whoever leads.
//!
//! # Parts of one's own
//!
//! Below [`Node`] lies [`RaftNode`], the same life around any log store, any state machine, any network and any clock:
//!
//! ```
//! use std::sync::Arc;
//! use openraft_node::adapters::memory::{MemApp, MemDisk, MemStateMachine};
//! use openraft_node::adapters::{IdentityStore, LogIdOf, declare_raft_types};
//! use openraft_node::{Consistency, RaftNode};
//!
//! declare_raft_types!(Types: D = u64, R = u64);
//!
//! #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
//! struct Sum(u64);
//!
//! impl MemApp<Types> for Sum {
//!     fn apply(&mut self, _: LogIdOf<Types>, add: &u64) -> u64 {
//!         self.0 += add;
//!         self.0
//!     }
//! }
//!
//! /// `identity` is the author's own: see `IdentityStore`.
//! async fn run(identity: Arc<dyn IdentityStore<Types>>) -> Result<(), Box<dyn std::error::Error>> {
//!     let machine = MemStateMachine::<Types, Sum>::new();
//!     let state = machine.reader();
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//!     let address = listener.local_addr()?.to_string();
//!     let node = RaftNode::builder(identity, MemDisk::new().open(), machine).listener(listener);
//!     let node = node.cluster([(1, address)]).start().await?;
//!     println!("{}", node.write(5).await?.reply);
//!     node.confirm_read(Consistency::Linearizable).await?;
//!     println!("{}", state.with(|sum| sum.0));
//!     Ok(node.shutdown().await?)
//! }
//! ```
//!
//! An [`App`] runs on other stores by [`Node::builder_on`]; [`network`](NodeBuilder::network), [`env`](NodeBuilder::env) and
//! [`listener`](NodeBuilder::listener) are taken by every builder. Node ids are `u64` and a node is its address
//! ([`NodeTypeConfig`]): whoever needs others builds on `openraft-core`.
//!
//! # Admin routes
//!
//! Every node serves these under `/node/v1`, in JSON, to whoever reaches its port: nothing here is authenticated. A change
//! goes to the leader, whichever node is asked, and may be repeated.
//!
//! | request | does | answers |
//! |---|---|---|
//! | `GET status` | | [`NodeStatus`]: role, leader, indexes, members, what the node waits for |
//! | `GET members` | | a list of [`MemberStatus`] |
//! | `PUT members/ID?address=HOST:PORT&store_id=STORE` | adds a node that runs and is in no membership, or changes a member's address; with `&learner=true` it stays a learner | [`MembersAnswer`] |
//! | `DELETE members/ID` | removes a member | [`MembersAnswer`] |
//! | `POST members/ID/promote` | makes a voter of a learner that has caught up | [`MembersAnswer`] |
//! | `POST transfer-leader` | hands leadership to the best voter, or with `?to=ID` to that one | [`TransferAnswer`] |
//! | `POST snapshot` | takes a snapshot of the node that is asked | [`SnapshotAnswer`] |
//! | `GET health` | | 200 while the process answers |
//! | `GET ready` | | 200 while the node can serve, else 503 |
//!
//! Anything but success is an [`AdminError`], with a code for programs and a sentence for people. They read no request
//! bodies; an order between nodes is limited by `max_proposal_bytes`.
//!
//! # Layout
//!
//! - [`App`]: what the author writes. `machine` turns it into the full state machine trait, with snapshots.
//! - [`NodeBuilder`]: parts, addresses, how the cluster forms; starts everything. `check` looks over what it was told.
//! - [`Node`]: write, read, an end in order. [`RaftNode`], below it, knows nothing of the application.
//! - [`StartError`], [`WriteError`], [`ReadError`], [`ReadyError`]: what goes wrong, and what to do about it.
//! - Inside: `arrival` forms or joins the cluster; `order` is what only a leader carries out, `forward` takes it there,
//!   `routes` receives it; `admin` and `status` answer operators; `values` is how an application's values travel.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Sockets, files and the system's clock: this crate is the real thing and is not simulated.

mod admin;
mod app;
mod arrival;
mod builder;
mod check;
mod error;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod machine;
mod node;
mod order;
mod parts;
mod pipe;
mod raft_node;
mod routes;
mod status;
mod types;
mod values;

pub use admin::{AdminError, AdminErrorCode, HealthAnswer, MembersAnswer, SnapshotAnswer, TransferAnswer};
pub use app::App;
pub use builder::{NodeBuilder, OfApp, OfParts};
pub use error::{ReadError, ReadyError, StartError, WriteError};
pub use node::Node;
pub use parts::{NodeNetwork, NodeTypeConfig};
pub use raft_node::{Consistency, RaftNode};
pub use status::{MemberStatus, NodeStatus};
pub use types::NodeTypes;

pub use axum;
pub use openraft_adapters as adapters;
pub use openraft_core::{Config, Raft, RaftMetrics};
pub use openraft_engine::{BasicNode, LogId};
pub use openraft_network_http as network_http;
pub use openraft_storage_sled as storage_sled;
pub use serde_json;

/// The code in the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/getting-started.md")]
struct Guide;
