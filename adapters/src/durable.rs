//! `Durable`: makes a log store of submissions and completions out of a simple one whose calls are durable on return.

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::Shared;
use tokio::sync::{mpsc, oneshot};

use crate::{
    EntryRange, Env, IoFlushed, LogIdOf, LogState, RaftLogReader, RaftLogStorage, RaftTypeConfig, ReadError,
    SavedVoteOf, StorageError,
};

/// The greatest weight of appends merged into one, in bytes: bounds how long the first waits for the last.
const MERGED_APPENDS_MAX_BYTES: u64 = 8 << 20;

/// The log store that is simplest to write: one call at a time, and what has returned is durable.
///
/// Wrapped in [`Durable`] it becomes a [`RaftLogStorage`]. Each call happens after all earlier ones have returned.
/// After an error no write is called any more; after a crash in the middle of a call the store must open either as it
/// was before the call or as it would have been after it, an append perhaps after some of its first entries.
#[async_trait]
pub trait SimpleLogStore<C: RaftTypeConfig>: Send + 'static {
    /// What the store holds, see [`RaftLogStorage::log_state`].
    ///
    /// # Errors
    /// If it cannot be read or is not what was written.
    async fn log_state(&mut self) -> Result<LogState<C>, StorageError>;

    /// Reads entries, see [`RaftLogReader::read`].
    ///
    /// # Errors
    /// As [`RaftLogReader::read`].
    async fn read(&mut self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError>;

    /// Replaces the vote, and what may be promised under it, as one. Durable on return.
    ///
    /// # Errors
    /// If it could not be made durable.
    async fn save_vote(&mut self, vote: SavedVoteOf<C>) -> Result<(), StorageError>;

    /// Appends entries, at least one, which follow the last one without a gap. Durable on return.
    ///
    /// # Errors
    /// If they could not be made durable.
    async fn append(&mut self, entries: EntryRange<C>) -> Result<(), StorageError>;

    /// Drops the entries from index `since` on. Durable on return.
    ///
    /// # Errors
    /// If that could not be made durable.
    async fn truncate(&mut self, since: u64) -> Result<(), StorageError>;

    /// Drops the entries up to and including `upto`, which may lie beyond the last. Durable on return.
    ///
    /// # Errors
    /// If that could not be made durable.
    async fn purge(&mut self, upto: LogIdOf<C>) -> Result<(), StorageError>;

    /// Notes what is committed; need be durable only when the next write returns.
    ///
    /// # Errors
    /// If the store failed.
    async fn save_committed(&mut self, committed: LogIdOf<C>) -> Result<(), StorageError>;
}

/// Runs a [`SimpleLogStore`] on a task of its own. Appends that wait for one another are merged into one call.
///
/// The task, and with it the store, ends when the `Durable` and its readers are dropped and everything submitted has
/// been carried out; [`closed`](Durable::closed) tells when. Reads wait for the writes submitted before them.
pub struct Durable<C: RaftTypeConfig> {
    requests: mpsc::UnboundedSender<Request<C>>,
    closed: Shared<oneshot::Receiver<()>>,
}

impl<C: RaftTypeConfig> fmt::Debug for Durable<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Durable")
    }
}

/// What the task is asked to do. The queue's bound is that of the core's unflushed bytes.
enum Request<C: RaftTypeConfig> {
    State(oneshot::Sender<Result<LogState<C>, StorageError>>),
    Read(Range<u64>, u64, oneshot::Sender<Result<EntryRange<C>, ReadError>>),
    Append(EntryRange<C>, IoFlushed),
    Write(Write<C>, IoFlushed),
    Hint(LogIdOf<C>),
}

/// Every write but an append.
enum Write<C: RaftTypeConfig> {
    SaveVote(SavedVoteOf<C>),
    Truncate(u64),
    Purge(LogIdOf<C>),
}

impl<C: RaftTypeConfig> Durable<C> {
    /// Starts the task that owns `store`.
    pub fn new(store: impl SimpleLogStore<C>, env: &Env) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        let (ended, closed) = oneshot::channel();
        let task = Task { store, queue, put_back: None, hint: None, failed: None };
        env.spawn("log-store", async move {
            task.run().await;
            drop::<oneshot::Sender<()>>(ended);
        });
        Self { requests, closed: closed.shared() }
    }

    /// Completes once the task has ended and the store is dropped, so that it may be opened again. Take the future,
    /// then drop the `Durable` and its readers, then await.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<C> {
        // The sender is never used, only dropped.
        self.closed.clone().map(|_| ())
    }

    /// A request that cannot be sent is dropped, and its completion reports that as an error.
    fn submit(&self, request: Request<C>) {
        let _ = self.requests.send(request);
    }
}

