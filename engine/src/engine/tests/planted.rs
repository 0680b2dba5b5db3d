//! What planted defects (`tests/planted`) showed that no other test noticed.

use std::time::Duration;

use super::bench::{Bench, at, config, entries};
use super::changes::joint_log;
use crate::{AppendResult, EngineConfig, Promised};

/// Whoever tells of a conflict confirms the leader, which counts it for reads and for its lease.
#[test]
fn a_conflict_is_told_only_once_the_vote_it_came_under_is_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    let token = node.append(12, Some(at(12, 7)), &entries(8, &[12]), None);
    assert_eq!(node.append_answer(token), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Conflict { hint: Some(at(2, 1)) }));
}

/// The old voters alone may still elect another leader.
#[test]
fn while_a_change_is_under_way_a_lease_needs_the_promises_of_both_sets() {
    let mut node = Bench::with(EngineConfig { lease_reads: true, ..config(3) }, joint_log());
    node.lead(&[1, 4]);
    node.flush_all();
    assert!(node.engine.trigger_heartbeat(node.now));
    node.run();
    let position = node.position();
    let mut promise = |from| {
        let promised = Some(Promised { position, within: Duration::from_millis(500) });
        let report = crate::ReplicationReport { promised, ..node.report_of(from, None, position) };
        node.engine.handle_replication_report(node.now, report);
        node.run();
        node.engine.has_lease(node.now)
    };
    assert!(!promise(4), "nodes 3 and 4 are the new voters, and no majority of the old ones 1, 2 and 3");
    assert!(promise(1));
}
