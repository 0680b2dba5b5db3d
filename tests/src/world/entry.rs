//! The log entries of a [`World`](super::World): a blank, a write of a short text, or a membership.

use openraft_engine::{LogId, Membership, RaftEntry};

/// A node's address: any text.
pub type Address = String;

/// Who takes part.
pub type Members = Membership<u64, Address>;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// What a caller proposed.
    Write(String),
    /// Who takes part from here on.
    Membership(Members),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it stands, and under whom.
    pub log_id: LogId<u64>,
    /// What it holds.
    pub payload: Payload,
}

impl RaftEntry<u64, Address> for Entry {
    fn log_id(&self) -> LogId<u64> {
        self.log_id
    }

    /// A write weighs a byte a letter, everything else one byte.
    fn size(&self) -> u64 {
        match &self.payload {
            Payload::Write(text) => text.len().max(1) as u64,
            Payload::Blank | Payload::Membership(_) => 1,
        }
    }

    fn membership(&self) -> Option<&Members> {
        match &self.payload {
            Payload::Membership(members) => Some(members),
            Payload::Blank | Payload::Write(_) => None,
        }
    }
}
