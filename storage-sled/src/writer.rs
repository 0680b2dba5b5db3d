//! The writer: the one thread that changes the database.
//!
//! A round: take what has gathered, turn it into changes of keys, hand them to sled in atomic batches, let sled flush,
//! carry out one barrier, fire the completions in order.
//!
//! **How far sled's log may run ahead of the barrier.** sled overwrites a freed segment once a later segment that holds
//! what was moved out of it has been synced by its own weaker means, and on recovery it looks for torn writes only in the
//! last segments, as told by the head of the newest one. Both are sound after a power cut only if no more than one
//! segment is ever written without a barrier. Therefore a round is cut into batches of a 32nd of a segment; after each
//! one sled's own count of log bytes is read, and beyond an eighth of a segment a barrier comes before the next.
//! [`SledMetrics::log_bytes_between_barriers_max`](crate::SledMetrics) shows how close it ever came.
//!
//! **After a failure** nothing is written any more: a page that could not be written may look clean to a second sync.
//! What is queued, and whatever comes later, fails with the first cause.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use openraft_adapters::{EntryRange, RaftTypeConfig, StorageError};

use crate::format::{self, Damage};
use crate::group::{Group, Head, LoadError, Run, SMALL, WriteSet, removable};
use crate::metrics::Counters;
use crate::queue::{Submission, Taken, Work};
use crate::record;
use crate::shared::{Shared, locked};

/// The most that one round takes, in bytes and in submissions: it bounds how long the first of them waits for the rest.
const ROUND_BYTES: u64 = 2 << 20;
const ROUND_SUBMISSIONS: usize = 4096;

pub(crate) struct Writer<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
    groups: BTreeMap<u64, Group<C>>,
    /// Groups whose head, or whose run of entries, is not in `set` yet.
    dirty: BTreeSet<u64>,
    /// Groups with records before their purge point.
    garbage: BTreeSet<u64>,
    /// The group whose turn it is to have some of them removed, if it has any.
    garbage_turn: u64,
    set: WriteSet,
    /// sled's count of log bytes at the last barrier.
    barrier_at: u64,
}

impl<C: RaftTypeConfig> Writer<C> {
    /// Loads all groups and removes what a crash left over.
    pub(crate) fn load(shared: Arc<Shared<C>>) -> Result<Self, OpenFailure> {
        let barrier_at = shared.position();
        let mut writer = Self {
            shared,
            groups: BTreeMap::new(),
            dirty: BTreeSet::new(),
            garbage: BTreeSet::new(),
            garbage_turn: 0,
            set: WriteSet::default(),
            barrier_at,
        };
        let shared = writer.shared.clone();
        for item in shared.db().scan_prefix(format::head_prefix()) {
            let (key, value) = item.map_err(LoadError::from)?;
            let id = format::number(&key, 0).unwrap_or(u64::MAX);
            let head: Head<C> = format::unseal_value(&key, &value).map_err(|damage| LoadError::Damaged {
                what: "the log's head",
                group: id,
                index: 0,
                damage,
            })?;
            let (group, stale, garbage) = Group::load(shared.db(), id, head)?;
            for key in stale {
                writer.set.remove(key, SMALL);
            }
            if garbage {
                writer.garbage.insert(id);
            }
            writer.groups.insert(id, group);
            writer.publish(id, false);
        }
        if let Some(group) = record::group_beside(shared.db(), &writer.groups).map_err(LoadError::from)? {
            return Err(LoadError::Damaged {
                what: "the log's head",
                group,
                index: 0,
                damage: Damage::Missing,
            }
            .into());
        }
        for id in writer.groups.keys().copied().collect::<Vec<_>>() {
            writer.drop_unfinished(id)?;
        }
        writer.finish_batches()?;
        Ok(writer)
    }

