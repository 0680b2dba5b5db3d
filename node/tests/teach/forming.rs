//! Clusters that do not form: who is missed, where it was looked for, and what is wrong there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use openraft_node::axum::Router;
use openraft_node::{Consistency, Node};

use crate::nodes::{Words, addresses, cluster, end, node, soon, why_not_written};
use crate::table::explained;

fn word() -> String {
    "word".to_owned()
}

/// Node 1 of a list in which node 2 is at `second`.
async fn first_of(dir: &tempfile::TempDir, second: &str) -> Node<Words> {
    let own = addresses(1).remove(0);
    node(dir.path(), 1).cluster([own, (2, second.to_owned())]).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_nobody_listens_on_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = addresses(2).remove(1).1;
    let node = first_of(&dir, &nowhere).await;
    let row = "the cluster is not formed yet: … nobody listens at …. Start the nodes that do not answer, or correct the list";
    let words = why_not_written(&node, word, row).await;
    assert!(words.contains(&format!("node 2 at {nowhere} is unreachable")), "{words}");
    let read = node.read(0, Consistency::Linearizable).await.unwrap_err().to_string();
    explained(&read, row);
    end([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_does_not_resolve_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let node = first_of(&dir, "no-such-host.invalid:7000").await;
    let words =
        why_not_written(&node, word, "the name in … cannot be resolved (…): check its spelling").await;
    assert!(words.contains("no-such-host.invalid:7000"), "{words}");
    end([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_http_server_at_the_address_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async { openraft_node::axum::serve(listener, Router::<()>::new()).await });
    let node = first_of(&dir, &address).await;
    why_not_written(&node, word, "another HTTP server listens there, no node: it answered …").await;
    server.abort();
    end([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_kind_at_the_address_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // It greets, as a mail server does, and closes. The thread ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"220 ready\r\n");
        }
    });
    let node = first_of(&dir, &address).await;
    let row = "a connection was made, but nothing answers as a node does (…): does a node listen there?";
    why_not_written(&node, word, row).await;
    end([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_at_the_address_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    // The system takes connections for it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = first_of(&dir, &silent.local_addr().unwrap().to_string()).await;
    let row = "a connection was made, but no answer came within …: does a node listen there?";
    why_not_written(&node, word, row).await;
    end([node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_different_cluster_names_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(2);
    let first = node::<Words>(dir.path(), 1).name("shop").cluster(list.clone()).start().await.unwrap();
    let second = node::<Words>(dir.path(), 2).name("bank").cluster(list).start().await.unwrap();
    let row = "this is the cluster …, not …: give every node of a cluster the same name";
    why_not_written(&first, word, row).await;
    why_not_written(&second, word, row).await;
    end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_different_lists_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(3);
    let first = node::<Words>(dir.path(), 1).cluster(list.clone()).start().await.unwrap();
    let second = node::<Words>(dir.path(), 2).cluster(list[..2].to_vec()).start().await.unwrap();
    let row = "the lists of nodes differ: … Start every node with the same list";
    why_not_written(&first, word, row).await;
    why_not_written(&second, word, row).await;
    end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_addresses_exchanged_in_a_list_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(3);
    let exchanged = vec![list[0].clone(), (2, list[2].1.clone()), (3, list[1].1.clone())];
    let first = node::<Words>(dir.path(), 1).cluster(exchanged).start().await.unwrap();
    let second = node::<Words>(dir.path(), 2).cluster(list).start().await.unwrap();
    let row = "this is node …, not node …: check the addresses in the list of nodes";
    why_not_written(&first, word, row).await;
    end([first, second]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_id_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(2);
    let second = node::<Words>(dir.path(), 2).cluster(list.clone()).start().await.unwrap();
    let first = node::<Words>(dir.path(), 1).cluster(list.clone()).start().await.unwrap();
    soon(first.ready()).await.unwrap();
    // Another one that says it is node 1, as after copying a command line; it listens elsewhere.
    let double = Node::<Words>::builder(1, dir.path().join("double")).cluster(list).listen("127.0.0.1:0");
    let double = double.config(|config| config.write_timeout_ms = 2_000).start().await.unwrap();
    let row = "or two nodes run with the id …. Give each node its own id";
    why_not_written(&double, word, row).await;
    end([first, second, double]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_directory_was_wiped_is_told_that_it_must_join() {
    let dir = tempfile::tempdir().unwrap();
    let (list, mut nodes) = cluster::<Words>(dir.path(), 3).await;
    end([nodes.remove(0)]).await;
    std::fs::remove_dir_all(dir.path().join("node-1")).unwrap();
    let wiped = node::<Words>(dir.path(), 1).cluster(list).start().await.unwrap();
    let row = "the directory of node … was wiped or replaced, … have it join again: with its old list it waits for ever";
    why_not_written(&wiped, word, row).await;
    end(nodes.into_iter().chain([wiped])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_node_that_would_form_a_cluster_which_is_there_already_is_told_to_join_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut list, nodes) = cluster::<Words>(dir.path(), 1).await;
    list.push((2, addresses(1).remove(0).1));
    let late = node::<Words>(dir.path(), 2).cluster(list).start().await.unwrap();
    let row =
        "this node is in a cluster already … a node that comes later must join it instead of forming one";
    why_not_written(&late, word, row).await;
    end(nodes.into_iter().chain([late])).await;
}

/// Asks a node to form a cluster as a node with another version of the wire format does, and returns its answer.
fn ask_in_version(version: &str, address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = "POST /raft/form HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: 0\r\n";
    stream.write_all(format!("{head}x-raft-wire-version: {version}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_version_of_the_library_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = first_of(&dir, "127.0.0.1:1").await;
    let address = node.address().to_owned();
    let answer = tokio::task::spawn_blocking(move || ask_in_version("999", &address)).await.unwrap();
    explained(
        &answer,
        "it speaks version … of the wire format, and you version …: run programs with one version",
    );
    end([node]).await;
}
