//! The handle's part for membership change.

use std::collections::BTreeMap;

use openraft_adapters::{LogIdOf, RaftTypeConfig};
use openraft_engine::{ChangePrecondition, ChangeRefused, MembershipChange, NewNode, StoreId};
use tokio::sync::oneshot;

use crate::message::RaftMsg;
use crate::{ChangeMembershipError, Raft};

impl<C: RaftTypeConfig> Raft<C> {
    /// Changes the membership: any set of voters into any other, in one change that is joint while it is under way
    /// (thesis 4.3). On return the uniform membership that it leads to is committed; the entry that states it is
    /// returned, and this node may have been removed by it. A change that changes nothing
    /// writes nothing and is `Ok` as soon as a quorum has confirmed that this node still leads.
    ///
    /// New voters must be learners that have caught up. To add a node, admit it with [`add_learner`](Self::add_learner)
    /// and let it be promoted by itself.
    ///
    /// # Errors
    /// See [`ChangeMembershipError`]. All but lost leadership and a stopped node mean that nothing was begun.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing: a change that has begun goes on, and whoever leads next finishes it.
    pub async fn change_membership(
        &self,
        change: MembershipChange<C::NodeId, C::Node>,
    ) -> Result<LogIdOf<C>, ChangeMembershipError<C>> {
        self.change_membership_if(change, Vec::new()).await
    }

    /// As [`change_membership`](Self::change_membership), but only if every precondition holds: compare and set, on the
    /// entry that states the membership, on the last entry of the log, or on the leader.
    ///
    /// # Errors
    /// As there, and if a precondition does not hold.
    pub async fn change_membership_if(
        &self,
        change: MembershipChange<C::NodeId, C::Node>,
        preconditions: Vec<ChangePrecondition<C::NodeId>>,
    ) -> Result<LogIdOf<C>, ChangeMembershipError<C>> {
        loop {
            let (tx, rx) = oneshot::channel();
            let (change, preconditions) = (change.clone(), preconditions.clone());
            self.send(RaftMsg::ChangeMembership { change, preconditions, tx })?;
            match rx.await {
                Ok(Ok(log_id)) => return Ok(log_id),
                Ok(Err(ChangeRefused::NotReady)) => self.wait_until_leader_is_ready().await?,
                Ok(Err(ChangeRefused::NotLeader { leader })) => return Err(self.forward_to(leader).into()),
                Ok(Err(refused)) => return Err(ChangeMembershipError::Refused(refused)),
                Err(_) => return Err(ChangeMembershipError::Fatal(self.cause().await)),
            }
        }
    }

    /// Admits `id` on the store `store_id` as a learner: it receives the log and counts for nothing, until it is made a
    /// voter, by itself once it has caught up if `promote` says so. On return the admission is committed. Repeating it
    /// is `Ok`; with another `node` it changes the address.
    ///
    /// # Errors
    /// As [`change_membership`](Self::change_membership); a node that is a member on another store must be removed
    /// before.
    pub async fn add_learner(
        &self,
        id: C::NodeId,
        store_id: StoreId,
        node: C::Node,
        promote: bool,
    ) -> Result<LogIdOf<C>, ChangeMembershipError<C>> {
        let new = NewNode { store_id, node, promote };
        self.change_membership(MembershipChange::AddLearners(BTreeMap::from([(id, new)]))).await
    }

    /// A leadership that has just begun takes no change before its first entry is committed, which is a matter of one
    /// round, or of losing it.
    async fn wait_until_leader_is_ready(&self) -> Result<(), ChangeMembershipError<C>> {
        let mut metrics = self.shared.metrics.clone();
        let ready = metrics.wait_for(|metrics| {
            let leads = metrics.current_leader == Some(metrics.id);
            let committed = metrics.committed.map(|committed| committed.leader_id);
            !leads || metrics.fatal.is_some() || committed == Some(metrics.vote.leader_id())
        });
        match ready.await {
            Ok(_) => Ok(()),
            Err(_) => Err(ChangeMembershipError::Fatal(self.fatal())),
        }
    }
}
