//! `LogLane`: the numbers of the log's writes, and how much of the log each number makes durable.
//!
//! Completions are positional: the store says "durable through n" and nothing else. For every write under way the lane
//! keeps how far the log reaches once it is done; a truncation lowers that for the writes before it, so that a late
//! completion never confirms entries which were overwritten meanwhile.

use std::collections::VecDeque;

/// The writes of the log lane, numbered from 1 in the order of their submission.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LogLane {
    submitted: u64,
    flushed: u64,
    /// Of each write under way, oldest first, the number of leading entries (one more than the last index) that are
    /// durable once it is.
    pending: VecDeque<u64>,
    /// The number of leading entries known to be durable.
    durable: u64,
}

impl LogLane {
    /// A lane over a store which holds `durable` leading entries.
    pub(crate) fn new(durable: u64) -> Self {
        Self { durable, ..Self::default() }
    }

    /// Numbers a write after which the log ends before index `end`; for one that does not lengthen the log, `end` is
    /// where it ends already.
    pub(crate) fn submit(&mut self, end: u64) -> u64 {
        self.submitted += 1;
        self.pending.push_back(end);
        self.submitted
    }

    /// From now on the log ends before index `since`: nothing that is under way makes more durable than that.
    pub(crate) fn truncate(&mut self, since: u64) {
        self.durable = self.durable.min(since);
        for end in &mut self.pending {
            *end = (*end).min(since);
        }
    }

    /// A durable snapshot covers everything before index `end`.
    pub(crate) fn cover(&mut self, end: u64) {
        self.durable = self.durable.max(end);
    }

    /// The store says that everything through `io` is durable.
    pub(crate) fn flushed_through(&mut self, io: u64) {
        assert!(io <= self.submitted, "write {io} is complete, but only {} were ordered", self.submitted);
        while self.flushed < io {
            self.flushed += 1;
            let end = self.pending.pop_front().expect("every write under way is pending");
            self.durable = self.durable.max(end);
        }
    }

    /// Counts the writes from the last durable one on, as if there had been none before. Returns its number.
    pub(crate) fn count_anew(&mut self) -> u64 {
        self.submitted -= self.flushed;
        std::mem::take(&mut self.flushed)
    }

    /// The last number given out.
    pub(crate) fn submitted(&self) -> u64 {
        self.submitted
    }

    /// The last number known to be durable.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// How many leading entries of the log are durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_completion_confirms_nothing_that_was_overwritten() {
        let mut lane = LogLane::new(3);
        let first = lane.submit(10);
        lane.truncate(5);
        let cut = lane.submit(5);
        let second = lane.submit(7);
        lane.flushed_through(first);
        assert_eq!(lane.durable(), 5, "of the first write only what the truncation left");
        lane.flushed_through(cut);
        assert_eq!(lane.durable(), 5);
        lane.flushed_through(second);
        assert_eq!((lane.durable(), lane.flushed()), (7, 3));
    }

    #[test]
    fn one_completion_stands_for_all_before_it() {
        let mut lane = LogLane::new(0);
        lane.submit(1);
        lane.submit(2);
        let last = lane.submit(3);
        lane.flushed_through(last);
        assert_eq!(lane.durable(), 3);
        lane.flushed_through(1);
        assert_eq!(lane.flushed(), last, "and an older one that comes later says nothing new");
    }

    #[test]
    fn counted_anew_lanes_are_equal_however_many_writes_there_were_before() {
        let (mut one, mut other) = (LogLane::new(1), LogLane::new(1));
        for end in [2, 2, 3] {
            let io = one.submit(end);
            one.flushed_through(io);
        }
        let io = other.submit(3);
        other.flushed_through(io);
        one.submit(5);
        other.submit(5);
        assert_ne!(one, other);
        assert_eq!((one.count_anew(), other.count_anew()), (3, 1));
        assert_eq!(one, other);
        assert_eq!((one.flushed(), one.submitted()), (0, 1));
    }

    #[test]
    #[should_panic(expected = "only 1 were ordered")]
    fn a_completion_of_a_write_that_was_never_ordered_is_a_broken_store() {
        let mut lane = LogLane::new(0);
        lane.submit(1);
        lane.flushed_through(2);
    }
}
