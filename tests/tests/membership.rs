//! Stories of membership change over clusters of real cores in memory, on virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft_core::{ChangeMembershipError, Config, Raft, ServerState, WriteError};
use openraft_engine::{
    BasicNode, ChangePrecondition, ChangeRefused, MembershipChange, NewNode, Replica, StoreId,
};
use openraft_tests::cluster::{Cluster, Names, replica};

type Change = MembershipChange<u64, BasicNode>;

fn config() -> Config {
    Config { snapshot_every_entries: None, ..Config::default() }
}

fn address(id: u64) -> BasicNode {
    BasicNode::new(format!("node {id}"))
}

fn admit(replica: Replica<u64>, promote: bool) -> Change {
    let new = NewNode { store_id: replica.store_id, node: address(replica.node_id), promote };
    Change::AddLearners(BTreeMap::from([(replica.node_id, new)]))
}

fn members(raft: &Raft<Names>) -> String {
    raft.metrics().borrow().membership.membership.to_string()
}

async fn has_members(raft: &Raft<Names>, wished: &str) {
    let wait = raft.wait(Some(Duration::from_secs(60)));
    wait.metrics(|m| m.membership.membership.to_string() == wished, wished).await.expect("in time");
}

async fn write(cluster: &Cluster, id: u64, name: &str) -> u64 {
    cluster.raft(id).client_write(name.to_owned()).await.expect("it leads").log_id.index
}

#[tokio::test(start_paused = true)]
async fn a_new_node_is_caught_up_and_becomes_a_voter_by_itself() {
    let mut cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    for i in 0..200 {
        write(&cluster, leader, &format!("w{i}")).await;
    }
    cluster.start_empty(replica(4)).await;
    cluster.raft(leader).change_membership(admit(replica(4), true)).await.expect("admitted");
    has_members(cluster.raft(leader), "{1,2,3,4}").await;
    let last = write(&cluster, leader, "after").await;
    cluster.applied(4, last).await;
    assert_eq!(cluster.names(4), cluster.names(leader));
    assert_eq!(cluster.raft(4).metrics().borrow().state, ServerState::Follower);
}

#[tokio::test(start_paused = true)]
async fn a_new_node_gets_a_snapshot_where_the_log_is_gone_and_with_it_the_membership() {
    let config = Config { snapshot_every_entries: Some(50), snapshot_keep_entries: 5, ..Config::default() };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    for i in 0..300 {
        write(&cluster, leader, &format!("w{i}")).await;
    }
    cluster.start_empty(replica(4)).await;
    cluster.raft(leader).add_learner(4, replica(4).store_id, address(4), false).await.expect("admitted");
    let last = write(&cluster, leader, "after").await;
    cluster.applied(4, last).await;
    assert_eq!(cluster.names(4).len(), 301);
    has_members(cluster.raft(4), "{1,2,3} learners {4}").await;
    assert!(cluster.raft(4).metrics().borrow().purged.is_some(), "its log began with a snapshot");
}

#[tokio::test(start_paused = true)]
async fn all_voters_are_replaced_in_one_change_while_clients_write() {
    let mut cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let new: Vec<u64> = vec![4, 5, 6];
    for id in &new {
        cluster.start_empty(replica(*id)).await;
        cluster.raft(old).change_membership(admit(replica(*id), false)).await.expect("admitted");
    }
    let last = write(&cluster, old, "before").await;
    for id in &new {
        cluster.applied(*id, last).await;
    }
    let change = Change::Batch(vec![
        Change::ReplaceVoters(new.iter().copied().collect()),
        Change::RemoveNodes([1, 2, 3].into()),
    ]);
    let writes = async {
        let mut acknowledged = Vec::new();
        for i in 0..200 {
            match cluster.raft(old).client_write(format!("w{i}")).await {
                Ok(_) => acknowledged.push(format!("w{i}")),
                // Proposed behind its own removal: whoever leads next may have it or not.
                Err(WriteError::OutcomeUnknown { .. }) => {}
                Err(error) => {
                    assert!(matches!(error, WriteError::NotLeader(_)), "{error}");
                    break;
                }
            }
        }
        acknowledged
    };
    let (changed, acknowledged) = tokio::join!(cluster.raft(old).change_membership(change), writes);
    changed.expect("the removed leader answers");
    let leader = cluster.leader_among(&new).await;
    let last = write(&cluster, leader, "after").await;
    for id in &new {
        cluster.applied(*id, last).await;
        assert_eq!(members(cluster.raft(*id)), "{4,5,6}");
        let names = cluster.names(*id);
        assert!(acknowledged.iter().all(|name| names.contains(name)), "nothing acknowledged is lost");
    }
    let was_leader = cluster.raft(old).wait(Some(Duration::from_secs(60)));
    was_leader
        .metrics(|m| m.removed && m.state == ServerState::Learner, "its removal")
        .await
        .expect("in time");
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_learns_of_it_and_campaigns_no_more() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let removed = cluster.others(leader)[0];
    cluster.raft(leader).change_membership(Change::RemoveNodes([removed].into())).await.expect("removed");
    let wait = cluster.raft(removed).wait(Some(Duration::from_secs(60)));
    wait.metrics(|m| m.removed, "its removal").await.expect("in time");
    let term = cluster.raft(leader).metrics().borrow().vote.term;
    openraft_adapters::Env::tokio().sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.raft(leader).metrics().borrow().vote.term, term, "nobody was disturbed");
    assert_eq!(cluster.leader_among(&[leader]).await, leader);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_when_it_was_removed_is_told_by_the_members_it_asks() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.router.isolate(away);
    cluster.raft(leader).change_membership(Change::RemoveNodes([away].into())).await.expect("removed");
    // Longer than a removed node is waited for.
    openraft_adapters::Env::tokio().sleep(Duration::from_secs(60)).await;
    let term = cluster.raft(leader).metrics().borrow().vote.term;
    cluster.router.heal();
    let wait = cluster.raft(away).wait(Some(Duration::from_secs(60)));
    wait.metrics(|m| m.removed, "its removal").await.expect("in time");
    openraft_adapters::Env::tokio().sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.raft(leader).metrics().borrow().vote.term, term, "nobody was disturbed");
}

