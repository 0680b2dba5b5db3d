//! Stories of elections (paper, 5.2 and 5.4.1).

use std::time::Duration;

use super::bench::{Bench, asks, at, config, found, origin, replica, title, voters};
use crate::{Command, Replica, RestartState, ServerState, StoreId, Vote, VoteReply, VoteRequest};

#[test]
fn a_node_that_hears_of_no_leader_is_elected_by_a_quorum() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    assert_eq!(node.engine.role(), ServerState::Follower);
    node.deadline();
    assert_eq!(node.engine.role(), ServerState::Candidate);
    assert!(asks(&node.flush()));
    node.grant(2);
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::Leader, Vote::new_committed(1, 1)));
    assert_eq!(node.engine.leader(), Some(1));
}

#[test]
fn no_vote_is_asked_for_before_the_own_vote_is_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    assert!(!asks(&node.deadline()), "the vote is only submitted");
    assert!(asks(&node.flush()));
}

#[test]
fn grants_that_come_before_the_own_vote_is_durable_elect_nobody() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Candidate, "one grant is no quorum of three");
    node.flush();
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_grant_leaves_only_once_it_is_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.vote_request(12, Some(origin()));
    assert_eq!(node.vote_answer(token), None);
    node.flush();
    assert!(node.vote_answer(token).expect("answered").granted);
}

#[test]
fn a_grant_that_a_greater_vote_overtakes_on_its_way_to_the_disk_is_withdrawn() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let first = node.vote_request(12, Some(origin()));
    let second = node.vote_request(13, Some(origin()));
    assert!(!node.vote_answer(first).expect("answered at once").granted);
    node.flush();
    assert!(node.vote_answer(second).expect("answered").granted);
    assert!(!node.vote_answer(first).expect("answered").granted);
}

#[test]
fn one_term_has_one_vote_and_a_repeated_request_gets_it_again() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let first = node.vote_request(12, Some(origin()));
    node.flush();
    let rival = VoteRequest {
        pre_vote: false,
        from: replica(3),
        vote: Vote::new(12, 3),
        last_log_id: Some(at(5, 9)),
        ..Default::default()
    };
    let other = node.vote_request_of(rival);
    let again = node.vote_request(12, Some(origin()));
    assert!(node.vote_answer(first).expect("answered").granted);
    assert!(!node.vote_answer(other).expect("answered").granted);
    assert!(node.vote_answer(again).expect("answered").granted);
}

#[test]
fn a_vote_lost_in_a_crash_was_never_granted_and_a_durable_one_is_remembered() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.vote_request(12, Some(origin()));
    assert_eq!(node.vote_answer(token), None, "so that losing it deceives nobody");

    let mut lost = Bench::node(1, &[1, 2, 3], &[]);
    let rival = VoteRequest {
        pre_vote: false,
        from: replica(3),
        vote: Vote::new(12, 3),
        last_log_id: Some(origin()),
        ..Default::default()
    };
    let token = lost.vote_request_of(rival);
    lost.flush();
    assert!(lost.vote_answer(token).expect("answered").granted);

    let kept = RestartState { vote: Vote::new(12, 2), ..found(&[1, 2, 3], &[]) };
    let mut kept = Bench::with(config(1), kept);
    let token = kept.vote_request_of(rival);
    kept.flush();
    assert!(!kept.vote_answer(token).expect("answered").granted);
}

#[test]
fn a_candidate_with_a_stale_log_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 3]);
    for stale in [None, Some(origin()), Some(at(2, 9)), Some(at(3, 2))] {
        let token = node.vote_request(12, stale);
        let reply = node.vote_answer(token).expect("a refusal waits for nothing");
        assert!(!reply.granted, "{stale:?}");
        assert_eq!(reply.last_log_id, Some(at(3, 3)), "and is told why");
    }
    let token = node.vote_request(12, Some(at(3, 3)));
    node.flush();
    assert!(node.vote_answer(token).expect("answered").granted, "an equal log will do");
}

