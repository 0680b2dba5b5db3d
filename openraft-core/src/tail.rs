//! `Tail`: the recent end of the log, kept once in memory and shared by storage, followers and apply.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_adapters::{EntryRange, LogIdOf, RaftTypeConfig};
use openraft_replication::TailReader;

use crate::budget::Budget;

/// The recent entries. What is not flushed must stay. What is flushed and not applied stays and is held, unless room
/// must be made; what is both stays as long as there is room, so that followers which are a little behind need no disk.
pub(crate) struct Tail<C: RaftTypeConfig> {
    budget: Arc<Budget>,
    inner: Mutex<Inner<C>>,
}

struct Inner<C: RaftTypeConfig> {
    /// Runs that follow one another without a gap.
    parts: VecDeque<EntryRange<C>>,
    /// What all of `parts` weighs.
    weight: u64,
    /// Entries before this mark are flushed, and applied or given up: they may leave. Those behind it are held in the
    /// budget.
    settled: Mark,
    /// Entries before this mark are committed.
    committed: Mark,
    /// Entries before this mark are applied.
    applied: Mark,
    /// The last entry purged from the log.
    purged: Option<LogIdOf<C>>,
}

/// A place in the log, and what the entries in memory from there on weigh.
#[derive(Clone, Copy)]
struct Mark {
    index: u64,
    behind: u64,
}

/// What the parts of `indexes` weigh.
fn weight_of<C: RaftTypeConfig>(part: &EntryRange<C>, indexes: Range<u64>) -> u64 {
    if indexes.start <= part.first_index().unwrap_or(0) && part.end_index() <= Some(indexes.end) {
        return part.weight();
    }
    part.slice(indexes).weight()
}

impl<C: RaftTypeConfig> Inner<C> {
    fn marks(&mut self) -> [&mut Mark; 3] {
        [&mut self.settled, &mut self.committed, &mut self.applied]
    }

    /// What the entries here from `from` to `to` weigh.
    fn weight_between(&self, from: u64, to: u64) -> u64 {
        self.overlapping(from..to).map(|part| weight_of(part, from..to)).sum()
    }

    fn first(&self) -> Option<u64> {
        self.parts.front().and_then(EntryRange::first_index)
    }

    fn end(&self) -> Option<u64> {
        self.parts.back().and_then(EntryRange::end_index)
    }

    /// The parts that overlap `indexes`.
    fn overlapping(&self, indexes: Range<u64>) -> impl Iterator<Item = &EntryRange<C>> {
        let from = self.parts.partition_point(|part| part.end_index().unwrap_or(0) <= indexes.start);
        self.parts
            .range(from..)
            .take_while(move |part| part.first_index().is_some_and(|first| first < indexes.end))
    }

    /// Drops the oldest settled parts while everything weighs more than `limit`.
    fn evict(&mut self, limit: u64) {
        while self.weight > limit {
            let Some(oldest) = self.parts.front() else { return };
            if oldest.end_index().is_none_or(|end| end > self.settled.index) {
                return;
            }
            let Some(gone) = self.parts.pop_front() else { return };
            self.weight -= gone.weight();
            // Where room was made, what leaves may be undecided yet.
            for mark in [&mut self.committed, &mut self.applied] {
                mark.behind -= weight_of(&gone, mark.index..u64::MAX);
            }
        }
    }
}

