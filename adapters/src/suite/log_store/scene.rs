//! One store and its model, kept in step: whatever a check does, it does to both.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use openraft_engine::{LogId, Membership, StoreId, Vote};
use tokio::sync::mpsc;

use super::LogStoreHarness;
use super::model::{Answer, Model, encode};
use crate::{
    ClientSession, Entry, EntryPayload, EntryRange, Env, IoFlushed, LogIdOf, RaftLogReader, RaftLogStorage,
    RaftTypeConfig, ReadError, SavedVoteOf, StorageError,
};

/// How long a completion may take. A store that needs longer for what the suite writes has lost it.
const COMPLETION_DEADLINE: Duration = Duration::from_secs(60);

/// What a read of everything asks for.
pub(super) const NO_LIMIT: u64 = u64::MAX;

type Completion = (u64, Result<(), StorageError>);

pub(super) struct Scene<'h, C: RaftTypeConfig, H> {
    harness: &'h mut H,
    /// Names the check, and where a random one stands, in what a failure says.
    pub(super) place: String,
    /// `None` only while the store is being opened anew.
    store: Option<Arc<dyn RaftLogStorage<C>>>,
    pub(super) model: Model<C>,
    env: Env,
    tell: mpsc::UnboundedSender<Completion>,
    told: mpsc::UnboundedReceiver<Completion>,
    submitted: u64,
    completed: u64,
    /// Makes every proposal different.
    proposals: u64,
}

impl<'h, C: RaftTypeConfig, H: LogStoreHarness<C>> Scene<'h, C, H> {
    /// An empty store, opened and found to be empty.
    pub(super) async fn begin(harness: &'h mut H, check: &str) -> Self {
        tracing::debug!(check, "checking a log store");
        let (tell, told) = mpsc::unbounded_channel();
        let mut scene = Self {
            harness,
            place: check.to_owned(),
            store: None,
            model: Model::default(),
            env: Env::tokio(),
            tell,
            told,
            submitted: 0,
            completed: 0,
            proposals: 0,
        };
        if let Err(error) = scene.harness.wipe().await {
            scene.broken("the harness empties the store", format_args!("{error}"));
        }
        scene.open().await;
        scene
    }

    pub(super) fn broken(&self, promise: &str, seen: std::fmt::Arguments<'_>) -> ! {
        panic!("the log store breaks its contract in {}: {promise}; seen: {seen}", self.place)
    }

    pub(super) fn store(&self) -> &Arc<dyn RaftLogStorage<C>> {
        self.store.as_ref().expect("the store is open between the steps of a check")
    }

    pub(super) fn reader(&self) -> Arc<dyn RaftLogReader<C>> {
        self.store().reader()
    }

    // ---- making values

    pub(super) fn log_id(&self, term: u64, node: u64, index: u64) -> LogIdOf<C> {
        // Index 0 holds the initial membership under the leader id of nobody.
        let node_id = if term == 0 { C::NodeId::default() } else { self.harness.node_id(node) };
        LogId::new(term, node_id, index)
    }

    pub(super) fn vote(&self, term: u64, node: u64, committed: bool) -> SavedVoteOf<C> {
        SavedVoteOf::<C> {
            vote: Vote { term, node_id: self.harness.node_id(node), committed },
            promise_cap: Duration::new(term, committed.into()),
        }
    }

    pub(super) fn proposal(&mut self, bytes: usize) -> EntryPayload<C> {
        self.proposals += 1;
        EntryPayload::Normal(self.harness.data(self.proposals, bytes))
    }

    pub(super) fn membership(&self, voters: Range<u64>) -> EntryPayload<C> {
        EntryPayload::Membership(Membership::new_initial(
            voters.map(|n| (self.harness.node_id(n), StoreId(u128::from(n) << 64 | 9), C::Node::default())),
        ))
    }

    /// Entries that follow the last one, proposed by the leader of `term`. Some carry a session.
    pub(super) fn entries(&self, term: u64, payloads: Vec<EntryPayload<C>>) -> EntryRange<C> {
        let first = self.model.next_index();
        let entries = payloads.into_iter().zip(first..).map(|(payload, index)| {
            let mut entry = Entry::new(self.log_id(term, term % 3, index), payload);
            entry.session = (index % 3 == 1)
                .then(|| ClientSession { client_id: u128::MAX - u128::from(index), sequence: index });
            entry
        });
        EntryRange::from_entries(entries.collect())
    }

    /// `count` proposals of `bytes` each, in one batch.
    pub(super) fn proposals(&mut self, term: u64, count: u64, bytes: usize) -> EntryRange<C> {
        let payloads = (0..count).map(|_| self.proposal(bytes)).collect();
        self.entries(term, payloads)
    }

    // ---- submissions, none of which waits

    fn completion(&mut self) -> IoFlushed {
        let (n, tell) = (self.submitted, self.tell.clone());
        self.submitted += 1;
        IoFlushed::new(move |result| {
            let _ = tell.send((n, result));
        })
    }

    pub(super) fn save_vote(&mut self, vote: SavedVoteOf<C>) {
        let io = self.completion();
        self.store().save_vote(vote, io);
        self.model.save_vote(vote);
    }

    pub(super) fn append(&mut self, entries: EntryRange<C>) {
        let io = self.completion();
        self.model.append(&entries);
        self.store().append(entries, io);
    }

    pub(super) fn append_proposals(&mut self, term: u64, count: u64, bytes: usize) {
        let entries = self.proposals(term, count, bytes);
        self.append(entries);
    }

    /// The entry at index 0.
    pub(super) fn append_initial_membership(&mut self) {
        let first = self.entries(0, vec![self.membership(1..4)]);
        self.append(first);
    }

