//! A follower that needs what the log no longer holds.

use openraft_adapters::engine::AppendResult;

use crate::rig::{Mode, Rig, id};

fn matched(index: u64) -> AppendResult<u64> {
    AppendResult::Matched(Some(id(index)))
}

/// A rig whose log begins at 20 and whose snapshot ends with 24, for a follower that holds the log up to 9. The task
/// has learnt that.
async fn behind(snapshot_mode: Mode) -> Rig {
    let rig = Rig::replicating(10).await;
    *rig.snapshots.last.lock().expect("not poisoned") = Some(id(24));
    {
        let mut log = rig.leader.log();
        log.ids.extend((10..30).map(id));
        (log.first, log.tail_from) = (20, 25);
    }
    rig.set_peer(|peer| peer.snapshot_mode = snapshot_mode).await;
    rig.update(|update| update.last = Some(id(29))).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn gets_the_snapshot_and_then_the_entries_after_it() {
    let rig = behind(Mode::Answer).await;
    assert_eq!(rig.snapshots_sent(), 1);
    assert_eq!(rig.report().matched, Some(id(24)));
    assert_eq!(rig.appends(), [(Some(24), 2), (Some(26), 2), (Some(28), 1)]);
}

#[tokio::test(start_paused = true)]
async fn keeps_the_log_after_the_snapshot_while_it_travels_and_heartbeats_go_on() {
    let rig = behind(Mode::Hang).await;
    assert_eq!(rig.report().needed, 25);
    for position in 1..4 {
        rig.update(|update| update.position = position).await;
        assert_eq!(rig.report().confirmed, position);
    }
    assert_eq!(rig.appends(), []);
    rig.set_peer(|peer| peer.snapshot_mode = Mode::Answer).await;
    assert_eq!(rig.appends()[0], (Some(24), 2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_snapshot_is_sent_again_once_the_follower_answers_a_probe() {
    let rig = behind(Mode::Fail).await;
    assert!(!rig.report().reachable);
    assert_eq!(rig.snapshots_sent(), 1);
    rig.set_peer(|peer| peer.snapshot_mode = Mode::Answer).await;
    rig.pass(20).await;
    assert_eq!((rig.appends(), rig.snapshots_sent()), (vec![(Some(9), 0)], 1));
    rig.answer(matched(9)).await;
    assert_eq!(rig.snapshots_sent(), 2);
    assert_eq!(rig.report().matched, Some(id(24)));
}

#[tokio::test(start_paused = true)]
async fn a_follower_of_whom_nothing_is_known_is_asked_before_a_snapshot_is_sent() {
    let rig = Rig::new(10);
    *rig.snapshots.last.lock().expect("not poisoned") = Some(id(24));
    {
        let mut log = rig.leader.log();
        log.ids.extend((10..30).map(id));
        (log.first, log.tail_from) = (20, 25);
    }
    rig.update(|update| update.last = Some(id(29))).await;
    assert_eq!(rig.appends(), [(Some(19), 0)]);
    rig.answer(matched(19)).await;
    assert_eq!(rig.appends()[1..], [(Some(19), 2), (Some(21), 2), (Some(23), 2)]);
    assert_eq!(rig.snapshots_sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_hints_at_what_is_purged_gets_a_snapshot() {
    let rig = Rig::new(30);
    *rig.snapshots.last.lock().expect("not poisoned") = Some(id(24));
    rig.leader.log().first = 20;
    rig.leader.log().tail_from = 25;
    rig.update(|_| {}).await;
    rig.answer(AppendResult::Conflict { hint: Some(id(12)) }).await;
    assert_eq!(rig.snapshots_sent(), 1);
    assert_eq!(rig.report().matched, Some(id(24)));
}

#[tokio::test(start_paused = true)]
async fn a_missing_snapshot_is_asked_for_again_after_a_pause() {
    let rig = Rig::replicating(10).await;
    {
        let mut log = rig.leader.log();
        log.ids.extend((10..30).map(id));
        (log.first, log.tail_from) = (20, 25);
    }
    rig.update(|update| update.last = Some(id(29))).await;
    assert_eq!((rig.snapshots_sent(), rig.appends().len()), (0, 0));
    *rig.snapshots.last.lock().expect("not poisoned") = Some(id(24));
    rig.pass(20).await;
    rig.answer(matched(9)).await;
    assert_eq!(rig.report().matched, Some(id(24)));
}

#[tokio::test(start_paused = true)]
async fn the_last_purged_entry_can_still_precede_what_is_sent() {
    let rig = Rig::replicating(10).await;
    {
        let mut log = rig.leader.log();
        log.ids.extend((10..12).map(id));
        (log.first, log.tail_from) = (10, 12);
    }
    rig.break_stream_while_sending().await;
    assert_eq!(rig.snapshots_sent(), 0);
    rig.answer(matched(9)).await;
    assert_eq!(rig.appends().last(), Some(&(Some(9), 2)));
}