impl<C: RaftTypeConfig> Tail<C> {
    /// An empty tail behind the entry before index `end`.
    pub(crate) fn new(budget: Arc<Budget>, end: u64, purged: Option<LogIdOf<C>>) -> Self {
        let settled = Mark { index: end, behind: 0 };
        let undecided = Mark { index: 0, behind: 0 };
        let (parts, weight) = (VecDeque::new(), 0);
        let inner = Inner { parts, weight, settled, committed: undecided, applied: undecided, purged };
        Self { budget, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds entries that follow; their weight is already held in the budget.
    pub(crate) fn push(&self, entries: EntryRange<C>) {
        let mut inner = self.lock();
        debug_assert!(
            inner.end().is_none_or(|end| entries.first_index() == Some(end)),
            "the tail has no gap"
        );
        let weight = entries.weight();
        inner.weight += weight;
        for mark in inner.marks() {
            mark.behind += weight;
        }
        inner.parts.push_back(entries);
        inner.evict(self.budget.limit());
    }

    /// Entries before `end` are flushed, and nobody needs them in memory: they may leave, and no longer count as held.
    pub(crate) fn settle(&self, end: u64) {
        let mut inner = self.lock();
        if end <= inner.settled.index {
            return;
        }
        let released = inner.weight_between(inner.settled.index, end);
        inner.settled = Mark { index: end, behind: inner.settled.behind - released };
        self.budget.release(released);
        inner.evict(self.budget.limit());
    }

    /// Entries before `committed` are committed, and those before `applied` are applied.
    pub(crate) fn decided(&self, committed: u64, applied: u64) {
        let mut inner = self.lock();
        if committed > inner.committed.index {
            let newly = inner.weight_between(inner.committed.index, committed);
            inner.committed = Mark { index: committed, behind: inner.committed.behind - newly };
        }
        if applied > inner.applied.index {
            let newly = inner.weight_between(inner.applied.index, applied);
            inner.applied = Mark { index: applied, behind: inner.applied.behind - newly };
        }
    }

    /// What the entries here weigh that are not committed, and those that are committed and not applied.
    pub(crate) fn undecided(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.committed.behind, inner.applied.behind.saturating_sub(inner.committed.behind))
    }

    /// The log now ends before `since`.
    pub(crate) fn truncate(&self, since: u64) {
        let mut inner = self.lock();
        let mut gone = 0;
        let (end, released) = (inner.end().unwrap_or(since), inner.settled.behind);
        let lost =
            inner.marks().map(|mark| mark.index.max(since)).map(|from| inner.weight_between(from, end));
        for (mark, lost) in inner.marks().into_iter().zip(lost) {
            mark.behind -= lost;
        }
        let released = released - inner.settled.behind;
        while inner.parts.back().is_some_and(|last| last.end_index() > Some(since)) {
            let last = inner.parts.pop_back().expect("just seen");
            let stays = last.slice(0..since);
            gone += last.weight() - stays.weight();
            if !stays.is_empty() {
                inner.parts.push_back(stays);
            }
        }
        inner.weight -= gone;
        // What is settled was given back when it was.
        self.budget.release(released);
        inner.settled.index = inner.settled.index.min(since);
    }

    /// The log begins after `upto` now. If a snapshot replaced it, the tail is empty.
    pub(crate) fn purge(&self, upto: LogIdOf<C>, log_end: u64) {
        let mut inner = self.lock();
        inner.purged = Some(upto);
        if log_end == upto.index + 1 {
            let released = inner.settled.behind;
            inner.parts.clear();
            inner.weight = 0;
            for mark in inner.marks() {
                *mark = Mark { index: mark.index.max(log_end), behind: 0 };
            }
            self.budget.release(released);
        }
    }

    /// All entries of `indexes` that are here, from the first index on which all the rest is here.
    pub(crate) fn suffix(&self, indexes: Range<u64>) -> EntryRange<C> {
        let inner = self.lock();
        let mut found = EntryRange::empty();
        for part in inner.overlapping(indexes.clone()) {
            found.push(part.slice(indexes.clone()));
        }
        found
    }
}

impl<C: RaftTypeConfig> TailReader<C> for Tail<C> {
    fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Option<EntryRange<C>> {
        let inner = self.lock();
        if inner.first().is_none_or(|first| indexes.start < first) || inner.end() <= Some(indexes.start) {
            return None;
        }
        let mut found = EntryRange::empty();
        let mut left = max_bytes;
        for part in inner.overlapping(indexes.clone()) {
            let wanted = part.slice(indexes.clone());
            let weight = wanted.weight();
            if weight <= left {
                left -= weight;
                found.push(wanted);
                continue;
            }
            let fits = wanted.limit(left);
            if found.is_empty() || fits.weight() <= left {
                found.push(fits);
            }
            break;
        }
        Some(found)
    }

    fn log_id_at(&self, index: u64) -> Option<LogIdOf<C>> {
        let inner = self.lock();
        if let Some(purged) = inner.purged.filter(|purged| purged.index == index) {
            return Some(purged);
        }
        inner
            .overlapping(index..index + 1)
            .next()
            .and_then(|part| part.slice(index..index + 1).first_log_id())
    }
}

#[cfg(test)]
mod tests {
    use openraft_adapters::{Entry, EntryPayload};
    use openraft_engine::LogId;

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn run(indexes: Range<u64>) -> EntryRange<T> {
        let entries = indexes.map(|i| Entry::new(LogId::new(1, 1, i), EntryPayload::Normal("x".repeat(100))));
        EntryRange::from_entries(entries.collect())
    }

