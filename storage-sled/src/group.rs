//! One group's log as the writer knows it, and what each submission changes in sled.
//!
//! The *head* (vote, last entry, purge point, hint) is one small value per group, and it decides: what lies behind its
//! last entry or before its purge point is not part of the log, whether it has been removed from sled yet or not. An
//! append that needs several atomic batches writes its head with the last one; a truncation or a purge writes it with the
//! first one and removes afterwards. So after a crash between any two batches the log is what it was before that
//! submission or what it became, and opening removes what is left over.

use std::collections::BTreeMap;

use openraft_adapters::engine::{LogIdOptionExt, RaftEntry};
use openraft_adapters::{EntryRange, LogIdOf, RaftTypeConfig, SavedVoteOf, StorageError};
use serde::{Deserialize, Serialize};

use crate::format::{self, Damage};
use crate::record::{self, RecordError};
use crate::shared::Limits;

/// The keys that one atomic batch changes. A later change of a key replaces the earlier one.
#[derive(Default)]
pub(crate) struct WriteSet {
    pub(crate) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Of keys and values, those replaced since included, and those removed: taking a value away rewrites its neighbours
    /// in sled's tree as much as putting it there did.
    pub(crate) bytes: usize,
}

impl WriteSet {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.insert(key, Some(value));
    }

    /// Removes a key whose value has about `len` bytes.
    pub(crate) fn remove(&mut self, key: Vec<u8>, len: usize) {
        self.bytes += key.len() + len;
        self.writes.insert(key, None);
    }

    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.bytes >= limits.batch_bytes || self.writes.len() >= limits.batch_keys
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Head<C: RaftTypeConfig> {
    pub(crate) vote: SavedVoteOf<C>,
    pub(crate) purged: Option<LogIdOf<C>>,
    /// The last entry, or `purged` if there is none after it.
    pub(crate) last: Option<LogIdOf<C>>,
    pub(crate) committed: Option<LogIdOf<C>>,
    /// About what the entries weigh: an append adds its weight, a truncation or a purge takes its share by the number of
    /// entries, so that neither has to read any.
    pub(crate) log_bytes: u64,
}

impl<C: RaftTypeConfig> Default for Head<C> {
    fn default() -> Self {
        Self { vote: SavedVoteOf::<C>::default(), purged: None, last: None, committed: None, log_bytes: 0 }
    }
}

pub(crate) struct Group<C: RaftTypeConfig> {
    group: u64,
    /// After the last complete submission.
    pub(crate) head: Head<C>,
    /// The first entry of each leader id after the purge point.
    starts: BTreeMap<u64, LogIdOf<C>>,
    /// Where memberships are stated after the purge point, and in how many parts each is stored.
    memberships: BTreeMap<u64, u64>,
    /// Entries that are in no record yet.
    run: Run,
}

/// Consecutive encoded entries: what becomes one record.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) bytes: Vec<u8>,
}

/// About the size of a value that is neither a record nor a chunk.
pub(crate) const SMALL: usize = 64;

fn refused(action: String, reason: impl ToString) -> StorageError {
    StorageError::message(action, reason)
}

impl<C: RaftTypeConfig> Group<C> {
    pub(crate) fn new(group: u64) -> Self {
        Self {
            group,
            head: Head::default(),
            starts: BTreeMap::new(),
            memberships: BTreeMap::new(),
            run: Run::default(),
        }
    }

    /// The group whose head is `head`, from sled. What does not belong to the log goes into the returned lists: keys to
    /// remove at once, and whether there are records before the purge point.
    pub(crate) fn load(
        db: &sled::Db,
        group: u64,
        head: Head<C>,
    ) -> Result<(Self, Vec<Vec<u8>>, bool), LoadError> {
        let mut loaded = Self { head, ..Self::new(group) };
        let held = head.purged.next_index()..head.last.next_index();
        let mut stale = Vec::new();
        for item in db.scan_prefix(format::leader_start_prefix(group)) {
            let (key, value) = item?;
            let index = format::number(&key, 1).unwrap_or(u64::MAX);
            if held.contains(&index) {
                let start = format::unseal_value(&key, &value).map_err(|damage| LoadError::Damaged {
                    what: "a leader's first entry",
                    group,
                    index,
                    damage,
                })?;
                loaded.starts.insert(index, start);
            } else {
                stale.push(key.to_vec());
            }
        }
        for item in db.scan_prefix(format::membership_prefix(group)) {
            let key = item?.0;
            let index = format::number(&key, 1).unwrap_or(u64::MAX);
            if held.contains(&index) {
                *loaded.memberships.entry(index).or_default() += 1;
            } else {
                stale.push(key.to_vec());
            }
        }
        let before = db.range(format::record_prefix(group)..format::record(group, held.start, 0));
        let garbage = before.keys().next().transpose()?.is_some();
        Ok((loaded, stale, garbage))
    }

