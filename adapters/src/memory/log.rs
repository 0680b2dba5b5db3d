//! The content of one log as a value: what a list of submissions makes of it, and nothing about when it is durable.

use std::collections::VecDeque;
use std::ops::Range;

use openraft_engine::{LogIdOptionExt, RaftEntry};

use crate::{
    EntryRange, LogIdOf, LogState, RaftTypeConfig, ReadError, SavedVoteOf, StorageError, StoredMembershipOf,
};

/// One write to the log.
pub(super) enum Submission<C: RaftTypeConfig> {
    SaveVote(SavedVoteOf<C>),
    Append(EntryRange<C>),
    Truncate(u64),
    Purge(LogIdOf<C>),
}

/// What a log holds. Entries stay in the ranges in which they came; cutting a range copies no entry.
pub(super) struct Log<C: RaftTypeConfig> {
    vote: SavedVoteOf<C>,
    purged: Option<LogIdOf<C>>,
    /// Ascending and without gaps, beginning after `purged`; none is empty.
    parts: VecDeque<EntryRange<C>>,
    /// The first entry of each leader id after `purged`.
    leader_starts: VecDeque<LogIdOf<C>>,
    /// Every membership stated after `purged`: a truncation may take the last ones away.
    memberships: VecDeque<StoredMembershipOf<C>>,
    committed: Option<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Default for Log<C> {
    fn default() -> Self {
        Self {
            vote: SavedVoteOf::<C>::default(),
            purged: None,
            parts: VecDeque::new(),
            leader_starts: VecDeque::new(),
            memberships: VecDeque::new(),
            committed: None,
        }
    }
}

impl<C: RaftTypeConfig> Clone for Log<C> {
    fn clone(&self) -> Self {
        Self {
            vote: self.vote,
            purged: self.purged,
            parts: self.parts.clone(),
            leader_starts: self.leader_starts.clone(),
            memberships: self.memberships.clone(),
            committed: self.committed,
        }
    }
}

impl<C: RaftTypeConfig> Log<C> {
    pub(super) fn state(&self) -> LogState<C> {
        let skip = self.memberships.len().saturating_sub(2);
        LogState {
            vote: self.vote,
            purged: self.purged,
            last_log_id: self.last_log_id(),
            leader_starts: self.leader_starts.iter().copied().collect(),
            memberships: self.memberships.iter().skip(skip).cloned().collect(),
            committed: self.committed,
            log_bytes: self.parts.iter().map(EntryRange::weight).sum(),
        }
    }

    pub(super) fn save_committed(&mut self, committed: LogIdOf<C>) {
        self.committed = Some(committed);
    }

    /// Carries out one write. One that the contract forbids is refused and changes nothing.
    pub(super) fn carry_out(&mut self, submission: Submission<C>) -> Result<(), StorageError> {
        match submission {
            Submission::SaveVote(vote) => self.vote = vote,
            Submission::Append(entries) => self.append(entries)?,
            Submission::Truncate(since) => self.truncate(since)?,
            Submission::Purge(upto) => self.purge(upto),
        }
        Ok(())
    }

    pub(super) fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Result<EntryRange<C>, ReadError> {
        if indexes.is_empty() {
            return Ok(EntryRange::empty());
        }
        let (first, end) = (self.purged.next_index(), self.last_log_id().next_index());
        if indexes.start < first {
            return Err(ReadError::Compacted { wanted: indexes.start, first });
        }
        if indexes.end > end {
            return Err(ReadError::Storage(StorageError::message(
                format!("reading entries {indexes:?}"),
                format!("the log holds {:?}", first..end),
            )));
        }
        let begin = self.parts.partition_point(|part| part.end_index() <= Some(indexes.start));
        let mut run = EntryRange::empty();
        let mut weight = 0;
        for part in self.parts.range(begin..) {
            if part.first_index() >= Some(indexes.end) || weight > max_bytes {
                break;
            }
            let piece = part.slice(indexes.clone());
            weight += piece.weight();
            run.push(piece);
        }
        Ok(if weight > max_bytes { run.limit(max_bytes) } else { run })
    }

    /// Whether the log holds an entry at `index`.
    pub(super) fn holds(&self, index: u64) -> bool {
        (self.purged.next_index()..self.last_log_id().next_index()).contains(&index)
    }

    fn last_log_id(&self) -> Option<LogIdOf<C>> {
        self.parts.back().and_then(EntryRange::last_log_id).or(self.purged)
    }

    fn append(&mut self, entries: EntryRange<C>) -> Result<(), StorageError> {
        let Some(first) = entries.first_index() else { return Ok(()) };
        let next = self.last_log_id().next_index();
        if first != next {
            return Err(StorageError::message(
                format!("appending {entries:?}"),
                format!("the next entry must have index {next}"),
            ));
        }
        let mut leader = self.leader_starts.back().and_then(|_| self.last_log_id()).map(|id| id.leader_id);
        for entry in entries.iter() {
            if leader != Some(entry.log_id.leader_id) {
                leader = Some(entry.log_id.leader_id);
                self.leader_starts.push_back(entry.log_id);
            }
            if let Some(membership) = entry.membership() {
                self.memberships.push_back(StoredMembershipOf::<C>::new(entry.log_id, membership.clone()));
            }
        }
        self.parts.push_back(entries);
        Ok(())
    }

    fn truncate(&mut self, since: u64) -> Result<(), StorageError> {
        let first = self.purged.next_index();
        if since < first {
            return Err(StorageError::message(
                format!("truncating the log from {since} on"),
                format!("the entries before {first} are purged"),
            ));
        }
        while let Some(part) = self.parts.pop_back() {
            let kept = part.slice(0..since);
            if !kept.is_empty() {
                self.parts.push_back(kept);
                break;
            }
        }
        while self.leader_starts.back().is_some_and(|id| id.index >= since) {
            self.leader_starts.pop_back();
        }
        while self.memberships.back().is_some_and(|m| m.log_id.next_index() > since) {
            self.memberships.pop_back();
        }
        Ok(())
    }

    fn purge(&mut self, upto: LogIdOf<C>) {
        let first = upto.index + 1;
        if first <= self.purged.next_index() {
            return;
        }
        while let Some(part) = self.parts.pop_front() {
            let kept = part.slice(first..u64::MAX);
            if !kept.is_empty() {
                self.parts.push_front(kept);
                break;
            }
        }
        // The leader in whose run the log begins now: its first entry *here* is the log's first entry.
        while self.leader_starts.front().is_some_and(|id| id.index < first) {
            self.leader_starts.pop_front();
        }
        let log_begins = self.parts.front().and_then(EntryRange::first_log_id);
        if let Some(begin) = log_begins.filter(|id| self.leader_starts.front() != Some(id)) {
            self.leader_starts.push_front(begin);
        }
        while self.memberships.front().is_some_and(|m| m.log_id.next_index() <= first) {
            self.memberships.pop_front();
        }
        self.purged = Some(upto);
    }
}

impl<C: RaftTypeConfig> Clone for Submission<C> {
    fn clone(&self) -> Self {
        match self {
            Submission::SaveVote(vote) => Submission::SaveVote(*vote),
            Submission::Append(entries) => Submission::Append(entries.clone()),
            Submission::Truncate(since) => Submission::Truncate(*since),
            Submission::Purge(upto) => Submission::Purge(*upto),
        }
    }
}
