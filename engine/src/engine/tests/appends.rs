//! Stories of the follower's log: what is taken, what is truncated, and what is acknowledged when (paper, 5.3).

use super::bench::{Bench, at, entries, found, membership_entry, origin, replica, title, voters};
use crate::{AppendHeader, AppendResult, Command, ServerState, Vote};

#[test]
fn entries_are_acknowledged_only_once_they_and_the_vote_are_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.append(12, Some(origin()), &entries(1, &[12, 12]), None);
    let vote_io = 1;
    node.flush_through(vote_io);
    assert_eq!(node.append_answer(token), None, "the vote is durable, the entries are not");
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 2)))));
}

#[test]
fn a_match_of_what_was_durable_before_still_waits_for_the_vote_it_came_under() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    let token = node.append(12, Some(at(2, 1)), &[], None);
    assert_eq!(node.append_answer(token), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(2, 1)))));
}

#[test]
fn a_repeated_append_that_is_not_yet_durable_is_not_acknowledged_early() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &[], None);
    node.flush();
    let first = node.append(12, Some(origin()), &entries(1, &[12]), None);
    let again = node.append(12, Some(origin()), &entries(1, &[12]), None);
    assert_eq!((node.append_answer(first), node.append_answer(again)), (None, None));
    node.flush();
    let matched = Some(AppendResult::Matched(Some(at(12, 1))));
    assert_eq!((node.append_answer(first), node.append_answer(again)), (matched, matched));
    let appends = node.orders.iter().filter(|c| matches!(c, Command::AppendInputEntries { .. })).count();
    assert_eq!(appends, 1, "and it is written once");
}

#[test]
fn a_reordered_append_of_the_same_leader_truncates_nothing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &entries(1, &[12, 12, 12]), None);
    let late = node.append(12, Some(origin()), &entries(1, &[12]), None);
    node.flush();
    assert_eq!(node.append_answer(late), Some(AppendResult::Matched(Some(at(12, 1)))), "no claim beyond");
    assert_eq!(node.engine.last_log_id(), Some(at(12, 3)));
}

#[test]
fn an_ack_is_withdrawn_when_a_greater_vote_overtakes_it() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.append(12, Some(origin()), &entries(1, &[12]), None);
    node.heartbeat(13, None);
    assert_eq!(node.append_answer(token), Some(AppendResult::HigherVote));
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::HigherVote), "and not given later");
}

#[test]
fn a_gap_is_answered_with_the_end_of_the_log() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    let token = node.append(12, Some(at(12, 7)), &entries(8, &[12]), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Conflict { hint: Some(at(2, 1)) }));
}

/// Figure 7 of the paper, case f: the follower holds terms 2 and 3 that nobody committed.
#[test]
fn a_divergent_log_is_repaired_in_one_round_trip_per_divergent_term() {
    let mut node = Bench::node(1, &[1, 2, 3], &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]);
    let leader = entries(1, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 12]);
    let mut probe = at(6, 9);
    let mut rounds = 0;
    loop {
        let after = leader.iter().filter(|entry| entry.log_id > probe).cloned().collect::<Vec<_>>();
        let token = node.append(12, Some(probe), &after, None);
        node.flush();
        match node.append_answer(token).expect("answered") {
            AppendResult::Conflict { hint } => {
                let hint = hint.expect("the logs have a common beginning");
                let mine = leader.iter().rfind(|entry| {
                    entry.log_id.index <= hint.index && entry.log_id.leader_id <= hint.leader_id
                });
                probe = mine.expect("there is one").log_id;
                rounds += 1;
            }
            result => {
                assert_eq!(result, AppendResult::Matched(Some(at(12, 10))));
                break;
            }
        }
    }
    assert!(rounds <= 2, "{rounds} rounds for two divergent terms");
    for entry in &leader {
        assert_eq!(node.engine.log_id_at(entry.log_id.index), Some(entry.log_id));
    }
    assert_eq!(node.engine.last_log_id(), Some(at(12, 10)));
}

#[test]
fn a_late_completion_confirms_nothing_that_a_truncation_took() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &entries(1, &[12, 12, 12]), None);
    let overwritten = node.io();
    let token = node.append(13, Some(at(12, 1)), &entries(2, &[13]), Some(at(13, 2)));
    node.flush_through(overwritten);
    assert_eq!(node.engine.flushed(), Some(at(12, 1)));
    assert_eq!(node.append_answer(token), None);
    assert_eq!(
        node.applied_orders(),
        vec![origin(), at(12, 1)],
        "commit may run ahead of the disk, apply may not"
    );
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(13, 2)))));
    assert_eq!(node.applied_orders(), vec![origin(), at(12, 1), at(13, 2)]);
}

