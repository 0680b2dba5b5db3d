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
//! # Layout
//!
//! - [`App`]: what the author writes. `machine` turns it into the full state machine trait, with snapshots.
//! - [`NodeBuilder`]: identity, directory, address, how the cluster forms; starts everything.
//! - [`Node`]: write, read, the full [`Raft`] handle, an end in order.
//! - [`StartError`], [`WriteError`], [`ReadError`]: what goes wrong, and what to do about it.
//! - Inside: `arrival` forms or joins the cluster; `forward` takes an order to the leader; `routes` carries it out there.
//!
//! Whoever needs more than this takes the crates below: every part that the builder puts together has a trait of its
//! own in `openraft-adapters`.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Sockets, files and the system's clock: this crate is the real thing and is not simulated.

mod app;
mod arrival;
mod builder;
mod check;
mod error;
mod forward;
mod machine;
mod node;
mod pipe;
mod routes;
mod types;

pub use app::App;
pub use builder::NodeBuilder;
pub use error::{ReadError, StartError, WriteError};
pub use node::{Consistency, Node};
pub use types::NodeTypes;

pub use axum;
pub use openraft_core::{Config, Raft, RaftMetrics};
pub use openraft_engine::{BasicNode, LogId};

/// The code in the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/getting-started.md")]
struct Guide;