    pub(crate) fn save_vote(&mut self, vote: SavedVoteOf<C>) {
        self.head.vote = vote;
    }

    pub(crate) fn write_head(&self, set: &mut WriteSet) {
        let key = format::head(self.group);
        let value = format::seal_value(&key, &self.head);
        set.put(key, value);
    }

    // ---- append

    /// Checks that `entries` may be appended.
    pub(crate) fn check_append(&self, entries: &EntryRange<C>) -> Result<(), StorageError> {
        let next = self.head.last.next_index();
        match entries.first_index() {
            Some(first) if first != next => Err(refused(
                format!("appending {entries:?} to the log of group {}", self.group),
                format!("the next entry must have index {next}"),
            )),
            _ => Ok(()),
        }
    }

    /// Notes leaders and memberships of `entries`.
    pub(crate) fn index_entries(&mut self, entries: &EntryRange<C>, limits: &Limits, set: &mut WriteSet) {
        let mut leader = self.starts.last_key_value().map(|(_, id)| id.leader_id);
        for entry in entries.iter() {
            let log_id = entry.log_id;
            if leader != Some(log_id.leader_id) {
                leader = Some(log_id.leader_id);
                self.put_start(log_id, set);
            }
            if let Some(membership) = entry.membership() {
                let encoded = format::encode(&(log_id, membership));
                let key = |part| format::membership(self.group, log_id.index, part);
                let mut parts = 0;
                for (key, value) in format::seal_parts(&encoded, limits.part_bytes, key) {
                    set.put(key, value);
                    parts += 1;
                }
                self.memberships.insert(log_id.index, parts);
            }
        }
    }

    fn put_start(&mut self, log_id: LogIdOf<C>, set: &mut WriteSet) {
        self.starts.insert(log_id.index, log_id);
        let key = format::leader_start(self.group, log_id.index);
        let value = format::seal_value(&key, &log_id);
        set.put(key, value);
    }

    /// Takes one encoded entry into the run. Returns the run before it, to be written as a record, if the entry no longer
    /// fits.
    pub(crate) fn push_entry(&mut self, index: u64, encoded: &[u8], limits: &Limits) -> Option<Run> {
        let full = self.run.bytes.len() + encoded.len() > limits.part_bytes;
        let before = if full { self.take_run() } else { None };
        if self.run.count == 0 {
            self.run.first = index;
        }
        debug_assert_eq!(index, self.run.first + u64::from(self.run.count), "a run has no gap");
        self.run.bytes.extend_from_slice(encoded);
        self.run.count += 1;
        before
    }

    /// The entries that are in no record yet.
    pub(crate) fn take_run(&mut self) -> Option<Run> {
        (self.run.count > 0).then(|| std::mem::take(&mut self.run))
    }

    /// The append of entries up to `last`, which weigh `bytes`, is complete.
    pub(crate) fn appended(&mut self, last: LogIdOf<C>, bytes: u64) {
        self.head.last = Some(last);
        self.head.log_bytes = self.head.log_bytes.saturating_add(bytes);
    }

    /// Of the entries only those of `kept` stay.
    fn keep_share(&mut self, kept: std::ops::Range<u64>) {
        let held = self.head.last.next_index() - self.head.purged.next_index();
        let share = u128::from(self.head.log_bytes) * u128::from(kept.end.saturating_sub(kept.start))
            / u128::from(held.max(1));
        self.head.log_bytes = u64::try_from(share).unwrap_or(self.head.log_bytes);
    }

    // ---- truncate and purge; all runs are written and applied

    /// Whether a truncation from `since` on changes anything.
    ///
    /// # Errors
    /// If it reaches into what was purged.
    pub(crate) fn check_truncate(&self, since: u64) -> Result<bool, StorageError> {
        let first = self.head.purged.next_index();
        if since < first {
            return Err(refused(
                format!("truncating the log of group {} from {since} on", self.group),
                format!("the entries before {first} are purged"),
            ));
        }
        Ok(since < self.head.last.next_index())
    }

