//! `LogSizes`: what ranges of the log weigh, in bytes, about, in a bounded space.
//!
//! The engine never sees a payload, but it has to know when enough was written for a snapshot and what a purge that
//! waits for a follower costs. It learns the weight of every append, keeps sums at a few indexes and draws a straight
//! line between two of them.

use std::collections::VecDeque;
use std::ops::Range;

/// More sums than this are not kept.
const SUMS_MAX: usize = 256;

/// When there are too many, neighbours are joined as long as they weigh no more than this part of the whole.
const FINENESS: u64 = 64;

/// The weights of the log's entries, coarsely.
///
/// The weight of a range is wrong by at most what lies between two sums at each of its ends: the weight of one append,
/// or a 64th of the greatest weight that the log has had. A truncation between two sums can leave as much more behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSizes {
    /// The first index, and the sum before it.
    begin: Sum,
    /// Sums further on, ascending; the last is at the log's end.
    sums: VecDeque<Sum>,
}

/// What the entries before an index weigh together, counted from some point in the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    index: u64,
    bytes: u64,
}

impl LogSizes {
    /// A log of `entries` that weighs `bytes`, spread evenly.
    pub(crate) fn new(entries: Range<u64>, bytes: u64) -> Self {
        let mut sizes = Self { begin: Sum { index: entries.start, bytes: 0 }, sums: VecDeque::new() };
        sizes.append(entries.end.saturating_sub(entries.start), bytes);
        sizes
    }

    fn end(&self) -> Sum {
        self.sums.back().copied().unwrap_or(self.begin)
    }

    /// What the whole log weighs.
    fn total(&self) -> u64 {
        self.end().bytes - self.begin.bytes
    }

