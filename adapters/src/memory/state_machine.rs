//! `MemStateMachine`: a state machine made of one plain value and one function.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use openraft_engine::LogIdOptionExt;

use super::snapshots::{MemSink, MemSnapshots};
use crate::{
    EntryPayload, EntryRange, LogIdOf, RaftStateMachine, RaftTypeConfig, Snapshot, SnapshotBuilder,
    SnapshotMetaOf, SnapshotSink, StorageError, StoredMembershipOf, codec,
};

/// An application's state as a value: its default is the state before the first entry, a clone is a view of it, and
/// serde writes and reads its snapshots.
pub trait MemApp<C: RaftTypeConfig>:
    Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Executes one proposal. Must be deterministic: the same proposals give the same state and replies on every node.
    fn apply(&mut self, log_id: LogIdOf<C>, proposal: &C::D) -> C::R;

    /// See [`RaftStateMachine::state_hash`].
    fn state_hash(&self) -> Option<u64> {
        None
    }
}

/// Runs a [`MemApp`] as a state machine, with snapshots kept in a [`MemSnapshots`].
///
/// ```
/// use openraft_adapters::memory::{MemApp, MemStateMachine};
/// use openraft_adapters::{LogIdOf, declare_raft_types};
///
/// declare_raft_types!(Types: D = u64, R = u64);
///
/// /// A sum that replies with its new value.
/// #[derive(Clone, Default, serde::Serialize, serde::Deserialize)]
/// struct Sum(u64);
///
/// impl MemApp<Types> for Sum {
///     fn apply(&mut self, _log_id: LogIdOf<Types>, proposal: &u64) -> u64 {
///         self.0 += proposal;
///         self.0
///     }
/// }
///
/// let machine = MemStateMachine::<Types, Sum>::new();
/// let reader = machine.reader();
/// assert_eq!(reader.with(|sum| sum.0), 0);
/// ```
pub struct MemStateMachine<C: RaftTypeConfig, A> {
    state: Arc<Mutex<State<C, A>>>,
    snapshots: MemSnapshots<C>,
}

#[derive(Clone)]
struct State<C: RaftTypeConfig, A> {
    last_applied: Option<LogIdOf<C>>,
    app: A,
}

fn lock<C: RaftTypeConfig, A>(state: &Mutex<State<C, A>>) -> MutexGuard<'_, State<C, A>> {
    state.lock().expect("the application does not panic while it applies or is read")
}

impl<C: RaftTypeConfig, A: MemApp<C>> Default for MemStateMachine<C, A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: RaftTypeConfig, A: MemApp<C>> MemStateMachine<C, A> {
    /// The machine of a new node.
    pub fn new() -> Self {
        Self::open(MemSnapshots::new())
    }

    /// The machine of a node that has kept `snapshots`, perhaps over a restart. It restores the current one when the
    /// core asks for its last applied log id.
    pub fn open(snapshots: MemSnapshots<C>) -> Self {
        Self { state: Arc::new(Mutex::new(State { last_applied: None, app: A::default() })), snapshots }
    }

    /// Reads the state from outside, as of what is applied at this node. Stays valid when the machine is gone.
    pub fn reader(&self) -> MemStateReader<C, A> {
        MemStateReader { state: self.state.clone() }
    }

    /// The snapshots, to be handed to [`open`](MemStateMachine::open) after a restart.
    pub fn snapshots(&self) -> MemSnapshots<C> {
        self.snapshots.clone()
    }

    fn restore(&self, meta: &SnapshotMetaOf<C>, content: &[u8]) -> Result<(), StorageError> {
        let app = restore_app(content)
            .map_err(|e| StorageError::message(format!("restoring snapshot {}", meta.snapshot_id), e))?;
        *lock(&self.state) = State { last_applied: meta.last_log_id, app };
        Ok(())
    }
}

/// The state in the content of a snapshot.
pub(crate) fn restore_app<A: DeserializeOwned>(content: &[u8]) -> Result<A, String> {
    codec::decode_value(content)
}

impl<C: RaftTypeConfig, A> fmt::Debug for MemStateMachine<C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemStateMachine").field("last_applied", &lock(&self.state).last_applied).finish()
    }
}

