//! Heartbeats, positions and commits: what must not wait for data.

use openraft_adapters::engine::{AppendReply, AppendResult, Vote};

use crate::rig::{Mode, Rig, TARGET, id, our_vote};

fn matched(index: u64) -> AppendResult<u64> {
    AppendResult::Matched(Some(id(index)))
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_a_log_read_hangs() {
    let rig = Rig::replicating(10).await;
    {
        let mut log = rig.leader.log();
        log.ids.push(id(10));
        (log.tail_from, log.hang) = (11, true);
    }
    rig.update(|update| update.last = Some(id(10))).await;
    assert_eq!(rig.leader.log().reads, 1);
    for position in 1..4 {
        rig.update(|update| update.position = position).await;
        assert_eq!(rig.report().confirmed, position);
    }
    assert_eq!(rig.appends(), []);
    rig.leader.release_reads();
    rig.settle().await;
    assert_eq!(rig.appends(), [(Some(9), 1)]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_go_on_while_the_append_stream_stands_still() {
    let rig = Rig::replicating(10).await;
    rig.propose(19).await;
    for position in 1..4 {
        rig.update(|update| update.position = position).await;
        assert_eq!(rig.report().confirmed, position);
    }
    assert_eq!(rig.appends().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_heartbeat_is_under_way_and_the_next_carries_the_latest_position() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Hang).await;
    for position in 1..6 {
        rig.update(|update| update.position = position).await;
    }
    assert_eq!(rig.heartbeats(), 1);
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Answer).await;
    let positions: Vec<u64> = rig.network.peer().heartbeats.iter().map(|request| request.position).collect();
    assert_eq!(positions, [1, 5]);
    assert_eq!(rig.report().confirmed, 5);
}

#[tokio::test(start_paused = true)]
async fn an_append_that_carries_the_position_spares_the_heartbeat_unless_one_is_asked_for() {
    let rig = Rig::replicating(10).await;
    rig.leader.log().ids.extend((10..12).map(id));
    rig.update(|update| (update.last, update.position) = (Some(id(10)), 1)).await;
    assert_eq!((rig.heartbeats(), rig.appends().len()), (0, 1));
    rig.answer(matched(10)).await;
    assert_eq!(rig.report().confirmed, 1);
    rig.update(|update| (update.last, update.position, update.heartbeat) = (Some(id(11)), 2, true)).await;
    assert_eq!((rig.heartbeats(), rig.appends().len()), (1, 2));
    assert_eq!(rig.report().confirmed, 2, "the heartbeat was answered before the append");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_states_no_more_committed_than_the_follower_holds() {
    let rig = Rig::replicating(10).await;
    rig.propose(19).await;
    rig.update(|update| (update.committed, update.position) = (Some(id(15)), 1)).await;
    assert_eq!(rig.network.peer().heartbeats[0].committed, Some(id(9)));
    rig.answer(matched(11)).await;
    rig.update(|update| update.position = 2).await;
    assert_eq!(rig.network.peer().heartbeats[1].committed, Some(id(11)));
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_told_at_once_when_no_append_is_under_way() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    rig.answer(matched(10)).await;
    assert_eq!(rig.heartbeats(), 0);
    rig.update(|update| update.committed = Some(id(10))).await;
    assert_eq!(rig.heartbeats(), 1);
    assert_eq!(rig.network.peer().heartbeats[0].committed, Some(id(10)));
    rig.update(|_| {}).await;
    assert_eq!(rig.heartbeats(), 1, "it was told once");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_the_last_append_told_is_not_told_again() {
    let rig = Rig::replicating(10).await;
    rig.leader.log().ids.push(id(10));
    rig.update(|update| (update.last, update.committed) = (Some(id(10)), Some(id(9)))).await;
    rig.answer(matched(10)).await;
    assert_eq!(rig.heartbeats(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_told_by_itself_only_once_no_append_is_under_way() {
    let rig = Rig::replicating(10).await;
    rig.propose(10).await;
    rig.update(|update| update.committed = Some(id(9))).await;
    assert_eq!(rig.heartbeats(), 0);
    rig.answer(matched(10)).await;
    assert_eq!(rig.network.peer().heartbeats[0].committed, Some(id(9)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_heartbeat_is_repeated_after_a_pause_with_the_latest_position() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Fail).await;
    rig.update(|update| update.position = 1).await;
    rig.update(|update| update.position = 2).await;
    assert_eq!(rig.heartbeats(), 1);
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Answer).await;
    rig.pass(20).await;
    assert_eq!(rig.heartbeats(), 2);
    assert_eq!(rig.report().confirmed, 2);
    assert!(rig.report().reachable);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_hangs_is_lost_at_its_deadline() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.heartbeat_mode = Mode::Hang).await;
    rig.update(|update| update.position = 1).await;
    rig.pass(300).await;
    assert!(!rig.report().reachable);
    rig.pass(20).await;
    assert_eq!(rig.heartbeats(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_comes_through_shortens_the_pause_of_the_appends() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.append_mode = Mode::Fail).await;
    rig.propose(10).await;
    rig.pass(2_000).await;
    let attempts = rig.appends().len();
    rig.set_peer(|peer| peer.append_mode = Mode::Answer).await;
    // Pauses are at their longest, 100 to 200 ms; wait until one has just begun.
    while rig.appends().len() == attempts {
        rig.set_peer(|peer| peer.append_mode = Mode::Fail).await;
        rig.pass(1).await;
    }
    let attempts = rig.appends().len();
    rig.set_peer(|peer| peer.append_mode = Mode::Answer).await;
    rig.update(|update| update.position = 1).await;
    rig.pass(20).await;
    assert_eq!(rig.appends().len(), attempts + 1);
}

#[tokio::test(start_paused = true)]
async fn a_greater_vote_in_a_heartbeat_reply_is_reported_and_confirms_nothing() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.vote = Vote::new(4, 3)).await;
    rig.update(|update| update.position = 1).await;
    assert_eq!(rig.report().higher_vote, Some(Vote::new(4, 3)));
    assert_eq!(rig.report().confirmed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_greater_vote_in_an_append_reply_is_reported_and_its_match_is_not_believed() {
    let rig = Rig::replicating(10).await;
    rig.leader.log().ids.push(id(10));
    rig.update(|update| (update.last, update.position) = (Some(id(10)), 1)).await;
    let vote = Vote::new_committed(4, 3);
    rig.answer_as(|position| AppendReply {
        from: TARGET,
        vote,
        position,
        result: matched(10),
        promised: Default::default(),
    })
    .await;
    let report = rig.report();
    assert_eq!((report.higher_vote, report.matched, report.confirmed), (Some(vote), Some(id(9)), 0));
}

#[tokio::test(start_paused = true)]
async fn another_vote_of_our_own_term_is_not_a_greater_one() {
    let rig = Rig::replicating(10).await;
    rig.set_peer(|peer| peer.vote = Vote::new(our_vote().term, 2)).await;
    rig.update(|update| update.position = 1).await;
    assert_eq!((rig.report().higher_vote, rig.report().confirmed), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn the_core_is_woken_once_for_reports_that_it_has_not_taken() {
    let rig = Rig::replicating(10).await;
    rig.report();
    let wakes = rig.wakes.load(std::sync::atomic::Ordering::Relaxed);
    for position in 1..5 {
        rig.update(|update| update.position = position).await;
    }
    assert_eq!(rig.wakes.load(std::sync::atomic::Ordering::Relaxed), wakes + 1);
    assert_eq!(rig.report().confirmed, 4);
}