fn ended() -> StorageError {
    StorageError::message("using the log store", "its task has ended")
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogStorage<C> for Durable<C> {
    async fn log_state(&self) -> Result<LogState<C>, StorageError> {
        let (tell, told) = oneshot::channel();
        self.submit(Request::State(tell));
        told.await.unwrap_or_else(|_| Err(ended()))
    }

    fn reader(&self) -> Arc<dyn RaftLogReader<C>> {
        Arc::new(Reader { requests: self.requests.clone() })
    }

    fn save_vote(&self, vote: SavedVoteOf<C>, flushed: IoFlushed) {
        self.submit(Request::Write(Write::SaveVote(vote), flushed));
    }

    fn append(&self, entries: EntryRange<C>, flushed: IoFlushed) {
        self.submit(Request::Append(entries, flushed));
    }

    fn truncate(&self, since: u64, flushed: IoFlushed) {
        self.submit(Request::Write(Write::Truncate(since), flushed));
    }

    fn purge(&self, upto: LogIdOf<C>, flushed: IoFlushed) {
        self.submit(Request::Write(Write::Purge(upto), flushed));
    }

    fn save_committed(&self, committed: LogIdOf<C>) {
        self.submit(Request::Hint(committed));
    }
}

struct Reader<C: RaftTypeConfig> {
    requests: mpsc::UnboundedSender<Request<C>>,
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogReader<C> for Reader<C> {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        let (tell, told) = oneshot::channel();
        let _ = self.requests.send(Request::Read(indexes, max_bytes, tell));
        told.await.unwrap_or_else(|_| Err(ended().into()))
    }
}

/// The one user of the simple store.
struct Task<C: RaftTypeConfig, S> {
    store: S,
    queue: mpsc::UnboundedReceiver<Request<C>>,
    /// Taken from the queue while merging appends, but not an append that follows.
    put_back: Option<Request<C>>,
    /// The latest hint that no write has taken along.
    hint: Option<LogIdOf<C>>,
    /// The error that ended all writing.
    failed: Option<StorageError>,
}

impl<C: RaftTypeConfig, S: SimpleLogStore<C>> Task<C, S> {
    async fn run(mut self) {
        while let Some(request) = self.next().await {
            match request {
                Request::State(tell) => {
                    let _ = tell.send(self.store.log_state().await);
                }
                Request::Read(indexes, max_bytes, tell) => {
                    let _ = tell.send(self.read(indexes, max_bytes).await);
                }
                Request::Append(entries, flushed) => self.append(entries, flushed).await,
                Request::Write(write, flushed) => {
                    let result = self.write(write).await;
                    flushed.done(result);
                }
                Request::Hint(committed) => self.hint = Some(committed),
            }
        }
    }

    async fn next(&mut self) -> Option<Request<C>> {
        match self.put_back.take() {
            Some(request) => Some(request),
            None => self.queue.recv().await,
        }
    }

    async fn read(&mut self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        match &self.failed {
            // The store may hold less than was submitted before this read.
            Some(error) => Err(error.clone().into()),
            None => self.store.read(indexes, max_bytes).await,
        }
    }

    /// Appends `entries` and whatever appends wait behind them.
    async fn append(&mut self, mut entries: EntryRange<C>, flushed: IoFlushed) {
        let mut completions = vec![flushed];
        let mut weight = entries.weight();
        while self.put_back.is_none() && weight < MERGED_APPENDS_MAX_BYTES {
            match self.queue.try_recv() {
                Ok(Request::Append(more, flushed))
                    if entries.is_empty() || more.is_empty() || entries.end_index() == more.first_index() =>
                {
                    weight += more.weight();
                    entries.push(more);
                    completions.push(flushed);
                }
                // A hint may be written earlier than it was given: it is read only beside the log it names.
                Ok(Request::Hint(committed)) => self.hint = Some(committed),
                Ok(other) => self.put_back = Some(other),
                Err(_) => break,
            }
        }
        let mut result = self.begin_write().await;
        if result.is_ok() && !entries.is_empty() {
            result = self.store.append(entries).await;
        }
        self.end_write(&result);
        for flushed in completions {
            flushed.done(result.clone());
        }
    }

    async fn write(&mut self, write: Write<C>) -> Result<(), StorageError> {
        let mut result = self.begin_write().await;
        if result.is_ok() {
            result = match write {
                Write::SaveVote(vote) => self.store.save_vote(vote).await,
                Write::Truncate(since) => self.store.truncate(since).await,
                Write::Purge(upto) => self.store.purge(upto).await,
            };
        }
        self.end_write(&result);
        result
    }

    async fn begin_write(&mut self) -> Result<(), StorageError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.hint.take() {
            Some(hint) => self.store.save_committed(hint).await,
            None => Ok(()),
        }
    }

    fn end_write(&mut self, result: &Result<(), StorageError>) {
        if let Err(error) = result {
            self.failed = Some(error.clone());
        }
    }
}
