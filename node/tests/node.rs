//! Whole nodes in one process: real directories, real sockets.
#![allow(clippy::disallowed_methods)]
// Real sockets keep real time.

#[path = "shared/mod.rs"]
mod shared;

use std::io::{self, Read};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use openraft_node::{App, Consistency, LogId, Node, ReadError, StartError, WriteError};
use serde::{Deserialize, Serialize};

use crate::shared::{Words, addresses, end};

/// The same words, by a program that does not understand its own snapshots.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Forgetful(Words);

impl App for Forgetful {
    type Command = String;
    type Reply = usize;
    type Query = usize;
    type Answer = Option<String>;

    fn apply(&mut self, log_id: LogId<u64>, word: &String) -> usize {
        self.0.apply(log_id, word)
    }

    fn query(&self, at: usize) -> Option<String> {
        self.0.query(at)
    }

    fn restore(_: &mut dyn Read) -> io::Result<Self> {
        Err(io::Error::other("an unknown format"))
    }
}

async fn start<A: App>(dir: &Path, id: u64, cluster: &[(u64, String)]) -> Result<Node<A>, StartError> {
    let data = dir.join(format!("node-{id}"));
    Node::<A>::builder(id, data).cluster(cluster.to_vec()).start().await
}

async fn three(dir: &Path) -> (Vec<(u64, String)>, Vec<Node<Words>>) {
    let cluster = addresses(3);
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start(dir, id, &cluster).await.unwrap());
    }
    (cluster, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_writes_and_reads_whoever_leads() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes) = three(dir.path()).await;
    for (i, node) in nodes.iter().enumerate() {
        assert_eq!(node.write(format!("word {i}")).await.unwrap(), i + 1);
    }
    for node in &nodes {
        let last = node.read(2, Consistency::Linearizable).await.unwrap();
        assert_eq!(last.as_deref(), Some("word 2"));
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_leases_are_on_every_node_answers_reads_by_lease_with_all_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let mut nodes = Vec::new();
    for (id, _) in &cluster {
        let node = Node::<Words>::builder(*id, dir.path().join(id.to_string())).cluster(cluster.clone());
        nodes.push(node.config(|config| config.lease_reads = true).start().await.unwrap());
    }
    for i in 0..9 {
        let word = format!("word {i}");
        nodes[i % 3].write(word.clone()).await.unwrap();
        for node in &nodes {
            assert_eq!(node.read(i, Consistency::Lease).await.unwrap().as_ref(), Some(&word));
        }
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_leases_are_off_a_read_by_lease_is_an_error_that_says_what_turns_them_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = start::<Words>(dir.path(), 1, &addresses(1)).await.unwrap();
    let Err(error) = node.read(0, Consistency::Lease).await else { panic!("read without a lease") };
    assert_eq!(error, ReadError::LeasesOff);
    assert!(error.to_string().contains("set lease_reads in the config() of every node"), "{error}");
    end(vec![node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_there_after_a_restart_of_all_from_snapshots_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let (cluster, nodes) = three(dir.path()).await;
    for i in 0..30 {
        nodes[0].write(format!("before {i}")).await.unwrap();
    }
    for node in &nodes {
        node.raft().trigger().snapshot().await.unwrap();
        let mut metrics = node.raft().metrics();
        metrics.wait_for(|m| m.snapshot.is_some()).await.unwrap();
    }
    nodes[0].write("after".to_owned()).await.unwrap();
    end(nodes).await;
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start::<Words>(dir.path(), id, &cluster).await.unwrap());
    }
    for node in &nodes {
        assert_eq!(node.read(30, Consistency::Linearizable).await.unwrap().as_deref(), Some("after"));
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_of_three_says_what_it_waits_for_and_reads_only_what_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let data = dir.path().join("node-1");
    let node = Node::<Words>::builder(1, data).cluster(cluster).config(|config| {
        config.write_timeout_ms = 200;
        config.read_timeout_ms = 200;
    });
    let node = node.start().await.unwrap();
    let Err(WriteError::NotWritten { reason }) = node.write("alone".to_owned()).await else {
        panic!("written by one of three")
    };
    assert!(reason.contains("every listed node must run"), "{reason}");
    let read = node.read(0, Consistency::Linearizable).await;
    assert!(matches!(&read, Err(ReadError::NotConfirmed { .. })), "{read:?}");
    assert_eq!(node.read(0, Consistency::Stale).await.unwrap(), None);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_application_stops_the_node_with_its_words_and_at_the_next_start_too() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(1);
    let node = start::<Words>(dir.path(), 1, &cluster).await.unwrap();
    let written = node.write("abracadabra".to_owned()).await;
    assert!(written.is_err(), "{written:?}");
    let why = node.stopped().await.to_string();
    assert!(why.contains("panic") && why.contains("no state machine survives"), "{why}");
    assert!(node.shutdown().await.is_err());
    let again = start::<Words>(dir.path(), 1, &cluster).await.unwrap();
    let why = again.stopped().await.to_string();
    assert!(why.contains("no state machine survives"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_does_not_restore_is_an_error_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(1);
    let node = start::<Words>(dir.path(), 1, &cluster).await.unwrap();
    node.write("word".to_owned()).await.unwrap();
    node.raft().trigger().snapshot().await.unwrap();
    node.raft().metrics().wait_for(|m| m.snapshot.is_some()).await.unwrap();
    node.shutdown().await.unwrap();
    let Err(error) = start::<Forgetful>(dir.path(), 1, &cluster).await else { panic!("it started") };
    let words = error.to_string();
    assert!(words.contains("an unknown format") && words.contains("mend restore"), "{words}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_and_a_list_without_the_node_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = vec![(1, held.local_addr().unwrap().to_string())];
    let Err(error) = start::<Words>(dir.path(), 1, &cluster).await else { panic!("it started") };
    assert!(error.to_string().contains("stop what listens there"), "{error}");
    let Err(error) = start::<Words>(dir.path(), 2, &cluster).await else { panic!("it started") };
    assert!(error.to_string().contains("node 2 is not in the list"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_node_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(2);
    let data = dir.path().join("data");
    let node = Node::<Words>::builder(1, &data).cluster(cluster.clone()).start().await.unwrap();
    node.shutdown().await.unwrap();
    let second = Node::<Words>::builder(2, &data).cluster(cluster).start().await;
    let Err(error) = second else { panic!("node 2 started on node 1's directory") };
    assert!(error.to_string().contains("node 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_in_order_leaves_no_write_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut nodes) = three(dir.path()).await;
    nodes[0].write("first".to_owned()).await.unwrap();
    let leader = nodes[0].raft().metrics().borrow().current_leader.unwrap();
    let ended = nodes.remove(leader as usize - 1);
    ended.shutdown().await.unwrap();
    let written = tokio::time::timeout(Duration::from_secs(30), nodes[0].write("second".to_owned())).await;
    assert_eq!(written.expect("within the write's own time").unwrap(), 2);
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_takes_part_and_is_a_member_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (cluster, mut nodes) = three(dir.path()).await;
    nodes[0].write("before".to_owned()).await.unwrap();
    let own = addresses(1)[0].1.clone();
    let data = dir.path().join("node-4");
    let join = || {
        let member = cluster[1].1.clone();
        Node::<Words>::builder(4, &data).join([member]).listen(own.clone())
    };
    let fourth = join().start().await.unwrap();
    assert_eq!(fourth.write("by the fourth".to_owned()).await.unwrap(), 2);
    let wait = fourth.raft().wait(Some(Duration::from_secs(30)));
    wait.metrics(|m| m.membership.membership.to_string() == "{1,2,3,4}", "four voters").await.unwrap();
    fourth.shutdown().await.unwrap();
    let fourth = join().start().await.unwrap();
    let last = fourth.read(1, Consistency::Linearizable).await.unwrap();
    assert_eq!(last.as_deref(), Some("by the fourth"));
    nodes.push(fourth);
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_application_does_not_admit_yet_waits_until_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (addresses(1)[0].1.clone(), addresses(1)[0].1.clone());
    let node = Node::<Words>::builder(1, dir.path().join("node-1")).cluster([(1, first.clone())]);
    let node = node.admit_if(|words, id, address| {
        let expected = format!("{id} at {address}");
        words.0.contains(&expected).then_some(()).ok_or(format!("nobody has written {expected:?}"))
    });
    let node = node.start().await.unwrap();
    let joiner = Node::<Words>::builder(2, dir.path().join("node-2")).join([first]).listen(second.clone());
    let joiner = joiner.config(|config| config.write_timeout_ms = 1_000).start().await.unwrap();
    let Err(WriteError::NotWritten { reason }) = joiner.write("too early".to_owned()).await else {
        panic!("it joined without having been admitted")
    };
    assert!(reason.contains("nobody has written"), "{reason}");
    node.write(format!("2 at {second}")).await.unwrap();
    let wait = joiner.raft().wait(Some(Duration::from_secs(30)));
    wait.metrics(|m| m.membership.membership.to_string() == "{1,2}", "two voters").await.unwrap();
    end(vec![joiner, node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_removes_a_member_which_learns_of_it_and_removing_it_again_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes) = three(dir.path()).await;
    nodes[0].write("first".to_owned()).await.unwrap();
    let leader = nodes[0].raft().metrics().borrow().current_leader.unwrap() as usize - 1;
    let (removed, other) = ((leader + 1) % 3, (leader + 2) % 3);
    nodes[other].remove_member(removed as u64 + 1).await.unwrap();
    let wait = nodes[removed].raft().wait(Some(Duration::from_secs(30)));
    wait.metrics(|m| m.removed, "told of its removal").await.unwrap();
    nodes[leader].remove_member(removed as u64 + 1).await.unwrap();
    nodes[other].write("without it".to_owned()).await.unwrap();
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_voter_cannot_be_removed() {
    let dir = tempfile::tempdir().unwrap();
    let node = start::<Words>(dir.path(), 1, &addresses(1)).await.unwrap();
    let Err(WriteError::Refused { reason }) = node.remove_member(1).await else { panic!("it was removed") };
    assert!(reason.contains("no voter would remain"), "{reason}");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_both_to_form_and_to_join_or_neither_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let both = Node::<Words>::builder(1, dir.path()).cluster([(1, "127.0.0.1:1")]).join(["127.0.0.1:2"]);
    for builder in [both, Node::<Words>::builder(1, dir.path())] {
        let Err(error) = builder.start().await else { panic!("it started") };
        assert!(error.to_string().contains("either cluster()"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_for_which_there_is_no_room_are_told_so_at_once_and_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::<Words>::builder(1, dir.path()).cluster(addresses(1)).config(|config| {
        config.max_proposal_bytes = 100_000;
        config.memory_budget_bytes = 200_000;
    });
    let node = node.start().await.unwrap();
    node.ready().await.unwrap();
    // Two of them are more than there is room for.
    let writes = (0..20).map(|i| node.write(format!("{i} {}", "x".repeat(60_000))));
    let written = futures::future::join_all(writes).await;
    let done = written.iter().filter(|written| written.is_ok()).count();
    let overloaded = written.iter().filter(|written| matches!(written, Err(WriteError::Overloaded { .. })));
    assert!(done > 0 && overloaded.count() == 20 - done, "{done} are written");
    assert_eq!(node.peek(|words| words.0.len()), done);
    end(vec![node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_began_and_found_no_leader_afterwards_is_of_unknown_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(3);
    let mut nodes = Vec::new();
    for (id, _) in &cluster {
        let node = Node::<Words>::builder(*id, dir.path().join(id.to_string())).cluster(cluster.clone());
        let node = node.config(|config| {
            (config.election_timeout_min_ms, config.election_timeout_max_ms) = (1_000, 1_500);
            config.write_timeout_ms = 4_000;
        });
        nodes.push(node.start().await.unwrap());
    }
    nodes[0].write("first".to_owned()).await.unwrap();
    let leader = nodes[0].raft().metrics().borrow().current_leader.unwrap();
    let leader = nodes.remove(leader as usize - 1);
    let gone = if leader.address() == cluster[0].1 { 2 } else { 1 };
    futures::future::join_all(nodes.iter().map(Node::shutdown)).await;
    // It begins here, and the leader steps down without a quorum.
    let removed = leader.remove_member(gone).await;
    assert!(matches!(&removed, Err(WriteError::OutcomeUnknown { .. })), "{removed:?}");
    leader.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_last_handle_is_dropped_ends_and_its_directory_may_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = addresses(1);
    let node = start::<Words>(dir.path(), 1, &cluster).await.unwrap();
    node.write("word".to_owned()).await.unwrap();
    let mut metrics = node.raft().metrics();
    drop(node);
    // The sender goes with the core.
    let ended = async { while metrics.changed().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the core ends");
    let node = start::<Words>(dir.path(), 1, &cluster).await.unwrap();
    assert_eq!(node.read(0, Consistency::Linearizable).await.unwrap().as_deref(), Some("word"));
    end(vec![node]).await;
}
