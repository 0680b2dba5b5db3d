//! `Braked`: a state machine that a test may hold up, before a batch or while it writes a snapshot.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use openraft_adapters::{
    EntryRange, LogIdOf, RaftStateMachine, Snapshot, SnapshotBuilder, SnapshotMetaOf, SnapshotSink,
    StorageError, StoredMembershipOf,
};
use tokio::sync::watch;

use crate::cluster::Names;

/// Holds up a state machine. Clones are the same brake.
#[derive(Clone, Debug)]
pub struct Brake(watch::Sender<State>, Arc<Mutex<Vec<u64>>>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Free,
    Held,
    PanicsOnce,
}

impl Default for Brake {
    fn default() -> Self {
        Self(watch::Sender::new(State::Free), Arc::default())
    }
}

impl Brake {
    /// From now on no batch is begun, and no snapshot written.
    pub fn pull(&self) {
        self.0.send_replace(State::Held);
    }

    /// Goes on.
    pub fn release(&self) {
        self.0.send_replace(State::Free);
    }

    /// The next snapshot panics while it is written.
    pub fn spoil_next_snapshot(&self) {
        self.0.send_replace(State::PanicsOnce);
    }

    /// What each batch applied so far weighed.
    pub fn batches(&self) -> Vec<u64> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn passed(&self) {
        // The sender is held here, so the wait ends only with the release.
        let _ = self.0.subscribe().wait_for(|state| *state != State::Held).await;
    }
}

/// A state machine behind a brake.
pub struct Braked<M> {
    /// The machine.
    pub machine: M,
    /// Its brake.
    pub brake: Brake,
}

#[async_trait]
impl<M: RaftStateMachine<Names>> RaftStateMachine<Names> for Braked<M> {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<Names>>, StorageError> {
        self.machine.last_applied().await
    }

    async fn apply(&mut self, entries: EntryRange<Names>) -> Result<Vec<u64>, StorageError> {
        self.brake.passed().await;
        self.brake.1.lock().unwrap_or_else(PoisonError::into_inner).push(entries.weight());
        self.machine.apply(entries).await
    }

    fn state_hash(&self) -> Option<u64> {
        self.machine.state_hash()
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<Names>,
    ) -> Result<Box<dyn SnapshotBuilder<Names>>, StorageError> {
        let builder = self.machine.snapshot_builder(membership).await?;
        Ok(Box::new(BrakedBuilder { builder, brake: self.brake.clone() }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<Names>>, StorageError> {
        self.machine.current_snapshot().await
    }

    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<Names>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        self.machine.snapshot_sink(meta).await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Names>) -> Result<(), StorageError> {
        self.machine.install_snapshot(meta).await
    }
}

struct BrakedBuilder {
    builder: Box<dyn SnapshotBuilder<Names>>,
    brake: Brake,
}

#[async_trait]
impl SnapshotBuilder<Names> for BrakedBuilder {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<Names>, StorageError> {
        self.brake.passed().await;
        if self.brake.0.send_if_modified(|state| std::mem::replace(state, State::Free) == State::PanicsOnce) {
            panic!("a snapshot that cannot be written");
        }
        self.builder.build().await
    }
}
