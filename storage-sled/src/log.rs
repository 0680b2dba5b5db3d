//! The log of one group: submissions into the store's queue, and reads from sled.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use openraft_adapters::engine::LogIdOptionExt;
use openraft_adapters::{
    EntryRange, IoFlushed, LogIdOf, LogState, MembershipOf, RaftLogReader, RaftLogStorage, RaftTypeConfig,
    ReadError, SavedVoteOf, StorageError, StoredMembershipOf,
};

use crate::format::{self, Damage};
use crate::group::Head;
use crate::queue::{Submission, Work};
use crate::record;
use crate::shared::{Shared, View, blocking, locked};
use crate::store::Handle;

/// The durable log of one group. From [`SledStore::log`](crate::SledStore::log); holds the store open.
///
/// Appends, votes, truncations and purges of all groups of the store become durable together, one `fdatasync` for each
/// round of the writer. A truncation below the purge point and an append that leaves a gap are refused, and like any
/// failed write they end all writing until the store is opened anew.
pub struct SledLog<C: RaftTypeConfig> {
    handle: Arc<Handle<C>>,
    group: u64,
}

impl<C: RaftTypeConfig> fmt::Debug for SledLog<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SledLog(group {} in {})", self.group, self.handle.shared.dir.display())
    }
}

impl<C: RaftTypeConfig> SledLog<C> {
    pub(crate) fn new(handle: Arc<Handle<C>>, group: u64) -> Self {
        Self { handle, group }
    }

