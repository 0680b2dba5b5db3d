//! Those who run the cluster: they change its membership, hand leadership over, and replace disks that are lost.

use std::sync::atomic::Ordering;

use openraft_core::{ReadPolicy, TransferError};
use openraft_engine::{BasicNode, MembershipChange, NewNode, TransferRefused};
use rand::Rng;

use super::cluster::Cluster;
use super::coverage::Reached;
use super::subject::Subject;
use super::tasks::start;

type Change = MembershipChange<u64, BasicNode>;

impl<S: Subject> Cluster<S> {
    /// Asks the leader, if there seems to be one, for a change. Whoever asks waits as long as it takes, beside the run.
    fn ask_for(&self, change: Change, reached: Option<Reached>) {
        let Some(raft) = self.leader().and_then(|leader| self.raft(leader)) else { return };
        let (observer, changing) = (self.observer.clone(), self.changing.clone());
        observer.note(format!("n{} is asked for {change:?}", raft.replica().node_id));
        changing.fetch_add(1, Ordering::Relaxed);
        start(async move {
            let answer = raft.change_membership(change).await;
            changing.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok(log_id) => {
                    observer.note(format!("the membership of {log_id} is committed"));
                    reached.into_iter().for_each(|reached| observer.count(reached));
                }
                Err(error) => observer.note(format!("the membership is not changed: {error}")),
            }
        });
    }

    fn admission(&self, id: u64, promote: bool) -> Change {
        let new =
            NewNode { store_id: self.replica(id).store_id, node: BasicNode::new(format!("n{id}")), promote };
        MembershipChange::AddLearners([(id, new)].into())
    }

    /// Some change. Many are refused.
    pub(super) fn change(&mut self) {
        let Some(newest) = self.newest_membership() else { return };
        let lost = self.destroyed().iter().any(|replica| newest.membership.knows(replica));
        let ids = self.ids();
        let (id, kind, promote, others) = self.chance.draw(|rng| {
            let others = ids.iter().copied().filter(|_| rng.random_bool(0.7)).collect();
            (ids[rng.random_range(0..ids.len())], rng.random_range(0..10), rng.random_bool(0.8), others)
        });
        let known = newest.membership.knows(&self.replica(id));
        // While a voter's store is lost no sound one is removed: an operator sees to the lost one first.
        let change = match kind {
            // Nor is a store admitted that is lost.
            0..6 if self.is_destroyed(id) => return,
            0..6 => self.admission(id, promote),
            _ if lost => return,
            6 => MembershipChange::AddVoters([id].into()),
            7 => MembershipChange::RemoveVoters([id].into()),
            8 => MembershipChange::ReplaceVoters(others),
            _ => MembershipChange::RemoveNodes([id].into()),
        };
        let again = (self.replica(id).store_id.0 >> 64) > 0 && !known;
        let readmitted = matches!(change, MembershipChange::AddLearners(_)) && again;
        self.ask_for(change, readmitted.then_some(Reached::Readmitted));
    }

    /// Sees to a store that is lost: removes its node, gives it another disk, admits it again. One step at a time. Returns
    /// whether there was anything to do.
    pub(super) async fn repair(&mut self) -> bool {
        let Some(newest) = self.newest_membership() else { return false };
        let named = self.destroyed().iter().find(|replica| newest.membership.knows(replica)).copied();
        if let Some(replica) = named {
            self.ask_for(MembershipChange::RemoveNodes([replica.node_id].into()), None);
            return true;
        }
        let memberships = self.memberships();
        let unnamed = |replica| !memberships.iter().any(|stated| stated.membership.knows(&replica));
        let rotten = self.ids().into_iter().find(|id| self.is_destroyed(*id) && unnamed(self.replica(*id)));
        if let Some(id) = rotten {
            self.wipe(id).await;
            return true;
        }
        let waiting = self.ids().into_iter().find(|id| {
            *id <= self.settings.nodes
                && !newest.membership.nodes().contains_key(id)
                && !self.is_destroyed(*id)
        });
        if let Some(id) = waiting {
            let again = (self.replica(id).store_id.0 >> 64) > 0;
            self.ask_for(self.admission(id, true), again.then_some(Reached::Readmitted));
        }
        false
    }

    /// Leadership is to be handed over, to whomever.
    pub(super) fn transfer(&self, pick: u64) {
        let Some(raft) = self.leader().and_then(|leader| self.raft(leader)) else { return };
        let ids = self.ids();
        let to = (!pick.is_multiple_of(3)).then(|| ids[(pick / 3) as usize % ids.len()]);
        let observer = self.observer.clone();
        start(async move {
            let (from, answer) = (raft.replica().node_id, raft.transfer_leader(to).await);
            match &answer {
                Ok(()) => observer.count(Reached::Transferred),
                Err(TransferError::Refused(TransferRefused::TimedOut { .. })) => {
                    observer.count(Reached::TransferFailed);
                }
                Err(_) => {}
            }
            observer.note(format!("n{from} was to hand over: {answer:?}"));
        });
    }

    /// A node is to build a snapshot, or to campaign, or to be read from by its own operator.
    pub(super) fn trigger(&self, id: u64, elect: bool) {
        let Some(raft) = self.raft(id) else { return };
        start(async move {
            // A node that is stopping may not answer, and that is all right.
            let _ = if elect { raft.trigger().elect().await } else { raft.trigger().snapshot().await };
            let _ = raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        });
    }
}