#[tokio::test(start_paused = true)]
async fn a_wiped_node_is_a_member_again_after_its_removal_and_admission_on_the_new_store() {
    let mut cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let wiped = cluster.others(leader)[0];
    let last = write(&cluster, leader, "before").await;
    cluster.applied(wiped, last).await;
    cluster.stop(wiped).await;
    let new = Replica { node_id: wiped, store_id: StoreId(77) };
    cluster.start_empty(new).await;
    let refused = cluster.raft(leader).change_membership(admit(new, true)).await;
    let Err(ChangeMembershipError::Refused(refused)) = refused else {
        panic!("two stores, one node: {refused:?}")
    };
    assert!(refused.to_string().contains("remove the node first"), "{refused}");
    cluster.raft(leader).change_membership(Change::RemoveNodes([wiped].into())).await.expect("removed");
    cluster.raft(leader).change_membership(admit(new, true)).await.expect("admitted anew");
    has_members(cluster.raft(leader), "{1,2,3}").await;
    let last = write(&cluster, leader, "after").await;
    cluster.applied(wiped, last).await;
    assert_eq!(cluster.names(wiped), ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn two_changes_at_once_are_refused_with_the_one_under_way_named() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let others = cluster.others(leader);
    let raft = cluster.raft(leader);
    let (first, second) = tokio::join!(
        raft.change_membership(Change::RemoveVoters([others[0]].into())),
        raft.change_membership(Change::RemoveVoters([others[1]].into()))
    );
    first.expect("the first is made");
    let Err(ChangeMembershipError::Refused(refused)) = second else { panic!("{second:?}") };
    assert!(
        matches!(&refused, ChangeRefused::InProgress { voters, .. } if !voters.contains(&others[0])),
        "{refused}"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_who_compare_and_set_on_one_membership_one_succeeds() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let raft = cluster.raft(leader);
    let seen = raft.metrics().borrow().membership.log_id.expect("formed");
    let condition = vec![ChangePrecondition::Membership(seen)];
    let others = cluster.others(leader);
    let first = Change::RemoveVoters([others[0]].into());
    raft.change_membership_if(first, condition.clone()).await.expect("as seen");
    let second = Change::RemoveVoters([others[1]].into());
    let second = raft.change_membership_if(second, condition).await;
    assert!(
        matches!(&second, Err(ChangeMembershipError::Refused(ChangeRefused::Precondition { .. }))),
        "{second:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_is_reached_at_its_new_address() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let moved = cluster.others(leader)[0];
    let change = Change::SetNodes(BTreeMap::from([(moved, BasicNode::new("elsewhere"))]));
    cluster.raft(leader).change_membership(change).await.expect("moved");
    let last = write(&cluster, leader, "after").await;
    cluster.applied(moved, last).await;
    let metrics = cluster.raft(moved).metrics().borrow().clone();
    assert_eq!(metrics.membership.membership.nodes()[&moved].node, BasicNode::new("elsewhere"));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_reached_nobody_is_rolled_back_where_it_was_begun() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let others = cluster.others(old);
    cluster.router.isolate(old);
    let changed = cluster.raft(old).change_membership(Change::RemoveVoters([others[0]].into())).await;
    let Err(ChangeMembershipError::Refused(ChangeRefused::LeadershipLost)) = changed else {
        panic!("{changed:?}")
    };
    assert!(cluster.raft(old).metrics().borrow().membership.membership.is_joint(), "it stands in its log");
    let new = cluster.leader_among(&others).await;
    let last = write(&cluster, new, "after").await;
    cluster.router.heal();
    cluster.applied(old, last).await;
    assert_eq!(members(cluster.raft(old)), "{1,2,3}");
}
