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

#[test]
fn a_snapshot_of_another_history_than_what_is_committed_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2]);
    node.heartbeat(12, Some(at(2, 3)));
    node.flush_all();
    let stories = [
        ("the same index of another term", at(1, 2), stated_at(at(1, 1), &[1, 2, 3])),
        ("further on, but under an earlier leader", at(1, 9), stated_at(at(1, 1), &[1, 2, 3])),
    ];
    for (what, last, membership) in stories {
        let token = node.snapshot(12, last, membership);
        node.flush_all();
        assert_eq!(node.snapshot_answer(token), Some(AppendResult::Refused), "{what}");
    }
    assert!(!node.orders.iter().any(|c| matches!(c, Command::InstallSnapshot { .. })));
    let token = node.append(12, Some(at(2, 3)), &entries(4, &[12]), None);
    node.flush_all();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 4)))), "and it goes on");
}

fn stated_at(log_id: LogId<u64>, ids: &[u64]) -> StoredMembership<u64, ()> {
    StoredMembership::new(log_id, voters(ids))
}

#[test]
fn a_snapshot_whose_membership_is_not_of_its_history_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    let change = membership_entry(12, 2, voters(&[1, 2, 3, 4]));
    node.append(12, Some(at(2, 1)), &[change], Some(at(12, 2)));
    node.flush_all();
    let stories = [
        ("stated after its last entry", at(12, 9), stated_at(at(12, 10), &[1, 2, 3])),
        ("stated by an earlier leader, and after it", at(12, 9), stated_at(at(2, 11), &[1, 2, 3])),
        ("older than the one committed here", at(12, 9), stated_at(at(2, 1), &[1, 2, 3])),
        ("another one at the same entry", at(12, 9), stated_at(at(12, 2), &[1, 2, 5])),
    ];
    for (what, last, membership) in stories {
        let token = node.snapshot(12, last, membership);
        node.flush_all();
        assert_eq!(node.snapshot_answer(token), Some(AppendResult::Refused), "{what}");
    }
    assert!(node.engine.membership().membership.is_voter(&4));
}

#[test]
fn a_snapshot_whose_membership_another_leader_stated_at_its_last_index_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.snapshot(12, at(12, 9), stated_at(at(2, 9), &[1, 2, 3, 4]));
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Refused), "an index has one entry");
}

#[test]
fn a_stale_membership_does_not_outlive_the_installed_snapshot() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    // Of a leader whose entries were never committed.
    node.append(12, Some(at(2, 1)), &[membership_entry(12, 2, voters(&[1, 2, 3, 9]))], None);
    node.flush_all();
    assert!(node.engine.membership().membership.is_voter(&9));
    let token = node.snapshot(13, at(13, 6), stated_at(at(13, 4), &[1, 3, 4]));
    node.flush();
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Matched(Some(at(13, 6)))));
    assert_eq!(*node.engine.membership(), stated_at(at(13, 4), &[1, 3, 4]));
    // A later change that is truncated again uncovers the snapshot's membership, not an older one.
    node.append(13, Some(at(13, 6)), &[membership_entry(13, 7, voters(&[1, 3, 5]))], None);
    node.append(14, Some(at(13, 6)), &entries(7, &[14]), None);
    assert_eq!(*node.engine.membership(), stated_at(at(13, 4), &[1, 3, 4]));
}

#[test]
fn a_snapshot_of_a_deposed_leader_is_not_taken() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    node.heartbeat(13, None);
    let token = node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::HigherVote));
    assert!(!node.orders.iter().any(|c| matches!(c, Command::InstallSnapshot { .. })));
}

#[test]
fn a_snapshot_built_before_an_install_and_finished_after_it_changes_nothing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2]);
    node.heartbeat(12, Some(at(2, 2)));
    node.apply();
    assert!(node.engine.trigger_snapshot());
    let token = node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3, 4]));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.snapshot_answer(token), Some(AppendResult::Matched(Some(at(2, 9)))));
    node.engine.handle_snapshot_built(node.now, Some(at(2, 2)));
    node.run();
    assert_eq!((node.engine.snapshot(), node.engine.purged()), (Some(at(2, 9)), Some(at(2, 9))));
    assert!(node.engine.membership().membership.is_voter(&4));
}

#[test]
fn a_snapshot_of_what_is_committed_but_not_durable_here_is_not_acknowledged() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(12, None);
    node.flush();
    node.append(12, Some(origin()), &entries(1, &[12]), Some(at(12, 1)));
    assert_eq!(node.engine.committed(), Some(at(12, 1)));
    let early = node.snapshot(12, at(12, 1), stated_at(origin(), &[1, 2, 3]));
    assert_eq!(node.snapshot_answer(early), Some(AppendResult::Busy));
    node.flush();
    let late = node.snapshot(12, at(12, 1), stated_at(origin(), &[1, 2, 3]));
    assert_eq!(node.snapshot_answer(late), Some(AppendResult::Matched(Some(at(12, 1)))));
}

#[test]
fn what_an_installed_snapshot_covers_counts_as_durable_though_its_entries_are_still_on_their_way_to_the_disk()
{
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &entries(1, &[12, 12, 12]), None);
    node.snapshot(12, at(12, 2), stated_at(origin(), &[1, 2, 3]));
    assert_eq!(node.engine.flushed(), Some(origin()));
    node.engine.handle_snapshot_installed(true);
    assert_eq!(node.engine.flushed(), Some(at(12, 2)));
}

#[test]
fn a_snapshot_for_an_empty_log_truncates_nothing() {
    let mut node = Bench::with(config(1), RestartState::default());
    node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.engine.purged(), Some(at(2, 9)));
    let truncates = node.orders.iter().any(|c| matches!(c, Command::TruncateLog { .. }));
    assert!(!truncates, "{:?}", node.orders);
}

#[test]
fn a_snapshot_that_falls_due_during_an_install_is_looked_at_again_an_interval_later() {
    let interval = std::time::Duration::from_secs(30);
    let limits = crate::EngineConfig { snapshot_interval: Some(interval), ..config(4) };
    let state = RestartState { applied: Some(origin()), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(limits, state);
    node.snapshot(12, at(2, 9), stated(7, &[1, 2, 3]));
    assert_eq!(node.deadline(), []);
    assert_eq!(node.engine.next_deadline(), Some(node.now + interval));
    node.engine.handle_snapshot_installed(false);
    assert_eq!(node.deadline(), [Command::BuildSnapshot]);
}