    fn submit(&self, work: Work<C>, flushed: Option<IoFlushed>) {
        self.handle.shared.queue.submit(Submission { group: self.group, work, flushed });
    }
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogStorage<C> for SledLog<C> {
    async fn log_state(&self) -> Result<LogState<C>, StorageError> {
        self.handle.shared.queue.visible().await?;
        let (handle, group) = (self.handle.clone(), self.group);
        blocking(move || log_state(&handle.shared, group)).await?
    }

    fn reader(&self) -> Arc<dyn RaftLogReader<C>> {
        let view = self.handle.shared.view(self.group);
        Arc::new(SledReader { handle: self.handle.clone(), group: self.group, view })
    }

    fn save_vote(&self, vote: SavedVoteOf<C>, flushed: IoFlushed) {
        self.submit(Work::Vote(vote), Some(flushed));
    }

    fn append(&self, entries: EntryRange<C>, flushed: IoFlushed) {
        self.submit(Work::Append(entries), Some(flushed));
    }

    fn truncate(&self, since: u64, flushed: IoFlushed) {
        self.submit(Work::Truncate(since), Some(flushed));
    }

    fn purge(&self, upto: LogIdOf<C>, flushed: IoFlushed) {
        self.submit(Work::Purge(upto), Some(flushed));
    }

    fn save_committed(&self, committed: LogIdOf<C>) {
        self.submit(Work::Committed(committed), None);
    }
}

fn log_state<C: RaftTypeConfig>(shared: &Shared<C>, group: u64) -> Result<LogState<C>, StorageError> {
    let db = shared.db();
    let failed = |what: &str, cause: &dyn fmt::Display| {
        shared.read_failed(format_args!("{what} of group {group}"), cause)
    };
    let key = format::head(group);
    let Some(value) = db.get(&key).map_err(|e| failed("the log's head", &e))? else {
        return Ok(LogState::default());
    };
    let head: Head<C> = format::unseal_value(&key, &value).map_err(|e| failed("the log's head", &e))?;

    let mut leader_starts = Vec::new();
    for item in db.scan_prefix(format::leader_start_prefix(group)) {
        let (key, value) = item.map_err(|e| failed("the leaders' first entries", &e))?;
        leader_starts
            .push(format::unseal_value(&key, &value).map_err(|e| failed("a leader's first entry", &e))?);
    }
    Ok(LogState {
        vote: head.vote,
        purged: head.purged,
        last_log_id: head.last,
        leader_starts,
        memberships: memberships::<C>(db, group).map_err(|e| failed("a membership", &e))?,
        committed: head.committed,
        log_bytes: head.log_bytes,
    })
}

#[derive(Debug, thiserror::Error)]
enum MembershipError {
    #[error(transparent)]
    Sled(#[from] sled::Error),
    #[error("the one stated at index {index} is damaged: {damage}")]
    Damaged { index: u64, damage: Damage },
}

/// The last two memberships, older first.
fn memberships<C: RaftTypeConfig>(
    db: &sled::Db,
    group: u64,
) -> Result<Vec<StoredMembershipOf<C>>, MembershipError> {
    let mut found = Vec::new();
    let mut upper = format::membership(group, u64::MAX, u64::MAX);
    while found.len() < 2 {
        let Some(item) = db.range(format::membership_prefix(group)..upper).next_back() else { break };
        let index = format::number(&item?.0, 1).unwrap_or(u64::MAX);
        let damaged = |damage| MembershipError::Damaged { index, damage };
        let parts = format::membership(group, index, 0)..=format::membership(group, index, u64::MAX);
        let (bytes, _) = format::unseal_parts(db.range(parts))?.map_err(damaged)?;
        let (log_id, membership): (LogIdOf<C>, MembershipOf<C>) = format::decode(&bytes).map_err(damaged)?;
        found.insert(0, StoredMembershipOf::<C>::new(log_id, membership));
        upper = format::membership(group, index, 0);
    }
    Ok(found)
}

struct SledReader<C: RaftTypeConfig> {
    handle: Arc<Handle<C>>,
    group: u64,
    view: Arc<Mutex<View<C>>>,
}

#[async_trait]
impl<C: RaftTypeConfig> RaftLogReader<C> for SledReader<C> {
    async fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        if indexes.is_empty() {
            return Ok(EntryRange::empty());
        }
        self.handle.shared.queue.visible().await?;
        let (handle, group, view) = (self.handle.clone(), self.group, self.view.clone());
        blocking(move || read(&handle.shared, group, &view, indexes, max_bytes)).await?
    }
}

fn read<C: RaftTypeConfig>(
    shared: &Shared<C>,
    group: u64,
    view: &Mutex<View<C>>,
    indexes: Range<u64>,
    max_bytes: u64,
) -> Result<EntryRange<C>, ReadError> {
    loop {
        let (version, first, next) = {
            let view = locked(view);
            (view.version, view.purged.next_index(), view.last.next_index())
        };
        if indexes.start < first {
            return Err(ReadError::Compacted { wanted: indexes.start, first });
        }
        let result = if indexes.end > next {
            Err(format!("the log holds only the entries from {first} to before {next}"))
        } else {
            read_records(shared.db(), group, indexes.clone(), max_bytes)
        };
        // A cut in the meantime may have mixed two logs, or taken away what was asked for.
        if locked(view).version != version {
            continue;
        }
        return result.map_err(|cause| {
            let what =
                format!("the entries from {} to before {} of group {group}", indexes.start, indexes.end);
            shared.read_failed(what, cause).into()
        });
    }
}

fn read_records<C: RaftTypeConfig>(
    db: &sled::Db,
    group: u64,
    indexes: Range<u64>,
    max_bytes: u64,
) -> Result<EntryRange<C>, String> {
    let mut run = EntryRange::<C>::empty();
    let mut weight = 0;
    let mut next = indexes.start;
    while next < indexes.end && weight <= max_bytes {
        let first = record::locate(db, group, next).map_err(|e| e.to_string())?;
        let first = first.ok_or_else(|| format!("entry {next} is missing"))?;
        let record = record::load(db, group, first).map_err(|e| e.to_string())?;
        if next >= record.end() {
            return Err(format!(
                "entry {next} is missing; the record before it ends with {}",
                record.end() - 1
            ));
        }
        let entries = record.decode::<C>().map_err(|e| e.to_string())?.slice(next..indexes.end);
        weight += entries.weight();
        next = entries.end_index().unwrap_or(indexes.end);
        run.push(entries);
    }
    Ok(if weight > max_bytes { run.limit(max_bytes) } else { run })
}
