//! `LeaderId` and `LogId`: which leader wrote an entry, and where it stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The leader that proposed an entry. `(0, NodeId::default())` wrote the initial membership at index 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderId<NID> {
    /// The term the leader was elected in.
    pub term: u64,
    /// The leader. At most one node leads a term, so this never decides an order between entries of one log.
    pub node_id: NID,
}

/// The place and origin of an entry. Ordered by leader id, then by index: the order in which logs are compared when a
/// vote is asked for (paper, 5.4.1).
///
/// `Option<LogId>::None` means "before the first entry".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId<NID> {
    /// Who proposed the entry.
    pub leader_id: LeaderId<NID>,
    /// Its position in the log, from 0.
    pub index: u64,
}

impl<NID> LogId<NID> {
    /// The entry at `index` proposed by `node_id` as leader of `term`.
    pub fn new(term: u64, node_id: NID, index: u64) -> Self {
        Self { leader_id: LeaderId { term, node_id }, index }
    }
}

impl<NID: fmt::Display> fmt::Display for LeaderId<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}-N{}", self.term, self.node_id)
    }
}

impl<NID: fmt::Display> fmt::Display for LogId<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.leader_id, self.index)
    }
}

/// Index arithmetic on `Option<LogId>`, where `None` is "before the first".
pub trait LogIdOptionExt {
    /// The index, `None` before the first entry.
    fn index(&self) -> Option<u64>;

    /// The index that follows: 0 before the first entry.
    fn next_index(&self) -> u64;
}

impl<NID> LogIdOptionExt for Option<LogId<NID>> {
    fn index(&self) -> Option<u64> {
        self.as_ref().map(|id| id.index)
    }

    fn next_index(&self) -> u64 {
        // A peer may send any index; the greatest is no entry's (see `Engine`), so that nothing follows it.
        self.as_ref().map_or(0, |id| id.index.saturating_add(1))
    }
}