    /// Removes keys that belong to nothing any more, and makes what the database holds durable, unconditionally: a process
    /// that was killed may have left data that only the page cache holds, and from here on it counts as stored.
    pub(crate) fn finish_open(&mut self, stale: Vec<Vec<u8>>) -> Result<(), StorageError> {
        for key in stale {
            // Mostly chunks of snapshots.
            self.set.remove(key, self.shared.limits.part_bytes);
            self.batch_if_full()?;
        }
        self.finish_batches()?;
        self.flush()?;
        self.shared.sync()?;
        self.barrier_at = self.shared.position();
        Ok(())
    }

    /// Removes the entries of an append that a crash cut short, and of a truncation that it cut short.
    fn drop_unfinished(&mut self, id: u64) -> Result<(), OpenFailure> {
        use openraft_adapters::engine::LogIdOptionExt;
        let shared = self.shared.clone();
        let end = self.groups[&id].head.last.next_index();
        if record::last(shared.db(), id).map_err(LoadError::from)?.is_none() {
            return Ok(());
        }
        // Only the last record of the log can reach beyond its end.
        self.groups[&id]
            .cut_record(shared.db(), end, &shared.limits, &mut self.set)
            .map_err(|source| LoadError::Record { group: id, source })?;
        self.remove_records(id, end)?;
        Ok(())
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        loop {
            match self.shared.queue.take(ROUND_BYTES, ROUND_SUBMISSIONS, !self.garbage.is_empty()) {
                Taken::Submissions(submissions) => self.guarded(submissions),
                Taken::Idle => self.guarded(Vec::new()),
                Taken::Closed => return,
            }
        }
    }

