//! What happens exactly at the edge of a rule, and what must not happen besides it: each of these tests is the only one
//! that notices a certain small change of the code.

use std::time::Duration;

use super::bench::{
    Bench, Cmd, asks, at, config, entries, found, membership_entry, origin, replica, title, voters,
};
use super::changes::{joint_of, leader};
use crate::{
    AppendResult, Command, EngineConfig, HeartbeatRequest, InitialNodes, MembershipChange, Promised,
    ReadRefused, ReplicationReport, Reply, RestartState, ServerState, StoredMembership, Vote, VoteReply,
    VoteRequest,
};

fn reply(from: u64, pre_vote: bool, vote: Vote<u64>, granted: bool) -> VoteReply<u64> {
    VoteReply { from: replica(from), pre_vote, vote, granted, ..Default::default() }
}

fn request(term: u64, last: crate::LogId<u64>, pre_vote: bool) -> VoteRequest<u64> {
    let candidate = term % 10;
    VoteRequest {
        from: replica(candidate),
        pre_vote,
        vote: Vote::new(term, candidate),
        last_log_id: Some(last),
        ..Default::default()
    }
}

fn asking_first() -> EngineConfig<u64> {
    EngineConfig { pre_vote: true, ..config(1) }
}

#[test]
fn a_pre_vote_for_the_very_vote_that_is_in_force_is_refused() {
    let mut node = Bench::with(asking_first(), found(&[1, 2, 3], &[]));
    node.vote_request(12, Some(origin()));
    node.flush();
    let token = node.vote_request_of(request(12, origin(), true));
    assert!(!node.vote_answer(token).expect("answered").granted);
    let token = node.vote_request_of(request(22, origin(), true));
    assert!(node.vote_answer(token).expect("answered").granted);
}

#[test]
fn an_answer_to_an_earlier_question_or_to_a_vote_is_not_counted_for_a_pre_vote() {
    let mut node = Bench::with(asking_first(), found(&[1, 2, 3], &[]));
    node.deadline();
    node.engine.handle_vote_reply(node.now, Vote::new(1, 1), reply(2, true, Vote::new(7, 3), false));
    node.deadline();
    let (earlier, asked) = (Vote::new(1, 1), Vote::new(8, 1));
    node.engine.handle_vote_reply(node.now, earlier, reply(3, true, Vote::default(), true));
    assert_eq!(node.engine.role(), ServerState::PreCandidate, "node 3 said so of term 1");
    node.engine.handle_vote_reply(node.now, asked, reply(3, false, asked, true));
    assert_eq!(
        node.engine.role(),
        ServerState::PreCandidate,
        "that would be a vote, which nobody was asked for"
    );
    node.engine.handle_vote_reply(node.now, asked, reply(3, true, Vote::default(), true));
    assert_eq!(node.engine.role(), ServerState::Candidate);
}

#[test]
fn a_voter_that_refused_first_and_granted_then_is_counted_and_a_refusal_takes_no_grant_back() {
    let vote = Vote::new(1, 1);
    for order in [[false, true], [true, false]] {
        let mut node = Bench::node(1, &[1, 2, 3, 4, 5], &[]);
        node.deadline();
        node.flush();
        for granted in order {
            node.engine.handle_vote_reply(node.now, vote, reply(2, false, vote, granted));
        }
        assert_eq!(node.engine.role(), ServerState::Candidate);
        node.grant(3);
        assert_eq!(node.engine.role(), ServerState::Leader, "{order:?}");
    }
}

#[test]
fn whoever_holds_the_entry_that_removes_it_and_nothing_after_it_is_told_and_whoever_holds_more_is_judged_as_usual()
 {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let removal = [
        membership_entry(12, 1, joint_of(&voters(&[1, 2, 3]), &[1, 2])),
        membership_entry(12, 2, voters(&[1, 2])),
    ];
    node.append(12, Some(origin()), &removal, Some(at(12, 2)));
    node.flush();
    for (last, removed) in [(at(12, 1), true), (at(12, 2), true), (at(12, 3), false)] {
        let token = node.vote_request_of(request(13, last, false));
        assert_eq!(node.vote_answer(token).expect("answered").removed, removed, "{last}");
    }
}

