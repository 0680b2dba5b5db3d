//! Stories of the watchdog: what stands still with work waiting costs a leader its leadership.

use std::time::Duration;

use super::bench::{Bench, asks, at, config, entries, found, origin};
use crate::{Command, EngineConfig, ServerState, Stall};

/// Lets `time` pass, with every deadline that comes; nodes 2 and 3 answer each heartbeat of a leader.
fn pass(node: &mut Bench, time: Duration) {
    let until = node.now + time;
    while node.engine.role() == ServerState::Leader
        && node.engine.next_deadline().is_some_and(|deadline| deadline <= until)
    {
        node.deadline();
        if node.engine.role() == ServerState::Leader {
            let position = node.position();
            node.report(2, None, position);
            node.report(3, None, position);
        }
    }
    if node.engine.role() == ServerState::Leader {
        node.now = until;
    }
}

fn watched() -> EngineConfig<u64> {
    EngineConfig { stall_timeout: Some(Duration::from_secs(10)), ..config(1) }
}

/// Node 1 of three leads, everything is committed and applied.
fn leader_of(config: EngineConfig<u64>) -> Bench {
    let mut node = Bench::with(config, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.flush_all();
    commit(&mut node);
    node.apply();
    node
}

fn leader() -> Bench {
    leader_of(watched())
}

/// Both followers hold the whole log.
fn commit(node: &mut Bench) {
    let last = node.engine.last_log_id();
    node.report(2, last, 0);
    node.report(3, last, 0);
}

fn campaigns(node: &mut Bench) -> bool {
    node.deadline();
    asks(&node.flush())
}

#[test]
fn a_leader_without_work_stays_however_long() {
    let mut node = leader();
    pass(&mut node, Duration::from_secs(60));
    assert_eq!((node.engine.role(), node.engine.stalled(node.now)), (ServerState::Leader, None));
}

#[test]
fn a_leader_whose_disk_stands_still_steps_down_though_others_commit_and_campaigns_only_when_it_moves() {
    let mut node = leader();
    node.engine.propose(1, 1).expect("it leads");
    commit(&mut node);
    assert_eq!(node.engine.committed(), node.engine.last_log_id());
    pass(&mut node, Duration::from_secs(9));
    assert_eq!(node.engine.role(), ServerState::Leader);
    pass(&mut node, Duration::from_secs(2));
    assert_eq!(node.engine.role(), ServerState::Follower);
    assert_eq!(node.engine.stalled(node.now), Some(Stall::Flush));
    for _ in 0..5 {
        assert_eq!(node.deadline(), vec![], "another one shall lead");
    }
    node.flush();
    node.apply();
    assert!(campaigns(&mut node));
}

#[test]
fn a_leader_that_can_commit_nothing_steps_down_and_its_writes_are_of_unknown_outcome() {
    let mut node = leader();
    node.engine.propose(1, 1).expect("it leads");
    node.flush_all();
    pass(&mut node, Duration::from_secs(11));
    assert_eq!(node.engine.role(), ServerState::Follower, "the others answer heartbeats and take no entries");
    assert!(node.orders.contains(&Command::AbandonWrites { since: 2 }));
    assert!(campaigns(&mut node), "it is as good a candidate as any");
}

#[test]
fn a_leader_whose_state_machine_stands_still_steps_down_and_campaigns_only_when_it_moves() {
    let mut node = leader();
    node.engine.propose(1, 1).expect("it leads");
    node.flush_all();
    commit(&mut node);
    pass(&mut node, Duration::from_secs(11));
    assert_eq!(node.engine.role(), ServerState::Follower);
    assert_eq!(node.engine.stalled(node.now), Some(Stall::Apply));
    assert_eq!(node.deadline(), vec![]);
    node.apply();
    assert!(campaigns(&mut node));
}

#[test]
fn what_moves_however_slowly_is_no_standstill() {
    let mut node = leader();
    for _ in 0..10 {
        node.engine.propose(1, 1).expect("it leads");
        let io = node.io();
        node.engine.propose(1, 1).expect("it leads");
        node.flush_through(io);
        let last = node.engine.flushed();
        node.report(2, last, 0);
        node.apply();
        pass(&mut node, Duration::from_secs(8));
        assert_eq!(node.engine.role(), ServerState::Leader);
    }
}

#[test]
fn a_follower_whose_disk_stands_still_does_not_campaign_when_its_leader_is_gone() {
    let mut node = Bench::with(watched(), found(&[1, 2, 3], &[]));
    node.heartbeat(12, None);
    node.flush();
    node.append(12, Some(origin()), &entries(1, &[12]), None);
    for _ in 0..30 {
        node.advance(Duration::from_millis(400));
        node.heartbeat(12, None);
    }
    for _ in 0..5 {
        assert_eq!(node.deadline(), vec![]);
    }
    node.flush();
    assert_eq!(node.engine.flushed(), Some(at(12, 1)));
    assert!(campaigns(&mut node));
}

#[test]
fn without_a_stall_timeout_nothing_is_watched() {
    let mut node = leader_of(EngineConfig { stall_timeout: None, ..config(1) });
    node.engine.propose(1, 1).expect("it leads");
    pass(&mut node, Duration::from_secs(600));
    assert_eq!(node.engine.role(), ServerState::Leader);
}
