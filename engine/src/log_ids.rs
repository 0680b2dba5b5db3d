//! `LogIds`: the log id at every index, known from the few places where the leader changes.

use crate::{LogId, LogIdOptionExt, NodeId};

/// The shape of a log without its entries: where it begins, where it ends, and where each leader's part begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LogIds<NID> {
    purged: Option<LogId<NID>>,
    /// The first log id of each leader after `purged`, ascending in leader id and index.
    starts: Vec<LogId<NID>>,
    last: Option<LogId<NID>>,
}

impl<NID: NodeId> LogIds<NID> {
    pub(crate) fn new(purged: Option<LogId<NID>>, starts: Vec<LogId<NID>>, last: Option<LogId<NID>>) -> Self {
        Self { purged, starts, last }
    }

    /// The last entry that was dropped from the front.
    pub(crate) fn purged(&self) -> Option<LogId<NID>> {
        self.purged
    }

    /// The last entry, or the last purged one if none follows.
    pub(crate) fn last(&self) -> Option<LogId<NID>> {
        self.last
    }

    /// The log id at `index`, if the log holds it or it is the last purged one.
    pub(crate) fn get(&self, index: u64) -> Option<LogId<NID>> {
        if self.purged.index() == Some(index) {
            return self.purged;
        }
        if index >= self.last.next_index() {
            return None;
        }
        let after = self.starts.partition_point(|start| start.index <= index);
        let start = self.starts.get(after.checked_sub(1)?)?;
        Some(LogId { leader_id: start.leader_id, index })
    }

    /// Whether the log holds exactly this entry, or knows it as the last purged one.
    pub(crate) fn holds(&self, log_id: &LogId<NID>) -> bool {
        self.get(log_id.index) == Some(*log_id)
    }

    /// Adds the entry that follows.
    pub(crate) fn append(&mut self, log_id: LogId<NID>) {
        assert_eq!(log_id.index, self.last.next_index(), "an entry is appended right after the last one");
        assert!(
            self.last.is_none_or(|last| last.leader_id <= log_id.leader_id),
            "leader ids never fall in a log"
        );
        if self.starts.last().is_none_or(|start| start.leader_id != log_id.leader_id) {
            self.starts.push(log_id);
        }
        self.last = Some(log_id);
    }

    /// Drops the entries from index `since` on.
    pub(crate) fn truncate(&mut self, since: u64) {
        if since >= self.last.next_index() {
            return;
        }
        assert!(since >= self.purged.next_index(), "what is purged cannot be truncated");
        self.last = since.checked_sub(1).and_then(|index| self.get(index));
        self.starts.retain(|start| start.index < since);
    }

    /// Drops the entries up to and including `upto`. If the log does not hold `upto`, all of it is dropped.
    pub(crate) fn purge(&mut self, upto: LogId<NID>) {
        if Some(upto) <= self.purged {
            return;
        }
        if !self.holds(&upto) {
            *self = Self { purged: Some(upto), starts: Vec::new(), last: Some(upto) };
            return;
        }
        if let Some(next) = self.get(upto.index + 1) {
            self.starts.retain(|start| start.index > next.index);
            self.starts.insert(0, next);
        } else {
            self.starts.clear();
        }
        self.purged = Some(upto);
    }

    /// The greatest log id here that is neither behind `prev.index` nor of a leader greater than `prev`'s: where a
    /// leader whose entry `prev` does not match should look next. Skips one divergent leader a step.
    pub(crate) fn conflict_hint(&self, prev: LogId<NID>) -> Option<LogId<NID>> {
        let mut index = prev.index.min(self.last?.index);
        loop {
            let found = self.get(index)?;
            if found.leader_id <= prev.leader_id {
                return Some(found);
            }
            let part = self.starts.iter().rfind(|start| start.index <= index)?;
            index = part.index.checked_sub(1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(term: u64, index: u64) -> LogId<u64> {
        LogId::new(term, 1, index)
    }

    fn of(terms: &[u64]) -> LogIds<u64> {
        let mut log = LogIds::default();
        for (i, term) in terms.iter().enumerate() {
            log.append(id(*term, i as u64));
        }
        log
    }

    #[test]
    fn a_hint_skips_the_followers_later_leaders_and_stays_behind_the_probe() {
        let log = of(&[0, 1, 1, 4, 4, 4, 6]);
        assert_eq!(log.conflict_hint(id(3, 6)), Some(id(1, 2)));
        assert_eq!(log.conflict_hint(id(5, 4)), Some(id(4, 4)));
        assert_eq!(log.conflict_hint(id(9, 40)), Some(id(6, 6)));
        assert_eq!(of(&[]).conflict_hint(id(1, 3)), None);
        assert_eq!(of(&[5, 5]).conflict_hint(id(2, 1)), None);
    }

    #[test]
    fn purging_what_the_log_does_not_hold_drops_all_of_it() {
        let mut log = of(&[0, 1, 1]);
        log.purge(id(2, 1));
        assert_eq!((log.purged(), log.last()), (Some(id(2, 1)), Some(id(2, 1))));
        assert_eq!(log.get(2), None);
        log.append(id(2, 2));
        assert_eq!(log.get(2), Some(id(2, 2)));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Append(u64),
        Truncate(u64),
        Purge(u64),
    }

    proptest! {
        /// The obvious twin keeps every log id in a list.
        #[test]
        fn agrees_with_a_list_of_all_log_ids(ops in prop::collection::vec(prop_oneof![
            3 => (0u64..2).prop_map(Op::Append), 1 => (0u64..30).prop_map(Op::Truncate), 1 => (0u64..30).prop_map(Op::Purge),
        ], 0..60)) {
            let mut log = LogIds::default();
            let mut all: Vec<LogId<u64>> = Vec::new();
            let mut begin = 0usize;
            let mut term = 0;
            for op in ops {
                match op {
                    Op::Append(step) => {
                        term += step;
                        let next = id(term, all.len() as u64);
                        all.push(next);
                        log.append(next);
                    }
                    Op::Truncate(since) if since as usize >= begin => {
                        all.truncate(since as usize);
                        log.truncate(since);
                    }
                    Op::Purge(upto) if (upto as usize) < all.len() => {
                        begin = begin.max(upto as usize + 1);
                        log.purge(all[upto as usize]);
                    }
                    _ => {}
                }
                prop_assert_eq!(log.last(), all.last().copied());
                prop_assert_eq!(log.purged(), begin.checked_sub(1).map(|i| all[i]));
                // The same log is the same value, whatever happened to it: a search compares states.
                let mut starts: Vec<LogId<u64>> = all[begin..].to_vec();
                starts.dedup_by_key(|log_id| log_id.leader_id);
                let plain = LogIds::new(begin.checked_sub(1).map(|i| all[i]), starts, all.last().copied());
                prop_assert_eq!(&log, &plain);
                for i in 0..32usize {
                    let expected = if i + 1 >= begin.max(1) || begin == 0 { all.get(i).copied() } else { None };
                    prop_assert_eq!(log.get(i as u64), expected, "at {}", i);
                }
            }
        }
    }
}
