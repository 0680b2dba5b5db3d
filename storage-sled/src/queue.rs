//! The queue between those who submit and the writer: order, what has been applied, and the first failure.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

use openraft_adapters::{EntryRange, IoFlushed, LogIdOf, RaftTypeConfig, SavedVoteOf, StorageError};
use tokio::sync::oneshot;

/// One key and its new value, or `None` to remove it.
pub(crate) type Write = (Vec<u8>, Option<Vec<u8>>);

/// What is to be done.
pub(crate) enum Work<C: RaftTypeConfig> {
    Vote(SavedVoteOf<C>),
    Append(EntryRange<C>),
    Truncate(u64),
    Purge(LogIdOf<C>),
    /// A hint: it waits for company and wakes nobody.
    Committed(LogIdOf<C>),
    /// Keys that are no log's. Applied atomically; at most [`Limits::batch_bytes`](crate::shared::Limits) together.
    Keys(Vec<Write>),
}

pub(crate) struct Submission<C: RaftTypeConfig> {
    pub(crate) group: u64,
    pub(crate) work: Work<C>,
    pub(crate) flushed: Option<IoFlushed>,
}

impl<C: RaftTypeConfig> Submission<C> {
    /// About how many bytes it will hand to sled.
    fn weight(&self) -> u64 {
        match &self.work {
            Work::Append(entries) => entries.weight(),
            Work::Keys(writes) => {
                writes.iter().map(|(k, v)| (k.len() + v.as_ref().map_or(0, Vec::len)) as u64).sum()
            }
            _ => 64,
        }
    }
}

/// A submission whose durability can be awaited.
pub(crate) struct Pending(oneshot::Receiver<Result<(), StorageError>>);

impl Pending {
    pub(crate) async fn wait(self) -> Result<(), StorageError> {
        self.0.await.unwrap_or_else(|_| Err(StorageError::message("a write", "the store was closed")))
    }
}

struct State<C: RaftTypeConfig> {
    items: VecDeque<Submission<C>>,
    /// How many submissions were ever queued, and how many of them readers of sled can see.
    queued: u64,
    applied: u64,
    /// The count at the last submission that was not a hint: what a reader waits for.
    awaited: u64,
    waiters: Vec<(u64, oneshot::Sender<()>)>,
    failed: Option<StorageError>,
    closed: bool,
}

pub(crate) struct Queue<C: RaftTypeConfig> {
    state: Mutex<State<C>>,
    work: Condvar,
}

/// What [`Queue::take`] found.
pub(crate) enum Taken<C: RaftTypeConfig> {
    Submissions(Vec<Submission<C>>),
    /// Nothing is queued: a time for clearing up.
    Idle,
    /// The last handle is gone and the queue is empty.
    Closed,
}

impl<C: RaftTypeConfig> Queue<C> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                queued: 0,
                applied: 0,
                awaited: 0,
                waiters: Vec::new(),
                failed: None,
                closed: false,
            }),
            work: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Nothing in this file panics between two changes that belong together.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn submit(&self, submission: Submission<C>) {
        let hint = matches!(submission.work, Work::Committed(_));
        let mut state = self.lock();
        if hint
            && let Some(last) = state.items.back_mut()
            && last.group == submission.group
            && matches!(last.work, Work::Committed(_))
        {
            last.work = submission.work;
            return;
        }
        state.items.push_back(submission);
        state.queued += 1;
        if !hint {
            state.awaited = state.queued;
            drop(state);
            self.work.notify_one();
        }
    }

    /// Submits changes of keys that are no log's and waits until they are durable.
    ///
    /// Dropping the future does not take the submission back.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), StorageError> {
        self.submit_keys(writes).wait().await
    }

    /// Submits changes of keys that are no log's.
    pub(crate) fn submit_keys(&self, writes: Vec<Write>) -> Pending {
        let (sender, receiver) = oneshot::channel();
        let flushed = IoFlushed::new(move |result| {
            // A caller that went away wants no answer.
            let _ = sender.send(result);
        });
        self.submit(Submission { group: 0, work: Work::Keys(writes), flushed: Some(flushed) });
        Pending(receiver)
    }

    /// Submits changes of keys that are no log's and that nobody waits for.
    pub(crate) fn write_unawaited(&self, writes: Vec<Write>) {
        self.submit(Submission { group: 0, work: Work::Keys(writes), flushed: None });
    }

    /// Waits until every submission made before the call is visible in sled.
    pub(crate) async fn visible(&self) -> Result<(), StorageError> {
        let receiver = {
            let mut state = self.lock();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            let awaited = state.awaited;
            if state.applied >= awaited {
                return Ok(());
            }
            let (sender, receiver) = oneshot::channel();
            state.waiters.push((awaited, sender));
            receiver
        };
        match receiver.await {
            Ok(()) => Ok(()),
            Err(_) => {
                Err(self.failure().unwrap_or_else(|| StorageError::message("a read", "the store was closed")))
            }
        }
    }

    /// Takes submissions from the front, at least one and together at most `bytes` or `count`. Blocks while there is
    /// nothing to do but hints, unless `idle` asks to be told.
    pub(crate) fn take(&self, bytes: u64, count: usize, idle: bool) -> Taken<C> {
        let mut state = self.lock();
        while state.applied >= state.awaited && !state.closed {
            if idle {
                return Taken::Idle;
            }
            state = self.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let (mut taken, mut total) = (Vec::new(), 0);
        while taken.len() < count
            && let Some(next) = state.items.front()
        {
            total += next.weight();
            if total > bytes && !taken.is_empty() {
                break;
            }
            taken.extend(state.items.pop_front());
        }
        if taken.is_empty() { Taken::Closed } else { Taken::Submissions(taken) }
    }

    /// `count` more submissions are visible.
    pub(crate) fn applied(&self, count: usize) {
        let mut state = self.lock();
        state.applied += count as u64;
        let applied = state.applied;
        let mut ready = Vec::new();
        let mut i = 0;
        while i < state.waiters.len() {
            if state.waiters[i].0 <= applied {
                ready.push(state.waiters.swap_remove(i).1);
            } else {
                i += 1;
            }
        }
        drop(state);
        for waiter in ready {
            // A reader that went away wants no answer.
            let _ = waiter.send(());
        }
    }

    /// Nothing will be written any more. The first cause stays.
    pub(crate) fn fail(&self, cause: &StorageError) {
        let mut state = self.lock();
        state.failed.get_or_insert_with(|| cause.clone());
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        drop(waiters);
    }

    /// Why nothing is written any more.
    pub(crate) fn failure(&self) -> Option<StorageError> {
        self.lock().failed.clone()
    }

    /// Lets the writer end once the queue is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }
}
