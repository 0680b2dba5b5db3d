//! The traits that an application author implements, and adapters in memory.
//!
//! # Layout
//!
//! - [`RaftTypeConfig`] and [`declare_raft_types!`]: the types of one application.
//! - [`Entry`], [`EntryBatch`], [`EntryRange`]: entries, shared and encoded at most once; [`codec`]: their stored form.
//! - [`RaftLogStorage`], [`RaftLogReader`], [`IoFlushed`]: the log store.
//! - [`RaftStateMachine`], [`SnapshotSource`], [`SnapshotSink`], [`SnapshotBuilder`]: state and snapshots;
//!   [`SnapshotStore`]: where a machine in memory keeps them.
//! - [`RaftNetworkFactory`], [`RaftNetwork`], [`AppendStream`], [`RaftServer`]: the network and its far side.
//! - [`IdentityStore`], [`FormationNetwork`], [`FormationServer`]: whose directory it is, and forming a cluster;
//!   [`JoinNetwork`], [`JoinServer`]: joining one that exists.
//! - [`Env`], [`Clock`], [`Spawn`]: time and tasks.
//! - [`SimpleLogStore`], [`Durable`]: the log store that is simplest to write, and what makes a `RaftLogStorage` of it.
//! - [`memory`]: every adapter in memory, with faults that a test controls.
//! - [`suite`]: the conformance suites that an author runs over an adapter of his own.

pub use openraft_engine as engine;

pub mod codec;
mod durable;
mod entry;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod join;
pub mod memory;
mod network;
mod runtime;
mod snapshot_store;
mod state_machine;
mod storage;
pub mod suite;
mod type_config;

pub use durable::{Durable, SimpleLogStore};
pub use entry::{
    ClientSession, ENTRY_OVERHEAD_BYTES, Entry, EntryBatch, EntryPayload, EntryRange, proposal_weight,
};
pub use error::{NetworkError, ReadError, ServerError, StorageError};
pub use identity::{FormReply, FormRequest, FormationNetwork, FormationServer, Identity, IdentityStore};
pub use join::{JoinNetwork, JoinReply, JoinRequest, JoinServer};
pub use network::{AppendEntriesRequest, AppendStream, RaftNetwork, RaftNetworkFactory, RaftServer};
pub use runtime::{Clock, Elapsed, Env, Spawn, TaskHandle};
pub use snapshot_store::SnapshotStore;
pub use state_machine::{RaftStateMachine, Snapshot, SnapshotBuilder, SnapshotSink, SnapshotSource};
pub use storage::{IoFlushed, LogState, RaftLogReader, RaftLogStorage};
pub use type_config::{
    AppData, AppReply, LogIdOf, MembershipOf, RaftTypeConfig, ReplicaOf, SavedVoteOf, SnapshotHeaderOf,
    SnapshotMetaOf, SnapshotReplyOf, StoredMembershipOf, VoteOf,
};
