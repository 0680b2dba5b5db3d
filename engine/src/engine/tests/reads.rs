//! Stories of linearizable reads (thesis 6.4).

use super::bench::{Bench, at, config, entries, found, origin, replica};
use crate::{EngineConfig, LogId, ReadIndexReply, ReadIndexRequest, ReadRefused, Reply};

/// The answer to a follower that asked for the read index.
fn index_answer(node: &mut Bench, token: u64) -> Option<Result<LogId<u64>, ReadRefused<u64>>> {
    node.answer(token).map(|reply| match reply {
        Reply::ReadIndex(ReadIndexReply { from, result }) => {
            assert_eq!(from, node.engine.config.replica);
            result
        }
        other => panic!("{other:?} to a request for the read index"),
    })
}

fn ask_index(node: &mut Bench, token: u64) {
    node.engine.handle_read_index(node.now, token, ReadIndexRequest { from: replica(2) });
    node.run();
}

#[test]
fn a_read_waits_for_the_leaders_first_entry_for_a_quorum_and_for_the_state_machine() {
    let mut node = Bench::node(1, &[1, 2, 3], &[1, 1]);
    node.lead(&[2]);
    node.read(vec![100]);
    node.flush_all();
    let first = node.engine.last_log_id();
    node.report(2, None, node.position());
    assert_eq!(node.answer(100), None, "confirmed, but what is committed is not known yet");
    node.report(2, first, 0);
    assert_eq!(node.answer(100), None, "committed, but not applied");
    node.apply();
    assert_eq!(node.answer(100), Some(Reply::Read(Ok(first.expect("it leads")))));

    node.read(vec![101, 102]);
    assert_eq!(node.answer(101), None, "applied, but it may lead no more");
    let earlier = node.position() - 1;
    node.report(3, None, earlier);
    assert_eq!(node.answer(101), None, "confirmed, but before the read came");
    node.report(3, None, earlier + 1);
    assert!(matches!(node.answer(101), Some(Reply::Read(Ok(_)))));
    assert!(matches!(node.answer(102), Some(Reply::Read(Ok(_)))));
}

#[test]
fn reads_are_told_when_the_leadership_is_lost() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.read(vec![100]);
    node.report(2, None, node.position());
    node.read(vec![101]);
    node.heartbeat(12, None);
    for token in [100, 101] {
        assert!(
            matches!(node.answer(token), Some(Reply::Read(Err(ReadRefused::NotLeader { .. })))),
            "{token}"
        );
    }
    node.read(vec![102]);
    assert_eq!(node.answer(102), Some(Reply::Read(Err(ReadRefused::NotLeader { leader: Some(2) }))));
}

#[test]
fn a_confirmed_read_of_a_committed_entry_is_served_after_the_leadership_ended() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    node.report(2, node.engine.last_log_id(), 1);
    node.read(vec![100]);
    node.report(2, None, node.position());
    node.heartbeat(12, None);
    assert_eq!(node.answer(100), None);
    node.apply();
    assert!(matches!(node.answer(100), Some(Reply::Read(Ok(_)))));
}

#[test]
fn a_read_whose_entry_is_purged_while_it_waits_is_still_answered() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    node.report(2, node.engine.last_log_id(), 1);
    node.apply();
    node.read(vec![100]);
    let position = node.position();
    node.engine.propose(5, 5).expect("it leads");
    node.flush_all();
    let last = node.engine.last_log_id();
    node.report(2, last, 1);
    node.report(3, last, 1);
    node.apply();
    node.engine.trigger_snapshot();
    node.engine.handle_snapshot_built(node.now, last);
    assert_eq!(node.engine.purged(), last);
    node.report(2, last, position);
    assert!(matches!(node.answer(100), Some(Reply::Read(Ok(_)))));
}

