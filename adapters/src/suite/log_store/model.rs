//! The slow, obvious twin of a log store: a list of entries and three values.

use std::ops::Range;

use openraft_engine::{LogIdOptionExt, RaftEntry};

use crate::{
    Entry, EntryRange, LogIdOf, LogState, MembershipOf, RaftTypeConfig, SavedVoteOf, StoredMembershipOf,
};

/// What the suite remembers of one entry: enough to recognise it, and nothing shared with the store.
pub(super) struct Kept<C: RaftTypeConfig> {
    pub(super) log_id: LogIdOf<C>,
    pub(super) weight: u64,
    pub(super) encoded: Vec<u8>,
    membership: Option<MembershipOf<C>>,
}

pub(super) fn encode<C: RaftTypeConfig>(entry: &Entry<C>) -> Vec<u8> {
    postcard::to_stdvec(entry).expect("an entry serialises")
}

/// What a read must answer.
pub(super) enum Answer<'a, C: RaftTypeConfig> {
    Compacted { first: u64 },
    Missing,
    Entries(&'a [Kept<C>]),
}

pub(super) struct Model<C: RaftTypeConfig> {
    pub(super) vote: SavedVoteOf<C>,
    pub(super) purged: Option<LogIdOf<C>>,
    pub(super) entries: Vec<Kept<C>>,
    /// The hint that a completed write took along.
    hint: Option<LogIdOf<C>>,
    /// Hints that no write followed: each may have been kept or not.
    loose_hints: Vec<LogIdOf<C>>,
}

impl<C: RaftTypeConfig> Default for Model<C> {
    fn default() -> Self {
        Self {
            vote: SavedVoteOf::<C>::default(),
            purged: None,
            entries: Vec::new(),
            hint: None,
            loose_hints: Vec::new(),
        }
    }
}

impl<C: RaftTypeConfig> Model<C> {
    pub(super) fn first_index(&self) -> u64 {
        self.purged.next_index()
    }

    pub(super) fn last_log_id(&self) -> Option<LogIdOf<C>> {
        self.entries.last().map(|kept| kept.log_id).or(self.purged)
    }

    pub(super) fn next_index(&self) -> u64 {
        self.last_log_id().next_index()
    }

    pub(super) fn append(&mut self, entries: &EntryRange<C>) {
        for entry in entries.iter() {
            assert_eq!(entry.log_id.index, self.next_index(), "the suite itself appends without a gap");
            self.entries.push(Kept {
                log_id: entry.log_id,
                weight: entry.size(),
                encoded: encode(entry),
                membership: entry.membership().cloned(),
            });
        }
        self.wrote();
    }

    pub(super) fn save_vote(&mut self, vote: SavedVoteOf<C>) {
        self.vote = vote;
        self.wrote();
    }

    pub(super) fn truncate(&mut self, since: u64) {
        self.entries.retain(|kept| kept.log_id.index < since);
        self.wrote();
    }

    pub(super) fn purge(&mut self, upto: LogIdOf<C>) {
        self.entries.retain(|kept| kept.log_id.index > upto.index);
        self.purged = Some(upto);
        self.wrote();
    }

    pub(super) fn save_committed(&mut self, committed: LogIdOf<C>) {
        self.loose_hints.push(committed);
    }

    /// Any write takes the latest hint along.
    fn wrote(&mut self) {
        self.hint = self.loose_hints.pop().or(self.hint);
        self.loose_hints.clear();
    }

    /// Takes over which hint the reopened store came up with; false if it may not have that one.
    pub(super) fn reopened_with_hint(&mut self, found: Option<LogIdOf<C>>) -> bool {
        let allowed = found == self.hint || found.is_some_and(|id| self.loose_hints.contains(&id));
        self.hint = found;
        self.loose_hints.clear();
        allowed
    }

    pub(super) fn state(&self) -> LogState<C> {
        let mut leader_starts: Vec<LogIdOf<C>> = Vec::new();
        let mut memberships = Vec::new();
        for kept in &self.entries {
            if leader_starts.last().is_none_or(|id| id.leader_id != kept.log_id.leader_id) {
                leader_starts.push(kept.log_id);
            }
            if let Some(membership) = &kept.membership {
                memberships.push(StoredMembershipOf::<C>::new(kept.log_id, membership.clone()));
            }
        }
        memberships.drain(..memberships.len().saturating_sub(2));
        LogState {
            vote: self.vote,
            purged: self.purged,
            last_log_id: self.last_log_id(),
            leader_starts,
            memberships,
            committed: self.hint,
            log_bytes: self.entries.iter().map(|kept| kept.weight).sum(),
        }
    }

    pub(super) fn read(&self, indexes: Range<u64>, max_bytes: u64) -> Answer<'_, C> {
        let first = self.first_index();
        if indexes.start < first {
            return Answer::Compacted { first };
        }
        if indexes.end > self.next_index() {
            return Answer::Missing;
        }
        let asked = &self.entries[(indexes.start - first) as usize..(indexes.end - first) as usize];
        let mut weight = 0;
        let fits = asked
            .iter()
            .take_while(|kept| {
                weight += kept.weight;
                weight <= max_bytes
            })
            .count();
        Answer::Entries(&asked[..fits.max(1)])
    }
}
