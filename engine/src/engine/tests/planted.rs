//! What planted defects (`tests/planted`) showed that no other test noticed.

use super::bench::{Bench, at, entries};
use crate::AppendResult;

/// Whoever tells of a conflict confirms the leader, which counts it for reads and for its lease.
#[test]
fn a_conflict_is_told_only_once_the_vote_it_came_under_is_durable() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    let token = node.append(12, Some(at(12, 7)), &entries(8, &[12]), None);
    assert_eq!(node.append_answer(token), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Conflict { hint: Some(at(2, 1)) }));
}
