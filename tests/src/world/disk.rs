//! A node's durable store: a log lane whose writes are durable only when they are told to be, and which a crash cuts
//! off at any point after the last of those.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use openraft_engine::{LogId, LogIdOptionExt, RaftEntry, RestartState, SavedVote, StoredMembership, Vote};

use super::entry::{Address, Entry};

/// One write of the log lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Write {
    /// Replaces the vote, and what may be promised under it.
    Vote(SavedVote<u64>),
    /// Adds entries at the end.
    Append(Vec<Arc<Entry>>),
    /// Drops the entries from an index on.
    Truncate(u64),
    /// Drops the entries up to this one; all of them if it is not among them.
    Purge(LogId<u64>),
    /// Notes what is committed.
    Committed(LogId<u64>),
}

/// What a log store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Image {
    /// The vote saved last.
    pub vote: Vote<u64>,
    /// What may have been promised under it.
    pub promise_cap: Duration,
    /// The last entry purged.
    pub purged: Option<LogId<u64>>,
    /// The entries, by index.
    pub entries: BTreeMap<u64, Arc<Entry>>,
    /// What was noted as committed.
    pub committed: Option<LogId<u64>>,
}

impl Image {
    pub(super) fn carry_out(&mut self, write: Write) {
        match write {
            Write::Vote(saved) => (self.vote, self.promise_cap) = (saved.vote, saved.promise_cap),
            Write::Append(entries) => {
                for entry in entries {
                    let end = self.last().next_index();
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

    /// The last entry, or the last one purged.
    pub fn last(&self) -> Option<LogId<u64>> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }

    /// What a start finds, but for the state machine's part.
    pub(super) fn found(&self) -> RestartState<u64, Address> {
        let mut leader_starts: Vec<LogId<u64>> = Vec::new();
        let mut memberships = Vec::new();
        for entry in self.entries.values() {
            if leader_starts.last().is_none_or(|start| start.leader_id != entry.log_id.leader_id) {
                leader_starts.push(entry.log_id);
            }
            if let Some(membership) = entry.membership() {
                memberships.push(StoredMembership::new(entry.log_id, membership.clone()));
            }
        }
        // A store may keep more than two, never fewer.
        memberships.drain(..memberships.len().saturating_sub(2));
        RestartState {
            vote: self.vote,
            promise_cap: self.promise_cap,
            purged: self.purged,
            last_log_id: self.last(),
            leader_starts,
            memberships,
            committed_hint: self.committed,
            log_bytes: self.entries.values().map(|entry| entry.size()).sum(),
            ..RestartState::default()
        }
    }
}

/// The log lane of one node.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// What a crash leaves at least.
    pub durable: Image,
    /// What the store answers, durable or not.
    pub submitted: Image,
    pending: VecDeque<(u64, Write)>,
    io: u64,
}

impl Disk {
    /// A disk that holds `image`, durably.
    pub(super) fn holding(image: Image) -> Self {
        Self { submitted: image.clone(), durable: image, ..Self::default() }
    }

    /// The writes that are not durable yet, numbered from the last one back: how many there were before says nothing.
    fn numbered(&self) -> impl Iterator<Item = (u64, &Write)> {
        self.pending.iter().map(|(io, write)| (self.io - io, write))
    }

    /// Takes a write; `io` is its number, `None` for one that has none of its own.
    pub(super) fn submit(&mut self, io: Option<u64>, write: Write) {
        self.io = io.unwrap_or(self.io);
        self.submitted.carry_out(write.clone());
        self.pending.push_back((self.io, write));
    }

    /// The writes that are not durable yet, oldest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = &Write> {
        self.pending.iter().map(|(_, write)| write)
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

    /// The power fails when the `kept` oldest of the unflushed writes happened to be on the disk.
    pub(super) fn crash(&mut self, kept: usize) {
        self.flush(kept);
        self.pending.clear();
        self.submitted = self.durable.clone();
        self.io = 0;
    }

    /// The flaw of a forgetful disk.
    pub(super) fn forget_vote(&mut self) {
        (self.durable.vote, self.submitted.vote) = Default::default();
    }
}

impl PartialEq for Disk {
    fn eq(&self, other: &Self) -> bool {
        self.durable == other.durable && self.numbered().eq(other.numbered())
    }
}

impl Eq for Disk {}

impl Hash for Disk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.durable.hash(state);
        self.numbered().for_each(|write| write.hash(state));
    }
}
