//! Stories of who campaigns when: priority, elections by request, and a leader that is to be forgotten.

use std::time::Duration;

use super::bench::{Bench, asks, config, found, title};
use crate::{ConfigError, EngineConfig, ServerState};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn each_step_of_priority_is_one_election_window_and_the_lowest_still_leads_if_it_must() {
    for priority in 0..=3_u8 {
        let config = EngineConfig { election_priority: priority, ..config(1) };
        let mut node = Bench::with(config, found(&[1, 2, 3], &[]));
        let began = node.now;
        node.lead(&[3]);
        let waited = node.now.since(began);
        let longer = ms(500) * u32::from(3 - priority);
        assert!((ms(500) + longer..ms(1_000) + longer).contains(&waited), "priority {priority}: {waited:?}");
    }
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let table = [
        (EngineConfig { election_priority: 4, ..config(1) }, "priority"),
        (EngineConfig { stall_timeout: Some(ms(1_000)), ..config(1) }, "stall timeout"),
        (EngineConfig { clock_drift_ppm: 1_000_000, ..config(1) }, "millionths"),
    ];
    for (config, word) in table {
        let error: ConfigError = config.validate().expect_err(word);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn an_election_by_request_skips_the_timer_and_nothing_else() {
    let mut node = Bench::with(EngineConfig { pre_vote: true, ..config(1) }, found(&[1, 2, 3], &[]));
    assert!(node.engine.trigger_elect(node.now));
    let commands = node.run();
    assert_eq!(node.engine.role(), ServerState::PreCandidate);
    assert!(asks(&commands), "it asks first, as always");
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    assert!(!node.engine.trigger_elect(node.now), "it leads");
    let mut learner = Bench::node(4, &[1, 2, 3], &[]);
    assert!(!learner.engine.trigger_elect(learner.now), "it does not vote");
}

#[test]
fn an_election_by_request_waits_for_the_end_of_the_own_promise_and_is_off_when_the_leader_is_well() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(12, None);
    node.flush();
    node.advance(ms(100));
    assert!(node.engine.trigger_elect(node.now));
    assert_eq!(node.run(), vec![]);
    assert_eq!(node.engine.next_deadline(), Some(node.now + ms(400)));
    node.advance(ms(100));
    node.heartbeat(12, None);
    let deadline = node.engine.next_deadline().expect("it waits for an election");
    assert!(deadline >= node.now + ms(500), "the leader is well");
    assert!(node.engine.trigger_elect(node.now));
    node.deadline();
    assert_eq!(node.engine.role(), ServerState::Candidate);
}

#[test]
fn a_heartbeat_by_request_comes_from_a_leader_only() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    assert!(!node.engine.trigger_heartbeat(node.now));
    node.lead(&[2]);
    let before = (node.position(), node.engine.next_deadline());
    assert!(node.engine.trigger_heartbeat(node.now));
    node.run();
    assert_eq!((node.position(), node.engine.next_deadline()), (before.0 + 1, before.1));
}

#[test]
fn a_leader_that_is_forgotten_is_known_again_by_its_next_message_and_its_promise_stands_meanwhile() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    assert!(!node.engine.forget_leader());
    node.heartbeat(12, None);
    node.flush();
    assert!(node.engine.forget_leader());
    assert_eq!((node.engine.leader(), node.engine.vote()), (None, title(12)));
    assert!(node.engine.is_promised(node.now));
    assert!(!node.engine.forget_leader(), "it knows of none");
    node.heartbeat(12, None);
    assert_eq!(node.engine.leader(), Some(2));
    node.lead(&[3]);
    assert!(!node.engine.forget_leader(), "one does not forget oneself");
}
