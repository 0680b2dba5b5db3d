//! Stories of the leader's commit rule, of check-quorum and of stepping down (paper, 5.4.2; thesis 6.2).

use std::time::Duration;

use super::bench::{Bench, at, config, found, origin};
use crate::{Command, LogId, NotProposed, RestartState, ServerState, Vote};

/// Figure 8 of the paper: an entry of an earlier term on a majority is not committed by counting.
#[test]
fn a_leader_commits_only_by_counting_entries_of_its_own() {
    let state = RestartState { vote: Vote::new(12, 3), ..found(&[1, 2, 3, 4, 5], &[1, 2]) };
    let mut node = Bench::with(config(1), state);
    node.lead(&[2, 3]);
    node.flush_all();
    for follower in [2, 3] {
        node.report(follower, Some(at(2, 2)), 1);
    }
    assert_eq!(
        node.engine.committed(),
        None,
        "the entry of term 2 is on three of five, and may still be lost"
    );
    let own = LogId::new(13, 1, 3);
    node.report(2, Some(own), 1);
    assert_eq!(node.engine.committed(), None);
    node.report(3, Some(own), 1);
    assert_eq!(node.engine.committed(), Some(own), "and all before it with it");
}

#[test]
fn a_leader_counts_itself_only_when_its_own_entries_are_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    let own = node.engine.last_log_id();
    node.report(2, own, 1);
    assert_eq!(node.engine.committed(), None);
    node.flush();
    assert_eq!(node.engine.committed(), own);
}

#[test]
fn a_quorum_of_others_may_commit_before_the_leaders_own_disk_but_it_does_not_apply() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    let own = node.engine.last_log_id();
    node.report(2, own, 1);
    node.report(3, own, 1);
    assert_eq!(node.engine.committed(), own);
    assert_eq!(node.applied_orders(), vec![origin()]);
    node.flush();
    assert_eq!(node.applied_orders().last().copied(), own);
}

#[test]
fn reports_of_another_session_are_dropped() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    let mut report = node.report_of(2, node.engine.last_log_id(), 1);
    report.session += 100;
    node.engine.handle_replication_report(node.now, report);
    assert_eq!(node.engine.committed(), None);
}

#[test]
fn a_leader_without_a_quorum_for_an_election_timeout_steps_down_and_stands_again() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    let begun = node.now;
    while node.engine.role() == ServerState::Leader {
        assert!(node.now.since(begun) < Duration::from_secs(2), "leads without a quorum");
        node.deadline();
    }
    assert!(node.now.since(begun) >= Duration::from_secs(1));
    assert_eq!(node.engine.leader(), None);
    let orders = node.deadline();
    assert!(matches!(orders[..], [Command::SaveVote { .. }]), "its deadline is armed anew: {orders:?}");
}

#[test]
fn a_leader_whose_quorum_answers_stays() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    for _ in 0..50 {
        node.deadline();
        node.report(3, None, node.position());
    }
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn answers_to_old_positions_do_not_keep_a_leader() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    let old = node.position();
    for _ in 0..20 {
        if node.engine.role() == ServerState::Leader {
            node.deadline();
            node.report(3, None, old);
        }
    }
    assert_eq!(node.engine.role(), ServerState::Follower);
}

#[test]
fn stepping_down_stops_the_tasks_and_abandons_the_writes_that_are_not_committed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    let first = node.engine.last_log_id();
    node.report(2, first, 1);
    node.engine.propose(2, 2).expect("it leads");
    node.heartbeat(12, None);
    let since = first.expect("it leads").index + 1;
    assert!(node.orders.contains(&Command::AbandonWrites { since }), "the first is committed: not that one");
    let sessions = vec![node.session(2), node.session(3)];
    assert!(node.orders.contains(&Command::RebuildReplications { start: vec![], stop: sessions }));
    assert_eq!(node.engine.propose(1, 1), Err(NotProposed::NotLeader { leader: Some(2) }));
}

#[test]
fn a_committed_write_is_still_applied_after_the_leadership_ended() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    let first = node.engine.last_log_id().expect("it leads");
    node.report(2, Some(first), 1);
    node.report(3, Some(first), 1);
    node.heartbeat(12, None);
    node.flush_all();
    assert!(node.orders.contains(&Command::FollowerCommit { since: 1, upto: first }));
}

#[test]
fn a_higher_vote_seen_by_a_task_ends_the_leadership_and_is_outbid() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush();
    let mut report = node.report_of(3, None, 0);
    report.higher_vote = Some(Vote::new(33, 3));
    node.engine.handle_replication_report(node.now, report);
    assert_eq!(node.engine.role(), ServerState::Follower);
    node.deadline();
    assert_eq!(node.engine.vote(), Vote::new(34, 1));
}

#[test]
fn the_state_machine_is_given_no_more_ahead_than_the_limit_and_the_rest_as_it_gets_on() {
    let limits = crate::EngineConfig { max_unapplied_bytes: 350, ..config(1) };
    let mut node = Bench::with(limits, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.flush_all();
    node.report(2, node.engine.last_log_id(), 1);
    node.apply();
    let before = node.applied_orders().len();
    let first = node.engine.propose(10, 1_000).expect("it leads").first_index;
    node.flush_all();
    let last = node.engine.last_log_id();
    node.report(2, last, 1);
    let ordered = |node: &Bench| -> Vec<u64> {
        node.applied_orders()[before..].iter().map(|upto| upto.index - first).collect()
    };
    assert_eq!(ordered(&node), [2], "three of a hundred bytes each");
    assert_eq!(node.engine.committed(), last);
    node.engine.handle_applied(node.now, LogId { index: first, ..last.expect("just proposed") });
    node.run();
    assert_eq!(ordered(&node), [2, 3], "one is done: one more");
    for _ in 0..3 {
        node.apply();
    }
    assert_eq!(ordered(&node), [2, 3, 6, 9]);
    assert_eq!(node.engine.applied(), last);
}

#[test]
fn one_entry_of_any_weight_is_applied() {
    let limits = crate::EngineConfig { max_unapplied_bytes: 0, ..config(1) };
    let mut node = Bench::with(limits, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.engine.propose(2, 1_000).expect("it leads");
    node.flush_all();
    node.report(2, node.engine.last_log_id(), 1);
    for _ in 0..4 {
        node.apply();
    }
    assert_eq!(node.engine.applied(), node.engine.last_log_id());
}
