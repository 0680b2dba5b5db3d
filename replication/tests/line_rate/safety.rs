//! What must never be sent, and what must never be believed.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::engine::{AppendReply, AppendResult, LogId, Replica, StoreId};
use openraft_replication::LeaderUpdate;

use crate::rig::{Mode, Rig, SESSION, TARGET, id, our_vote};

/// A rig whose task waits for entry 10 from the log store.
async fn waiting_for_the_log_store() -> Rig {
    let rig = Rig::replicating(10).await;
    {
        let mut log = rig.leader.log();
        log.ids.push(id(10));
        (log.tail_from, log.hang) = (11, true);
    }
    rig.update(|update| update.last = Some(id(10))).await;
    rig
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_newer_leader_from_a_slow_log_store_are_never_sent_under_the_old_vote() {
    let rig = waiting_for_the_log_store().await;
    rig.leader.log().ids[10] = LogId::new(4, 2, 10);
    rig.leader.release_reads();
    rig.settle().await;
    assert_eq!(rig.appends(), []);
    assert!(rig.report().ended && rig.handle.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_entry_before_the_message_that_a_newer_leader_wrote_ends_the_task_too() {
    let rig = Rig::new(10);
    rig.leader.log().ids[9] = LogId::new(4, 2, 9);
    rig.update(|_| {}).await;
    assert_eq!(rig.appends(), []);
    assert!(rig.report().ended && rig.handle.is_finished());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_not_sent_when_the_session_ended_meanwhile() {
    let rig = waiting_for_the_log_store().await;
    rig.leader.log().hang = false;
    rig.handle.stop();
    rig.leader.release_reads();
    rig.settle().await;
    assert_eq!(rig.appends(), []);
    assert!(rig.handle.is_finished() && !rig.report().ended);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_not_sent_when_the_session_ends_in_the_instant_in_which_the_read_is_done() {
    let rig = waiting_for_the_log_store().await;
    let inbox = rig.inbox.clone();
    rig.leader.log().on_read = Some(Box::new(move || _ = inbox.put(LeaderUpdate::stop(SESSION))));
    rig.leader.release_reads();
    rig.settle().await;
    assert_eq!(rig.appends(), []);
    assert!(rig.handle.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_update_of_another_session_ends_the_task() {
    let rig = Rig::replicating(10).await;
    rig.handle.update(LeaderUpdate { stop: false, ..LeaderUpdate::stop(SESSION + 1) });
    rig.settle().await;
    assert!(rig.handle.is_finished());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_handle_ends_the_task() {
    let rig = Rig::replicating(10).await;
    let Rig { handle, env, network, .. } = rig;
    drop(handle);
    env.sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&network), 1, "only the test holds it");
}

#[tokio::test(start_paused = true)]
async fn a_reply_from_another_store_counts_for_nothing() {
    let rig = Rig::new(10);
    rig.update(|update| update.position = 1).await;
    let from = Replica { store_id: StoreId(99), ..TARGET };
    rig.answer_as(|position| AppendReply {
        from,
        vote: our_vote(),
        position,
        result: AppendResult::Matched(Some(id(9))),
        promised: Default::default(),
    })
    .await;
    let report = rig.report();
    assert_eq!((report.matched, report.confirmed, report.reachable), (None, 0, false));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_reply_from_another_store_counts_for_nothing() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.from.store_id = StoreId(99)).await;
    rig.update(|update| update.position = 1).await;
    assert_eq!((rig.report().confirmed, rig.report().reachable), (0, false));
}

#[tokio::test(start_paused = true)]
async fn a_match_beyond_what_was_sent_is_not_believed_and_the_follower_is_probed_anew() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    rig.answer(AppendResult::Matched(Some(id(11)))).await;
    assert_eq!(rig.report().matched, Some(id(9)));
    rig.pass(20).await;
    assert_eq!(rig.appends()[1..], [(Some(9), 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_confirms_the_position_of_its_own_message_and_no_other() {
    let rig = Rig::replicating(10).await;
    rig.leader.log().ids.push(id(10));
    rig.update(|update| (update.last, update.position) = (Some(id(10)), 5)).await;
    let result = AppendResult::Matched(Some(id(10)));
    rig.answer_as(|_| AppendReply {
        from: TARGET,
        vote: our_vote(),
        position: 1000,
        result,
        promised: Default::default(),
    })
    .await;
    assert_eq!((rig.report().matched, rig.report().confirmed), (Some(id(10)), 0));
}

#[tokio::test(start_paused = true)]
async fn a_position_is_not_confirmed_by_a_follower_that_refuses() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Hang).await;
    rig.leader.log().ids.push(id(10));
    rig.update(|update| (update.last, update.position) = (Some(id(10)), 5)).await;
    rig.answer(AppendResult::Refused).await;
    assert_eq!(rig.report().confirmed, 0);
}
