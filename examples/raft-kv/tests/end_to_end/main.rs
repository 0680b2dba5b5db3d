//! End-to-end tests: real processes of `raft-kv` on loopback, real disks, real signals.
//!
//! - `harness`: a cluster of processes, the client, and a small HTTP client of its own.
//! - `bench`: the load generator.
//! - `serving`: what a healthy cluster does; `conditions`: writes that ask for a version; `demo`: the demo.
//! - `joining`: nodes that come and go; `moving`: a cluster that is moved while a client writes.
//! - `crashes`: SIGKILL in the middle; `wiped`: directories that were lost.
//! - `forming`, `refusals`, `quorum`: what is said when something is missing or wrong.

// Real processes on real clocks; the rules that these lints guard are for what is simulated.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod bench;
mod conditions;
mod crashes;
mod demo;
mod forming;
mod harness;
mod joining;
mod moving;
mod quorum;
mod refusals;
mod serving;
mod wiped;