#[test]
fn a_refused_request_raises_the_term_of_the_next_campaign_only() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    node.vote_request(52, None);
    assert_eq!(node.engine.vote(), Vote::default());
    node.deadline();
    assert_eq!(node.engine.vote(), Vote::new(53, 1));
}

#[test]
fn a_node_in_no_cluster_grants_nothing_and_has_no_deadline() {
    let mut node = Bench::with(config(1), RestartState::default());
    assert_eq!(node.engine.next_deadline(), None);
    let token = node.vote_request(12, Some(at(2, 9)));
    assert!(!node.vote_answer(token).expect("answered").granted);
    assert_eq!(node.engine.vote(), Vote::default());
    assert_eq!(node.engine.next_deadline(), None);
}

#[test]
fn votes_from_another_store_are_not_counted() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    node.grant_from(Replica { node_id: 2, store_id: StoreId(9) });
    node.grant_from(Replica { node_id: 7, store_id: StoreId(700) });
    assert_eq!(node.engine.role(), ServerState::Candidate);
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_request_from_another_store_of_a_member_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let from = Replica { node_id: 2, store_id: StoreId(9) };
    let token = node.vote_request_of(VoteRequest {
        pre_vote: false,
        from,
        vote: Vote::new(12, 2),
        last_log_id: Some(at(5, 5)),
        ..Default::default()
    });
    assert!(!node.vote_answer(token).expect("answered").granted);
}

#[test]
fn a_node_whose_store_the_membership_does_not_name_never_campaigns() {
    let mut config = config(1);
    config.replica.store_id = StoreId(9);
    let node = Bench::with(config, found(&[1], &[]));
    assert_eq!((node.engine.next_deadline(), node.engine.role()), (None, ServerState::Learner));
}

#[test]
fn a_lost_election_is_tried_again_in_a_new_term() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    for from in [2, 3] {
        let reply = VoteReply {
            pre_vote: false,
            from: replica(from),
            vote: Vote::new(1, 9),
            granted: false,
            last_log_id: None,
            ..Default::default()
        };
        node.engine.handle_vote_reply(node.now, Vote::new(1, 1), reply);
    }
    assert_eq!(node.engine.role(), ServerState::Candidate);
    node.deadline();
    assert_eq!(node.engine.vote(), Vote::new(2, 1));
    assert!(asks(&node.flush()));
    let late = VoteReply {
        pre_vote: false,
        from: replica(2),
        vote: Vote::new(1, 1),
        granted: true,
        last_log_id: None,
        ..Default::default()
    };
    node.engine.handle_vote_reply(node.now, Vote::new(1, 1), late);
    assert_eq!(
        node.engine.role(),
        ServerState::Candidate,
        "a grant of the earlier term counts for nothing now"
    );
}

#[test]
fn a_candidate_with_a_slow_disk_waits_for_it_instead_of_piling_up_votes() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    for _ in 0..5 {
        assert_eq!(node.deadline(), vec![], "the first vote is still under way");
    }
    assert_eq!(node.engine.vote(), Vote::new(1, 1));
    assert!(asks(&node.flush()), "and it still asks when the disk is done");
}

#[test]
fn a_candidate_follows_the_leader_that_was_elected_in_its_own_term() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    let header = crate::HeartbeatRequest {
        from: replica(2),
        vote: Vote::new_committed(1, 2),
        committed: None,
        position: 1,
        to: replica(1).store_id,
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_heartbeat(node.now, token, header);
    assert_eq!((node.engine.role(), node.engine.leader()), (ServerState::Follower, Some(2)));
    assert_eq!(node.heartbeat_answer(token), None, "the vote is not yet durable");
    node.flush();
    assert!(node.heartbeat_answer(token).expect("answered").accepted);
}

#[test]
fn a_message_of_the_leader_puts_the_campaign_off() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    for _ in 0..20 {
        node.advance(Duration::from_millis(400));
        node.heartbeat(12, None);
        node.engine.handle_deadline(node.now);
    }
    assert_eq!((node.engine.role(), node.engine.vote()), (ServerState::Follower, title(12)));
}

