//! Conformance suites: what an author runs over an adapter of his own.
//!
//! # Layout
//!
//! - [`log_store`]: for [`RaftLogStorage`](crate::RaftLogStorage).
//! - [`flushed`]: waits for one submission, for tests and tools.

pub mod log_store;
#[cfg(test)]
mod tests;

use tokio::sync::oneshot;

use crate::{IoFlushed, StorageError};

/// Makes one submission and waits until it is durable.
///
/// ```
/// # openraft_adapters::declare_raft_types!(T: D = String);
/// # use openraft_adapters::{RaftLogStorage, engine::Vote, memory::MemDisk, suite::flushed};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let store = MemDisk::<T>::new().open();
/// flushed(|io| store.save_vote(Vote::new(1, 7).into(), io)).await.unwrap();
/// # }
/// ```
///
/// # Errors
/// What the store reported.
///
/// # Cancellation
/// Dropping the future withdraws nothing: the write was submitted when it was first polled.
pub async fn flushed(submit: impl FnOnce(IoFlushed)) -> Result<(), StorageError> {
    let (tell, told) = oneshot::channel();
    submit(IoFlushed::new(move |result| {
        // Whoever waits may have given up.
        let _ = tell.send(result);
    }));
    told.await.unwrap_or_else(|_| {
        Err(StorageError::message("a write to the log store", "its completion was leaked, not fired"))
    })
}
