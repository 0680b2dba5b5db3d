//! Nodes come and go: changes of the membership, and directories lost by nodes that are members no more.

use std::time::Duration;

use openraft_adapters::Env;
use openraft_core::Raft;
use openraft_engine::{BasicNode, MembershipChange, NewNode};
use rand::Rng;
use rand::rngs::SmallRng;

use super::Types;
use super::cluster::Cluster;
use super::runtime::Chance;
use super::trace::Trace;

/// How long whoever asks for a change waits for its end: some changes are thus still under way at the next fault.
const PATIENCE: Duration = Duration::from_millis(300);

/// Asks some node for some change. Most nodes do not lead, and many changes are refused.
pub(super) async fn change(cluster: &Cluster, chance: &Chance, trace: &Trace) {
    let up = cluster.up();
    let rafts: Vec<Raft<Types>> = up.into_iter().filter_map(|id| cluster.raft(id)).collect();
    let leads = rafts.iter().find(|raft| {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        metrics.current_leader == Some(metrics.id)
    });
    let Some(raft) = leads else { return };
    let wished = chance.draw(|rng| draw(cluster, rng));
    trace.note(format!("n{} is asked for {wished:?}", raft.replica().node_id));
    // Dropping the call withdraws nothing.
    if let Ok(Ok(log_id)) = Env::tokio().timeout(PATIENCE, raft.change_membership(wished)).await {
        trace.changed(log_id);
    }
}

fn draw(cluster: &Cluster, rng: &mut SmallRng) -> MembershipChange<u64, BasicNode> {
    let ids = cluster.ids();
    let id = ids[rng.random_range(0..ids.len())];
    match rng.random_range(0..10) {
        0..5 => {
            let new = NewNode {
                store_id: cluster.replica(id).store_id,
                node: BasicNode::new(format!("n{id} for the {}th time", rng.random_range(1..4))),
                promote: rng.random_bool(0.8),
            };
            MembershipChange::AddLearners([(id, new)].into())
        }
        5 => MembershipChange::AddVoters([id].into()),
        6 => MembershipChange::RemoveVoters([id].into()),
        7 => MembershipChange::ReplaceVoters(ids.into_iter().filter(|_| rng.random_bool(0.7)).collect()),
        _ => MembershipChange::RemoveNodes([id].into()),
    }
}

/// Takes the directory of a node that no membership in force anywhere names, and starts it anew on an empty one.
pub(super) async fn wipe(cluster: &mut Cluster, id: u64, trace: &Trace) {
    let replica = cluster.replica(id);
    let named = cluster.newest_membership().is_none_or(|stored| stored.membership.knows(&replica));
    if !named && cluster.up().contains(&id) {
        trace.wiped();
        cluster.wipe(id).await;
    }
}
