//! Clusters of real cores on virtual time. Everything that is left to chance is drawn from one seed: the same seed
//! gives the same trace.
//!
//! - `trace`: the events of a run, their digest, and the checks that hold after each of them.
//! - `runtime`: each node's clock and tasks; tasks yield at random points and end with their node.
//! - `network`: delay, loss, broken streams, cut links.
//! - `machine`: the state machine, which tells the trace what it applies.
//! - `cluster`: nodes that start, crash and come back with what their disks kept.
//! - `run`: one run: faults and clients, then healing and convergence.

mod churn;
mod cluster;
mod machine;
mod network;
mod run;
mod runtime;
mod trace;

pub use run::{Options, Report, run};

openraft_adapters::declare_raft_types!(
    /// The simulation's types: a proposal is the name of a write, the reply how many were applied before it.
    pub Types: D = String, R = u64
);