/// Reads the state of a [`MemStateMachine`]. A cheap handle.
pub struct MemStateReader<C: RaftTypeConfig, A> {
    state: Arc<Mutex<State<C, A>>>,
}

impl<C: RaftTypeConfig, A> Clone for MemStateReader<C, A> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone() }
    }
}

impl<C: RaftTypeConfig, A> fmt::Debug for MemStateReader<C, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStateReader({:?})", self.last_applied())
    }
}

impl<C: RaftTypeConfig, A> MemStateReader<C, A> {
    /// What `look` sees of the state. Applying waits meanwhile.
    pub fn with<T>(&self, look: impl FnOnce(&A) -> T) -> T {
        look(&lock(&self.state).app)
    }

    /// The last entry whose effect is in the state.
    pub fn last_applied(&self) -> Option<LogIdOf<C>> {
        lock(&self.state).last_applied
    }
}

impl<C: RaftTypeConfig, A: Clone> MemStateReader<C, A> {
    /// A copy of the state.
    pub fn get(&self) -> A {
        self.with(A::clone)
    }
}

#[async_trait]
impl<C: RaftTypeConfig, A: MemApp<C>> RaftStateMachine<C> for MemStateMachine<C, A> {
    async fn last_applied(&mut self) -> Result<Option<LogIdOf<C>>, StorageError> {
        let current = self.snapshots.current();
        if let Some(newer) = current.filter(|c| c.meta.last_log_id > lock(&self.state).last_applied) {
            self.restore(&newer.meta, &newer.content)?;
        }
        Ok(lock(&self.state).last_applied)
    }

    async fn apply(&mut self, entries: EntryRange<C>) -> Result<Vec<C::R>, StorageError> {
        let mut state = lock(&self.state);
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            let next = state.last_applied.next_index();
            if entry.log_id.index != next {
                return Err(StorageError::message(
                    format!("applying {entries:?}"),
                    format!("the next entry to apply has index {next}"),
                ));
            }
            if let EntryPayload::Normal(proposal) = &entry.payload {
                replies.push(state.app.apply(entry.log_id, proposal));
            }
            state.last_applied = Some(entry.log_id);
        }
        Ok(replies)
    }

    fn state_hash(&self) -> Option<u64> {
        lock(&self.state).app.state_hash()
    }

    async fn snapshot_builder(
        &mut self,
        membership: StoredMembershipOf<C>,
    ) -> Result<Box<dyn SnapshotBuilder<C>>, StorageError> {
        let view = lock(&self.state).clone();
        Ok(Box::new(Builder { view, membership, snapshots: self.snapshots.clone() }))
    }

    async fn current_snapshot(&mut self) -> Result<Option<Snapshot<C>>, StorageError> {
        Ok(self.snapshots.current().map(|current| current.to_snapshot()))
    }

    async fn snapshot_sink(
        &mut self,
        meta: &SnapshotMetaOf<C>,
    ) -> Result<Box<dyn SnapshotSink>, StorageError> {
        Ok(Box::new(MemSink::new(meta.clone(), self.snapshots.clone())))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>) -> Result<(), StorageError> {
        let received = self.snapshots.received(meta)?;
        // Restored first: a content that does not decode must not become the current snapshot.
        self.restore(meta, &received)?;
        self.snapshots.install(meta, received);
        Ok(())
    }
}

struct Builder<C: RaftTypeConfig, A> {
    view: State<C, A>,
    membership: StoredMembershipOf<C>,
    snapshots: MemSnapshots<C>,
}

#[async_trait]
impl<C: RaftTypeConfig, A: MemApp<C>> SnapshotBuilder<C> for Builder<C, A> {
    async fn build(self: Box<Self>) -> Result<SnapshotMetaOf<C>, StorageError> {
        let content = postcard::to_stdvec(&self.view.app).map_err(|e| {
            StorageError::new(format!("encoding the state at {:?}", self.view.last_applied), &e)
        })?;
        Ok(self.snapshots.built(self.view.last_applied, self.membership, content))
    }
}