#[test]
fn a_truncation_rolls_the_membership_back() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let grown = membership_entry(12, 1, voters(&[1, 2, 3, 4]));
    node.append(12, Some(origin()), &[grown], None);
    assert!(node.engine.membership().membership.is_voter(&4));
    node.append(13, Some(origin()), &entries(1, &[13]), None);
    assert_eq!(node.engine.membership().log_id, Some(origin()));
    assert!(!node.engine.membership().membership.is_voter(&4));
}

#[test]
fn a_node_becomes_a_voter_by_an_entry_and_campaigns_if_the_leader_then_dies() {
    let mut node = Bench::node(4, &[1, 2, 3], &[]);
    assert_eq!((node.engine.role(), node.engine.next_deadline()), (ServerState::Learner, None));
    let grown = membership_entry(12, 1, voters(&[1, 2, 3, 4]));
    node.append(12, Some(origin()), &[grown], None);
    assert!(node.engine.next_deadline().is_some(), "nobody may come who arms it later");
    node.append(13, Some(origin()), &entries(1, &[13]), None);
    node.flush_all();
    assert_eq!(node.engine.role(), ServerState::Learner);
    while node.engine.next_deadline().is_some() {
        assert!(!node.deadline().iter().any(|c| matches!(c, Command::SaveVote { .. })), "it votes no more");
    }
}

#[test]
fn a_follower_commits_no_further_than_what_it_was_shown_to_hold() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2]);
    node.append(12, Some(at(2, 1)), &[], Some(at(12, 3)));
    node.flush();
    assert_eq!(node.engine.committed(), Some(at(2, 1)), "its entries 2 and 3 may be other than the leader's");
    node.heartbeat(12, Some(at(12, 3)));
    assert_eq!(node.engine.committed(), Some(at(2, 1)));
    node.heartbeat(12, Some(at(2, 3)));
    assert_eq!(node.engine.committed(), Some(at(2, 3)), "the leader names the entry that stands here");
}

#[test]
fn what_is_committed_but_not_yet_durable_here_is_not_applied() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &entries(1, &[12, 12]), Some(at(12, 2)));
    assert_eq!(node.engine.committed(), Some(at(12, 2)));
    assert_eq!(node.applied_orders(), vec![origin()]);
    node.flush();
    assert_eq!(node.applied_orders(), vec![origin(), at(12, 2)]);
}

#[test]
fn a_deposed_leaders_append_is_refused_with_the_vote_that_deposed_it() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(13, None);
    node.flush();
    let token = node.append(12, Some(origin()), &entries(1, &[12]), None);
    assert_eq!(node.append_answer(token), Some(AppendResult::HigherVote));
    let token = node.heartbeat(12, None);
    let reply = node.heartbeat_answer(token).expect("answered");
    assert_eq!((reply.accepted, reply.vote), (false, title(13)));
}

#[test]
fn an_append_that_finds_no_memory_is_busy_and_still_is_a_word_of_the_leader() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let header = AppendHeader {
        from: replica(2),
        vote: title(12),
        prev_log_id: Some(origin()),
        committed: None,
        position: 1,
        to: replica(1).store_id,
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_append_refused_busy(node.now, token, header);
    assert_eq!(node.append_answer(token), Some(AppendResult::Busy));
    assert_eq!(node.engine.leader(), Some(2));
}

#[test]
fn a_node_in_no_cluster_takes_nothing_that_is_meant_for_another_store_of_its_name() {
    let mut node = Bench::with(super::bench::config(1), crate::RestartState::default());
    let header = AppendHeader {
        from: replica(2),
        vote: title(12),
        to: crate::StoreId(7),
        position: 1,
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_append(node.now, token, header, entries(0, &[12]).iter());
    assert_eq!(node.append_answer(token), Some(AppendResult::Refused));
    assert_eq!((node.engine.last_log_id(), node.engine.vote()), (None, Vote::default()));
}

#[test]
fn a_node_in_no_cluster_follows_a_leader_whose_log_names_its_store() {
    let mut node = Bench::with(super::bench::config(1), crate::RestartState::default());
    let token = node.append(12, None, &entries(0, &[12]), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 0)))));
    assert_eq!(node.engine.vote(), title(12));
}

#[test]
fn a_restart_takes_up_what_was_committed_if_the_log_holds_exactly_that() {
    for (hint, committed) in [(at(2, 1), Some(at(2, 1))), (at(3, 1), None), (at(2, 9), None)] {
        let state = crate::RestartState { committed_hint: Some(hint), ..found(&[1, 2, 3], &[2, 2]) };
        let node = Bench::with(super::bench::config(1), state);
        assert_eq!(node.engine.committed(), committed);
    }
}
