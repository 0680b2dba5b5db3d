//! Simulate your own state machine: whole clusters of real cores, on virtual time, under every fault that the library is
//! tested with.
//!
//! Implement [`Subject`] for it: how a node opens the state machine, what its clients propose and ask, and what you demand
//! of what they were told. [`run`] makes one run of a seed; [`shrink`] makes one that fails small; [`Report`] and
//! [`Coverage`] tell what a run came to. The library's invariants are checked in every run besides.
//!
//! A whole example, a counter, is in `tests/tests/testkit.rs`. See `docs/simulation.md` for what is simulated.

pub use crate::sim::{
    Chosen, Coverage, Failure, Operation, Options, Outcome, Reached, Report, Request, Subject, run, shrink,
};
