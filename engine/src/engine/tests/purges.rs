//! Stories of snapshot policies and of the purge: what triggers them, and what followers hold back.

use std::time::Duration;

use super::bench::{Bench, at, config, found, origin};
use crate::{Command, EngineConfig, LogId, RestartState, ServerState, Vote};

fn builds(node: &Bench) -> usize {
    node.orders.iter().filter(|c| matches!(c, Command::BuildSnapshot)).count()
}

/// Node 1 leads nodes 2 and 3; `count` proposals of 100 bytes are held by node 2 too, and applied.
fn leader(limits: EngineConfig<u64>, count: u64) -> Bench {
    let mut node = Bench::with(limits, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    propose(&mut node, count);
    node
}

/// Proposals of 100 bytes that node 2 holds too, and that are applied.
fn propose(node: &mut Bench, count: u64) {
    node.engine.propose(count, 100 * count).expect("it leads");
    node.flush_all();
    let position = node.position();
    node.report(2, node.engine.last_log_id(), position);
    node.apply();
}

fn snapshot(node: &mut Bench) {
    node.engine.trigger_snapshot();
    node.engine.handle_snapshot_built(node.now, node.engine.applied());
}

fn purged(node: &Bench) -> Option<u64> {
    node.engine.purged().map(|id| id.index)
}

/// Heartbeats that node 2 answers, and node 3 does not, for as long as `time`.
fn beat(node: &mut Bench, time: Duration) {
    let end = node.now + time;
    while node.now < end {
        node.deadline();
        let position = node.position();
        node.report(2, node.engine.last_log_id(), position);
    }
}

#[test]
fn a_snapshot_is_ordered_when_enough_bytes_were_applied_since_the_last_one() {
    let limits = EngineConfig { snapshot_every_bytes: Some(1_000), ..config(1) };
    let mut node = leader(limits, 8);
    assert_eq!(builds(&node), 0);
    propose(&mut node, 3);
    assert_eq!(builds(&node), 1);
    node.engine.handle_snapshot_built(node.now, node.engine.applied());
    propose(&mut node, 8);
    assert_eq!(builds(&node), 1, "counted from the last one");
    propose(&mut node, 3);
    assert_eq!(builds(&node), 2);
}

#[test]
fn after_a_restart_the_log_found_counts_with_what_the_store_says_it_weighs() {
    let limits = EngineConfig { snapshot_every_bytes: Some(1_000), ..config(1) };
    let state = RestartState { log_bytes: 3_000, ..found(&[1, 2, 3], &[2, 2]) };
    let mut node = Bench::with(limits, state);
    node.heartbeat(12, Some(at(2, 1)));
    node.apply();
    assert_eq!(builds(&node), 1, "two of three entries");
}

#[test]
fn a_snapshot_is_ordered_an_interval_after_the_first_entry_applied_and_never_for_nothing() {
    let interval = Duration::from_secs(30);
    let limits = EngineConfig { snapshot_interval: Some(interval), ..config(4) };
    let mut node = Bench::with(limits, found(&[1, 2, 3], &[2, 2]));
    assert_eq!(node.engine.next_deadline(), None, "a learner that has applied nothing waits for nothing");
    node.heartbeat(12, Some(at(2, 1)));
    node.apply();
    let due = node.now + interval;
    assert_eq!(node.engine.next_deadline(), Some(due));
    node.advance(Duration::from_secs(10));
    node.heartbeat(12, Some(at(2, 2)));
    node.apply();
    assert_eq!(node.engine.next_deadline(), Some(due));
    node.deadline();
    assert_eq!(builds(&node), 1);
    assert_eq!(node.engine.next_deadline(), None, "one at a time");
    node.engine.handle_snapshot_built(node.now, None);
    assert_eq!(node.engine.next_deadline(), Some(node.now + interval), "tried again after a failure");
    node.deadline();
    node.engine.handle_snapshot_built(node.now, Some(at(2, 2)));
    assert_eq!((builds(&node), node.engine.next_deadline()), (2, None), "nothing was applied since");
}

#[test]
fn a_snapshot_that_is_due_starts_no_campaign() {
    let limits = EngineConfig { snapshot_interval: Some(Duration::from_millis(1)), ..config(1) };
    let state = RestartState { applied: Some(origin()), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(limits, state);
    assert_eq!(node.deadline(), [Command::BuildSnapshot]);
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::Follower, Vote::default()));
    node.deadline();
    assert_eq!(node.engine.role(), ServerState::Candidate, "its own time has come");
}

#[test]
fn a_purge_comes_in_bites_of_an_eighth_of_the_kept_tail() {
    let limits = EngineConfig { snapshot_keep_entries: 16, ..config(4) };
    let terms = [2; 40];
    let mut node = Bench::with(limits, found(&[1, 2, 3], &terms));
    let to = |node: &mut Bench, index| {
        node.heartbeat(12, Some(at(2, index)));
        node.apply();
        snapshot(node);
        purged(node)
    };
    assert_eq!(to(&mut node, 15), None, "the tail is kept");
    assert_eq!(to(&mut node, 16), None, "one entry is not worth a purge");
    assert_eq!(to(&mut node, 17), Some(1));
    assert_eq!(to(&mut node, 18), Some(1));
    assert_eq!(to(&mut node, 19), Some(3));
}

