//! Tables of `Progress`: one behaviour each.

use super::*;

const WINDOWS: ProgressWindows = ProgressWindows {
    max_inflight_bytes: 100,
    max_inflight_messages: 4,
    max_append_bytes: 30,
    max_append_entries: 3,
};

fn id(index: u64) -> Option<LogId<u64>> {
    Some(LogId::new(1, 1, index))
}

fn matched(index: u64) -> AppendResult<u64> {
    AppendResult::Matched(id(index))
}

/// The follower of a leader whose last entry was at index 9 when it was elected.
fn fresh() -> Progress<u64> {
    Progress::new(id(9), WINDOWS)
}

/// A follower that holds everything up to index 9.
fn replicating() -> Progress<u64> {
    let mut progress = fresh();
    progress.sent(id(9), id(9), 0);
    progress.on_reply(matched(9)).expect("true");
    progress
}

/// Sends entries up to `last`, weighing ten bytes each.
fn send(progress: &mut Progress<u64>, last: u64) {
    let prev = progress.next() - 1;
    progress.sent(id(prev), id(last), 10 * (last - prev));
}

fn planned(progress: &Progress<u64>, end: u64) -> Option<Range<u64>> {
    progress.next_send(end).map(|plan| plan.entries)
}

#[test]
fn the_first_probe_goes_to_the_end_of_the_log_and_takes_what_follows_along() {
    let mut progress = fresh();
    assert_eq!(planned(&progress, 10), Some(10..10));
    assert_eq!(
        progress.next_send(12),
        Some(AppendPlan { entries: 10..12, max_bytes: 30, prev_log_id: None })
    );
    send(&mut progress, 11);
    assert_eq!(progress.next_send(20), None, "one probe at a time");
    assert_eq!(progress.next(), 10, "a probe that may fail moves nothing");
    assert_eq!(progress.on_reply(matched(11)), Ok(ReplyEffect::Matched));
    assert_eq!(
        (progress.matched(), progress.next(), progress.state()),
        (id(11), 12, ProgressState::Replicate)
    );
}

#[test]
fn an_empty_log_is_probed_too() {
    let mut progress = Progress::<u64>::new(None, WINDOWS);
    assert_eq!(
        progress.next_send(0),
        Some(AppendPlan { entries: 0..0, max_bytes: 30, prev_log_id: Some(None) })
    );
    progress.sent(None, None, 0);
    assert_eq!(progress.on_reply(AppendResult::Matched(None)), Ok(ReplyEffect::Matched));
    assert_eq!(progress.next_send(0), None);
    assert_eq!(planned(&progress, 1), Some(0..1));
}

#[test]
fn replicate_sends_ahead_until_the_window_of_messages_is_full() {
    let mut progress = replicating();
    for last in 10..14 {
        assert_eq!(
            progress.next_send(50),
            Some(AppendPlan { entries: last..last + 3, max_bytes: 30, prev_log_id: Some(id(last - 1)) })
        );
        progress.sent(id(last - 1), id(last), 1);
    }
    assert_eq!(progress.next_send(50), None);
    progress.on_reply(matched(10)).expect("true");
    assert_eq!(planned(&progress, 50), Some(14..17));
    assert_eq!(planned(&progress, 14), None, "nothing is left to send");
}

#[test]
fn replicate_sends_ahead_only_while_a_full_message_fits_the_window_of_bytes() {
    let mut progress = replicating();
    send(&mut progress, 12);
    send(&mut progress, 15);
    assert_eq!(progress.inflight_bytes(), 60);
    assert_eq!(planned(&progress, 50), Some(16..19));
    send(&mut progress, 17);
    assert_eq!(progress.next_send(50), None, "80 bytes of 100 are under way");
    progress.on_reply(matched(12)).expect("true");
    assert_eq!(planned(&progress, 50), Some(18..21));
}

#[test]
fn an_entry_heavier_than_the_window_is_sent_alone() {
    let mut progress = replicating();
    progress.sent(id(9), id(10), 5000);
    assert_eq!(progress.next_send(50), None);
    progress.on_reply(matched(10)).expect("true");
    assert_eq!(planned(&progress, 50), Some(11..14));
}

