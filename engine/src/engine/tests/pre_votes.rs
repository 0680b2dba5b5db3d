//! Stories of pre-votes (thesis 9.6).

use std::time::Duration;

use super::bench::{Bench, Cmd, at, config, found, origin, replica};
use crate::{Command, EngineConfig, ServerState, Vote, VoteReply, VoteRequest};

fn node(terms: &[u64]) -> Bench {
    Bench::with(EngineConfig { pre_vote: true, ..config(1) }, found(&[1, 2, 3], terms))
}

fn request(term: u64, last: crate::LogId<u64>) -> VoteRequest<u64> {
    VoteRequest {
        from: replica(2),
        pre_vote: true,
        vote: Vote::new(term, 2),
        last_log_id: Some(last),
        ..Default::default()
    }
}

fn asked(commands: &[Cmd]) -> Vec<VoteRequest<u64>> {
    let requests = commands.iter().filter_map(|command| match command {
        Command::SendVote { request, .. } => Some(*request),
        _ => None,
    });
    requests.collect()
}

fn answer(node: &mut Bench, asked: Vote<u64>, vote: Vote<u64>, granted: bool) -> Vec<Cmd> {
    let reply = VoteReply {
        from: replica(2),
        pre_vote: true,
        vote,
        granted,
        last_log_id: None,
        ..Default::default()
    };
    node.engine.handle_vote_reply(node.now, asked, reply);
    node.run()
}

fn writes(commands: &[Cmd]) -> bool {
    commands.iter().any(|command| matches!(command, Command::SaveVote { .. }))
}

#[test]
fn a_node_asks_first_and_writes_nothing_until_a_quorum_would_grant() {
    let mut node = node(&[]);
    let commands = node.deadline();
    let requests = asked(&commands);
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.pre_vote && request.vote == Vote::new(1, 1)));
    assert!(!writes(&commands));
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::PreCandidate, Vote::default()));
    let commands = answer(&mut node, Vote::new(1, 1), Vote::default(), true);
    assert!(writes(&commands), "it campaigns");
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::Candidate, Vote::new(1, 1)));
    assert!(asked(&node.flush()).iter().all(|request| !request.pre_vote));
    node.grant(3);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_node_that_is_cut_off_raises_no_term_however_often_it_asks() {
    let mut node = node(&[1]);
    for _ in 0..50 {
        assert!(!writes(&node.deadline()));
    }
    assert_eq!(node.engine.vote(), Vote::default());
    node.heartbeat(12, None);
    assert_eq!(node.engine.role(), ServerState::Follower, "the leader takes it back without an election");
}

#[test]
fn the_old_leader_takes_back_a_follower_that_had_begun_to_ask() {
    let mut node = node(&[1]);
    node.heartbeat(12, None);
    node.flush();
    node.deadline();
    assert_eq!((node.engine.role(), node.engine.leader()), (ServerState::PreCandidate, None));
    node.heartbeat(12, None);
    assert_eq!((node.engine.role(), node.engine.leader()), (ServerState::Follower, Some(2)));
    answer(&mut node, Vote::new(13, 1), Vote::default(), true);
    assert_eq!(node.engine.role(), ServerState::Follower, "an answer that comes late starts nothing");
}

#[test]
fn a_pre_vote_is_granted_at_once_and_changes_nothing() {
    let mut node = node(&[1]);
    let before = (node.engine.vote(), node.engine.next_deadline());
    let token = node.vote_request_of(request(12, at(1, 1)));
    let reply = node.vote_answer(token).expect("nothing needs to be durable");
    assert!(reply.granted && reply.pre_vote);
    assert_eq!((node.engine.vote(), node.engine.next_deadline()), before);
    assert!(!writes(&node.orders));
}

#[test]
fn a_pre_vote_is_refused_to_a_stale_log_and_to_a_vote_that_is_not_greater() {
    let mut node = node(&[1, 1]);
    let stale = node.vote_request_of(request(12, at(1, 1)));
    assert!(!node.vote_answer(stale).expect("answered").granted);
    node.vote_request(13, Some(at(1, 2)));
    node.flush();
    let lower = node.vote_request_of(request(12, at(1, 2)));
    let reply = node.vote_answer(lower).expect("answered");
    assert_eq!((reply.granted, reply.vote), (false, Vote::new(13, 3)));
}

#[test]
fn a_pre_vote_is_refused_while_the_leader_is_heard_of_and_granted_when_it_is_not() {
    let mut node = node(&[]);
    node.heartbeat(13, None);
    node.flush();
    node.advance(Duration::from_millis(499));
    let early = node.vote_request_of(request(22, origin()));
    assert!(!node.vote_answer(early).expect("answered").granted);
    node.advance(Duration::from_millis(1));
    let late = node.vote_request_of(request(22, origin()));
    assert!(node.vote_answer(late).expect("answered").granted);
}

#[test]
fn a_leader_that_a_quorum_is_with_grants_no_pre_vote() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[3]);
    node.flush();
    node.advance(Duration::from_secs(9));
    node.engine.trigger_heartbeat(node.now);
    node.run();
    node.report(2, None, node.position());
    node.advance(Duration::from_millis(499));
    let token = node.vote_request_of(request(92, at(9, 9)));
    assert!(!node.vote_answer(token).expect("answered").granted);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn the_answer_to_a_pre_vote_elects_nobody_and_a_refusal_teaches_the_term() {
    let mut node = node(&[]);
    node.deadline();
    answer(&mut node, Vote::new(1, 1), Vote::new(7, 3), false);
    let next = asked(&node.deadline());
    assert_eq!(next[0].vote, Vote::new(8, 1), "the next question goes beyond what was heard of");
    answer(&mut node, Vote::new(8, 1), Vote::new(7, 3), true);
    assert_eq!(node.engine.role(), ServerState::Candidate);
    answer(&mut node, Vote::new(8, 1), Vote::new(7, 3), true);
    node.flush();
    answer(&mut node, Vote::new(8, 1), Vote::new(8, 1), true);
    assert_eq!(node.engine.role(), ServerState::Candidate, "only a vote elects");
}

#[test]
fn a_node_whose_disk_has_not_taken_its_vote_asks_for_no_other() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    let vote = node.engine.vote();
    for _ in 0..5 {
        node.deadline();
    }
    assert_eq!(node.engine.vote(), vote);
    assert!(!asked(&node.flush()).is_empty(), "it asks once the disk has it");
}

#[test]
fn a_failed_snapshot_is_tried_again_only_after_as_many_entries_more() {
    let every = EngineConfig { snapshot_every_entries: Some(3), ..config(1) };
    let mut node = Bench::with(every, found(&[1], &[]));
    node.deadline();
    node.flush_all();
    node.engine.propose(3, 3).expect("it leads");
    node.flush_all();
    node.apply();
    let built =
        |node: &Bench| node.orders.iter().filter(|command| matches!(command, Command::BuildSnapshot)).count();
    assert_eq!(built(&node), 1);
    node.engine.handle_snapshot_built(node.now, None);
    node.engine.propose(2, 2).expect("it leads");
    node.flush_all();
    node.apply();
    assert_eq!(built(&node), 1, "two entries are too few");
    node.engine.propose(1, 1).expect("it leads");
    node.flush_all();
    node.apply();
    assert_eq!(built(&node), 2);
}
