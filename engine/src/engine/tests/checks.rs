//! The invariants' own tests: each of these states is broken by hand, and is found.

use super::bench::{Bench, at, voters};
use crate::StoredMembership;
use crate::engine::state::{Leaving, Role};

/// A leader of three that has proposed and committed.
fn leader() -> Bench {
    let mut bench = Bench::node(1, &[1, 2, 3], &[]);
    bench.lead(&[2]);
    bench.flush();
    bench.report(2, Some(at(1, 1)), 1);
    assert_eq!(bench.engine.committed(), Some(at(1, 1)));
    bench
}

#[test]
#[should_panic(expected = "broken by `handle_log_flushed`: committed fell from")]
fn what_fell_is_found_before_the_next_call_and_the_call_before_is_named() {
    let mut bench = Bench::node(1, &[1, 2, 3], &[]);
    bench.lead(&[2]);
    bench.report(2, Some(at(1, 1)), 1);
    bench.flush();
    bench.engine.state.apply_ordered = None;
    bench.engine.state.committed = None;
    bench.engine.handle_deadline(bench.now);
}

#[test]
#[should_panic(expected = "two memberships are not committed")]
fn a_change_begun_before_the_last_one_is_committed_is_found() {
    let mut bench = leader();
    bench.engine.propose(2, 2).expect("it leads");
    for index in [2, 3] {
        let stated = StoredMembership::new(at(1, index), voters(&[1, 2, 3]));
        bench.engine.state.memberships.push(stated);
    }
    bench.flush();
}

#[test]
#[should_panic(expected = "follows")]
fn a_step_to_voters_whose_quorums_need_not_meet_is_found() {
    let mut bench = leader();
    bench.engine.propose(1, 1).expect("it leads");
    bench.engine.state.memberships.push(StoredMembership::new(at(1, 2), voters(&[1, 4, 5])));
    bench.flush();
}

#[test]
#[should_panic(expected = "node 2 leaves, and votes")]
fn a_voter_that_is_let_go_is_found() {
    let mut bench = leader();
    if let Role::Leader(leader) = &mut bench.engine.state.role {
        let follower = leader.followers.get_mut(&2).expect("a follower");
        follower.leaving = Some(Leaving { stated: at(1, 1), position: None });
    }
    bench.flush();
}

#[test]
#[should_panic(expected = "a voter that does not lead waits for ever")]
fn a_follower_without_a_deadline_is_found() {
    let mut bench = Bench::node(1, &[1, 2, 3], &[]);
    bench.engine.timing.election = None;
    bench.flush();
}

#[test]
#[should_panic(expected = "write 7 is ordered after write 0")]
fn a_gap_in_the_numbers_of_writes_is_found() {
    let mut bench = Bench::node(1, &[1, 2, 3], &[]);
    bench.engine.push(crate::Command::PurgeLog { io: 7, upto: at(1, 1) });
    bench.engine.take_commands();
}

#[test]
fn every_call_that_changes_the_engine_begins_with_a_look_at_what_the_one_before_left() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut calls = 0;
    for file in std::fs::read_dir(here).expect("the source is there") {
        let path = file.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path).expect("text");
        for call in source.split("\n    pub fn ").skip(1) {
            let name: String = call.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let (head, body) = call.split_once(" {\n").expect("a body follows");
            if !head.contains("&mut self") || name == "take_commands" {
                continue;
            }
            calls += 1;
            let looks = body.trim_start().starts_with(&format!("self.enter(\"{name}\");"));
            assert!(looks, "{name} in {} does not begin with self.enter(\"{name}\")", path.display());
        }
    }
    assert!(calls > 20, "only {calls} calls were found");
}
