//! Adapters in memory: for tests, for simulation, and for an application's own unit tests. Nothing here survives the
//! process; what survives a simulated crash is held by handles ([`MemDisk`], [`MemSnapshots`]) that a test keeps.
//!
//! # A node in memory, and its restart
//!
//! A test keeps the handles and hands their stores to the core; to restart the node it opens them again.
//!
//! ```
//! use openraft_adapters::memory::{MemApp, MemDisk, MemRouter, MemStateMachine};
//! use openraft_adapters::{Env, LogIdOf, RaftLogStorage, RaftStateMachine, declare_raft_types};
//!
//! declare_raft_types!(Types: D = u64, R = u64);
//!
//! #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
//! struct Sum(u64);
//!
//! impl MemApp<Types> for Sum {
//!     fn apply(&mut self, _log_id: LogIdOf<Types>, proposal: &u64) -> u64 {
//!         self.0 += proposal;
//!         self.0
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (router, disk) = (MemRouter::<Types>::new(), MemDisk::<Types>::held());
//! let log = disk.open();
//! let machine = MemStateMachine::<Types, Sum>::new();
//! let (snapshots, reader) = (machine.snapshots(), machine.reader());
//! let network = router.factory(1, Env::tokio());
//! // Give `log`, `machine` and `network` to the core, and `router.register(1, ..)` its server.
//!
//! // The node loses power. The first of the writes that were not flushed survives, the others do not.
//! router.unregister(1);
//! disk.crash(1);
//! let mut machine = MemStateMachine::<Types, Sum>::open(snapshots);
//! assert_eq!(disk.open().log_state().await.unwrap().last_log_id, None);
//! assert_eq!(machine.last_applied().await.unwrap(), None);
//! # drop((log, network, reader));
//! # }
//! ```
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
pub(crate) use state_machine::restore_app;
pub use state_machine::{MemApp, MemStateMachine, MemStateReader};
