//! Holding it wrong: the mistakes that a newcomer is likely to make, and the words with cause and remedy that each of them
//! meets. What is shown here is what `docs/troubleshooting.md` lists; `table` keeps the two together.
//!
//! Whole nodes in one process, with real directories and real sockets.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Real sockets keep real time.

mod directories;
mod forming;
mod joining;
mod nodes;
mod running;
#[path = "../shared/mod.rs"]
mod shared;
mod starting;
mod table;
mod upgrading;
