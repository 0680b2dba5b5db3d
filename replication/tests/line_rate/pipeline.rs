//! Sending ahead, probing, repairing, and starting anew after a break.

use openraft_adapters::engine::{AppendResult, LogId};
use openraft_replication::ReplicationConfig;

use crate::rig::{Id, Mode, Rig, WEIGHT, config, id};

fn matched(index: u64) -> AppendResult<u64> {
    AppendResult::Matched(Some(id(index)))
}

#[tokio::test(start_paused = true)]
async fn sends_ahead_up_to_the_window_of_messages_and_not_beyond() {
    let rig = Rig::replicating(10).await;
    rig.propose(19).await;
    assert_eq!(rig.appends(), [(Some(9), 2), (Some(11), 2), (Some(13), 2)]);
    rig.answer(matched(11)).await;
    assert_eq!(rig.appends()[3..], [(Some(15), 2)]);
    assert_eq!(rig.report().matched, Some(id(11)));
}

#[tokio::test(start_paused = true)]
async fn sends_ahead_up_to_the_window_of_bytes_and_not_beyond() {
    let bytes = ReplicationConfig { max_inflight_bytes: 5 * WEIGHT, ..config() };
    let rig = Rig::with((0..10).map(id).collect(), bytes);
    rig.update(|_| {}).await;
    rig.answer(matched(9)).await;
    rig.propose(19).await;
    assert_eq!(rig.appends()[1..], [(Some(9), 2), (Some(11), 2)]);
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_first_answer_before_it_sends_ahead() {
    let rig = Rig::new(10);
    rig.propose(19).await;
    assert_eq!(rig.appends(), [(Some(9), 2)]);
    rig.answer(matched(11)).await;
    assert_eq!(rig.appends().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn says_nothing_before_the_first_update() {
    let rig = Rig::new(10);
    rig.pass(10_000).await;
    assert_eq!((rig.appends().len(), rig.heartbeats()), (0, 0));
}

/// Entries 0 to 3 of term 1, 4 to 7 of term 2, 8 and 9 of term 3.
fn three_terms() -> Vec<Id> {
    (0..10).map(|index| LogId::new(1 + index / 4, 1, index)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_repaired_from_the_last_entry_that_the_hint_leaves_possible() {
    let rig = Rig::with(three_terms(), config());
    rig.update(|_| {}).await;
    // The follower has entries of term 1 up to index 8: of ours, only those of term 1 can be the same.
    rig.answer(AppendResult::Conflict { hint: Some(LogId::new(1, 1, 8)) }).await;
    assert_eq!(rig.appends()[1..], [(Some(3), 2)]);
    rig.answer(AppendResult::Matched(Some(LogId::new(2, 1, 5)))).await;
    assert_eq!(rig.appends()[2..], [(Some(5), 2), (Some(7), 2)]);
}

#[tokio::test(start_paused = true)]
async fn the_place_to_probe_is_found_in_the_log_store_too() {
    let rig = Rig::with(three_terms(), config());
    rig.leader.log().tail_from = 9;
    rig.update(|_| {}).await;
    rig.answer(AppendResult::Conflict { hint: Some(LogId::new(1, 1, 8)) }).await;
    assert_eq!(rig.appends()[1..], [(Some(3), 2)]);
    rig.answer(AppendResult::Matched(Some(LogId::new(2, 1, 5)))).await;
    assert_eq!(rig.appends()[2..], [(Some(5), 2), (Some(7), 2)]);
}

#[tokio::test(start_paused = true)]
async fn after_a_break_asks_and_then_resends_what_did_not_match() {
    let rig = Rig::replicating(10).await;
    rig.propose(15).await;
    rig.answer(matched(11)).await;
    rig.break_stream().await;
    assert!(!rig.report().reachable);
    assert_eq!(rig.appends().len(), 3, "nothing is sent during the pause");
    rig.pass(20).await;
    assert_eq!(rig.appends()[3..], [(Some(11), 0)], "an append without entries asks whether it answers");
    assert_eq!(rig.network.peer().streams, 2);
    rig.answer(matched(11)).await;
    assert_eq!(rig.appends()[4..], [(Some(11), 2), (Some(13), 2)]);
    assert!(rig.report().reachable);
}

#[tokio::test(start_paused = true)]
async fn an_append_without_an_answer_counts_as_lost_when_its_deadline_has_passed() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    rig.pass(299).await;
    assert!(rig.report().reachable);
    rig.pass(1).await;
    assert!(!rig.report().reachable);
    rig.pass(20).await;
    assert_eq!(rig.appends(), [(Some(9), 1), (Some(9), 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_message_behind_others_is_given_its_time_from_the_last_answer_on() {
    let rig = Rig::replicating(10).await;
    rig.propose(15).await;
    for last in [11, 13] {
        rig.pass(200).await;
        rig.answer(matched(last)).await;
    }
    rig.pass(299).await;
    assert!(rig.report().reachable, "699 ms after it was sent, 299 ms after the last answer");
    rig.pass(1).await;
    assert!(!rig.report().reachable);
}

#[tokio::test(start_paused = true)]
async fn a_busy_follower_is_left_alone_for_the_shortest_pause() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    rig.answer(AppendResult::Busy).await;
    rig.propose(11).await;
    assert_eq!(rig.appends().len(), 1);
    rig.pass(20).await;
    assert_eq!(rig.appends()[1..], [(Some(9), 0)]);
    assert!(rig.report().reachable, "it answers");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_nothing_is_a_broken_one() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.append_mode = Mode::Fail).await;
    rig.propose(10).await;
    assert!(!rig.report().reachable);
    rig.set_peer(|peer| peer.append_mode = Mode::Answer).await;
    rig.pass(20).await;
    rig.answer(matched(9)).await;
    rig.answer(matched(10)).await;
    assert_eq!(rig.report().matched, Some(id(10)));
}

#[tokio::test(start_paused = true)]
async fn entries_that_left_memory_are_read_from_the_log_store() {
    let rig = Rig::replicating(10).await;
    {
        let mut log = rig.leader.log();
        log.ids.extend((10..13).map(id));
        log.tail_from = 12;
    }
    rig.update(|update| update.last = Some(id(12))).await;
    assert_eq!(rig.appends(), [(Some(9), 2), (Some(11), 1)]);
    assert_eq!(rig.leader.log().reads, 1);
}
