//! A log store that holds its lane's writes back until it is told to complete some, and a crash takes the rest.

use std::collections::{BTreeMap, VecDeque};

use super::super::bench::Entry;
use crate::{LogId, RestartState, SavedVote, StoredMembership};

#[derive(Clone, Debug)]
pub(super) enum Write {
    Vote(SavedVote<u64>),
    Append(Vec<Entry>),
    Truncate(u64),
    Purge(LogId<u64>),
    Committed(LogId<u64>),
}

/// What a log store holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) vote: SavedVote<u64>,
    pub(super) purged: Option<LogId<u64>>,
    pub(super) entries: BTreeMap<u64, Entry>,
    committed: Option<LogId<u64>>,
}

impl Image {
    fn carry_out(&mut self, write: Write) {
        match write {
            Write::Vote(vote) => self.vote = vote,
            Write::Append(entries) => {
                for entry in entries {
                    let end = self.last().map_or(0, |last| last.index + 1);
                    assert_eq!(entry.log_id.index, end, "a log store takes entries without a gap");
                    self.entries.insert(end, entry);
                }
            }
            Write::Truncate(since) => drop(self.entries.split_off(&since)),
            Write::Purge(upto) => {
                if self.entries.get(&upto.index).is_some_and(|entry| entry.log_id == upto) {
                    self.entries = self.entries.split_off(&(upto.index + 1));
                } else {
                    self.entries.clear();
                }
                self.purged = Some(upto);
            }
            Write::Committed(committed) => self.committed = Some(committed),
        }
    }

    pub(super) fn last(&self) -> Option<LogId<u64>> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// What a start finds, but for the state machine's part.
    pub(super) fn found(&self) -> RestartState<u64, ()> {
        let mut leader_starts: Vec<LogId<u64>> = Vec::new();
        let mut memberships = Vec::new();
        for entry in self.entries.values() {
            if leader_starts.last().is_none_or(|start| start.leader_id != entry.log_id.leader_id) {
                leader_starts.push(entry.log_id);
            }
            if let Some(membership) = &entry.membership {
                memberships.push(StoredMembership::new(entry.log_id, membership.clone()));
            }
        }
        memberships.drain(..memberships.len().saturating_sub(2));
        RestartState {
            vote: self.vote.vote,
            promise_cap: self.vote.promise_cap,
            purged: self.purged,
            last_log_id: self.last(),
            leader_starts,
            memberships,
            committed_hint: self.committed,
            ..RestartState::default()
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    pub(super) durable: Image,
    /// What the store answers: durable or not.
    pub(super) submitted: Image,
    pending: VecDeque<(u64, Write)>,
    io: u64,
}

impl Disk {
    /// Takes a write; `io` is its number, `None` for one that has none.
    pub(super) fn submit(&mut self, io: Option<u64>, write: Write) {
        self.io = io.unwrap_or(self.io);
        self.submitted.carry_out(write.clone());
        self.pending.push_back((self.io, write));
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Completes the `count` oldest writes; returns the number through which all is durable now.
    pub(super) fn flush(&mut self, count: usize) -> u64 {
        let mut done = 0;
        for (io, write) in self.pending.drain(..count) {
            self.durable.carry_out(write);
            done = io;
        }
        done
    }

    /// The power fails when the `kept` oldest writes happened to be on the disk.
    pub(super) fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.pending.clear();
        self.submitted = self.durable.clone();
        self.io = 0;
    }
}