    fn tail(limit_entries: u64) -> (Arc<Budget>, Tail<T>, u64) {
        let one = run(0..1).weight();
        let budget = Arc::new(Budget::new(2 * one * limit_entries));
        let tail = Tail::new(budget.clone(), 0, None);
        (budget, tail, one)
    }

    fn push(budget: &Budget, tail: &Tail<T>, indexes: Range<u64>) {
        let entries = run(indexes);
        budget.hold(entries.weight());
        tail.push(entries);
    }

    #[test]
    fn settled_entries_stay_for_followers_until_room_is_needed() {
        let (budget, tail, one) = tail(4);
        push(&budget, &tail, 0..2);
        push(&budget, &tail, 2..4);
        assert_eq!(budget.held(), 4 * one);
        tail.settle(3);
        assert_eq!(budget.held(), one);
        assert_eq!(tail.read(0..4, u64::MAX).unwrap().len(), 4);
        push(&budget, &tail, 4..5);
        assert!(tail.read(0..4, u64::MAX).is_none(), "the oldest part made room");
        assert_eq!(tail.read(2..9, u64::MAX).unwrap().len(), 3);
    }

    #[test]
    fn what_is_not_settled_never_leaves_but_by_truncation() {
        let (budget, tail, one) = tail(1);
        push(&budget, &tail, 0..3);
        push(&budget, &tail, 3..6);
        assert_eq!(tail.read(0..6, u64::MAX).unwrap().len(), 6);
        tail.truncate(2);
        assert_eq!(budget.held(), 2 * one);
        assert_eq!(tail.read(0..6, u64::MAX).unwrap().len(), 2);
        push(&budget, &tail, 2..3);
        tail.settle(3);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_truncation_gives_back_only_what_was_still_held() {
        let (budget, tail, one) = tail(9);
        push(&budget, &tail, 0..4);
        push(&budget, &tail, 4..6);
        tail.settle(3);
        tail.truncate(1);
        assert_eq!(budget.held(), 0);
        push(&budget, &tail, 1..3);
        assert_eq!(budget.held(), 2 * one);
        tail.settle(3);
        assert_eq!(budget.held(), 0);
        assert_eq!(tail.read(0..3, u64::MAX).unwrap().len(), 3);
    }

    #[test]
    fn what_is_undecided_is_known_to_the_byte_whatever_leaves_first() {
        let (budget, tail, one) = tail(4);
        push(&budget, &tail, 0..2);
        push(&budget, &tail, 2..6);
        assert_eq!(tail.undecided(), (6 * one, 0));
        tail.decided(3, 1);
        assert_eq!(tail.undecided(), (3 * one, 2 * one));
        tail.truncate(4);
        assert_eq!(tail.undecided(), (one, 2 * one));
        // Room is made by what is flushed: parts leave before they are decided.
        tail.settle(4);
        push(&budget, &tail, 4..8);
        assert!(tail.read(2..8, u64::MAX).is_none(), "they left");
        assert_eq!(tail.undecided(), (4 * one, 0));
        tail.decided(7, 7);
        assert_eq!(tail.undecided(), (one, 0));
        tail.purge(LogId::new(1, 1, 9), 10);
        assert_eq!((tail.undecided(), budget.held()), ((0, 0), 0));
    }

    #[test]
    fn a_read_is_limited_in_bytes_but_gives_at_least_one_entry() {
        let (budget, tail, one) = tail(9);
        push(&budget, &tail, 0..2);
        push(&budget, &tail, 2..4);
        assert_eq!(tail.read(1..4, 1).unwrap().len(), 1);
        assert_eq!(tail.read(0..4, 3 * one).unwrap().len(), 3);
        assert_eq!(tail.read(0..4, 2 * one + 1).unwrap().len(), 2);
        assert!(tail.read(4..5, 1).is_none());
        assert_eq!(tail.log_id_at(3), Some(LogId::new(1, 1, 3)));
        assert_eq!(tail.log_id_at(4), None);
    }
}
