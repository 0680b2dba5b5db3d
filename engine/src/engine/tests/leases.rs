//! Stories of lease reads (thesis 6.4.1): when they are served at once, and when not.

use std::time::Duration;

use super::bench::{Bench, at, config, found, replica, title};
use crate::{
    Command, EngineConfig, HeartbeatRequest, Promised, ReadRefused, Reply, RestartState, ServerState, Vote,
    VoteRequest,
};

const PROMISE: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn leasing(id: u64) -> EngineConfig<u64> {
    EngineConfig { lease_reads: true, ..config(id) }
}

/// Node 1 of three leads term 1; its first entry is committed and applied.
fn leader_of(config: EngineConfig<u64>) -> Bench {
    let mut node = Bench::with(config, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.flush_all();
    node.report(2, node.engine.last_log_id(), 0);
    node.apply();
    node
}

fn leader() -> Bench {
    leader_of(leasing(1))
}

/// A heartbeat goes out; its position.
fn beat(node: &mut Bench) -> u64 {
    assert!(node.engine.trigger_heartbeat(node.now));
    node.run();
    node.position()
}

/// Node `from` has answered the message of `position`, with this promise.
fn promise_within(node: &mut Bench, from: u64, position: u64, within: Duration) {
    let mut report = node.report_of(from, None, position);
    report.promised = Some(Promised { position, within });
    node.engine.handle_replication_report(node.now, report);
    node.run();
}

fn promise(node: &mut Bench, from: u64, position: u64) {
    promise_within(node, from, position, PROMISE);
}

fn ask(node: &mut Bench) -> u64 {
    let token = node.token();
    node.engine.read_lease(node.now, vec![token]);
    node.run();
    token
}

fn is_served(node: &mut Bench, token: u64) -> bool {
    matches!(node.answer(token), Some(Reply::Read(Ok(_))))
}

/// Whether a read that comes now is served at once.
fn serves(node: &mut Bench) -> bool {
    let token = ask(node);
    is_served(node, token)
}

#[test]
fn a_read_is_served_at_once_while_a_quorums_promises_stand_counted_from_the_sending_less_the_drift() {
    let mut node = leader();
    assert!(!serves(&mut node), "nobody has promised anything");
    let position = beat(&mut node);
    node.advance(ms(100));
    promise(&mut node, 2, position);
    node.advance(ms(374));
    assert!(node.engine.has_lease(node.now));
    assert!(serves(&mut node));
    node.advance(ms(1));
    assert!(!node.engine.has_lease(node.now), "475 ms after it was sent, however late it was answered");
    assert!(!serves(&mut node));
}

#[test]
fn a_read_without_a_lease_waits_for_a_quorum() {
    let mut node = leader();
    let token = ask(&mut node);
    assert_eq!(node.answer(token), None);
    let position = node.position();
    promise(&mut node, 3, position);
    assert!(is_served(&mut node, token));
}

#[test]
fn leases_are_off_unless_asked_for() {
    let mut node = leader_of(config(1));
    let position = beat(&mut node);
    promise(&mut node, 2, position);
    assert!(!node.engine.has_lease(node.now));
    assert!(!serves(&mut node));
}

#[test]
fn a_lease_read_waits_for_the_leaders_first_entry_and_for_the_state_machine() {
    let mut node = Bench::with(leasing(1), found(&[1, 2, 3], &[1, 1]));
    node.lead(&[2]);
    let position = node.position();
    promise(&mut node, 2, position);
    let token = ask(&mut node);
    node.flush_all();
    assert_eq!(node.answer(token), None, "what is committed is not known yet");
    node.report(2, node.engine.last_log_id(), position);
    assert_eq!(node.answer(token), None, "committed, but not applied");
    node.apply();
    assert!(is_served(&mut node, token));
}

#[test]
fn after_a_pause_a_read_trusts_no_answer_from_before_it() {
    // Known elsewhere: a stale read after a pause, by the acknowledgements of a read request used again.
    let mut node = leader();
    let position = beat(&mut node);
    promise(&mut node, 2, position);
    assert!(serves(&mut node));
    node.advance(Duration::from_secs(60));
    let token = ask(&mut node);
    promise(&mut node, 2, position);
    promise(&mut node, 3, position);
    assert_eq!(node.answer(token), None, "those are answers to what was sent before the pause");
    let mut report = node.report_of(3, None, position);
    report.higher_vote = Some(Vote::new_committed(13, 3));
    node.engine.handle_replication_report(node.now, report);
    assert!(matches!(node.answer(token), Some(Reply::Read(Err(ReadRefused::NotLeader { .. })))));
}

#[test]
fn no_lease_outlives_the_restart_of_a_voter_that_promised() {
    // Known elsewhere: the voter forgets, and elects another while the leader still counts on it.
    let mut leader = leader();
    let mut voter = Bench::with(leasing(2), found(&[1, 2, 3], &[]));
    let position = beat(&mut leader);
    let request = HeartbeatRequest {
        from: replica(1),
        to: replica(2).store_id,
        vote: title(1),
        position,
        promise: leader.engine.promise_asked(),
        ..Default::default()
    };
    let token = voter.token();
    voter.engine.handle_heartbeat(voter.now, token, request);
    voter.flush();
    assert_eq!(voter.heartbeat_answer(token).expect("durable").promised, PROMISE);
    promise(&mut leader, 2, position);
    let saved = voter.orders.iter().find_map(|command| match command {
        Command::SaveVote { vote, promise_cap, .. } => Some((*vote, *promise_cap)),
        _ => None,
    });
    let (vote, promise_cap) = saved.expect("the vote was saved");
    for passed in [0, 1, 474, 475, 499, 500, 900] {
        let kept = RestartState { vote, promise_cap, ..found(&[1, 2, 3], &[]) };
        let mut again = Bench::with(leasing(2), kept);
        again.advance(ms(passed));
        let request = VoteRequest {
            from: replica(3),
            vote: Vote::new(13, 3),
            last_log_id: Some(at(9, 9)),
            ..Default::default()
        };
        let token = again.vote_request_of(request);
        again.flush();
        let granted = again.vote_answer(token).expect("answered").granted;
        assert!(!(granted && leader.engine.has_lease(leader.now + ms(passed))), "{passed} ms later");
        assert_eq!(granted, passed >= 500, "and it waits no longer than it must");
    }
}

#[test]
fn there_is_no_lease_from_the_first_order_to_campaign_to_the_end_of_the_term() {
    let mut node = leader();
    let last = node.engine.last_log_id();
    let position = beat(&mut node);
    promise(&mut node, 2, position);
    let token = node.token();
    node.engine.transfer_leader(node.now, token, Some(3));
    assert!(serves(&mut node), "it was not told yet, for it lacks an entry");
    node.report(3, last, 0);
    assert!(!serves(&mut node));
    while node.engine.holds_proposals() {
        node.deadline();
    }
    assert_eq!(node.engine.role(), ServerState::Leader, "it leads on");
    let position = beat(&mut node);
    promise(&mut node, 2, position);
    promise(&mut node, 3, position);
    assert!(!node.engine.has_lease(node.now), "but the target may hear of it late");
}

#[test]
fn a_new_leadership_begins_without_promises() {
    let mut node = leader();
    let position = beat(&mut node);
    promise(&mut node, 2, position);
    node.heartbeat(12, None);
    node.flush_all();
    assert!(!node.engine.has_lease(node.now), "it does not lead");
    node.deadline();
    node.flush();
    // However far the promises of the leadership before reached.
    node.engine.timing.promised_until.insert(2, node.now + PROMISE);
    node.grant(3);
    assert_eq!(node.engine.role(), ServerState::Leader);
    assert!(!node.engine.has_lease(node.now));
}

#[test]
fn a_lone_leader_needs_no_promise() {
    let mut node = Bench::with(leasing(1), found(&[1], &[]));
    node.deadline();
    node.flush_all();
    node.apply();
    node.advance(Duration::from_secs(60));
    assert!(serves(&mut node));
}

#[test]
fn promises_that_nobody_can_have_given_count_for_nothing() {
    let mut node = leader();
    let position = beat(&mut node);
    promise(&mut node, 2, position + 1);
    assert!(!node.engine.has_lease(node.now), "for a message that was never sent");
    promise_within(&mut node, 2, position, Duration::from_secs(3_600));
    assert!(node.engine.has_lease(node.now));
    node.advance(PROMISE);
    assert!(!node.engine.has_lease(node.now), "more than was asked for");
}

#[test]
fn a_promise_is_not_shortened_by_a_later_one() {
    let mut node = leader();
    let first = beat(&mut node);
    promise(&mut node, 2, first);
    let second = beat(&mut node);
    promise_within(&mut node, 2, second, ms(10));
    node.advance(ms(400));
    assert!(node.engine.has_lease(node.now));
}

#[test]
fn learners_promises_do_not_count() {
    let mut node = leader();
    node.engine.timing.promised_until.insert(9, node.now + PROMISE);
    assert!(!node.engine.has_lease(node.now));
}
