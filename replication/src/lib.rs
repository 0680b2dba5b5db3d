//! Replication: one task per follower.
//!
//! # Layout
//!
//! - [`Slot`], [`Join`]: a place for one value, joined and not replaced.
//! - [`LeaderUpdate`], [`ReplicationUpdate`]: what core and task tell one another through slots.
//! - [`TailReader`], [`SnapshotProvider`]: where the task finds what it sends.
//! - [`spawn_replication`]: starts the task, `line_rate_loop`.
//! - [`ReplicationConfig`], [`ReplicationContext`], [`ReplicationHandle`]: limits, surroundings and handle of a task.

mod backoff;
mod config;
mod fetch;
mod line_rate_loop;
mod replies;
mod sending;
mod slot;
mod traits;
mod update;

pub use config::{ReplicationConfig, ReplicationContext, ReplicationHandle, Wake};
pub use line_rate_loop::spawn_replication;
pub use slot::{Join, Slot};
pub use traits::{SnapshotProvider, TailReader};
pub use update::{LeaderUpdate, ReplicationUpdate};