    /// One round; whatever ends it, every completion is fired.
    fn guarded(&mut self, submissions: Vec<Submission<C>>) {
        let count = submissions.len();
        let mut completions = Vec::with_capacity(count);
        let mut work = Vec::with_capacity(count);
        for submission in submissions {
            completions.extend(submission.flushed);
            work.push((submission.group, submission.work));
        }
        let result = self.unless_failed(|writer| writer.round(work));
        if result.is_err() {
            self.shared.queue.applied(count);
        }
        for completion in completions {
            let outcome = result.clone().map(|_| ());
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| completion.done(outcome))) {
                tracing::error!(panic = panicked(&*panic), "the completion of a write panicked");
            }
        }
        if let Ok(written) = result {
            // Nobody waits for this one, so no barrier ends it, unless sled's log runs ahead.
            let budget = self.shared.limits.batch_bytes as u64 + 2 * written;
            // A failure is remembered by the queue and met by the next round.
            let _ = self.unless_failed(|writer| writer.remove_garbage(budget));
        }
    }

    /// Carries out `step` if nothing has failed yet; its failure is the store's.
    fn unless_failed<R>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<R, StorageError>,
    ) -> Result<R, StorageError> {
        if let Some(cause) = self.shared.queue.failure() {
            return Err(cause);
        }
        // sled reports most failures of the disk as errors, and a few by panicking.
        let result = catch_unwind(AssertUnwindSafe(|| step(self)))
            .unwrap_or_else(|panic| Err(StorageError::message(self.action(), panicked(&*panic))));
        if let Err(cause) = &result {
            tracing::error!(dir = %self.shared.dir.display(), %cause, "the store has failed and stops writing");
            self.garbage.clear();
            self.shared.queue.fail(cause);
        }
        result
    }

    /// Returns how many bytes it handed to sled.
    fn round(&mut self, work: Vec<(u64, Work<C>)>) -> Result<u64, StorageError> {
        let count = work.len();
        let written = self.shared.counters.read().payload_bytes;
        for (id, work) in work {
            self.carry_out(id, work)?;
        }
        self.complete_batches()?;
        // Readers need sled's memory only, not the disk.
        self.shared.queue.applied(count);
        self.barrier()?;
        let counters = &self.shared.counters;
        Counters::add(&counters.submissions, count as u64);
        Counters::add(&counters.rounds, 1);
        Ok(self.shared.counters.read().payload_bytes - written)
    }

    fn carry_out(&mut self, id: u64, work: Work<C>) -> Result<(), StorageError> {
        match work {
            Work::Vote(vote) => {
                self.group(id).save_vote(vote);
                self.dirty.insert(id);
            }
            Work::Committed(committed) => {
                self.group(id).head.committed = Some(committed);
                self.dirty.insert(id);
            }
            Work::Append(entries) => self.append(id, &entries)?,
            Work::Truncate(since) => self.truncate(id, since)?,
            Work::Purge(upto) => {
                self.complete_batches()?;
                let shared = self.shared.clone();
                let mut set = mem::take(&mut self.set);
                let purged = self.group(id).purge(shared.db(), upto, &shared.limits, &mut set);
                self.set = set;
                if purged.map_err(|e| shared.read_failed(format_args!("the log of group {id}"), e))? {
                    self.publish(id, true);
                    self.finish_batches()?;
                    self.garbage.insert(id);
                }
            }
            Work::Keys(writes) => {
                if self.set.bytes > self.shared.limits.batch_bytes / 2 {
                    self.finish_batches()?;
                }
                for (key, value) in writes {
                    match value {
                        Some(value) => self.set.put(key, value),
                        // Mostly a chunk of a snapshot.
                        None => self.set.remove(key, self.shared.limits.part_bytes),
                    }
                }
                self.batch_if_full()?;
            }
        }
        Ok(())
    }

    fn group(&mut self, id: u64) -> &mut Group<C> {
        self.groups.entry(id).or_insert_with(|| {
            let group = Group::new(id);
            // Before any record of it: records without a head are damage, not the beginning of an append.
            group.write_head(&mut self.set);
            group
        })
    }

    fn append(&mut self, id: u64, entries: &EntryRange<C>) -> Result<(), StorageError> {
        self.group(id).check_append(entries)?;
        let Some(last) = entries.last_log_id() else { return Ok(()) };
        let limits = self.shared.limits;
        let mut group = self.groups.remove(&id).expect("just looked at");
        group.index_entries(entries, &limits, &mut self.set);
        let mut index = entries.first_index().expect("not empty");
        let result = (|| {
            for piece in entries.encoded() {
                let mut rest = &piece[..];
                while let Some(len) = record::entry_len(rest) {
                    let (entry, next) = rest.split_at(len);
                    if let Some(run) = group.push_entry(index, entry, &limits) {
                        self.write_run(id, &run)?;
                    }
                    (index, rest) = (index + 1, next);
                }
            }
            Ok(())
        })();
        group.appended(last, entries.weight());
        self.groups.insert(id, group);
        self.dirty.insert(id);
        result
    }

    /// Writes entries as a record; a large entry may take several batches.
    fn write_run(&mut self, id: u64, run: &Run) -> Result<(), StorageError> {
        let part_bytes = self.shared.limits.part_bytes;
        for (key, value) in record::encode(id, run.first, run.count, &run.bytes, part_bytes) {
            self.set.put(key, value);
            self.batch_if_full()?;
        }
        Ok(())
    }

    fn truncate(&mut self, id: u64, since: u64) -> Result<(), StorageError> {
        if !self.group(id).check_truncate(since)? {
            return Ok(());
        }
        self.complete_batches()?;
        let shared = self.shared.clone();
        let mut set = mem::take(&mut self.set);
        let cut = self.group(id).truncate(shared.db(), since, &shared.limits, &mut set);
        self.set = set;
        cut.map_err(|e| shared.read_failed(format_args!("the log of group {id}, to truncate it"), e))?;
        self.publish(id, true);
        self.finish_batches()?;
        // At once, for the next append takes the same keys.
        self.remove_records(id, since)
    }

    /// Removes the records that begin at `since` or behind.
    fn remove_records(&mut self, id: u64, since: u64) -> Result<(), StorageError> {
        let shared = self.shared.clone();
        loop {
            let range = format::record(id, since, 0)..format::record(id, u64::MAX, u64::MAX);
            let keys = removable(shared.db(), range, &shared.limits).map_err(|e| self.failed(&e))?;
            if keys.is_empty() {
                return Ok(());
            }
            for (key, len) in keys {
                self.set.remove(key, len);
            }
            self.finish_batches()?;
        }
    }

    /// Removes records before purge points, about `budget` bytes of them: a long purge must not hold up the appends
    /// behind it, and steady appends must not hold up the purge for ever.
    fn remove_garbage(&mut self, budget: u64) -> Result<(), StorageError> {
        use openraft_adapters::engine::LogIdOptionExt;
        let shared = self.shared.clone();
        let mut removed = 0;
        while removed < budget {
            // Group by group in turn, so that none waits for another's end.
            let after = self.garbage.range(self.garbage_turn..).next().or(self.garbage.first());
            let Some(id) = after.copied() else { return Ok(()) };
            self.garbage_turn = id.wrapping_add(1);
            let first = self.groups[&id].head.purged.next_index();
            let range = format::record_prefix(id)..format::record(id, first, 0);
            let keys = removable(shared.db(), range, &shared.limits).map_err(|e| self.failed(&e))?;
            if keys.is_empty() {
                self.garbage.remove(&id);
                continue;
            }
            for (key, len) in keys {
                removed += len as u64 + 64;
                self.set.remove(key, len);
            }
            self.finish_batches()?;
        }
        Ok(())
    }

    // ---- batches

    /// Applies everything: runs become records, and heads follow them.
    fn complete_batches(&mut self) -> Result<(), StorageError> {
        let dirty = mem::take(&mut self.dirty);
        for id in &dirty {
            if let Some(run) = self.group(*id).take_run() {
                self.write_run(*id, &run)?;
            }
        }
        for id in &dirty {
            self.groups[id].write_head(&mut self.set);
        }
        self.finish_batches()?;
        for id in dirty {
            self.publish(id, false);
        }
        Ok(())
    }

    fn batch_if_full(&mut self) -> Result<(), StorageError> {
        if self.set.is_full(&self.shared.limits) { self.finish_batches() } else { Ok(()) }
    }

    /// Applies what has gathered as one atomic batch.
    fn finish_batches(&mut self) -> Result<(), StorageError> {
        let set = mem::take(&mut self.set);
        if set.writes.is_empty() {
            return Ok(());
        }
        let counters = &self.shared.counters;
        Counters::add(&counters.batches, 1);
        Counters::add(&counters.payload_bytes, set.bytes as u64);
        let mut batch = sled::Batch::default();
        for (key, value) in set.writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        self.shared.db().apply_batch(batch).map_err(|e| self.failed(&e))?;
        self.flush()?;
        if self.shared.position().saturating_sub(self.barrier_at) > self.shared.limits.barrier_bytes {
            self.barrier()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.shared.db().flush().map_err(|e| self.failed(&e))?;
        Ok(())
    }

    /// Makes everything applied so far survive a power cut.
    fn barrier(&mut self) -> Result<(), StorageError> {
        let position = self.shared.position();
        if position == self.barrier_at {
            return Ok(());
        }
        self.shared.sync()?;
        let counters = &self.shared.counters;
        let grown = position.saturating_sub(self.barrier_at);
        Counters::add(&counters.barriers, 1);
        Counters::add(&counters.log_bytes, grown);
        counters.log_bytes_between_barriers_max.fetch_max(grown, std::sync::atomic::Ordering::Relaxed);
        if grown > self.shared.limits.segment_bytes {
            tracing::warn!(grown, "one batch made sled write more than a segment before a barrier");
        }
        self.barrier_at = position;
        Ok(())
    }

    /// Lets readers see the group's bounds.
    fn publish(&self, id: u64, cut: bool) {
        let view = self.shared.view(id);
        let mut view = locked(&view);
        let head = &self.groups[&id].head;
        view.version += u64::from(cut);
        (view.purged, view.last) = (head.purged, head.last);
    }

    fn action(&self) -> String {
        format!("writing to {}", self.shared.file())
    }

    fn failed(&self, cause: &sled::Error) -> StorageError {
        StorageError::new(self.action(), cause)
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", words.unwrap_or("without a message"))
}

/// Why the groups could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Write(#[from] StorageError),
}