#[test]
fn a_leader_that_no_quorum_answers_leads_through_the_longest_election_timeout_and_no_beat_longer() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    let began = node.now;
    let config = config(1);
    while node.engine.role() == ServerState::Leader {
        node.deadline();
    }
    assert_eq!(node.now.since(began), config.election_timeout_max + config.heartbeat_interval);
}

#[test]
fn an_installed_snapshot_does_not_move_the_deadline_that_its_leaders_message_set() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.snapshot(12, at(2, 9), StoredMembership::new(at(2, 7), voters(&[1, 2, 3])));
    let before = node.engine.next_deadline();
    node.advance(Duration::from_millis(100));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.engine.next_deadline(), before);
}

#[test]
fn a_grant_on_its_way_to_the_disk_still_stands_when_its_candidate_speaks_as_leader() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.vote_request(12, Some(origin()));
    node.heartbeat(12, None);
    assert_eq!(node.vote_answer(token), None);
    node.flush();
    assert!(node.vote_answer(token).expect("answered").granted);
}

#[test]
fn the_answer_to_initialize_waits_for_the_disk_whatever_vote_comes_meanwhile() {
    let mut node = Bench::with(config(1), RestartState::default());
    let list: InitialNodes<u64, ()> = [1, 2, 3].map(|id| (id, (replica(id).store_id, ()))).into();
    let token = node.token();
    node.engine.initialize(node.now, token, list);
    node.vote_request(12, Some(origin()));
    assert_eq!(node.answer(token), None, "the entry is not durable yet");
    node.flush();
    assert_eq!(node.answer(token), Some(Reply::Initialize(Ok(()))));
}

#[test]
fn what_a_leader_applies_is_ordered_as_a_leaders_so_that_its_callers_are_answered() {
    let mut node = leader();
    node.flush_all();
    let last = at(1, 1);
    assert!(node.orders.contains(&Command::LeaderCommit { since: 0, upto: last }), "{:?}", node.orders);
    node.heartbeat(12, None);
    let token = node.append(12, Some(last), &entries(2, &[12]), Some(at(12, 2)));
    node.flush_all();
    assert!(node.append_answer(token).is_some());
    assert!(node.orders.contains(&Command::FollowerCommit { since: 2, upto: at(12, 2) }));
}

#[test]
fn nobody_is_followed_without_a_title_of_its_own_that_can_be_true() {
    let own = Vote::new_committed(21, 1);
    let signed = |from: u64, vote: Vote<u64>| HeartbeatRequest {
        from: replica(from),
        to: replica(1).store_id,
        vote,
        promise: Duration::from_millis(500),
        ..Default::default()
    };
    let other_store = HeartbeatRequest { to: replica(3).store_id, ..signed(2, title(12)) };
    let lies = [
        ("not elected", signed(2, Vote::new(12, 2))),
        ("the title of another node", signed(3, title(12))),
        ("the own title", signed(1, own)),
        ("the own title, sent by another", signed(2, own)),
        ("no term", signed(2, Vote::new_committed(0, 2))),
        ("a term beyond all", signed(2, Vote::new_committed(u64::MAX, 2))),
        ("for another store", other_store),
    ];
    for (lie, request) in lies {
        let mut node = Bench::node(1, &[1, 2, 3], &[]);
        let token = node.token();
        node.engine.handle_heartbeat(node.now, token, request);
        assert_eq!((node.engine.vote(), node.engine.leader()), (Vote::default(), None), "{lie}");
        assert!(!node.heartbeat_answer(token).expect("refused at once").accepted, "{lie}");
    }
}

#[test]
fn entries_at_the_end_of_the_log_truncate_nothing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    node.heartbeat(12, None);
    let before = node.orders.len();
    node.append(12, Some(at(2, 1)), &entries(2, &[12, 12]), None);
    let (first, last) = (2, at(12, 3));
    assert_eq!(node.orders[before..], [Command::AppendInputEntries { io: 2, first, last }]);
}

#[test]
fn a_log_weighs_what_was_proposed_and_what_was_received() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    assert_eq!(node.engine.log_bytes(), 0);
    node.append(12, Some(origin()), &entries(1, &[12, 12, 12]), None);
    assert_eq!(node.engine.log_bytes(), 3, "each entry weighs one here");
    node.append(12, Some(at(12, 1)), &[], None);
    node.append(13, Some(at(12, 1)), &entries(2, &[13]), None);
    assert_eq!(node.engine.log_bytes(), 2);
    let mut node = leader();
    let before = node.engine.log_bytes();
    node.engine.propose(2, 700).expect("it leads");
    assert_eq!(node.engine.log_bytes(), before + 700);
}