#[test]
fn more_reads_than_may_wait_are_refused_wherever_the_others_wait() {
    let mut node = Bench::with(EngineConfig { max_waiting_reads: 2, ..config(1) }, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.read(vec![100]);
    node.report(2, None, node.position());
    node.read(vec![101]);
    node.read(vec![102]);
    assert_eq!(node.answer(102), Some(Reply::Read(Err(ReadRefused::Overloaded))));
    assert_eq!((node.answer(100), node.answer(101)), (None, None));
}

#[test]
fn a_follower_is_told_the_read_index_once_a_quorum_has_confirmed_and_before_the_leader_has_applied() {
    let mut node = Bench::node(1, &[1, 2, 3], &[1, 1]);
    node.lead(&[2]);
    node.flush_all();
    let first = node.engine.last_log_id().expect("it leads");
    ask_index(&mut node, 100);
    node.report(3, None, node.position());
    assert_eq!(index_answer(&mut node, 100), None, "confirmed, but the entry may yet be lost");
    node.report(3, Some(first), 0);
    assert_eq!(index_answer(&mut node, 100), Some(Ok(first)));
    assert_eq!(node.engine.applied(), None);

    ask_index(&mut node, 101);
    node.report(3, None, node.position() - 1);
    assert_eq!(index_answer(&mut node, 101), None, "confirmed, but before the request came");
    node.report(3, None, node.position());
    assert_eq!(index_answer(&mut node, 101), Some(Ok(first)));
}

#[test]
fn the_commit_by_the_own_disk_releases_a_confirmed_read() {
    let mut node = Bench::node(1, &[1, 2], &[]);
    node.lead(&[2]);
    ask_index(&mut node, 100);
    let first = node.engine.last_log_id();
    node.report(2, first, node.position());
    assert_eq!(index_answer(&mut node, 100), None, "the leader's own disk has not taken its first entry");
    node.flush_all();
    assert_eq!(index_answer(&mut node, 100).map(Result::ok), Some(first));
}

#[test]
fn a_follower_that_waits_for_the_read_index_is_told_when_the_leadership_is_lost_and_where_the_leader_is() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    ask_index(&mut node, 100);
    node.heartbeat(12, None);
    assert_eq!(index_answer(&mut node, 100), Some(Err(ReadRefused::NotLeader { leader: None })));
    ask_index(&mut node, 101);
    assert_eq!(index_answer(&mut node, 101), Some(Err(ReadRefused::NotLeader { leader: Some(2) })));
}

#[test]
fn requests_for_the_read_index_count_as_reads_that_wait() {
    let mut node = Bench::with(EngineConfig { max_waiting_reads: 2, ..config(1) }, found(&[1, 2, 3], &[]));
    node.lead(&[2]);
    node.read(vec![100]);
    ask_index(&mut node, 101);
    ask_index(&mut node, 102);
    assert_eq!(index_answer(&mut node, 102), Some(Err(ReadRefused::Overloaded)));
    assert_eq!(node.answer(101), None);
}

#[test]
fn a_read_on_a_follower_waits_for_the_entry_that_the_leader_named_whoever_leads_then() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.append(12, Some(origin()), &entries(1, &[12]), Some(origin()));
    node.flush_all();
    node.engine.await_applied(vec![100], at(12, 1));
    node.engine.await_applied(vec![101], origin());
    node.apply();
    assert_eq!(node.answer(101), Some(Reply::Read(Ok(origin()))));
    assert_eq!(node.answer(100), None, "not applied yet");
    // Another leader commits it.
    node.append(13, Some(at(12, 1)), &entries(2, &[13]), Some(at(13, 2)));
    node.flush_all();
    node.apply();
    assert_eq!(node.answer(100), Some(Reply::Read(Ok(at(12, 1)))));
    node.engine.await_applied(vec![102], at(12, 1));
    assert!(matches!(node.answer(102), Some(Reply::Read(Ok(_)))), "applied before it was waited for");
}

#[test]
fn reads_that_wait_for_an_entry_outlive_a_leadership_of_this_node() {
    let mut node = Bench::node(1, &[1, 2, 3], &[12]);
    node.engine.await_applied(vec![100], at(12, 1));
    node.lead(&[2]);
    node.heartbeat(23, None);
    assert_eq!(node.answer(100), None);
    node.flush_all();
    node.heartbeat(23, Some(at(12, 1)));
    node.apply();
    assert_eq!(node.answer(100), Some(Reply::Read(Ok(at(12, 1)))));
}

#[test]
fn a_read_is_refused_where_another_entry_than_the_one_named_was_applied() {
    let mut node = Bench::node(1, &[1, 2, 3], &[12]);
    node.heartbeat(12, Some(at(12, 1)));
    node.flush_all();
    node.apply();
    node.engine.await_applied(vec![100], at(13, 1));
    assert_eq!(node.answer(100), Some(Reply::Read(Err(ReadRefused::NotLeader { leader: None }))));
}

#[test]
fn a_snapshot_releases_the_reads_that_it_covers_and_no_others() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.engine.await_applied(vec![100], at(12, 5));
    node.engine.await_applied(vec![101], at(12, 6));
    node.snapshot(12, at(12, 5), node.engine.membership().clone());
    node.engine.handle_snapshot_installed(true);
    assert_eq!(node.answer(100), Some(Reply::Read(Ok(at(12, 5)))));
    assert_eq!(node.answer(101), None);
}
