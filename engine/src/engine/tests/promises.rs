//! Stories of the followers' promise: given, kept, outlived and waived.

use std::time::Duration;

use super::bench::{Bench, at, config, entries, found, origin, replica, title};
use crate::{
    AppendHeader, Command, EngineConfig, HeartbeatRequest, Reply, RestartState, ServerState,
    TimeoutNowRequest, Vote, VoteRequest,
};

const ASKED: Duration = Duration::from_millis(500);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Node 1 of three follows node 2 in term 12, heard of it just now, and all is durable.
fn follower() -> Bench {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(12, None);
    node.flush();
    node
}

/// What the answer to `token`, a heartbeat's or an append's, promises.
fn promised(node: &mut Bench, token: u64) -> Option<Duration> {
    node.answer(token).map(|reply| match reply {
        Reply::Heartbeat(reply) => reply.promised,
        Reply::Append(reply) => reply.promised,
        other => panic!("{other:?} to a leader's message"),
    })
}

fn rival(term: u64, deposes: Option<Vote<u64>>) -> VoteRequest<u64> {
    VoteRequest {
        from: replica(term % 10),
        vote: Vote::new(term, term % 10),
        last_log_id: Some(at(9, 9)),
        deposes,
        ..Default::default()
    }
}

fn grants(node: &mut Bench, request: VoteRequest<u64>) -> bool {
    let token = node.vote_request_of(request);
    node.flush();
    node.vote_answer(token).expect("answered").granted
}

fn header(term: u64) -> AppendHeader<u64> {
    AppendHeader {
        from: replica(term % 10),
        to: replica(1).store_id,
        vote: title(term),
        prev_log_id: Some(origin()),
        position: 7,
        promise: ASKED,
        ..Default::default()
    }
}

#[test]
fn a_heartbeat_an_append_a_conflict_and_a_busy_answer_all_promise() {
    let mut node = follower();
    let heartbeat = node.heartbeat(12, None);
    let append = node.append_of(header(12), &entries(1, &[12]));
    let conflict = node.append_of(AppendHeader { prev_log_id: Some(at(12, 7)), ..header(12) }, &[]);
    let busy = node.token();
    node.engine.handle_append_refused_busy(node.now, busy, header(12));
    node.flush();
    for token in [heartbeat, append, conflict, busy] {
        assert_eq!(promised(&mut node, token), Some(ASKED), "{:?}", node.answer(token));
    }
}

#[test]
fn no_refusal_promises() {
    let mut node = follower();
    let old = node.heartbeat(3, None);
    let old_append = node.append_of(header(3), &[]);
    let old_busy = node.token();
    node.engine.handle_append_refused_busy(node.now, old_busy, header(3));
    let malformed = node.append_of(header(12), &entries(5, &[12]));
    for token in [old, old_append, old_busy, malformed] {
        assert_eq!(promised(&mut node, token), Some(Duration::ZERO), "{:?}", node.answer(token));
    }
}

#[test]
fn a_promise_is_kept_against_votes_and_pre_votes_until_it_ends_and_no_refusal_raises_the_vote() {
    let mut node = follower();
    node.advance(ms(499));
    assert!(!grants(&mut node, rival(13, None)));
    assert!(!grants(&mut node, VoteRequest { pre_vote: true, ..rival(13, None) }));
    assert_eq!(node.engine.vote(), title(12));
    assert!(node.engine.is_promised(node.now));
    node.advance(ms(1));
    assert!(!node.engine.is_promised(node.now));
    assert!(grants(&mut node, VoteRequest { pre_vote: true, ..rival(13, None) }));
    assert!(grants(&mut node, rival(13, None)));
}

#[test]
fn a_learner_that_is_asked_votes_but_not_while_it_has_promised() {
    let mut node = Bench::node(4, &[1, 2, 3], &[]);
    assert_eq!(node.engine.role(), ServerState::Learner);
    assert!(grants(&mut node, rival(12, None)), "its own view of who votes may be old");
    node.heartbeat(12, None);
    node.flush();
    assert!(!grants(&mut node, rival(13, None)));
    node.advance(ASKED);
    assert!(grants(&mut node, rival(13, None)));
}

#[test]
fn a_promise_begins_with_the_message_however_late_its_answer_leaves() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.heartbeat(12, None);
    node.advance(ms(450));
    assert_eq!(promised(&mut node, token), None);
    node.flush();
    assert_eq!(promised(&mut node, token), Some(ASKED));
    node.advance(ms(49));
    assert!(!grants(&mut node, rival(13, None)));
    node.advance(ms(1));
    assert!(grants(&mut node, rival(13, None)));
}

#[test]
fn a_busy_answer_that_does_not_wait_for_the_vote_promises_nothing_yet() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.token();
    node.engine.handle_append_refused_busy(node.now, token, header(12));
    assert_eq!(promised(&mut node, token), Some(Duration::ZERO), "a crash now would forget the cap");
    assert!(!grants(&mut node, rival(13, None)), "it holds itself to it all the same");
}