/// What the commands say of replication tasks.
fn rebuilt(commands: &[Cmd]) -> Vec<(usize, Vec<u64>)> {
    let tasks = commands.iter().filter_map(|command| match command {
        Command::RebuildReplications { start, stop } => Some((start.len(), stop.clone())),
        _ => None,
    });
    tasks.collect()
}

#[test]
fn a_change_that_concerns_no_task_starts_and_stops_none() {
    let mut node = leader();
    let token = node.token();
    node.engine.change_membership(node.now, token, &MembershipChange::RemoveVoters([3].into()), &[]);
    let commands = node.run();
    assert_eq!(node.engine.membership().membership.to_string(), "{1,2,3}+{1,2}");
    assert_eq!(rebuilt(&commands), []);
}

/// Node 1 has led node 3 out of the cluster; that stands at index 3, committed if `committed`. Node 3's session.
fn removed(committed: bool) -> (Bench, u64) {
    let mut node = leader();
    let token = node.token();
    node.engine.change_membership(node.now, token, &MembershipChange::RemoveNodes([3].into()), &[]);
    node.flush();
    node.report(2, Some(at(1, 2)), 1);
    assert_eq!(node.engine.membership().membership.to_string(), "{1,2}");
    node.flush();
    if committed {
        node.report(2, Some(at(1, 3)), 1);
    }
    let session = node.session(3);
    (node, session)
}

#[test]
fn a_removed_node_is_told_only_when_it_holds_its_removal_and_that_is_committed() {
    let beats =
        |commands: &[Cmd]| commands.iter().any(|command| matches!(command, Command::SendHeartbeat { .. }));
    let (mut node, _) = removed(true);
    assert!(!beats(&node.report(3, Some(at(1, 2)), 1)), "the entry before its removal");
    assert!(beats(&node.report(3, Some(at(1, 3)), 1)));
    assert!(!beats(&node.report(3, Some(at(1, 3)), 1)), "once");
    let (mut node, _) = removed(false);
    assert!(!beats(&node.report(3, Some(at(1, 3)), 1)), "it may yet be rolled back");
}

#[test]
fn grants_are_asked_for_once() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    assert!(asks(&node.flush()));
    assert!(!asks(&node.flush()), "another completion asks nobody again");
}

#[test]
fn a_conflict_exactly_behind_what_is_committed_is_repaired_and_one_before_it_is_refused() {
    let committed = || {
        let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2]);
        node.heartbeat(12, Some(at(2, 2)));
        node.flush();
        node
    };
    let mut node = committed();
    let token = node.append(12, Some(at(2, 2)), &entries(3, &[12]), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 3)))));
    let mut node = committed();
    let token = node.append(12, Some(at(2, 1)), &entries(2, &[12]), None);
    assert_eq!(node.append_answer(token), Some(AppendResult::Refused));
    let mut node = committed();
    let token = node.append(12, Some(at(12, 3)), &[], None);
    node.flush();
    assert!(
        matches!(node.append_answer(token), Some(AppendResult::Conflict { .. })),
        "not committed: a hint"
    );
    let token = node.append(12, Some(at(12, 2)), &[], None);
    assert_eq!(node.append_answer(token), Some(AppendResult::Refused));
}