    /// Cuts the log before `since`. The records from there on are still to be removed.
    pub(crate) fn truncate(
        &mut self,
        db: &sled::Db,
        since: u64,
        limits: &Limits,
        set: &mut WriteSet,
    ) -> Result<(), RecordError> {
        self.cut_record(db, since, limits, set)?;
        self.keep_share(self.head.purged.next_index()..since);
        let before = since.checked_sub(1).filter(|index| Some(*index) != self.head.purged.index());
        self.head.last =
            match before.and_then(|index| Some((index, self.starts.range(..=index).next_back()?.1))) {
                Some((index, start)) => Some(LogIdOf::<C> { index, ..*start }),
                None => self.head.purged,
            };
        for index in self.starts.split_off(&since).into_keys() {
            set.remove(format::leader_start(self.group, index), SMALL);
        }
        for (index, parts) in self.memberships.split_off(&since) {
            self.remove_membership(index, parts, set);
        }
        self.write_head(set);
        Ok(())
    }

    /// Rewrites the record that holds entries on both sides of `since` without those from `since` on.
    pub(crate) fn cut_record(
        &self,
        db: &sled::Db,
        since: u64,
        limits: &Limits,
        set: &mut WriteSet,
    ) -> Result<(), RecordError> {
        let Some(first) = record::locate(db, self.group, since)?.filter(|first| *first < since) else {
            return Ok(());
        };
        let record = record::load(db, self.group, first)?;
        if since < record.end() {
            let (kept, _) = record.split(since)?;
            let count = (since - first) as u32;
            for (key, value) in record::encode(self.group, first, count, kept, limits.part_bytes) {
                set.put(key, value);
            }
        }
        Ok(())
    }

    /// Drops what lies up to `upto`. The records before are still to be removed. Returns whether anything changed.
    pub(crate) fn purge(
        &mut self,
        db: &sled::Db,
        upto: LogIdOf<C>,
        limits: &Limits,
        set: &mut WriteSet,
    ) -> Result<bool, RecordError> {
        let first = upto.index + 1;
        if first <= self.head.purged.next_index() {
            return Ok(false);
        }
        if first < self.head.last.next_index() {
            self.move_record(db, first, limits, set)?;
            self.keep_share(first..self.head.last.next_index());
            // The leader in whose run the log begins now: its first entry *here* is the log's first entry.
            let (_, start) = self.starts.range(..=first).next_back().expect("every entry has a leader");
            let start = LogIdOf::<C> { index: first, ..*start };
            self.put_start(start, set);
        } else {
            self.head.last = Some(upto);
            self.head.log_bytes = 0;
        }
        let kept = self.starts.split_off(&first);
        for index in std::mem::replace(&mut self.starts, kept).into_keys() {
            set.remove(format::leader_start(self.group, index), SMALL);
        }
        let kept = self.memberships.split_off(&first);
        for (index, parts) in std::mem::replace(&mut self.memberships, kept) {
            self.remove_membership(index, parts, set);
        }
        self.head.purged = Some(upto);
        self.write_head(set);
        Ok(true)
    }

    /// Writes the entries from `first` on of the record that holds entries on both sides of it as a record of their own.
    fn move_record(
        &self,
        db: &sled::Db,
        first: u64,
        limits: &Limits,
        set: &mut WriteSet,
    ) -> Result<(), RecordError> {
        let Some(begin) = record::locate(db, self.group, first)?.filter(|begin| *begin < first) else {
            return Ok(());
        };
        let record = record::load(db, self.group, begin)?;
        if first < record.end() {
            let (_, kept) = record.split(first)?;
            let count = (record.end() - first) as u32;
            for (key, value) in record::encode(self.group, first, count, kept, limits.part_bytes) {
                set.put(key, value);
            }
        }
        Ok(())
    }

    fn remove_membership(&self, index: u64, parts: u64, set: &mut WriteSet) {
        for part in 0..parts {
            set.remove(format::membership(self.group, index, part), SMALL);
        }
    }
}

/// The first keys in `range`, with the lengths of their values: as many as one atomic batch may remove.
pub(crate) fn removable(
    db: &sled::Db,
    range: std::ops::Range<Vec<u8>>,
    limits: &Limits,
) -> Result<Vec<(Vec<u8>, usize)>, sled::Error> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for item in db.range(range) {
        let (key, value) = item?;
        bytes += key.len() + value.len();
        found.push((key.to_vec(), value.len()));
        if bytes >= limits.batch_bytes || found.len() >= limits.batch_keys {
            break;
        }
    }
    Ok(found)
}

/// Why a group's log could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("{what} of group {group}, index {index}: {damage}")]
    Damaged { what: &'static str, group: u64, index: u64, damage: Damage },
    #[error("the database fails: {0}")]
    Sled(#[from] sled::Error),
    #[error("group {group}: {source}")]
    Record { group: u64, source: RecordError },
}
