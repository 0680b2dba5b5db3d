//! The engine alone: how to drive it, every message, every command, and a cluster in one page.
//!
//! - [`driving`]: the calling order, lanes, completions, what must be durable before what, restart, `Progress`.
//! - [`messages`]: what nodes say to one another, a paragraph each; for those who know etcd's raft, its words.
//! - [`commands`]: what the engine orders, a paragraph each.
//! - [`example`]: three engines with their `Progress` values elect, replicate and commit.

#[doc = include_str!("../docs/driving.md")]
pub mod driving {}

#[doc = include_str!("../docs/messages.md")]
pub mod messages {}

#[doc = include_str!("../docs/commands.md")]
pub mod commands {}

#[doc = include_str!("../docs/example.md")]
pub mod example {}
