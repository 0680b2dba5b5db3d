//! Adapters in memory: for tests, for simulation, and for an application's own unit tests. Nothing here survives the
//! process; what survives a simulated crash is held by handles ([`MemDisk`], [`MemSnapshots`]) that a test keeps.
//!
//! # Layout
//!
//! - [`MemDisk`], [`MemLogStore`]: a log store whose flushes and crashes a test controls.
//! - [`MemApp`], [`MemStateMachine`], [`MemStateReader`]: a state machine made of one value and one function.
//! - [`MemSnapshots`]: its snapshots, which outlive it.
//! - [`MemRouter`], [`MemNetworkFactory`]: a network in the process, with cuts.
//! - [`Faults`], [`RandomFaults`], [`Fate`], [`Transit`], [`MessageKind`]: losing and delaying messages.

mod faults;
mod link;
mod log;
mod log_store;
#[cfg(test)]
mod log_store_tests;
mod router;
#[cfg(test)]
mod router_tests;
mod snapshots;
mod state_machine;
#[cfg(test)]
mod state_machine_tests;
mod stream;

pub use faults::{Fate, Faults, MessageKind, RandomFaults, Transit};
pub use log_store::{MemDisk, MemLogStore};
pub use router::{MemNetworkFactory, MemRouter};
pub use snapshots::MemSnapshots;
pub use state_machine::{MemApp, MemStateMachine, MemStateReader};
