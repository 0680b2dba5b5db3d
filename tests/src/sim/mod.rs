//! Whole clusters of real cores on virtual time. Everything that is left to chance is drawn from one seed: the same seed
//! gives the same trace, byte for byte. `docs/simulation.md` says what is simulated and what is checked; [`testkit`] is
//! for an application's own state machine.
//!
//! What a run is made of:
//! - `settings`: what is drawn once: sizes, configurations, clocks, weather. `plan`: which faults come when.
//! - `chance`, `clock`, `tasks`: where chance, time and the order of tasks come from; processes that stand still and die.
//! - `network`, `link`: what becomes of messages. `disk`: what becomes of writes.
//! - `machine`: watches the state machine. `subject`: what an application brings; `kv`: the one that is built in.
//! - `cluster`: nodes that start, crash and come back. `faults`, `operator`: who breaks and who mends.
//! - `workload`: the clients.
//! - `observer`: sees every step; `trace` keeps it, `invariants` judges it with the logs of `image`, `coverage` counts.
//! - `liveness`: a quorum is healed, then everything. `run`: from beginning to end. `shrink`: makes a failure small.
//!
//! [`testkit`]: crate::testkit

mod chance;
mod clock;
mod cluster;
mod coverage;
mod disk;
mod faults;
mod image;
mod invariants;
pub mod kv;
mod link;
mod liveness;
mod machine;
mod network;
mod observer;
mod operator;
mod plan;
mod run;
mod settings;
mod shrink;
mod subject;
mod tasks;
mod trace;
mod workload;

pub use coverage::{Coverage, Reached};
pub use plan::Chosen;
pub use run::{Failure, Options, Report, run};
pub use shrink::{from_ranges, in_words, shrink};
pub use subject::{Operation, Outcome, Request, Subject};
