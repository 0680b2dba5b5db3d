//! Stories of forming a cluster.

use std::collections::BTreeMap;

use super::bench::{Bench, config, found, origin, replica};
use crate::{Command, InitialNodes, InitializeError, Reply, RestartState, ServerState, Vote};

fn list(ids: &[u64]) -> InitialNodes<u64, ()> {
    ids.iter().map(|id| (*id, (replica(*id).store_id, ()))).collect()
}

fn initialize(node: &mut Bench, nodes: InitialNodes<u64, ()>) -> u64 {
    let token = node.token();
    node.engine.initialize(node.now, token, nodes);
    node.run();
    token
}

#[test]
fn the_initial_membership_stands_at_index_0_and_is_answered_when_durable() {
    let mut node = Bench::with(config(1), RestartState::default());
    let token = initialize(&mut node, list(&[1, 2, 3]));
    assert_eq!(node.answer(token), None);
    assert_eq!((node.engine.last_log_id(), node.engine.role()), (Some(origin()), ServerState::Follower));
    assert!(node.engine.next_deadline().is_some());
    node.flush();
    assert_eq!(node.answer(token), Some(Reply::Initialize(Ok(()))));
}

#[test]
fn initialize_can_be_repeated_with_the_same_list_and_still_waits_for_the_disk() {
    let mut node = Bench::with(config(1), RestartState::default());
    let first = initialize(&mut node, list(&[1, 2]));
    let second = initialize(&mut node, list(&[1, 2]));
    assert_eq!(node.answer(second), None, "the entry is not durable yet");
    node.vote_request(12, Some(origin()));
    node.flush();
    let ok = Some(Reply::Initialize(Ok(())));
    assert_eq!((node.answer(first), node.answer(second)), (ok.clone(), ok.clone()));
    let third = initialize(&mut node, list(&[1, 2]));
    assert_eq!(node.answer(third), ok);
    let written = node.orders.iter().filter(|c| matches!(c, Command::AppendOwnEntry { .. })).count();
    assert_eq!(written, 1);
}

#[test]
fn a_node_with_another_history_is_not_initialised() {
    let mut node = Bench::with(config(1), found(&[1, 2, 3], &[]));
    let token = initialize(&mut node, list(&[1, 2]));
    let refused = InitializeError::NotAllowed { last_log_id: Some(origin()), vote: Vote::default() };
    assert_eq!(node.answer(token), Some(Reply::Initialize(Err(refused))));
}

#[test]
fn a_list_without_this_node_on_this_store_is_refused() {
    let mut node = Bench::with(config(1), RestartState::default());
    let mut other_store = list(&[1, 2]);
    other_store.insert(1, (crate::StoreId(5), ()));
    for nodes in [list(&[2, 3]), other_store] {
        let token = initialize(&mut node, nodes);
        let refused = InitializeError::NotInList { me: replica(1) };
        assert_eq!(node.answer(token), Some(Reply::Initialize(Err(refused))));
    }
    assert!(!node.engine.is_initialized());
}

#[test]
fn an_empty_list_is_refused() {
    let mut node = Bench::with(config(1), RestartState::default());
    let token = initialize(&mut node, BTreeMap::new());
    assert!(matches!(node.answer(token), Some(Reply::Initialize(Err(InitializeError::Invalid(_))))));
}

#[test]
fn a_node_that_a_leader_has_spoken_to_before_it_formed_is_still_initialised() {
    let mut node = Bench::with(config(1), RestartState::default());
    node.heartbeat(12, None);
    assert_eq!(node.engine.vote(), Vote::new_committed(12, 2), "the others have formed, and elected node 2");
    let token = initialize(&mut node, list(&[1, 2, 3]));
    node.flush();
    assert_eq!(node.answer(token), Some(Reply::Initialize(Ok(()))));
    let token = node.append(12, Some(origin()), &super::bench::entries(1, &[12]), None);
    node.flush();
    assert!(matches!(node.append_answer(token), Some(crate::AppendResult::Matched(_))));
}
