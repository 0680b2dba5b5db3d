//! The network over real sockets on this machine, with a core that only pretends.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // Sockets are not simulated.

mod appends;
mod bad_peers;
mod calls;
mod clients;
mod fake;
mod refusals;
mod snapshots;