#[test]
fn a_restart_never_leads_again_under_the_vote_it_held() {
    for vote in [Vote::new(11, 1), Vote::new_committed(11, 1)] {
        let state = RestartState { vote, ..found(&[1, 2, 3], &[11]) };
        let mut node = Bench::with(config(1), state);
        assert_eq!((node.engine.role(), node.engine.leader()), (ServerState::Follower, None));
        let reply = VoteReply {
            pre_vote: false,
            from: replica(2),
            vote,
            granted: true,
            last_log_id: None,
            ..Default::default()
        };
        node.engine.handle_vote_reply(node.now, vote, reply);
        assert_eq!(node.engine.role(), ServerState::Follower);
        node.deadline();
        assert_eq!(node.engine.vote(), Vote::new(12, 1));
    }
}

#[test]
fn a_restart_campaigns_beyond_the_terms_of_its_log_if_a_snapshot_outlived_the_vote_it_came_under() {
    let mut node = Bench::with(config(1), found(&[1, 2, 3], &[2, 7]));
    assert_eq!(node.engine.vote(), Vote::default());
    node.lead(&[2]);
    assert_eq!(node.engine.vote(), Vote::new_committed(8, 1));
}

#[test]
fn a_lone_voter_leads_at_once_and_commits_alone() {
    let mut node = Bench::node(1, &[1], &[]);
    assert_eq!(node.engine.next_deadline(), Some(node.now), "there is nobody to wait for");
    node.deadline();
    node.flush_all();
    assert_eq!(node.engine.role(), ServerState::Leader);
    assert_eq!(node.engine.committed(), Some(crate::LogId::new(1, 1, 1)));
    let first = node.engine.propose(3, 3).expect("it leads").first_index;
    assert_eq!(first, 2);
    node.flush_all();
    assert_eq!(node.engine.committed().map(|id| id.index), Some(4));
    for _ in 0..50 {
        node.deadline();
    }
    assert_eq!(node.engine.role(), ServerState::Leader, "and has a quorum in itself");
}

#[test]
fn timeouts_are_drawn_anew_for_each_campaign_between_the_bounds() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let mut timeouts = Vec::new();
    for _ in 0..8 {
        let begin = node.now;
        node.deadline();
        node.flush();
        timeouts.push(node.now.since(begin));
    }
    let bounds = Duration::from_millis(500)..Duration::from_secs(1);
    assert!(timeouts.iter().all(|timeout| bounds.contains(timeout)), "{timeouts:?}");
    timeouts.dedup();
    assert_eq!(timeouts.len(), 8);
}

#[test]
fn the_same_calls_with_the_same_seed_give_the_same_commands() {
    let story = |seed| {
        let mut node = Bench::with(crate::EngineConfig { seed, ..config(1) }, found(&[1, 2, 3], &[2]));
        let deadline = node.engine.next_deadline();
        node.lead(&[3]);
        node.engine.propose(2, 2).expect("it leads");
        node.flush_all();
        node.report(2, node.engine.last_log_id(), node.position());
        node.deadline();
        node.heartbeat(22, None);
        node.flush_all();
        node.deadline();
        (node.orders, deadline)
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5).1, story(6).1, "another seed draws other timeouts");
}

#[test]
fn leading_begins_with_the_title_then_the_tasks_then_a_blank_entry() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    let orders = node.grant(3);
    assert!(matches!(orders[0], Command::SaveVote { vote: Vote { committed: true, .. }, .. }), "{orders:?}");
    assert!(matches!(&orders[1], Command::RebuildReplications { start, .. } if start.len() == 2));
    assert!(matches!(&orders[2], Command::AppendOwnEntry { log_id, .. } if log_id.index == 1));
}

#[test]
fn a_voter_set_of_the_membership_in_force_decides_even_if_it_is_not_committed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let entry = super::bench::membership_entry(12, 1, voters(&[1, 2, 3, 4, 5]));
    node.append(12, Some(origin()), &[entry], None);
    node.flush_all();
    node.deadline();
    node.flush();
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Candidate, "two of five");
    node.grant(5);
    assert_eq!(node.engine.role(), ServerState::Leader, "three of five");
}