#[test]
fn a_conflict_moves_the_probe_to_the_hint() {
    let mut progress = fresh();
    send(&mut progress, 9);
    let hint = id(4);
    assert_eq!(progress.on_reply(AppendResult::Conflict { hint }), Ok(ReplyEffect::Conflict { hint }));
    assert_eq!((progress.next(), progress.state()), (5, ProgressState::Probe(Aim::Hint)));
    assert_eq!(planned(&progress, 12), Some(5..8), "a hinted probe takes entries along");
}

#[test]
fn a_hint_never_keeps_the_probe_where_it_was() {
    let other = Some(LogId::new(0, 2, 9));
    let table = [(other, 9), (id(9), 9), (id(30), 9), (id(8), 9), (id(7), 8), (None, 0)];
    for (hint, next) in table {
        let mut progress = fresh();
        send(&mut progress, 9);
        progress.on_reply(AppendResult::Conflict { hint }).expect("possible");
        assert_eq!(progress.next(), next, "{hint:?}");
    }
}

#[test]
fn the_leaders_own_log_may_lower_the_probe_but_not_raise_it() {
    let mut progress = fresh();
    send(&mut progress, 9);
    progress.on_reply(AppendResult::Conflict { hint: id(7) }).expect("possible");
    for (next, expected) in [(9, 8), (3, 3), (5, 3), (0, 0)] {
        progress.lower_probe(next);
        assert_eq!(progress.next(), expected);
    }
    let mut progress = replicating();
    progress.lower_probe(3);
    assert_eq!(progress.next(), 10, "only a probe is lowered");
}

#[test]
fn replies_behind_one_that_was_not_accepted_say_nothing() {
    let mut progress = replicating();
    for last in 10..13 {
        send(&mut progress, last);
    }
    assert_eq!(progress.on_reply(AppendResult::Busy), Ok(ReplyEffect::Paused));
    assert_eq!(progress.on_reply(AppendResult::Conflict { hint: id(9) }), Ok(ReplyEffect::Stale));
    assert_eq!(progress.on_reply(matched(12)), Ok(ReplyEffect::Stale));
    assert_eq!((progress.matched(), progress.next(), progress.inflight_messages()), (id(9), 10, 0));
}

#[test]
fn a_follower_that_takes_nothing_now_is_left_alone_until_the_pause_is_over() {
    for result in [AppendResult::Busy, AppendResult::Refused, AppendResult::HigherVote] {
        let mut progress = replicating();
        send(&mut progress, 10);
        assert_eq!(progress.on_reply(result), Ok(ReplyEffect::Paused));
        assert!(progress.is_paused() && progress.next_send(50).is_none());
        progress.resume();
        assert!(!progress.is_paused());
        assert_eq!(planned(&progress, 50), Some(10..10), "{result:?}");
        send(&mut progress, 9);
        progress.on_reply(matched(9)).expect("true");
        assert_eq!(planned(&progress, 50), Some(10..13));
    }
}

#[test]
fn a_break_returns_to_what_matched_and_asks_without_entries_first() {
    let mut progress = replicating();
    send(&mut progress, 10);
    send(&mut progress, 11);
    progress.on_reply(matched(10)).expect("true");
    progress.on_broken();
    assert_eq!(
        progress.next_send(50),
        Some(AppendPlan { entries: 11..11, max_bytes: 30, prev_log_id: Some(id(10)) })
    );
    assert_eq!(progress.inflight_messages(), 0);
}

#[test]
fn a_break_before_anything_matched_repeats_the_probe_where_it_was() {
    let mut progress = fresh();
    send(&mut progress, 9);
    progress.on_broken();
    assert_eq!(planned(&progress, 50), Some(10..10));
}

#[test]
fn a_part_that_was_taken_counts_and_the_rest_is_sent_again() {
    let mut progress = replicating();
    send(&mut progress, 12);
    send(&mut progress, 13);
    assert_eq!(progress.on_reply(matched(10)), Ok(ReplyEffect::Matched));
    assert_eq!((progress.matched(), progress.next()), (id(10), 11));
    assert_eq!(planned(&progress, 50), Some(11..11));
    assert_eq!(progress.on_reply(AppendResult::Conflict { hint: id(10) }), Ok(ReplyEffect::Stale));

    let mut progress = replicating();
    send(&mut progress, 12);
    assert_eq!(progress.on_reply(matched(9)), Ok(ReplyEffect::Paused), "nothing was taken");
}

