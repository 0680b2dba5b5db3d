//! Durable storage of a node on sled: the logs of its groups, its identity, and its snapshots, in one directory.
//!
//! One directory holds one sled database for any number of groups. Everything that is written goes through one queue
//! to one writer thread, which takes whatever has gathered, hands it to sled as atomic batches, and ends each round with
//! sled's flush and *one* `fdatasync` of sled's file, shared by all groups and all waiters. sled's own flush reaches the
//! device but not through the device's cache; the `fdatasync` is what makes a completion survive a power cut.
//!
//! # Layout
//!
//! - [`SledStore`]: opening a directory and what is known of it; implements
//!   [`IdentityStore`](openraft_adapters::IdentityStore).
//! - [`SledLog`]: the log of one group, a [`RaftLogStorage`](openraft_adapters::RaftLogStorage).
//! - [`SledSnapshots`]: snapshots of one group, for state machine authors.
//! - `marker`: the text file by which a directory is recognised before sled touches it.
//! - `format`: keys and checksummed values.
//! - `queue`, `writer`, `group`, `record`: submissions, the thread that carries them out, and how entries become
//!   records.
//!
//! What was seen of sled's system calls, and why the sizes are what they are, stands in `docs/storage-sled.md`.

// This crate is real I/O and is never simulated: it owns a thread and reads the system's random source, and its reads
// run on tokio's blocking threads.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod error;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod identity;
mod log;
mod marker;
mod metrics;
mod queue;
mod record;
mod shared;
mod snapshot;
mod snapshot_io;
mod store;
mod writer;

pub use error::OpenError;
pub use log::SledLog;
pub use metrics::SledMetrics;
pub use snapshot::SledSnapshots;
pub use snapshot_io::SnapshotWriter;
pub use store::{SledOptions, SledStore};
