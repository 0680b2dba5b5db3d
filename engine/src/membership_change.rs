//! What a membership is to become: changes asked for, and the membership that an entry states on the way there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LeaderId, LogId, Member, Membership, StoreId};

/// A node that is to be admitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewNode<N> {
    /// The store it runs on. Its votes and acknowledgements count only from there.
    pub store_id: StoreId,
    /// Its address and whatever else the application keeps of it.
    pub node: N,
    /// Whether the learner is to become a voter by itself once it has caught up.
    pub promote: bool,
}

/// A change of the membership. All of it takes effect, or nothing.
///
/// From any set of voters to any other it is one change: joint while it is under way (thesis 4.3), so that no quorum
/// of the old voters and none of the new ones ever decides alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound(
    serialize = "NID: Serialize, N: Serialize",
    deserialize = "NID: Deserialize<'de> + Ord, N: Deserialize<'de>"
))]
pub enum MembershipChange<NID: Ord, N> {
    /// Admit these nodes as learners. One that is known on the same store gets the new address and wish for promotion;
    /// one that is known on another store must be removed by a change of its own before.
    AddLearners(BTreeMap<NID, NewNode<N>>),
    /// Make these known nodes voters. They must have caught up.
    AddVoters(BTreeSet<NID>),
    /// Make these voters learners, which stay so until another change.
    RemoveVoters(BTreeSet<NID>),
    /// The voters are these and no others; those that were and are not stay as learners. New ones must have caught up.
    ReplaceVoters(BTreeSet<NID>),
    /// Remove these nodes, voters or learners, from the cluster.
    RemoveNodes(BTreeSet<NID>),
    /// The nodes are these and no others: new ones come as learners, missing ones are removed, voters or not.
    ReplaceNodes(BTreeMap<NID, NewNode<N>>),
    /// Give these known nodes other addresses.
    SetNodes(BTreeMap<NID, N>),
    /// One after the other, as one change.
    Batch(Vec<MembershipChange<NID, N>>),
}

/// What must hold for a change to be made: compare and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ChangePrecondition<NID> {
    /// The membership in force is the one that this entry states.
    Membership(LogId<NID>),
    /// The last entry of the leader's log is this one.
    LastLog(LogId<NID>),
    /// The leader is this one, in this term.
    Leader(LeaderId<NID>),
}

impl<NID: fmt::Display> fmt::Display for ChangePrecondition<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Membership(log_id) => write!(f, "the membership should be that of {log_id}"),
            Self::LastLog(log_id) => write!(f, "the log should end with {log_id}"),
            Self::Leader(leader) => write!(f, "{leader} should lead"),
        }
    }
}

/// A change that cannot lead to a membership. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum InvalidChange<NID: std::fmt::Display> {
    /// It speaks of a node that the membership does not hold.
    #[error("node {id} is not a member: add it as a learner first")]
    UnknownNode {
        /// The node.
        id: NID,
    },
    /// The node is known on another store.
    #[error(
        "node {id} is a member on the store {known}, not on {given}: if its directory was replaced, remove the node \
         first and add it when that is done"
    )]
    OtherStore {
        /// The node.
        id: NID,
        /// The store that the membership names.
        known: StoreId,
        /// The store given.
        given: StoreId,
    },
    /// Nobody would vote.
    #[error("no voter would remain: a cluster needs at least one")]
    NoVoters,
}

/// What a membership is heading for: one voter set and the nodes that remain.
struct Goal<NID: Ord, N> {
    voters: BTreeSet<NID>,
    nodes: BTreeMap<NID, Member<NID, N>>,
}

