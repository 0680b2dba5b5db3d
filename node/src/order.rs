//! Orders: what only a leader carries out, for its own application or for another node, and what may come of it.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft_adapters::Env;
use openraft_core::{ChangeMembershipError, Raft, TransferError, WriteError};
use openraft_engine::{BasicNode, ChangeRefused, InvalidChange, MembershipChange};
use serde::{Deserialize, Serialize};

use crate::NodeTypeConfig;

/// What an order takes beside the proposal in it, at most: its kind.
pub(crate) const ORDER_OVERHEAD_BYTES: usize = 16;

/// What only a leader carries out. Variants are only ever added at the end: nodes of two versions exchange it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order<D> {
    /// A proposal. Answered with its log id and the state machine's reply.
    Write(D),
    /// A change of the members that may be repeated. Answered with the index of the entry that states it, if there was
    /// anything to change.
    Change(MembershipChange<u64, BasicNode>),
    /// Another leader: the one named, or the best. Answered with who led before.
    Transfer(Option<u64>),
}

impl<D> Order<D> {
    /// The removal of one node.
    pub(crate) fn removal(id: u64) -> Self {
        Self::Change(MembershipChange::RemoveNodes(BTreeSet::from([id])))
    }

    /// Whether carrying it out twice does no more than once, so that it may be given again when its fate is not known.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Write(_))
    }
}

/// What came of an order, at the node that was to carry it out.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// It is carried out; the answer in postcard.
    Done(Vec<u8>),
    /// Certainly not proposed; somebody else may take it, or this node later.
    NotTaken(String),
    /// Certainly not proposed, because too much is on its way: to be asked again after a pause, and not at once.
    Overloaded(String),
    /// Certainly not proposed, and asking again does not help.
    Refused(String),
    /// It may yet take effect.
    Unknown(String),
}

impl Outcome {
    fn done(answer: &impl Serialize) -> Self {
        match postcard::to_stdvec(answer) {
            Ok(answer) => Self::Done(answer),
            Err(error) => Self::Unknown(format!("it took effect, but the reply does not encode: {error}")),
        }
    }
}

/// Carries `order` out here, if this node leads, in about `within`.
pub(crate) async fn carry_out<C: NodeTypeConfig>(
    raft: &Raft<C>,
    env: &Env,
    order: Order<C::D>,
    within: Duration,
) -> Outcome {
    if let Some(fatal) = raft.metrics().borrow().fatal.clone() {
        // It is not even handed over.
        return Outcome::NotTaken(fatal.to_string());
    }
    match order {
        Order::Write(data) => write(raft, data, within).await,
        Order::Change(wanted) => change(raft, env, wanted, within).await,
        Order::Transfer(to) => transfer(raft, to).await,
    }
}

async fn write<C: NodeTypeConfig>(raft: &Raft<C>, data: C::D, within: Duration) -> Outcome {
    match raft.client_write_within(data, within).await {
        Ok(done) => Outcome::done(&(done.log_id, done.reply)),
        Err(error @ (WriteError::NotLeader(_) | WriteError::NotProposedInTime)) => {
            Outcome::NotTaken(error.to_string())
        }
        Err(error @ WriteError::Overloaded { .. }) => Outcome::Overloaded(error.to_string()),
        Err(error @ WriteError::TooLarge { .. }) => Outcome::Refused(error.to_string()),
        Err(WriteError::OutcomeUnknown { reason }) => Outcome::Unknown(reason.to_owned()),
        Err(error @ WriteError::Fatal(_)) => Outcome::Unknown(error.to_string()),
    }
}

async fn change<C: NodeTypeConfig>(
    raft: &Raft<C>,
    env: &Env,
    wanted: MembershipChange<u64, BasicNode>,
    within: Duration,
) -> Outcome {
    let removal = matches!(wanted, MembershipChange::RemoveNodes(_));
    let Ok(changed) = env.timeout(within, raft.change_membership(wanted)).await else {
        return Outcome::Unknown(format!(
            "the change of the members has begun and is not finished within {within:?}; the status of the leader shows \
             how far it is"
        ));
    };
    match changed {
        Ok(log_id) => Outcome::done(&Some(log_id.index)),
        // It is no member: removed already, perhaps by an earlier attempt.
        Err(ChangeMembershipError::Refused(ChangeRefused::Invalid(InvalidChange::UnknownNode {
            ..
        }))) if removal => Outcome::done(&None::<u64>),
        Err(
            error @ (ChangeMembershipError::NotLeader(_)
            | ChangeMembershipError::Refused(
                ChangeRefused::InProgress { .. } | ChangeRefused::Transferring { .. },
            )),
        ) => Outcome::NotTaken(error.to_string()),
        Err(error @ ChangeMembershipError::Refused(ChangeRefused::LeadershipLost)) => {
            Outcome::Unknown(error.to_string())
        }
        Err(error @ ChangeMembershipError::Refused(_)) => Outcome::Refused(error.to_string()),
        Err(error @ ChangeMembershipError::Fatal(_)) => Outcome::Unknown(error.to_string()),
    }
}

async fn transfer<C: NodeTypeConfig>(raft: &Raft<C>, to: Option<u64>) -> Outcome {
    let (me, leader) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        (metrics.id, metrics.current_leader)
    };
    if leader == Some(me) && to == Some(me) {
        return Outcome::done(&me);
    }
    match raft.transfer_leader(to).await {
        Ok(()) => Outcome::done(&me),
        Err(error @ TransferError::NotLeader(_)) => Outcome::NotTaken(error.to_string()),
        Err(error @ TransferError::Refused(_)) => Outcome::Refused(error.to_string()),
        Err(error @ TransferError::Fatal(_)) => Outcome::Unknown(error.to_string()),
    }
}
