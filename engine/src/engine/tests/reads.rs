//! Stories of linearizable reads (thesis 6.4).

use super::bench::{Bench, config, found};
use crate::{EngineConfig, ReadRefused, Reply};

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
    node.engine.propose(5).expect("it leads");
    node.flush_all();
    let last = node.engine.last_log_id();
    node.report(2, last, 1);
    node.report(3, last, 1);
    node.apply();
    node.engine.trigger_snapshot();
    node.engine.handle_snapshot_built(last);
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
