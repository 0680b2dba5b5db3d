//! Whole-library tests.
//!
//! - [`sim`]: clusters of real cores on virtual time, with faults drawn from one seed. `bin/simulate` runs it over
//!   many seeds.
//! - `tests/`: stories over clusters of real cores.

pub mod sim;
