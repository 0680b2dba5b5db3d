//! `AppMachine`: an [`App`] as the full state machine, with its snapshots in a store.
//!
//! The state lives in memory. What is durable is the log and the current snapshot: a start restores the snapshot, and
//! the core applies the log behind it anew. Applied index and snapshot are thus one thing, and no crash can part them.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use async_trait::async_trait;
use openraft_adapters::{
    EntryPayload, EntryRange, LogIdOf, RaftStateMachine, Snapshot, SnapshotBuilder, SnapshotMetaOf,
    SnapshotSink, SnapshotStore, StorageError, StoredMembershipOf,
};

use crate::pipe;
use crate::{App, NodeTypes};

/// The state, shared with whoever queries it.
pub(crate) struct Shared<A>(Arc<RwLock<A>>);

impl<A> Clone for Shared<A> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<A: App> Shared<A> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// An application that panicked while it applied has stopped the node; what it left is not served as if it were
    /// whole, because the node answers no linearizable read any more.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, A> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, A> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct AppMachine<A: App> {
    state: Shared<A>,
    snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>,
    last_applied: Option<LogIdOf<NodeTypes<A>>>,
    /// Whether a snapshot that this program wrote was read back by it. A program's types do not change while it runs, so
    /// once is enough.
    read_back: Arc<AtomicBool>,
}

impl<A: App> AppMachine<A> {
    pub(crate) fn new(state: Shared<A>, snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>) -> Self {
        Self { state, snapshots, last_applied: None, read_back: Arc::default() }
    }

    async fn restore(&mut self, snapshot: Snapshot<NodeTypes<A>>) -> Result<(), StorageError> {
        let restored = read(&snapshot).await?;
        *self.state.write() = restored;
        self.last_applied = snapshot.meta.last_log_id;
        Ok(())
    }
}

fn remedy(id: &str) -> String {
    format!(
        "restoring snapshot {id:?}: App::restore must read what App::snapshot wrote, also what an earlier version of the \
         program wrote; run that version, or mend restore"
    )
}

fn unrestorable() -> &'static str {
    "reading back the snapshot that was just written, which App::restore must do before the log may be purged for it,"
}

/// Goes on with the application's panic, in words that say where it came from and what to do.
fn fail_apply(log_id: impl Display, command: &impl Debug, panic: &(dyn Any + Send)) -> ! {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words");
    let mut shown = format!("{command:?}");
    if let Some((end, _)) = shown.char_indices().nth(SHOWN_CHARS) {
        shown.truncate(end);
        shown.push('…');
    }
    resume_unwind(Box::new(format!(
        "App::apply panicked at entry {log_id}, on the command {shown}: {text}. It will again at every start, on every node: \
         run a program whose apply answers this command instead; the log is kept"
    )))
}

/// How much of a command that nobody survives is shown.
const SHOWN_CHARS: usize = 200;

