//! Adapters in memory: for tests, for simulation, and for an application's own unit tests.
//!
//! # Layout
//!
//! - [`MemDisk`], [`MemLogStore`]: a log store whose flushes and crashes a test controls.

mod log;
mod log_store;
#[cfg(test)]
mod log_store_tests;

pub use log_store::{MemDisk, MemLogStore};