    /// `count` entries that weigh `bytes` together follow.
    pub(crate) fn append(&mut self, count: u64, bytes: u64) {
        if count == 0 {
            return;
        }
        let end = self.end();
        let fine = self.total() / FINENESS;
        let before = self.sums.len().checked_sub(2).map_or(self.begin, |i| self.sums[i]);
        let next = Sum { index: end.index + count, bytes: end.bytes.saturating_add(bytes) };
        match self.sums.back_mut() {
            Some(last) if next.bytes - before.bytes <= fine => *last = next,
            _ => self.sums.push_back(next),
        }
        if self.sums.len() > SUMS_MAX {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        let fine = self.total() / FINENESS;
        let mut kept: VecDeque<Sum> = VecDeque::with_capacity(SUMS_MAX);
        let mut before = self.begin;
        for sum in self.sums.drain(..) {
            match kept.back_mut() {
                Some(last) if sum.bytes - before.bytes <= fine => *last = sum,
                last => {
                    before = last.copied().unwrap_or(before);
                    kept.push_back(sum);
                }
            }
        }
        self.sums = kept;
    }

    /// The log now ends before `since`.
    pub(crate) fn truncate(&mut self, since: u64) {
        if since >= self.end().index {
            return;
        }
        let cut = Sum { index: since, bytes: self.before(since) };
        while self.sums.back().is_some_and(|last| last.index >= since) {
            self.sums.pop_back();
        }
        if cut.index > self.begin.index {
            self.sums.push_back(cut);
        }
    }

    /// The log now begins at `first`.
    pub(crate) fn purge(&mut self, first: u64) {
        if first <= self.begin.index {
            return;
        }
        self.begin = Sum { index: first, bytes: self.before(first) };
        while self.sums.front().is_some_and(|sum| sum.index <= first) {
            self.sums.pop_front();
        }
    }

    /// About what the entries of `range` weigh that the log holds.
    pub(crate) fn weight(&self, range: Range<u64>) -> u64 {
        self.before(range.end).saturating_sub(self.before(range.start))
    }

    /// Up to which index the entries from `from` on weigh about `bytes` and no more; `None`: all of them together do not.
    pub(crate) fn fitting(&self, from: u64, bytes: u64) -> Option<u64> {
        let upto = self.before(from).saturating_add(bytes);
        let next = self.sums.partition_point(|sum| sum.bytes <= upto);
        let above = self.sums.get(next)?;
        let below = next.checked_sub(1).map_or(self.begin, |i| self.sums[i]);
        let share = u128::from(upto - below.bytes) * u128::from(above.index - below.index)
            / u128::from(above.bytes - below.bytes);
        let index = below.index + u64::try_from(share).expect("a part is no more than the whole");
        Some(index.max(from))
    }

    /// The sum before `index`.
    fn before(&self, index: u64) -> u64 {
        if index <= self.begin.index {
            return self.begin.bytes;
        }
        let next = self.sums.partition_point(|sum| sum.index < index);
        let Some(above) = self.sums.get(next) else { return self.end().bytes };
        let below = next.checked_sub(1).map_or(self.begin, |i| self.sums[i]);
        let share = u128::from(above.bytes - below.bytes) * u128::from(index - below.index)
            / u128::from(above.index - below.index);
        below.bytes + u64::try_from(share).expect("a part is no more than the whole")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_log_found_at_a_restart_is_spread_evenly_and_forgotten_as_it_is_purged() {
        let mut sizes = LogSizes::new(10..20, 1_000);
        assert_eq!((sizes.weight(0..15), sizes.weight(15..99)), (500, 500));
        sizes.append(1, 70);
        sizes.purge(18);
        assert_eq!(sizes.weight(0..99), 270);
        sizes.purge(30);
        assert_eq!(sizes.weight(0..99), 0);
        sizes.append(2, 10);
        assert_eq!((sizes.weight(30..31), sizes.weight(30..32)), (5, 10));
    }

    #[test]
    fn what_fits_is_found_between_two_sums() {
        let mut sizes = LogSizes::new(10..20, 1_000);
        sizes.append(1, 5_000);
        sizes.append(2, 20);
        assert_eq!(sizes.fitting(10, 250), Some(12));
        assert_eq!(sizes.fitting(15, 99), Some(15));
        assert_eq!(sizes.fitting(15, 1_000), Some(20), "the heavy one does not fit");
        assert_eq!(sizes.fitting(15, 5_510), Some(22));
        assert_eq!(sizes.fitting(15, 5_520), None);
        assert_eq!(LogSizes::new(0..5, 0).fitting(0, 0), None);
    }

    #[test]
    fn the_space_is_bounded_however_many_appends_there_are() {
        let mut sizes = LogSizes::default();
        for i in 0..100_000 {
            sizes.append(1, 100 + i % 7);
        }
        assert!(sizes.sums.len() <= SUMS_MAX, "{}", sizes.sums.len());
        let exact = (0..100_000).map(|i| 100 + i % 7).sum::<u64>();
        assert_eq!(sizes.weight(0..100_000), exact);
        assert!(sizes.weight(30_000..60_000).abs_diff(exact * 3 / 10) < exact / 32);
    }

    /// Appends of one entry each.
    fn of(weights: &[u64]) -> LogSizes {
        let mut sizes = LogSizes::default();
        weights.iter().for_each(|bytes| sizes.append(1, *bytes));
        sizes
    }

    /// What each entry weighs.
    fn each(sizes: &LogSizes, entries: Range<u64>) -> Vec<u64> {
        entries.map(|index| sizes.weight(index..index + 1)).collect()
    }

    #[test]
    fn appends_that_are_no_small_part_of_the_whole_are_known_exactly_and_light_ones_together() {
        let weights: Vec<u64> = (0..60).map(|i| 10 + i % 3 * 20).collect();
        assert_eq!(each(&of(&weights), 0..60), weights);
        let mut after_heavy = of(&[1_000_000]);
        (0..200).for_each(|_| after_heavy.append(1, 1));
        assert!(after_heavy.sums.len() < 5, "{:?}", after_heavy.sums);
        // What was purged before makes nothing coarser.
        after_heavy.purge(201);
        weights.iter().for_each(|bytes| after_heavy.append(1, *bytes));
        assert_eq!(each(&after_heavy, 201..261), weights);
    }

    #[test]
    fn neighbours_are_joined_only_when_there_are_too_many_and_only_light_ones() {
        // Each weighs so much more than those before it that nothing is joined as it is appended.
        let weights: Vec<u64> =
            (0..300).scan(1_000, |w, _| Some(std::mem::replace(w, *w * 102 / 100))).collect();
        let full = of(&weights[..SUMS_MAX]);
        assert_eq!(each(&full, 0..SUMS_MAX as u64), weights[..SUMS_MAX]);
        let joined = of(&weights);
        assert!(joined.sums.len() <= SUMS_MAX, "{}", joined.sums.len());
        let (light, total) = (weights[..150].iter().sum::<u64>(), weights.iter().sum::<u64>());
        assert!(joined.weight(0..150).abs_diff(light) <= total / FINENESS, "{}", joined.weight(0..150));
        assert_eq!(each(&joined, 240..300), weights[240..], "each is more than a small part");
        assert_eq!(joined.weight(0..300), total);
    }

    #[test]
    fn a_truncation_within_an_append_leaves_its_share_and_one_of_all_leaves_nothing() {
        let mut sizes = LogSizes::new(10..20, 1_000);
        sizes.truncate(15);
        sizes.append(1, 70);
        assert_eq!((sizes.weight(0..15), sizes.weight(15..16), sizes.weight(16..99)), (500, 70, 0));
        sizes.truncate(10);
        assert_eq!(sizes, LogSizes::new(10..10, 0));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Append(Vec<u64>),
        Truncate(usize),
        Purge(usize),
    }

    proptest! {
        /// The obvious twin keeps the weight of every entry.
        #[test]
        fn is_as_near_to_the_exact_weights_as_it_says(ops in prop::collection::vec(prop_oneof![
            12 => prop::collection::vec(prop_oneof![9 => 1u64..200, 1 => 0u64..20_000], 1..8).prop_map(Op::Append),
            1 => (0usize..60).prop_map(Op::Truncate),
            2 => (0usize..200).prop_map(Op::Purge),
        ], 0..800)) {
            let mut sizes = LogSizes::default();
            let (mut all, mut begin) = (Vec::<u64>::new(), 0usize);
            let (mut greatest_append, mut greatest_total, mut truncations) = (0, 0, 0);
            for op in ops {
                match op {
                    Op::Append(weights) => {
                        let bytes = weights.iter().sum();
                        sizes.append(weights.len() as u64, bytes);
                        all.extend(weights);
                        greatest_append = bytes.max(greatest_append);
                    }
                    Op::Truncate(less) => {
                        let since = all.len().saturating_sub(less).max(begin);
                        truncations += 1;
                        all.truncate(since);
                        sizes.truncate(since as u64);
                    }
                    Op::Purge(more) => {
                        begin = (begin + more).min(all.len());
                        sizes.purge(begin as u64);
                    }
                }
                greatest_total = all[begin..].iter().sum::<u64>().max(sizes.total()).max(greatest_total);
                prop_assert!(sizes.sums.len() <= SUMS_MAX);
                let unit = greatest_append.max(greatest_total / FINENESS) + 1;
                for (from, to) in [(0, all.len()), (begin, (begin + all.len()) / 2), (all.len() / 2, all.len())] {
                    let exact: u64 = all.get(from.max(begin)..to).unwrap_or_default().iter().sum();
                    let found = sizes.weight(from as u64..to as u64);
                    let fitting = sizes.fitting(from as u64, found / 2);
                    let fitted = sizes.weight(from as u64..fitting.unwrap_or(all.len() as u64));
                    prop_assert!(fitted <= found / 2, "{fitted} of {found} fit");
                    prop_assert!(
                        found.abs_diff(exact) <= (2 + truncations) * unit,
                        "{from}..{to}: {found}, exactly {exact}, unit {unit}"
                    );
                }
            }
        }
    }
}
