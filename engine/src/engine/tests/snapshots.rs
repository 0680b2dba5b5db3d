//! Stories of snapshots: installing a leader's, what is busy meanwhile, and starting from one.

use super::bench::{Bench, at, config, entries, found, membership_entry, origin, voters};
use crate::{AppendResult, Command, LogId, RestartState, ServerState, SnapshotMeta, StoredMembership};

fn stated(index: u64, ids: &[u64]) -> StoredMembership<u64, ()> {
    StoredMembership::new(at(2, index), voters(ids))
}

#[test]
fn an_installed_snapshot_replaces_the_log_and_the_membership() {
    let mut node = Bench::node(1, &[1, 2, 3], &[1, 1]);
    let token = node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3, 4]));
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), None, "it is not installed yet");
    assert_eq!(node.engine.last_log_id(), Some(at(1, 2)), "and the log stays until it is durable");
    node.engine.handle_snapshot_installed(true);
    let orders = node.run();
    let purge = orders.iter().position(|c| matches!(c, Command::PurgeLog { upto, .. } if *upto == at(2, 9)));
    assert!(purge.is_some(), "{orders:?}");
    assert_eq!(node.snapshot_answer(token), None, "the purge is not durable yet");
    node.flush();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Matched(Some(at(2, 9)))));
    assert_eq!((node.engine.last_log_id(), node.engine.purged()), (Some(at(2, 9)), Some(at(2, 9))));
    assert_eq!((node.engine.committed(), node.engine.applied()), (Some(at(2, 9)), Some(at(2, 9))));
    assert!(node.engine.membership().membership.is_voter(&4));
    let token = node.append(12, Some(at(2, 9)), &entries(10, &[12]), Some(at(12, 10)));
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 10)))));
    assert_eq!(node.applied_orders(), vec![at(12, 10)]);
}

#[test]
fn what_the_log_holds_beyond_the_snapshot_stays() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2, 2]);
    let later = membership_entry(12, 5, voters(&[1, 2, 3, 5]));
    node.append(12, Some(at(2, 4)), &[later], None);
    let token = node.snapshot(12, at(2, 2), stated(1, &[1, 2, 3, 4]));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Matched(Some(at(2, 2)))));
    assert_eq!((node.engine.purged(), node.engine.last_log_id()), (Some(at(2, 2)), Some(at(12, 5))));
    assert!(node.engine.membership().membership.is_voter(&5), "the later membership is in force");
    node.append(13, Some(at(2, 4)), &entries(5, &[13]), None);
    assert!(node.engine.membership().membership.is_voter(&4), "and behind it the snapshot's");
}

#[test]
fn while_an_install_is_under_way_appends_and_snapshots_are_busy_and_nothing_is_applied() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2]);
    node.flush_all();
    node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    let append = node.append(12, Some(at(2, 2)), &entries(3, &[12]), Some(at(2, 2)));
    let second = node.snapshot(12, at(2, 11), stated(7, &[1, 2, 3]));
    node.heartbeat(12, Some(at(2, 2)));
    node.flush_all();
    assert_eq!(node.append_answer(append), Some(AppendResult::Busy));
    assert_eq!(node.snapshot_answer(second), Some(AppendResult::Busy));
    assert_eq!(node.applied_orders(), vec![]);
    let deadline = node.deadline();
    assert!(!deadline.iter().any(|c| matches!(c, Command::SaveVote { .. })), "nor does it campaign");
    assert!(node.engine.next_deadline().is_some());
}

#[test]
fn a_snapshot_that_does_not_restore_leaves_everything_as_it_was() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2]);
    let token = node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    node.engine.handle_snapshot_installed(false);
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Refused));
    assert_eq!((node.engine.last_log_id(), node.engine.snapshot()), (Some(at(2, 2)), None));
    node.append(12, Some(at(2, 2)), &entries(3, &[12]), Some(at(12, 3)));
    node.flush_all();
    assert_eq!(node.applied_orders().last(), Some(&at(12, 3)));
}

