//! Whole-library tests.
//!
//! - [`chaos`]: faults on real processes under load. `bin/chaos` runs it.
//! - [`cluster`]: clusters in memory, for stories; [`brake`] holds up their state machines.
//! - [`sim`]: clusters of real cores on virtual time, with faults drawn from one seed. `bin/simulate` runs it over
//!   many seeds; [`testkit`] offers it for an application's own state machine.
//! - [`planted`]: known defects planted into a copy of the workspace, to see which checks notice. `bin/planted` runs it.
//! - [`explore`]: every order of events within stated bounds, over worlds. `bin/explore` runs it.
//! - [`history`]: histories of clients' operations, and whether they are linearizable. `bin/check_history` checks files.
//! - [`world`]: engines and their `Progress` values without any I/O; [`script`]: a small language in which the
//!   scenarios in `scenarios/` drive it.
//! - [`walk`]: README and guide, walked as a newcomer would. `bin/walk` does it from a fresh clone.
//! - `tests/`: stories over clusters of real cores.

pub mod brake;
pub mod chaos;
pub mod cluster;
pub mod explore;
pub mod history;
pub mod planted;
pub mod script;
pub mod sim;
pub mod testkit;
pub mod walk;
pub mod world;