#[test]
fn a_report_of_the_own_vote_deposes_nobody() {
    let mut node = leader();
    let mut report = node.report_of(2, Some(at(1, 1)), 1);
    report.higher_vote = Some(node.engine.vote());
    node.engine.handle_replication_report(node.now, report);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_task_that_ended_by_itself_is_started_anew_under_another_session() {
    let mut node = leader();
    let (ended, other) = (node.session(2), node.session(3));
    node.engine.handle_replication_ended(2, other);
    assert_eq!(node.run(), [], "that session is not node 2's");
    node.engine.handle_replication_ended(2, ended);
    let commands = node.run();
    let [Command::RebuildReplications { start, stop }] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((stop, start.len()), (&vec![ended], 1));
    let next = ended.max(other) + 1;
    assert_eq!((start[0].replica, start[0].session, start[0].last), (replica(2), next, Some(at(1, 1))));
    assert_eq!(node.engine.followers().count(), 2);
}

#[test]
fn a_removed_node_is_given_up_exactly_when_its_time_is_over_and_then_nothing_is_due() {
    let limit = Duration::from_millis(250);
    let short = EngineConfig { removed_node_timeout: limit, ..config(1) };
    let mut node = Bench::with(short, found(&[1, 2, 3, 4], &[]));
    node.lead(&[2, 3]);
    node.flush();
    let (first, joint) = (node.engine.last_log_id(), Some(at(1, 2)));
    node.report(2, first, 1);
    node.report(3, first, 1);
    let token = node.token();
    node.engine.change_membership(node.now, token, &MembershipChange::RemoveNodes([4].into()), &[]);
    node.flush();
    node.report(2, joint, 1);
    node.report(3, joint, 1);
    assert_eq!(node.engine.membership().membership.to_string(), "{1,2,3}");
    let session = node.session(4);
    let gives_up = (vec![], vec![session]);
    let stops = |commands: &[Cmd]| {
        commands.iter().any(|command| {
            matches!(command, Command::RebuildReplications { start, stop }
                if (start.clone(), stop.clone()) == gives_up)
        })
    };
    let began = node.now;
    let end = Some(began + limit);
    let mut heartbeats = 0;
    while node.engine.next_deadline() < end {
        assert!(!stops(&node.deadline()), "after {:?}", node.now.since(began));
        heartbeats += 1;
    }
    assert!(heartbeats > 0);
    assert!(stops(&node.deadline()));
    assert_eq!(node.now, began + limit);
    assert_eq!(node.engine.followers().count(), 2);
    assert!(node.engine.next_deadline() > Some(node.now), "it is not due again");
}

#[test]
fn a_membership_that_stood_in_a_log_which_a_snapshot_replaced_is_gone() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    // Of a later leader than the snapshot's last entry, and never committed.
    node.append(13, Some(origin()), &[membership_entry(13, 1, voters(&[1, 2, 3, 5]))], None);
    node.snapshot(22, at(2, 9), StoredMembership::new(at(2, 7), voters(&[1, 2, 3, 4])));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.engine.membership().membership.to_string(), "{1,2,3,4}");
    assert_eq!(node.engine.membership().log_id, Some(at(2, 7)));
}

#[test]
fn a_snapshot_that_ends_with_the_entry_of_its_membership_states_it_once() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let stated = membership_entry(12, 1, voters(&[1, 2, 3, 4]));
    node.append(12, Some(origin()), &[stated], None);
    node.snapshot(12, at(12, 1), StoredMembership::new(at(12, 1), voters(&[1, 2, 3, 4])));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert_eq!(node.engine.state.memberships.len(), 1);
    assert_eq!(node.engine.membership().log_id, Some(at(12, 1)));
}

#[test]
fn an_answer_under_the_leaders_vote_confirms_one_under_a_greater_deposes_and_any_other_says_nothing() {
    let mut node = leader();
    node.run();
    let asked = node.report_of(2, Some(at(1, 1)), 0);
    let (own, within) = (title(12), Duration::from_millis(500));
    let promised = Some(Promised { position: 9, within });
    let greater = title(13);
    let table = [
        (own, within, ReplicationReport { confirmed: 9, promised, ..asked.clone() }),
        (own, Duration::ZERO, ReplicationReport { confirmed: 9, ..asked.clone() }),
        (greater, within, ReplicationReport { higher_vote: Some(greater), ..asked.clone() }),
        (title(3), within, asked.clone()),
        (Vote::new(12, 2), within, asked.clone()),
    ];
    for (vote, within, expected) in table {
        assert_eq!(asked.clone().answered(own, vote, 9, within), expected, "{vote} {within:?}");
    }
}

#[test]
fn every_read_of_a_batch_takes_a_place_of_its_own_while_it_waits_for_a_quorum() {
    let limits = EngineConfig { max_waiting_reads: 3, ..config(1) };
    let mut node = Bench::with(limits, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.read(vec![101, 102]);
    node.read(vec![103, 104]);
    let overloaded = Some(Reply::Read(Err(ReadRefused::Overloaded)));
    let answers = [101, 102, 103, 104].map(|token| node.answer(token));
    assert_eq!(answers, [None, None, None, overloaded]);
}
