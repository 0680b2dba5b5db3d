//! Whole nodes on real sockets: parts of an author's own, the admin routes, and nodes that can never become members.
//! One program, because each would compile the whole stack for itself.
#![allow(clippy::disallowed_methods)]
// Real sockets keep real time.

mod admin;
mod common;
mod parts;
mod refused;
#[path = "../shared/mod.rs"]
mod shared;