#[test]
fn no_more_is_promised_than_the_vote_was_saved_with() {
    let state = RestartState { vote: Vote::new(11, 2), promise_cap: ms(200), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(config(1), state);
    let request = HeartbeatRequest {
        from: replica(2),
        to: replica(1).store_id,
        vote: title(12),
        promise: ASKED,
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_heartbeat(node.now, token, request);
    let orders = node.run();
    assert!(
        matches!(orders[0], Command::SaveVote { promise_cap: ASKED, .. }),
        "a new vote comes with the cap of the configuration: {orders:?}"
    );
    node.flush();
    assert_eq!(promised(&mut node, token), Some(ASKED));

    let state = RestartState { vote: title(12), promise_cap: ms(200), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(config(1), state);
    let token = node.heartbeat(12, None);
    assert_eq!(promised(&mut node, token), Some(ms(200)), "and nothing is written for the sake of a promise");
    assert!(!node.orders.iter().any(|command| matches!(command, Command::SaveVote { .. })));
}

#[test]
fn a_leader_that_asks_for_little_is_promised_little() {
    let mut node = follower();
    node.advance(ASKED);
    let token = node.append_of(AppendHeader { promise: ms(100), ..header(12) }, &[]);
    assert_eq!(promised(&mut node, token), Some(ms(100)));
    node.advance(ms(100));
    assert!(grants(&mut node, rival(13, None)));
}

#[test]
fn a_restarted_voter_keeps_quiet_for_as_long_as_it_may_have_promised() {
    // Known elsewhere: a lease outlived by a voter that forgot its promise in a restart.
    let kept = RestartState { vote: title(12), promise_cap: ASKED, ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(config(1), kept);
    node.advance(ms(499));
    assert!(!grants(&mut node, rival(13, None)));
    assert!(!grants(&mut node, VoteRequest { pre_vote: true, ..rival(13, None) }));
    node.advance(ms(1));
    assert!(grants(&mut node, rival(13, None)));
}

#[test]
fn a_restarted_voter_does_not_campaign_before_its_quiet_period_is_over() {
    let long = EngineConfig { election_timeout_min: ms(200), election_timeout_max: ms(300), ..config(1) };
    let kept =
        RestartState { vote: title(12), promise_cap: Duration::from_secs(2), ..found(&[1, 2, 3], &[]) };
    let mut node = Bench::with(long.clone(), kept);
    let began = node.now;
    node.deadline();
    assert_eq!(node.engine.role(), ServerState::Candidate);
    let waited = node.now.since(began);
    assert!((Duration::from_secs(2)..ms(2_100)).contains(&waited), "{waited:?}: and not all at once");

    let alone = RestartState { vote: title(12), promise_cap: Duration::from_secs(2), ..found(&[1], &[]) };
    let mut node = Bench::with(long, alone);
    let began = node.now;
    while node.engine.role() == ServerState::Follower {
        node.deadline();
    }
    assert_eq!(node.now.since(began), Duration::from_secs(2), "the only voter may have promised as well");
}

#[test]
fn a_node_whose_vote_is_for_itself_has_promised_nothing_and_need_not_wait() {
    for vote in [Vote::new(11, 1), title(11)] {
        let kept = RestartState { vote, promise_cap: ASKED, ..found(&[1, 2, 3], &[]) };
        let mut node = Bench::with(config(1), kept);
        assert!(grants(&mut node, rival(13, None)), "{vote}");
    }
    let alone = RestartState { vote: title(11), promise_cap: ASKED, ..found(&[1], &[]) };
    let node = Bench::with(config(1), alone);
    assert_eq!(node.engine.next_deadline(), Some(node.now), "a single voter leads at once");
}

#[test]
fn a_promise_is_waived_only_for_a_campaign_that_its_own_leader_ordered() {
    let mut node = follower();
    for (deposes, granted) in [
        (None, false),
        (Some(title(3)), false),
        (Some(title(13)), false),
        (Some(Vote::new(12, 2)), false),
        (Some(title(12)), true),
    ] {
        assert_eq!(grants(&mut node, rival(13, deposes)), granted, "{deposes:?}");
    }
}

#[test]
fn the_target_of_a_transfer_is_released_from_its_own_promise() {
    let mut node = follower();
    let request = TimeoutNowRequest {
        from: replica(2),
        vote: title(12),
        last_log_id: Some(origin()),
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_timeout_now(node.now, token, request);
    node.run();
    assert_eq!(node.engine.role(), ServerState::Candidate);
    assert!(!node.engine.is_promised(node.now));
}

#[test]
fn a_leader_that_a_quorum_is_with_refuses_votes_and_gives_way_to_the_report_of_a_greater_vote() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    node.advance(ms(499));
    assert!(!grants(&mut node, rival(13, None)));
    assert!(!grants(&mut node, rival(13, Some(title(1)))), "it has ordered no campaign");
    assert_eq!(node.engine.role(), ServerState::Leader);
    let mut report = node.report_of(3, None, 0);
    report.higher_vote = Some(Vote::new(13, 3));
    node.engine.handle_replication_report(node.now, report);
    assert_eq!(node.engine.role(), ServerState::Follower);
    assert!(grants(&mut node, rival(22, None)), "having promised nobody");
}

#[test]
fn a_leader_that_no_quorum_has_answered_for_long_grants_votes() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    node.advance(ms(500));
    assert!(grants(&mut node, rival(13, None)));
    assert_eq!(node.engine.role(), ServerState::Follower);
}

#[test]
fn a_new_leader_is_followed_whatever_was_promised_to_the_one_before() {
    let mut node = follower();
    node.heartbeat(13, None);
    assert_eq!(node.engine.leader(), Some(3), "a quorum has elected it");
}