#[test]
fn a_purge_is_pinned_by_the_follower_that_needs_the_log() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.engine.propose(9, 9).expect("it leads");
    node.flush_all();
    let last = node.engine.last_log_id();
    node.report(2, last, 1);
    node.apply();
    assert!(node.engine.trigger_snapshot());
    node.engine.handle_snapshot_built(node.now, last);
    assert_eq!(node.engine.purged(), None, "node 3 has not reported what it holds");
    node.report(3, Some(LogId::new(1, 1, 4)), 1);
    assert_eq!(node.engine.purged().map(|id| id.index), Some(4));
    node.report(3, last, 1);
    assert_eq!(node.engine.purged(), last);
}

#[test]
fn a_follower_that_is_being_sent_a_snapshot_pins_only_what_it_needs_after_it() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.engine.propose(9, 9).expect("it leads");
    node.flush_all();
    let last = node.engine.last_log_id();
    node.report(2, last, 1);
    node.apply();
    let mut report = node.report_of(3, None, 1);
    report.needed = 6;
    node.engine.handle_replication_report(node.now, report);
    assert!(node.engine.trigger_snapshot());
    node.engine.handle_snapshot_built(node.now, last);
    assert_eq!(node.engine.purged().map(|id| id.index), Some(5));
}

#[test]
fn a_follower_pins_no_more_bytes_than_the_limit() {
    let mut node = leader(EngineConfig { purge_pin_bytes: 700, ..config(1) }, 9);
    node.report(3, Some(at(1, 4)), 1);
    snapshot(&mut node);
    assert_eq!(purged(&node), Some(4), "it holds back 600 bytes");
    propose(&mut node, 3);
    snapshot(&mut node);
    assert_eq!(purged(&node), Some(13), "the follower would cost 900 bytes now: it gets the snapshot");
}

#[test]
fn a_new_leader_waits_for_its_followers_to_say_what_they_need_before_it_counts_bytes() {
    let mut node = leader(EngineConfig { purge_pin_bytes: 500, ..config(1) }, 9);
    snapshot(&mut node);
    assert_eq!(purged(&node), None, "node 3 may need next to nothing: it has not said yet");
    beat(&mut node, Duration::from_secs(2));
    assert_eq!(purged(&node), Some(10), "it took its time");
}

#[test]
fn a_follower_that_is_absent_for_longer_than_the_limit_pins_nothing() {
    let mut node = leader(EngineConfig { purge_pin_absence: Duration::from_secs(60), ..config(1) }, 9);
    let position = node.position();
    node.report(3, Some(at(1, 4)), position);
    snapshot(&mut node);
    assert_eq!(purged(&node), Some(4));
    beat(&mut node, Duration::from_secs(58));
    assert_eq!(purged(&node), Some(4));
    beat(&mut node, Duration::from_secs(4));
    assert_eq!(purged(&node), Some(10));
}

#[test]
fn the_absence_of_one_that_never_answered_counts_from_the_start_of_the_leadership() {
    let mut node = leader(EngineConfig { purge_pin_absence: Duration::from_secs(60), ..config(1) }, 9);
    snapshot(&mut node);
    beat(&mut node, Duration::from_secs(55));
    assert_eq!(purged(&node), None);
    beat(&mut node, Duration::from_secs(7));
    assert_eq!(purged(&node), Some(10));
}

#[test]
fn a_snapshot_is_due_when_its_time_has_come_and_at_no_other_deadline_before() {
    let limits = EngineConfig { snapshot_interval: Some(Duration::from_secs(30)), ..config(1) };
    let state = RestartState { applied: Some(origin()), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(limits, state);
    node.deadline();
    assert_eq!((node.engine.role(), builds(&node)), (ServerState::Candidate, 0), "the election was due");
    node.advance(Duration::from_secs(31));
    node.engine.handle_deadline(node.now);
    node.run();
    assert_eq!(builds(&node), 1, "and however late it is noticed");
}

#[test]
fn a_follower_without_a_report_is_waited_for_until_the_longest_election_timeout_has_passed_exactly() {
    let limits = EngineConfig { purge_pin_bytes: 500, ..config(1) };
    let timeout = limits.election_timeout_max;
    let mut node = leader(limits, 9);
    let began = node.now;
    snapshot(&mut node);
    let last = node.engine.last_log_id();
    node.now = began + (timeout - Duration::from_nanos(1));
    node.report(2, last, 1);
    assert_eq!(purged(&node), None);
    node.now = began + timeout;
    node.report(2, last, 1);
    assert_eq!(purged(&node), Some(10));
}

#[test]
fn a_follower_is_absent_when_the_limit_has_passed_exactly() {
    let absence = Duration::from_secs(60);
    let mut node = leader(EngineConfig { purge_pin_absence: absence, ..config(1) }, 9);
    let began = node.now;
    snapshot(&mut node);
    let last = node.engine.last_log_id();
    node.now = began + (absence - Duration::from_nanos(1));
    node.report(2, last, 1);
    assert_eq!(purged(&node), None);
    node.now = began + absence;
    node.report(2, last, 1);
    assert_eq!(purged(&node), Some(10));
}

#[test]
fn a_log_that_was_purged_to_its_end_weighs_nothing() {
    let mut node = leader(config(1), 9);
    let last = node.engine.last_log_id();
    node.report(3, last, 1);
    assert!(node.engine.log_bytes() >= 900);
    snapshot(&mut node);
    assert_eq!((node.engine.purged(), node.engine.log_bytes()), (last, 0));
}