impl<NID, N> Membership<NID, N>
where
    NID: Ord + Copy + Default + std::fmt::Display,
    N: Clone + Eq,
{
    /// The membership that the entry `log_id` must state to begin `change`: the goal itself where the voters stay the
    /// same, otherwise the joint one. `None` if everything is as wished already.
    ///
    /// # Errors
    /// If the change cannot lead to a membership.
    ///
    /// # Panics
    /// If this membership is joint: it is to be [`finished`](Self::finished) first.
    pub fn changed(
        &self,
        change: &MembershipChange<NID, N>,
        log_id: LogId<NID>,
    ) -> Result<Option<Self>, InvalidChange<NID>> {
        let [old] = self.voters() else { panic!("a change begins from one voter set") };
        let mut goal = Goal { voters: old.clone(), nodes: self.nodes().clone() };
        goal.apply(change, self, log_id)?;
        if goal.voters.is_empty() {
            return Err(InvalidChange::NoVoters);
        }
        for id in &goal.voters {
            if let Some(member) = goal.nodes.get_mut(id) {
                member.promote = false;
            }
        }
        if goal.voters == *old {
            let uniform = Self::unchecked_of(vec![goal.voters], goal.nodes.clone(), goal.nodes.into_keys());
            return Ok((uniform != *self).then_some(uniform));
        }
        let remaining: Vec<NID> = goal.nodes.keys().copied().collect();
        let mut nodes = self.nodes().clone();
        nodes.extend(goal.nodes);
        Ok(Some(Self::unchecked_of(vec![old.clone(), goal.voters], nodes, remaining)))
    }

    /// The uniform membership in which a joint one ends; `None` if this one is uniform.
    pub fn finished(&self) -> Option<Self> {
        let [_, new] = self.voters() else { return None };
        let stay = self.nodes().iter().filter(|(id, _)| self.remaining().contains(id));
        let nodes: BTreeMap<_, _> = stay.map(|(id, member)| (*id, member.clone())).collect();
        let remaining: Vec<NID> = nodes.keys().copied().collect();
        Some(Self::unchecked_of(vec![new.clone()], nodes, remaining))
    }

    /// The voters of the last set that are in no earlier one: those that a change under way adds.
    pub fn joining_voters(&self) -> BTreeSet<NID> {
        match self.voters() {
            [old, new] => new.difference(old).copied().collect(),
            _ => BTreeSet::new(),
        }
    }
}

impl<NID, N> Goal<NID, N>
where
    NID: Ord + Copy + Default + std::fmt::Display,
    N: Clone + Eq,
{
    /// Takes one change into the goal. `before` is the membership that the whole change begins from: a node that it
    /// names keeps its store within one change, also if a batch removes it and adds it again.
    fn apply(
        &mut self,
        change: &MembershipChange<NID, N>,
        before: &Membership<NID, N>,
        log_id: LogId<NID>,
    ) -> Result<(), InvalidChange<NID>> {
        match change {
            MembershipChange::AddLearners(nodes) => {
                for (id, new) in nodes {
                    self.admit(*id, new, before, log_id)?;
                }
            }
            MembershipChange::AddVoters(ids) => {
                self.all_known(ids)?;
                self.voters.extend(ids.iter().copied());
            }
            MembershipChange::RemoveVoters(ids) => {
                self.all_known(ids)?;
                self.set_voters(self.voters.difference(ids).copied().collect());
            }
            MembershipChange::ReplaceVoters(ids) => {
                self.all_known(ids)?;
                self.set_voters(ids.clone());
            }
            MembershipChange::RemoveNodes(ids) => {
                self.all_known(ids)?;
                self.remove(|id| ids.contains(id));
            }
            MembershipChange::ReplaceNodes(nodes) => {
                for (id, new) in nodes {
                    self.admit(*id, new, before, log_id)?;
                }
                self.remove(|id| !nodes.contains_key(id));
            }
            MembershipChange::SetNodes(nodes) => {
                for (id, node) in nodes {
                    let member = self.nodes.get_mut(id).ok_or(InvalidChange::UnknownNode { id: *id })?;
                    member.node = node.clone();
                }
            }
            MembershipChange::Batch(changes) => {
                for change in changes {
                    self.apply(change, before, log_id)?;
                }
            }
        }
        Ok(())
    }

    fn admit(
        &mut self,
        id: NID,
        new: &NewNode<N>,
        before: &Membership<NID, N>,
        log_id: LogId<NID>,
    ) -> Result<(), InvalidChange<NID>> {
        let NewNode { store_id, node, promote } = new.clone();
        let known = self.nodes.get(&id).or_else(|| before.nodes().get(&id));
        if let Some(known) = known.filter(|known| known.store_id != store_id) {
            return Err(InvalidChange::OtherStore { id, known: known.store_id, given: store_id });
        }
        let admitted = known.map_or(log_id, |known| known.admitted);
        let promote = promote && !self.voters.contains(&id);
        self.nodes.insert(id, Member { store_id, admitted, node, promote });
        Ok(())
    }

    fn all_known(&self, ids: &BTreeSet<NID>) -> Result<(), InvalidChange<NID>> {
        match ids.iter().find(|id| !self.nodes.contains_key(id)) {
            Some(id) => Err(InvalidChange::UnknownNode { id: *id }),
            None => Ok(()),
        }
    }

    /// Whoever ceases to vote by a wish stays what it is then, and is not promoted again by an earlier wish.
    fn set_voters(&mut self, voters: BTreeSet<NID>) {
        for id in self.voters.difference(&voters) {
            if let Some(member) = self.nodes.get_mut(id) {
                member.promote = false;
            }
        }
        self.voters = voters;
    }

    fn remove(&mut self, leaves: impl Fn(&NID) -> bool) {
        self.nodes.retain(|id, _| !leaves(id));
        self.voters.retain(|id| !leaves(id));
    }
}
