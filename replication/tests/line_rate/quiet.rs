//! What a task costs that has nothing to do, or nobody to do it with.

use openraft_adapters::engine::AppendResult;

use crate::rig::{Mode, Rig, id};

#[tokio::test(start_paused = true)]
async fn an_idle_task_is_not_woken() {
    let rig = Rig::replicating(10).await;
    rig.propose(12).await;
    rig.answer(AppendResult::Matched(Some(id(11)))).await;
    rig.answer(AppendResult::Matched(Some(id(12)))).await;
    // One timer, armed while appends were under way, may still ring.
    rig.pass(300).await;
    let polls = rig.polls();
    rig.pass(3_600_000).await;
    assert_eq!(rig.polls(), polls);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_down_costs_one_probe_for_each_longest_pause() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| (peer.append_mode, peer.heartbeat_mode) = (Mode::Fail, Mode::Fail)).await;
    rig.propose(10).await;
    rig.pass(1_000).await;
    let (probes, heartbeats, polls) = (rig.appends().len(), rig.heartbeats(), rig.polls());
    rig.pass(100_000).await;
    // Pauses are 100 to 200 ms long by now.
    assert!((500..=1000).contains(&(rig.appends().len() - probes)), "{}", rig.appends().len() - probes);
    assert_eq!(rig.heartbeats(), heartbeats, "none was asked for");
    assert!(rig.polls() - polls <= 1000, "one timer, and nothing else, wakes it");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_to_a_follower_that_is_down_wait_for_their_pause_however_many_are_asked_for() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| (peer.append_mode, peer.heartbeat_mode) = (Mode::Fail, Mode::Fail)).await;
    for position in 1..=10_000 {
        rig.update(|update| update.position = position).await;
        rig.pass(1).await;
    }
    assert!((50..=120).contains(&rig.heartbeats()), "{}", rig.heartbeats());
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_refuses_is_asked_less_and_less_often() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        rig.answer(AppendResult::Refused).await;
        let (asked, mut pause) = (rig.appends().len(), 0);
        while rig.appends().len() == asked {
            rig.pass(1).await;
            pause += 1;
        }
        pauses.push(pause);
    }
    assert!(pauses[0] <= 20 && pauses[5] >= 100, "{pauses:?}");
    assert!(rig.report().reachable);
}