#[test]
fn a_snapshot_of_what_is_committed_here_is_matched_without_installing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2]);
    node.heartbeat(12, Some(at(2, 3)));
    let token = node.snapshot(12, at(2, 2), stated(1, &[1, 2, 3]));
    node.flush();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Matched(Some(at(2, 2)))));
    assert!(!node.orders.iter().any(|c| matches!(c, Command::InstallSnapshot { .. })));
}

#[test]
fn an_install_that_ends_under_another_vote_is_not_acknowledged_to_the_old_leader() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    node.heartbeat(13, None);
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::HigherVote));
    assert_eq!(node.engine.applied(), Some(at(2, 9)), "but what it holds is committed, whoever sent it");
}

#[test]
fn a_node_that_a_snapshot_makes_a_voter_gets_a_deadline() {
    let mut node = Bench::node(4, &[1, 2, 3], &[]);
    node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3, 4]));
    node.engine.handle_snapshot_installed(true);
    node.run();
    assert_eq!(node.engine.role(), ServerState::Follower);
    assert!(node.engine.next_deadline().is_some());
}

#[test]
fn a_restart_drops_a_log_that_does_not_hold_the_snapshots_last_entry_before_anything_else() {
    let meta = SnapshotMeta {
        last_log_id: Some(at(2, 9)),
        membership: stated(7, &[1, 2, 3, 4]),
        snapshot_id: "s".to_owned(),
    };
    let state = RestartState { snapshot: Some(meta), ..found(&[1, 2, 3], &[1, 1]) };
    let mut node = Bench::with(config(1), state);
    let purged = node.orders.iter().any(|c| matches!(c, Command::PurgeLog { upto, .. } if *upto == at(2, 9)));
    assert!(purged, "{:?}", node.orders);
    assert_eq!((node.engine.last_log_id(), node.engine.applied()), (Some(at(2, 9)), Some(at(2, 9))));
    assert!(node.engine.membership().membership.is_voter(&4));
    node.deadline();
    let orders = node.flush();
    let asked = orders
        .iter()
        .any(|c| matches!(c, Command::SendVote { request, .. } if request.last_log_id == Some(at(2, 9))));
    assert!(asked, "{orders:?}");
}

#[test]
fn a_snapshot_is_ordered_when_enough_was_applied_and_again_after_one_failed() {
    let every = crate::EngineConfig { snapshot_every_entries: Some(3), ..config(1) };
    let mut node = Bench::with(every, found(&[1, 2, 3], &[2, 2]));
    let builds = |node: &Bench| node.orders.iter().filter(|c| matches!(c, Command::BuildSnapshot)).count();
    node.heartbeat(12, Some(at(2, 1)));
    node.apply();
    assert_eq!(builds(&node), 0);
    node.heartbeat(12, Some(at(2, 2)));
    node.apply();
    assert_eq!(builds(&node), 1);
    assert!(!node.engine.trigger_snapshot(), "one at a time");
    node.engine.handle_snapshot_built(node.now, None);
    assert!(node.engine.trigger_snapshot());
    node.engine.handle_snapshot_built(node.now, Some(at(2, 2)));
    assert_eq!(node.engine.purged(), Some(at(2, 2)), "a purge follows the durable snapshot");
    assert!(!node.engine.trigger_snapshot(), "nothing new");
}

#[test]
fn appends_below_the_purge_are_matched_without_being_written() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2]);
    node.heartbeat(12, Some(at(2, 2)));
    node.apply();
    node.engine.trigger_snapshot();
    node.engine.handle_snapshot_built(node.now, Some(at(2, 2)));
    node.flush_all();
    assert_eq!(node.engine.purged(), Some(at(2, 2)));
    let token = node.append(12, Some(origin()), &entries(1, &[2, 2, 2]), None);
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(2, 3)))));
    assert_eq!(node.engine.log_id_at(3), Some(LogId::new(2, 2, 3)));
}