#[test]
fn one_flush_may_answer_several_messages_at_once() {
    let mut progress = replicating();
    send(&mut progress, 10);
    send(&mut progress, 11);
    assert_eq!(progress.on_reply(matched(11)), Ok(ReplyEffect::Matched));
    assert_eq!(progress.matched(), id(11));
    assert_eq!(progress.on_reply(matched(11)), Ok(ReplyEffect::Matched));
    assert_eq!((progress.matched(), progress.next()), (id(11), 12));
}

#[test]
fn what_cannot_be_true_is_not_believed() {
    let foreign = Some(LogId::new(9, 9, 11));
    let table = [
        (matched(12), UntruthfulReply::MatchedBeyondSent { claimed: id(12), sent: id(11) }),
        (
            AppendResult::Matched(foreign),
            UntruthfulReply::MatchedBeyondSent { claimed: foreign, sent: id(11) },
        ),
        (AppendResult::Conflict { hint: id(8) }, UntruthfulReply::DeniesMatched { matched: id(9) }),
        (AppendResult::Conflict { hint: None }, UntruthfulReply::DeniesMatched { matched: id(9) }),
    ];
    for (result, error) in table {
        let mut progress = replicating();
        send(&mut progress, 11);
        assert_eq!(progress.on_reply(result), Err(error));
        assert_eq!(progress.matched(), id(9), "{result:?}");
        assert_eq!(progress.on_reply(matched(9)), Err(UntruthfulReply::Unsolicited));
    }
}

#[test]
fn a_conflict_before_the_first_entry_is_not_believed() {
    let mut progress = Progress::<u64>::new(None, WINDOWS);
    progress.sent(None, id(0), 10);
    assert!(progress.on_reply(AppendResult::Conflict { hint: None }).is_err());
}

#[test]
fn a_follower_behind_the_log_gets_a_snapshot_and_then_the_entries_after_it() {
    let mut progress = replicating();
    progress.on_compacted(20);
    assert_eq!((progress.state(), progress.needed()), (ProgressState::Snapshot { needed: 20 }, 20));
    assert_eq!(progress.next_send(50), None);
    progress.on_snapshot_chosen(id(24));
    assert_eq!(progress.needed(), 25);
    progress.on_snapshot_done(id(24));
    assert_eq!((progress.matched(), progress.state()), (id(24), ProgressState::Replicate));
    assert_eq!(planned(&progress, 50), Some(25..28));
}

#[test]
fn a_follower_that_has_not_said_what_it_holds_is_asked_at_the_beginning_of_the_log_before_a_snapshot() {
    let mut progress = fresh();
    progress.on_compacted(20);
    assert_eq!(planned(&progress, 50), Some(20..20));
    send(&mut progress, 19);
    progress.on_reply(AppendResult::Conflict { hint: id(12) }).expect("possible");
    progress.on_compacted(20);
    assert_eq!(progress.state(), ProgressState::Snapshot { needed: 20 });
}

#[test]
fn a_log_that_still_holds_what_comes_next_is_not_compacted() {
    let mut progress = replicating();
    progress.on_compacted(10);
    assert_eq!(progress.state(), ProgressState::Replicate);
}

#[test]
fn a_snapshot_that_failed_is_sent_again_only_after_the_follower_answered_a_probe() {
    let mut progress = replicating();
    progress.on_compacted(20);
    progress.on_broken();
    assert_eq!(progress.state(), ProgressState::Snapshot { needed: 20 }, "it travels on another stream");
    progress.on_snapshot_failed();
    assert_eq!((planned(&progress, 50), progress.needed()), (Some(10..10), 10));
    progress.on_compacted(20);
    assert_eq!(planned(&progress, 50), Some(20..20));
}

#[test]
fn the_outcome_of_a_snapshot_that_is_not_being_sent_changes_nothing() {
    let mut progress = replicating();
    let before = progress.clone();
    progress.on_snapshot_chosen(id(99));
    progress.on_snapshot_failed();
    progress.on_snapshot_done(id(99));
    assert_eq!(progress, before);
}
