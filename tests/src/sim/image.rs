//! What a node's log holds, as far as the invariants need it: after all writes, or after those that are durable.

use std::collections::VecDeque;

use openraft_engine::{LogId, LogIdOptionExt, Vote};

/// An entry as the invariants see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) log_id: LogId<u64>,
    /// A hash of the payload.
    pub(super) payload: u64,
    pub(super) is_membership: bool,
    pub(super) is_joint: bool,
}

/// One write to a log.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Vote(Vote<u64>),
    Append(Vec<Held>),
    Truncate(u64),
    Purge(LogId<u64>),
}

/// The content of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) vote: Vote<u64>,
    pub(super) purged: Option<LogId<u64>>,
    /// Ascending and without gaps, beginning after `purged`.
    entries: VecDeque<Held>,
    /// Where memberships are stated, ascending.
    memberships: VecDeque<u64>,
}

impl Image {
    pub(super) fn last(&self) -> Option<LogId<u64>> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    pub(super) fn at(&self, index: u64) -> Option<&Held> {
        let place = index.checked_sub(self.purged.next_index())?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Whether the log holds this entry, or has held and dropped it.
    pub(super) fn holds(&self, log_id: LogId<u64>) -> bool {
        log_id.index < self.purged.next_index()
            || self.at(log_id.index).is_some_and(|entry| entry.log_id == log_id)
    }

    /// How many memberships are stated from `index` on.
    pub(super) fn memberships_from(&self, index: u64) -> usize {
        self.memberships.iter().rev().take_while(|stated| **stated >= index).count()
    }

    /// The indexes of the entries that are held.
    pub(super) fn indexes(&self) -> std::ops::Range<u64> {
        self.purged.next_index()..self.last().next_index()
    }

    pub(super) fn carry_out(&mut self, write: &Write) {
        match write {
            Write::Vote(vote) => self.vote = *vote,
            Write::Append(entries) => {
                for entry in entries {
                    if entry.is_membership {
                        self.memberships.push_back(entry.log_id.index);
                    }
                    self.entries.push_back(*entry);
                }
            }
            Write::Truncate(since) => {
                let keep = since.saturating_sub(self.purged.next_index());
                self.entries.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
                while self.memberships.back().is_some_and(|index| index >= since) {
                    self.memberships.pop_back();
                }
            }
            Write::Purge(upto) => {
                while self.entries.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
                    self.entries.pop_front();
                }
                while self.memberships.front().is_some_and(|index| *index <= upto.index) {
                    self.memberships.pop_front();
                }
                self.purged = self.purged.max(Some(*upto));
            }
        }
    }
}
