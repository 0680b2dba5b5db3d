//! `Membership`: who votes, who is known, and what an unfinished change is heading for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LeaderId, LogId, Replica, StoreId};

/// What the log says of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Member<NID, N> {
    /// The only store whose votes and acknowledgements count for this node.
    pub store_id: StoreId,
    /// The entry that admitted this store. Of two stores of one node the one admitted later is the node; the other was
    /// removed before.
    pub admitted: LogId<NID>,
    /// Its address and whatever else the application keeps of it.
    pub node: N,
    /// Whether a learner is to become a voter by itself once it has caught up.
    pub promote: bool,
}

/// The voter sets and the nodes of a cluster, as one log entry states them.
///
/// One voter set is the normal, uniform case; two are a joint configuration (thesis 4.3), in which every decision needs
/// a majority of both. A node that stands in no voter set is a learner: it receives the log and counts for nothing.
/// A membership is in force from the moment it is appended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "NID: Serialize, N: Serialize",
    deserialize = "NID: Deserialize<'de> + Ord, N: Deserialize<'de>"
))]
pub struct Membership<NID: Ord, N> {
    voters: Vec<BTreeSet<NID>>,
    nodes: BTreeMap<NID, Member<NID, N>>,
    remaining: BTreeSet<NID>,
}

impl<NID: Ord + Copy + Default, N: Clone> Membership<NID, N> {
    /// A uniform membership in which every given node votes, admitted by the entry at index 0 that states it.
    pub fn new_initial(nodes: impl IntoIterator<Item = (NID, StoreId, N)>) -> Self {
        let admitted = LogId { leader_id: LeaderId::default(), index: 0 };
        let nodes: BTreeMap<NID, Member<NID, N>> = nodes
            .into_iter()
            .map(|(id, store_id, node)| (id, Member { store_id, admitted, node, promote: false }))
            .collect();
        let voters: BTreeSet<NID> = nodes.keys().copied().collect();
        Self { remaining: voters.clone(), voters: vec![voters], nodes }
    }

    /// A membership of the given voter sets and nodes, for tests and for tools that rebuild one.
    ///
    /// # Errors
    /// Says which rule is broken: one or two voter sets, none of them empty, every voter and every remaining node
    /// known, every voter of the last set remaining.
    pub fn try_new(
        voters: Vec<BTreeSet<NID>>,
        nodes: BTreeMap<NID, Member<NID, N>>,
        remaining: BTreeSet<NID>,
    ) -> Result<Self, InvalidMembership> {
        let membership = Self { voters, nodes, remaining };
        membership.validate()?;
        Ok(membership)
    }

    /// A membership whose rules its maker has seen to.
    pub(crate) fn unchecked_of(
        voters: Vec<BTreeSet<NID>>,
        nodes: BTreeMap<NID, Member<NID, N>>,
        remaining: impl IntoIterator<Item = NID>,
    ) -> Self {
        Self { voters, nodes, remaining: remaining.into_iter().collect() }
    }

    /// A membership such as only a peer can send: nothing of it is checked.
    #[cfg(test)]
    pub(crate) fn unchecked(voters: Vec<BTreeSet<NID>>, nodes: BTreeMap<NID, Member<NID, N>>) -> Self {
        Self { voters, nodes, remaining: BTreeSet::new() }
    }

    /// Checks the rules of [`try_new`](Self::try_new) on a value that came from elsewhere.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), InvalidMembership> {
        if self.voters.is_empty() || self.voters.len() > 2 {
            return Err(InvalidMembership::VoterSets(self.voters.len()));
        }
        if self.voters.iter().any(BTreeSet::is_empty) {
            return Err(InvalidMembership::EmptyVoterSet);
        }
        if self.voters.iter().flatten().chain(&self.remaining).any(|id| !self.nodes.contains_key(id)) {
            return Err(InvalidMembership::UnknownVoter);
        }
        if self.voters.last().is_some_and(|voters| !voters.is_subset(&self.remaining)) {
            return Err(InvalidMembership::LeavingVoter);
        }
        Ok(())
    }

    /// The voter sets in force: one, or two while a change is under way; none before the cluster is formed.
    pub fn voters(&self) -> &[BTreeSet<NID>] {
        &self.voters
    }

    /// Every voter of every set, each once, in ascending order.
    pub fn voter_ids(&self) -> BTreeSet<NID> {
        self.voters.iter().flatten().copied().collect()
    }

    /// Every known node, voter or learner.
    pub fn nodes(&self) -> &BTreeMap<NID, Member<NID, N>> {
        &self.nodes
    }

    /// The nodes that stay members once the change under way is finished; all nodes in a uniform membership.
    pub fn remaining(&self) -> &BTreeSet<NID> {
        &self.remaining
    }

    /// Whether `id` votes in any set.
    pub fn is_voter(&self, id: &NID) -> bool {
        self.voters.iter().any(|set| set.contains(id))
    }

    /// Whether two voter sets are in force.
    pub fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    /// Whether no cluster has been formed: no voter set at all.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether `replica` is a node known here, on the store named here.
    pub fn knows(&self, replica: &Replica<NID>) -> bool {
        self.nodes.get(&replica.node_id).is_some_and(|member| member.store_id == replica.store_id)
    }
}

impl<NID: Ord + fmt::Display, N> fmt::Display for Membership<NID, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, set) in self.voters.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "+{" })?;
            for (j, id) in set.iter().enumerate() {
                write!(f, "{}{id}", if j == 0 { "" } else { "," })?;
            }
            f.write_str("}")?;
        }
        let mut learners =
            self.nodes.keys().filter(|id| !self.voters.iter().any(|s| s.contains(id))).peekable();
        if learners.peek().is_some() {
            f.write_str(" learners {")?;
            for (j, id) in learners.enumerate() {
                write!(f, "{}{id}", if j == 0 { "" } else { "," })?;
            }
            f.write_str("}")?;
        }
        Ok(())
    }
}

/// A rule of [`Membership`] that a given value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMembership {
    /// Not one or two voter sets.
    #[error("a membership has one voter set, or two while it changes; this one has {0}")]
    VoterSets(usize),
    /// A voter set without voters could decide everything.
    #[error("a voter set is empty: a cluster needs at least one voter")]
    EmptyVoterSet,
    /// A voter or remaining node without an address.
    #[error("a voter is not among the nodes: give every voter an address and a store id")]
    UnknownVoter,
    /// A voter that would be among the nodes no more once the change is finished.
    #[error("a voter is not among the nodes that remain: whoever is to vote must stay a member")]
    LeavingVoter,
}

/// A membership with the entry that stated it; `None` and empty before the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "NID: Serialize, N: Serialize",
    deserialize = "NID: Deserialize<'de> + Ord, N: Deserialize<'de>"
))]
pub struct StoredMembership<NID: Ord, N> {
    /// The log id of the entry.
    pub log_id: Option<LogId<NID>>,
    /// What it states.
    pub membership: Membership<NID, N>,
}

impl<NID: Ord, N> StoredMembership<NID, N> {
    /// The membership stated by the entry `log_id`.
    pub fn new(log_id: LogId<NID>, membership: Membership<NID, N>) -> Self {
        Self { log_id: Some(log_id), membership }
    }
}
