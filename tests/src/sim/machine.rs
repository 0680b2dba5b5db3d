//! The state machine of a simulated node: an application's own, watched, now and then slow, on a disk that may be full.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{
    EntryPayload, EntryRange, LogIdOf, RaftStateMachine, RaftTypeConfig, Snapshot, SnapshotBuilder,
    SnapshotMetaOf, SnapshotSink, StorageError, StoredMembershipOf,
};
use openraft_engine::{BasicNode, Replica};

use super::chance::Chance;
use super::clock::sleep;
use super::coverage::Reached;
use super::disk::{SimDisk, hash_of};
use super::observer::Observer;
use super::trace::Event;

/// What a watched machine tells, and whom.
struct Watch<C: RaftTypeConfig> {
    replica: Replica<u64>,
    observer: Observer,
    chance: Chance,
    disk: SimDisk<C>,
}

impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> Watch<C> {
    /// Some time, mostly none.
    async fn dawdle(&self, one_in: u32, at_most: Duration) {
        if self.chance.one_in(one_in) {
            sleep(self.chance.micros(100, at_most.as_micros() as u64)).await;
        }
    }

    fn space(&self, action: &str) -> Result<(), StorageError> {
        if self.disk.is_full() {
            Err(StorageError::message(action, "no space left on device"))
        } else {
            Ok(())
        }
    }

    fn snapshot(&self, meta: &SnapshotMetaOf<C>) {
        self.observer.invariants(|invariants| invariants.snapshot(self.replica, meta.last_log_id));
    }
}

/// The state machine of one life of a node.
pub(super) struct Machine<C: RaftTypeConfig> {
    inner: Box<dyn RaftStateMachine<C>>,
    watch: Arc<Watch<C>>,
}

impl<C: RaftTypeConfig> Machine<C> {
    pub(super) fn new(
        inner: Box<dyn RaftStateMachine<C>>,
        replica: Replica<u64>,
        observer: Observer,
        chance: Chance,
        disk: SimDisk<C>,
    ) -> Self {
        Self { inner, watch: Arc::new(Watch { replica, observer, chance, disk }) }
    }
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> RaftStateMachine<C> for Machine<C> {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<C>>, StorageError> {
        self.inner.last_applied().await
    }

    async fn apply(&mut self, entries: EntryRange<C>) -> Result<Vec<C::R>, StorageError> {
        self.watch.dawdle(30, Duration::from_millis(60)).await;
        for entry in entries.iter() {
            let (payload, is_write) = match &entry.payload {
                EntryPayload::Blank => (0, false),
                EntryPayload::Normal(data) => (hash_of(data), true),
                EntryPayload::Membership(membership) => (hash_of(membership), false),
            };
            let (replica, log_id) = (self.watch.replica, entry.log_id);
            self.watch.observer.step(Event::Applied { node: replica.node_id, log_id, payload });
            self.watch
                .observer
                .invariants(|invariants| invariants.applies(replica, log_id, payload, is_write));
        }
        self.inner.apply(entries).await
    }

    fn state_hash(&self) -> Option<u64> {
        self.inner.state_hash()
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<C>,
    ) -> Result<Box<dyn SnapshotBuilder<C>>, StorageError> {
        let inner = self.inner.snapshot_builder(membership).await?;
        Ok(Box::new(Builder { inner, watch: self.watch.clone() }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<C>>, StorageError> {
        self.inner.current_snapshot().await
    }

    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<C>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        let inner = self.inner.snapshot_sink(meta).await?;
        Ok(Box::new(Sink { inner, watch: self.watch.clone() }))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError> {
        self.watch.dawdle(4, Duration::from_millis(200)).await;
        self.inner.install_snapshot(meta).await?;
        self.watch.snapshot(meta);
        self.watch.observer.count(Reached::SnapshotCaughtUp);
        let (id, upto) = (self.watch.replica.node_id, meta.last_log_id);
        self.watch.observer.note(format!("n{id} has installed a snapshot up to {upto:?}"));
        Ok(())
    }
}

struct Builder<C: RaftTypeConfig> {
    inner: Box<dyn SnapshotBuilder<C>>,
    watch: Arc<Watch<C>>,
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> SnapshotBuilder<C> for Builder<C> {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<C>, StorageError> {
        self.watch.dawdle(4, Duration::from_millis(300)).await;
        self.watch.space("building a snapshot")?;
        let meta = self.inner.build().await?;
        self.watch.snapshot(&meta);
        self.watch.observer.count(Reached::SnapshotBuilt);
        let (id, upto) = (self.watch.replica.node_id, meta.last_log_id);
        self.watch.observer.note(format!("n{id} has built a snapshot up to {upto:?}"));
        Ok(meta)
    }
}

struct Sink<C: RaftTypeConfig> {
    inner: Box<dyn SnapshotSink>,
    watch: Arc<Watch<C>>,
}

#[async_trait]
impl<C: RaftTypeConfig<NodeId = u64, Node = BasicNode>> SnapshotSink for Sink<C> {
    async fn write_at(&mut self, offset: u64, chunk: Bytes) -> Result<(), StorageError> {
        self.watch.space("writing a chunk of a snapshot")?;
        self.inner.write_at(offset, chunk).await
    }

    async fn finish(self: Box<Self>) -> Result<(), StorageError> {
        self.inner.finish().await
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}
