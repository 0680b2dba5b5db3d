//! Nodes that can never come into their cluster say so, instead of letting everybody wait.

use std::time::Duration;

use crate::common::{Words, end, listeners, request, three, tokio_listener};
use openraft_node::{Consistency, Node, ReadError, ReadyError, WriteError};

/// Whatever waits waits as long as this, which no test does: what is answered was answered sooner.
const HOUR_MS: u64 = 3_600_000;

/// Longer than anything takes that does not wait.
const SOON: Duration = Duration::from_secs(120);

fn patient(config: &mut openraft_core::Config) {
    (config.write_timeout_ms, config.read_timeout_ms) = (HOUR_MS, HOUR_MS);
}

/// Everything that needs a member fails soon, for this reason.
async fn is_excluded(node: &Node<Words>, reason: &str) {
    let Err(ReadyError::NoMember { reason: why }) = node.ready().await else { panic!("ready") };
    assert!(why.contains(reason), "{why}");
    let written = tokio::time::timeout(SOON, node.write("word".to_owned())).await.expect("an answer soon");
    assert_eq!(written, Err(WriteError::NoMember { reason: why.clone() }));
    let read = tokio::time::timeout(SOON, node.read(0, Consistency::Linearizable)).await;
    assert_eq!(read.expect("an answer soon"), Err(ReadError::NoMember { reason: why.clone() }));
    assert_eq!(node.read(0, Consistency::Stale).await.unwrap(), None);
    let status = node.status();
    assert_eq!((status.role.as_str(), &status.waiting_for[..]), ("excluded", &[why.clone()][..]));
    let ready = request(node.address(), "GET", "/node/v1/ready", b"").await;
    assert_eq!((ready.status, &ready.json()["message"]), (503, &why.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_join_is_refused_for_good_fails_its_callers_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    nodes[0].write("first".to_owned()).await.unwrap();
    let (_, _, listener) = listeners(1).remove(0);
    let joiner = Node::<Words>::builder(4, dir.path().join("4"))
        .name("another")
        .join([nodes[0].address()])
        .config(patient);
    let joiner = joiner.listener(tokio_listener(listener)).start().await.unwrap();
    is_excluded(&joiner, "the cluster refuses this node: this is the cluster \"openraft\"").await;
    joiner.shutdown().await.unwrap();

    // A second one of a follower, on a directory of its own.
    let leader = nodes[0].raft().metrics().borrow().current_leader.unwrap();
    let (id, asked) = (leader % 3 + 1, nodes[leader as usize - 1].address());
    let (_, _, listener) = listeners(1).remove(0);
    let twin = Node::<Words>::builder(id, dir.path().join("twin")).join([asked]).config(patient);
    let twin = twin.listener(tokio_listener(listener)).start().await.unwrap();
    is_excluded(&twin, &format!("node {id} is a member on the store")).await;
    twin.shutdown().await.unwrap();
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_directory_was_forming_another_cluster_fails_its_callers_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = openraft_storage_sled::SledStore::<openraft_node::NodeTypes<Words>>::open(
        dir.path(),
        openraft_storage_sled::SledOptions::new(1, "openraft"),
    )
    .unwrap();
    let other = openraft_adapters::engine::ClusterId(7);
    openraft_adapters::IdentityStore::record_cluster(&*store, other).await.unwrap();
    drop(store);
    let cluster: Vec<_> = listeners(2).into_iter().map(|(id, address, _)| (id, address)).collect();
    let node = Node::<Words>::builder(1, dir.path()).cluster(cluster).config(patient).start().await.unwrap();
    is_excluded(&node, "this directory belongs to the cluster").await;
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_is_no_member_for_its_callers() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    nodes[0].write("first".to_owned()).await.unwrap();
    nodes[0].remove_member(2).await.unwrap();
    nodes[1].raft().metrics().wait_for(|m| m.removed).await.unwrap();
    let Err(WriteError::NoMember { reason }) = nodes[1].write("late".to_owned()).await else {
        panic!("written by a node that was removed")
    };
    assert!(reason.contains("node 2 was removed from its cluster"), "{reason}");
    assert!(matches!(nodes[1].ready().await, Err(ReadyError::NoMember { .. })));
    assert_eq!(nodes[1].status().role, "removed");
    end(nodes).await;
}