    pub(super) fn truncate(&mut self, since: u64) {
        let io = self.completion();
        self.store().truncate(since, io);
        self.model.truncate(since);
    }

    pub(super) fn purge(&mut self, upto: LogIdOf<C>) {
        let io = self.completion();
        self.store().purge(upto, io);
        self.model.purge(upto);
    }

    /// Purges up to an entry that the log holds.
    pub(super) fn purge_to_index(&mut self, index: u64) {
        let at = (index - self.model.first_index()) as usize;
        self.purge(self.model.entries[at].log_id);
    }

    pub(super) fn save_committed(&mut self, committed: LogIdOf<C>) {
        self.store().save_committed(committed);
        self.model.save_committed(committed);
    }

    // ---- comparing

    /// Waits for every completion outstanding.
    pub(super) async fn settle(&mut self) {
        while self.completed < self.submitted {
            let next = self.env.timeout(COMPLETION_DEADLINE, self.told.recv()).await;
            let Ok(Some((n, result))) = next else {
                self.broken(
                    "every completion is fired",
                    format_args!(
                        "submission {} of {} is without one after {COMPLETION_DEADLINE:?}",
                        self.completed + 1,
                        self.submitted
                    ),
                );
            };
            if n != self.completed {
                self.broken(
                    "completions are fired in the order of the submissions",
                    format_args!("that of submission {} before that of {}", n + 1, self.completed + 1),
                );
            }
            if let Err(error) = result {
                self.broken("a permitted write succeeds", format_args!("submission {}: {error}", n + 1));
            }
            self.completed += 1;
        }
    }

    /// Waits for all completions, lets the store go and opens it anew; compares everything.
    pub(super) async fn reopen(&mut self) {
        self.settle().await;
        self.store = None;
        self.open().await;
        self.check_reads().await;
    }

    async fn open(&mut self) {
        let store = match self.harness.open().await {
            Ok(store) => store,
            Err(error) => self.broken("a store opens", format_args!("{error}")),
        };
        let found = match store.log_state().await {
            Ok(state) => state,
            Err(error) => self.broken("a store says what it holds", format_args!("{error}")),
        };
        self.store = Some(store);
        if !self.model.reopened_with_hint(found.committed) {
            self.broken(
                "the committed hint is the last one before the last write, or a later one",
                format_args!("{:?}, not {:?}", found.committed, self.model.state().committed),
            );
        }
        let expected = self.model.state();
        macro_rules! same {
            ($field:ident, $promise:literal) => {
                if found.$field != expected.$field {
                    self.broken($promise, format_args!("{:?}, not {:?}", found.$field, expected.$field));
                }
            };
        }
        same!(vote, "LogState::vote is the last vote saved");
        same!(purged, "LogState::purged is the last log id purged");
        same!(last_log_id, "LogState::last_log_id is the last entry's, or what was purged if there is none");
        same!(leader_starts, "LogState::leader_starts has the first entry of each leader id after the purge");
        same!(memberships, "LogState::memberships has the last two memberships in the log, older first");
    }

    /// Compares the whole log, and what lies just outside it, without waiting for completions.
    pub(super) async fn check_reads(&mut self) {
        let (first, next) = (self.model.first_index(), self.model.next_index());
        if first < next {
            self.check_read(first..next, NO_LIMIT).await;
            self.check_read(next - 1..next, 0).await;
        }
        self.check_read(next..next + 1, NO_LIMIT).await;
        if first > 0 {
            self.check_read(first - 1..next.max(first), NO_LIMIT).await;
        }
    }

    /// Compares one read.
    pub(super) async fn check_read(&self, indexes: Range<u64>, max_bytes: u64) {
        let found = self.reader().read(indexes.clone(), max_bytes).await;
        let asked = format!("read({indexes:?}, {max_bytes})");
        match (self.model.read(indexes.clone(), max_bytes), found) {
            (Answer::Compacted { first }, Err(ReadError::Compacted { wanted, first: said }))
                if (wanted, said) == (indexes.start, first) => {}
            (Answer::Compacted { first }, found) => self.broken(
                "a read from a purged index on answers Compacted, with that index and the first one held",
                format_args!("{asked} where the log begins at {first}: {found:?}"),
            ),
            (Answer::Missing, Err(ReadError::Storage(_))) => {}
            (Answer::Missing, found) => self.broken(
                "a read of an index that the log does not hold is ReadError::Storage",
                format_args!("{asked} where the log ends before {}: {found:?}", self.model.next_index()),
            ),
            (Answer::Entries(_), Err(error)) => {
                self.broken(
                    "every entry submitted, and not cut off, is readable",
                    format_args!("{asked}: {error}"),
                );
            }
            (Answer::Entries(expected), Ok(found)) => {
                if let Some((kept, entry)) =
                    expected.iter().zip(found.iter()).find(|(kept, entry)| kept.log_id != entry.log_id)
                {
                    self.broken(
                        "a read answers the entries asked for, as the submissions before it left them",
                        format_args!("{asked}: entry {} instead of {}", entry.log_id, kept.log_id),
                    );
                }
                if found.len() != expected.len() {
                    self.broken(
                        "a read answers as many entries as weigh no more than max_bytes, but at least one",
                        format_args!("{asked}: {} entries instead of {}", found.len(), expected.len()),
                    );
                }
                if let Some((kept, _)) =
                    expected.iter().zip(found.iter()).find(|(kept, entry)| kept.encoded != encode(entry))
                {
                    self.broken(
                        "an entry comes back as it was appended, session and payload",
                        format_args!("{asked}: entry {} differs", kept.log_id),
                    );
                }
            }
        }
    }
}
