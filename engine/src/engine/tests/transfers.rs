//! Stories of handing leadership over (thesis 3.10).

use std::time::Duration;

use super::bench::{Bench, Cmd, at, origin, replica, title};
use crate::{
    Command, LogId, NotProposed, Reply, ServerState, TimeoutNowRequest, TransferRefused, Vote, VoteRequest,
};

fn told(commands: &[Cmd]) -> Option<(u64, TimeoutNowRequest<u64>)> {
    commands.iter().find_map(|command| match command {
        Command::SendTimeoutNow { to, request, .. } => Some((*to, *request)),
        _ => None,
    })
}

/// Node 1 leads nodes 2 and 3 in term 1, with one entry that node 2 holds.
fn leader() -> Bench {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush();
    node.report(2, Some(at(1, 1)), 1);
    node
}

fn transfer(node: &mut Bench, to: Option<u64>) -> (u64, Vec<Cmd>) {
    let token = node.token();
    node.engine.transfer_leader(node.now, token, to);
    (token, node.run())
}

fn outcome(node: &mut Bench, token: u64) -> Option<Result<(), TransferRefused<u64>>> {
    node.answer(token).map(|reply| match reply {
        Reply::Transfer(result) => result,
        other => panic!("{other:?} to a transfer"),
    })
}

fn timeout_now(node: &mut Bench, term: u64, last: LogId<u64>) -> bool {
    let from = replica(term % 10);
    let request =
        TimeoutNowRequest { from, vote: title(term), last_log_id: Some(last), ..Default::default() };
    let token = node.token();
    node.engine.handle_timeout_now(node.now, token, request);
    match node.answer(token) {
        Some(Reply::TimeoutNow(reply)) => reply.accepted,
        other => panic!("{other:?} to a timeout-now"),
    }
}

#[test]
fn a_target_that_holds_everything_is_told_at_once_and_the_caller_when_this_node_leads_no_more() {
    let mut node = leader();
    let (token, commands) = transfer(&mut node, None);
    let (to, request) = told(&commands).expect("node 2 holds the whole log");
    assert_eq!((to, request.vote, request.last_log_id), (2, title(1), Some(at(1, 1))));
    assert_eq!(outcome(&mut node, token), None);
    node.vote_request_of(VoteRequest {
        from: replica(2),
        vote: Vote::new(12, 2),
        last_log_id: Some(at(1, 1)),
        deposes: Some(title(1)),
        ..Default::default()
    });
    assert_eq!(node.engine.role(), ServerState::Follower);
    assert_eq!(outcome(&mut node, token), Some(Ok(())));
    assert!(!node.engine.holds_proposals());
}

#[test]
fn a_target_that_is_behind_is_caught_up_first() {
    let mut node = leader();
    let (_, commands) = transfer(&mut node, Some(3));
    assert_eq!(told(&commands), None);
    let matched = node.report_of(3, Some(at(1, 1)), 1);
    node.engine.handle_replication_report(node.now, matched);
    assert_eq!(told(&node.run()).expect("told").0, 3);
    let again = node.report_of(3, Some(at(1, 1)), 2);
    node.engine.handle_replication_report(node.now, again);
    assert_eq!(told(&node.run()), None, "once");
}

#[test]
fn proposals_are_held_while_leadership_is_handed_over_and_taken_again_when_that_fails() {
    let mut node = leader();
    let (token, _) = transfer(&mut node, Some(3));
    assert!(node.engine.holds_proposals());
    assert_eq!(node.engine.propose(1, 1), Err(NotProposed::Transferring { to: 3 }));
    let began = node.now;
    while outcome(&mut node, token).is_none() {
        node.deadline();
    }
    assert_eq!(outcome(&mut node, token), Some(Err(TransferRefused::TimedOut { to: 3 })));
    assert_eq!(node.now.since(began), Duration::from_millis(500));
    assert_eq!(node.engine.role(), ServerState::Leader);
    assert!(node.engine.propose(1, 1).is_ok());
}

#[test]
fn what_cannot_be_transferred_is_refused_with_the_reason() {
    let mut node = leader();
    let (nobody, _) = transfer(&mut node, Some(9));
    assert_eq!(outcome(&mut node, nobody), Some(Err(TransferRefused::NoTarget)));
    let (itself, _) = transfer(&mut node, Some(1));
    assert_eq!(outcome(&mut node, itself), Some(Err(TransferRefused::NoTarget)));
    transfer(&mut node, Some(3));
    let (second, _) = transfer(&mut node, Some(2));
    assert_eq!(outcome(&mut node, second), Some(Err(TransferRefused::InProgress { to: 3 })));
    let mut follower = Bench::node(1, &[1, 2, 3], &[]);
    follower.heartbeat(12, None);
    let (token, _) = transfer(&mut follower, None);
    assert_eq!(outcome(&mut follower, token), Some(Err(TransferRefused::NotLeader { leader: Some(2) })));
}

#[test]
fn a_leadership_lost_before_the_target_was_told_is_no_success() {
    let mut node = leader();
    let (token, _) = transfer(&mut node, Some(3));
    node.heartbeat(12, None);
    assert!(matches!(outcome(&mut node, token), Some(Err(TransferRefused::NotLeader { .. }))));
}

#[test]
fn a_follower_told_by_its_leader_campaigns_without_asking_first() {
    let mut node = Bench::with(
        crate::EngineConfig { pre_vote: true, ..super::bench::config(1) },
        super::bench::found(&[1, 2, 3], &[]),
    );
    node.heartbeat(12, None);
    node.flush();
    assert!(timeout_now(&mut node, 12, origin()));
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::Candidate, Vote::new(13, 1)));
    for command in node.flush() {
        let Command::SendVote { request, .. } = command else { panic!("{command:?}") };
        assert_eq!((request.pre_vote, request.deposes), (false, Some(title(12))), "it names whom it deposes");
    }
    node.deadline();
    for command in node.flush() {
        let Command::SendVote { request, .. } = command else { continue };
        assert_eq!(request.deposes, None, "the next campaign is its own");
    }
}

#[test]
fn only_the_leader_that_a_node_follows_can_make_it_campaign_and_only_with_the_whole_log() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(12, None);
    node.flush();
    assert!(!timeout_now(&mut node, 2, origin()), "a leader of the past");
    assert!(!timeout_now(&mut node, 13, origin()), "a leader that this node does not follow yet");
    assert!(!timeout_now(&mut node, 12, at(12, 1)), "an entry is missing here");
    assert_eq!(node.engine.role(), ServerState::Follower);
}
