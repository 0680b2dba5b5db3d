//! Between forming and a running node: its first membership, and which stores its members have from then on.

use std::collections::BTreeMap;

use openraft_adapters::RaftTypeConfig;
use openraft_adapters::engine::{InitialNodes, StoreId};

use super::Formation;
use crate::{Fatal, InitializeError, Raft};

impl<C: RaftTypeConfig> Formation<C> {
    /// Writes what [`form`](Self::form) returned to the node's empty log, as [`Raft::initialize`] does. That a leader,
    /// elected by the others, has reached the node before is no error here: all nodes have agreed on one list.
    ///
    /// # Errors
    /// As [`Raft::initialize`], if the node is in no cluster then.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing.
    pub async fn initialize(
        &self,
        raft: &Raft<C>,
        nodes: InitialNodes<C::NodeId, C::Node>,
    ) -> Result<(), InitializeError<C>> {
        match raft.initialize(nodes).await {
            Err(error) if !raft.is_initialized() => Err(error),
            _ => Ok(()),
        }
    }

    /// Says now which stores the members of the cluster that `raft` belongs to have; see
    /// [`set_formed`](Self::set_formed).
    pub fn set_formed_of(&self, raft: &Raft<C>) {
        let metrics = raft.metrics();
        let members: BTreeMap<C::NodeId, StoreId> = {
            let metrics = metrics.borrow();
            let nodes = metrics.membership.membership.nodes();
            nodes.iter().map(|(id, member)| (*id, member.store_id)).collect()
        };
        self.set_formed(members);
    }

    /// Does so whenever the membership changes, until the node ends; returns why it did. To be called once the node is a
    /// member.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn follow(&self, raft: &Raft<C>) -> Fatal {
        let (mut metrics, mut known) = (raft.metrics(), None);
        loop {
            let news = metrics.wait_for(|m| m.fatal.is_some() || m.membership.log_id != known).await;
            match news.map(|now| (now.fatal.clone(), now.membership.log_id)) {
                Err(_) => return Fatal::Stopped,
                Ok((Some(fatal), _)) => return fatal,
                Ok((None, stated)) => known = stated,
            }
            self.set_formed_of(raft);
        }
    }
}