/// The state that a snapshot holds.
async fn read<A: App>(snapshot: &Snapshot<NodeTypes<A>>) -> Result<A, StorageError> {
    let Snapshot { meta, source } = snapshot;
    let (chunks, mut reader) = pipe::reader();
    let restoring = tokio::task::spawn_blocking(move || A::restore(&mut reader));
    let mut offset = 0;
    let mut failed = None;
    while offset < source.len() {
        let piece = match source.read_at(offset, pipe::CHUNK_BYTES).await {
            Ok(piece) if !piece.is_empty() => piece,
            Ok(_) => {
                let ends = format!("its content ends at byte {offset} of {}", source.len());
                failed = Some(StorageError::message(remedy(&meta.snapshot_id), ends));
                break;
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        offset += piece.len() as u64;
        if chunks.send(Ok(piece)).await.is_err() {
            // It has read all that it wants, or has failed: it will say.
            break;
        }
    }
    if failed.is_some() {
        // Nothing is restored from the beginning of a snapshot. It may have stopped reading already.
        let _ = chunks.send(Err(io::Error::other("the snapshot cannot be read to its end"))).await;
    }
    drop(chunks);
    let restored = restoring.await;
    match (failed, restored) {
        (Some(error), _) => Err(error),
        (None, Ok(Ok(app))) => Ok(app),
        (None, Ok(Err(error))) => Err(StorageError::new(remedy(&meta.snapshot_id), &error)),
        (None, Err(panic)) => Err(StorageError::new(remedy(&meta.snapshot_id), &panic)),
    }
}

#[async_trait]
impl<A: App> RaftStateMachine<NodeTypes<A>> for AppMachine<A> {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<NodeTypes<A>>>, StorageError> {
        if let Some(snapshot) = self.snapshots.current() {
            self.restore(snapshot).await?;
        }
        Ok(self.last_applied)
    }

    async fn apply(&mut self, entries: EntryRange<NodeTypes<A>>) -> Result<Vec<A::Reply>, StorageError> {
        let mut replies = Vec::with_capacity(entries.len());
        let mut state = self.state.write();
        for entry in entries.iter() {
            if let EntryPayload::Normal(command) = &entry.payload {
                let applied = catch_unwind(AssertUnwindSafe(|| state.apply(entry.log_id, command)));
                replies.push(applied.unwrap_or_else(|panic| fail_apply(entry.log_id, command, &*panic)));
            }
            self.last_applied = Some(entry.log_id);
        }
        Ok(replies)
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<NodeTypes<A>>,
    ) -> Result<Box<dyn SnapshotBuilder<NodeTypes<A>>>, StorageError> {
        let last_log_id = self.last_applied;
        let snapshot_id = last_log_id.map_or("empty".to_owned(), |id| id.to_string());
        Ok(Box::new(Builder {
            view: self.state.read().clone(),
            meta: SnapshotMetaOf::<NodeTypes<A>> { last_log_id, membership, snapshot_id },
            snapshots: self.snapshots.clone(),
            read_back: self.read_back.clone(),
        }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<NodeTypes<A>>>, StorageError> {
        Ok(self.snapshots.current())
    }

    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<NodeTypes<A>>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(self.snapshots.sink(meta))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<NodeTypes<A>>) -> Result<(), StorageError> {
        // Restored before it becomes the current one: what does not restore must never be found at the next start.
        let received = self.snapshots.received(meta);
        let received = received.or_else(|| self.snapshots.current().filter(|current| current.meta == *meta));
        let Some(received) = received else {
            let action = format!("installing snapshot {:?}", meta.snapshot_id);
            return Err(StorageError::message(action, "it has not been received"));
        };
        let restored = read(&received).await?;
        self.snapshots.install(meta).await?;
        *self.state.write() = restored;
        self.last_applied = meta.last_log_id;
        Ok(())
    }
}

/// A view of the state, written while the state moves on.
struct Builder<A: App> {
    view: A,
    meta: SnapshotMetaOf<NodeTypes<A>>,
    snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>,
    read_back: Arc<AtomicBool>,
}

#[async_trait]
impl<A: App> SnapshotBuilder<NodeTypes<A>> for Builder<A> {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<NodeTypes<A>>, StorageError> {
        let Self { view, meta, snapshots, read_back } = *self;
        let (mut out, mut chunks) = pipe::writer();
        let writing = tokio::task::spawn_blocking(move || {
            view.snapshot(&mut out)?;
            out.flush()
        });
        // What does not restore must not become what the log is purged for.
        let reading = (!read_back.load(Ordering::Relaxed)).then(|| {
            let (chunks, mut reader) = pipe::reader();
            (chunks, tokio::task::spawn_blocking(move || A::restore(&mut reader).map(drop)))
        });
        let (mut writer, mut offset) = (snapshots.writer(&meta), 0);
        while let Some(chunk) = chunks.recv().await {
            if let Some((chunks, _)) = &reading {
                // It may have read all that it wants, or have failed: it will say.
                let _ = chunks.send(Ok(chunk.clone())).await;
            }
            let length = chunk.len() as u64;
            writer.write_at(offset, chunk).await?;
            offset += length;
        }
        let action = || format!("writing snapshot {:?}", meta.snapshot_id);
        let written = writing.await.map_err(|panic| StorageError::new(action(), &panic))?;
        written.map_err(|error| StorageError::new(action(), &error))?;
        if let Some((chunks, reading)) = reading {
            drop(chunks);
            let restored = reading.await.map_err(|panic| StorageError::new(unrestorable(), &panic))?;
            restored.map_err(|error| StorageError::new(unrestorable(), &error))?;
            read_back.store(true, Ordering::Relaxed);
        }
        writer.finish().await?;
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use openraft_adapters::Entry;
    use openraft_adapters::memory::MemSnapshots;
    use openraft_engine::LogId;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// What was said, and at which log index.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Minutes(Vec<(u64, String)>);

    impl App for Minutes {
        type Command = String;
        type Reply = usize;
        type Query = ();
        type Answer = ();

        fn apply(&mut self, log_id: LogId<u64>, said: &String) -> usize {
            self.0.push((log_id.index, said.clone()));
            self.0.len()
        }

        fn query(&self, (): ()) {}
    }

    type Snapshots = MemSnapshots<NodeTypes<Minutes>>;

    fn machine(snapshots: &Snapshots) -> (AppMachine<Minutes>, Shared<Minutes>) {
        let state = Shared::new();
        (AppMachine::new(state.clone(), Arc::new(snapshots.clone())), state)
    }

    fn said(indexes: std::ops::Range<u64>) -> EntryRange<NodeTypes<Minutes>> {
        let entry = |index| {
            let words = format!("{index} {}", "x".repeat(50_000));
            Entry::new(LogId::new(1, 1, index), EntryPayload::Normal(words))
        };
        EntryRange::from_entries(indexes.map(entry).collect())
    }

    #[tokio::test]
    async fn a_state_is_restored_from_its_snapshot_and_not_from_what_was_applied_after_it() {
        let snapshots = Snapshots::new();
        let (mut first, state) = machine(&snapshots);
        assert_eq!(first.last_applied().await.unwrap(), None);
        assert_eq!(first.apply(said(0..20)).await.unwrap().len(), 20);
        let builder = first.snapshot_builder(StoredMembershipOf::<NodeTypes<Minutes>>::default()).await;
        let at_snapshot = state.read().clone();
        first.apply(said(20..21)).await.unwrap();
        let meta = builder.unwrap().build().await.unwrap();
        assert_eq!(meta.last_log_id, Some(LogId::new(1, 1, 19)));

        let (mut second, state) = machine(&snapshots);
        assert_eq!(second.last_applied().await.unwrap(), meta.last_log_id);
        assert_eq!(*state.read(), at_snapshot);
    }

    #[tokio::test]
    async fn an_installed_snapshot_replaces_the_whole_state_and_one_that_does_not_restore_leaves_it() {
        let (mut leader, led) = machine(&Snapshots::new());
        leader.apply(said(0..3)).await.unwrap();
        let builder = leader.snapshot_builder(StoredMembershipOf::<NodeTypes<Minutes>>::default()).await;
        let meta = builder.unwrap().build().await.unwrap();
        let source = leader.current_snapshot().await.unwrap().unwrap().source;
        let content = source.read_at(0, usize::MAX).await.unwrap();

        let (mut follower, state) = machine(&Snapshots::new());
        follower.apply(said(0..1)).await.unwrap();
        let (before, led) = (state.read().clone(), led.read().clone());
        for (content, expected) in [(content.slice(..1_000), &before), (content, &led)] {
            let mut sink = follower.snapshot_sink(&meta).await.unwrap();
            sink.write_at(0, content).await.unwrap();
            sink.finish().await.unwrap();
            let installed = follower.install_snapshot(&meta).await;
            assert_eq!(installed.is_ok(), *expected != before);
            assert_eq!(*state.read(), *expected);
        }
        // Again, as after a lost reply.
        follower.install_snapshot(&meta).await.unwrap();
        assert_eq!(*state.read(), led);
    }
}
