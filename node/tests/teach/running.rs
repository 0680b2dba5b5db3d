//! What goes wrong on nodes that were well: peers that went, commands and applications that cannot be borne.

use std::io::{Read, Write};
use std::net::TcpStream;

use openraft_node::{App, Consistency, LogId, Node, WriteError};
use serde::{Deserialize, Serialize};

use crate::nodes::{Words, addresses, cluster, end, node, soon, why_not_written};
use crate::table::explained;

fn word() -> String {
    "word".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_that_went_are_named_with_their_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let (list, mut nodes) = cluster::<Words>(dir.path(), 3).await;
    nodes[0].write(word()).await.unwrap();
    end(nodes.drain(1..)).await;
    let row = "no leader is known; … must run, on the directories they were formed with, and reach one another; … nobody listens at …. Start those nodes";
    let said = async {
        loop {
            let words = why_not_written(&nodes[0], word, row).await;
            if list[1..].iter().all(|(id, address)| words.contains(&format!("node {id} at {address}"))) {
                break;
            }
        }
    };
    soon(said).await;
    let read = nodes[0].read(0, Consistency::Linearizable).await.unwrap_err().to_string();
    assert!(read.contains("nobody listens at"), "{read}");
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_beyond_the_limit_is_refused_at_once_on_every_node() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes) = cluster::<Words>(dir.path(), 2).await;
    let limit = usize::try_from(openraft_node::Config::default().max_proposal_bytes).unwrap();
    for node in &nodes {
        let Err(error @ WriteError::Refused { .. }) = soon(node.write("x".repeat(limit + 1))).await else {
            panic!("it was not refused")
        };
        explained(
            &error.to_string(),
            "the proposal has … bytes, the limit is …: cut it up, or raise max_proposal_bytes",
        );
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_panics_or_blocks_on_a_future_stops_the_node_and_names_the_command() {
    for (command, cause) in [("abracadabra", "no state machine survives"), ("wait", "Cannot start a runtime")]
    {
        let dir = tempfile::tempdir().unwrap();
        let list = addresses(1);
        let first = node::<Words>(dir.path(), 1).cluster(list.clone()).start().await.unwrap();
        soon(first.write(command.to_owned())).await.unwrap_err();
        let why = soon(first.stopped()).await.to_string();
        explained(
            &why,
            "App::apply panicked at entry …, on the command …: … run a program whose apply answers this command",
        );
        assert!(why.contains(command) && why.contains(cause), "{why}");
        assert!(first.shutdown().await.is_err());
        let again = node::<Words>(dir.path(), 1).cluster(list).start().await.unwrap();
        let why = soon(again.stopped()).await.to_string();
        assert!(why.contains(command) && why.contains(cause), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_panics_is_felt_by_its_caller_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes) = cluster::<Words>(dir.path(), 1).await;
    let node = nodes[0].clone();
    let asked = tokio::spawn(async move { node.read(7, Consistency::Stale).await });
    assert!(asked.await.unwrap_err().is_panic());
    assert_eq!(nodes[0].write(word()).await.unwrap(), 1);
    assert_eq!(nodes[0].read(0, Consistency::Linearizable).await.unwrap(), "word");
    end(nodes).await;
}

/// An application whose commands serde derives and postcard cannot read back.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Loose(u64);

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Add(u64),
}

impl App for Loose {
    type Command = Untagged;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: LogId<u64>, command: &Untagged) -> u64 {
        let Untagged::Add(add) = command;
        self.0 += add;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_type_that_postcard_cannot_read_back_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let (_, nodes) = cluster::<Loose>(dir.path(), 2).await;
    for node in &nodes {
        let row = "a value of type … does not decode from what it was encoded to (…). It travels and is kept in postcard";
        let words = why_not_written(node, || Untagged::Add(1), row).await;
        assert!(words.contains("Untagged") && words.contains("#[serde(untagged)]"), "{words}");
    }
    end(nodes).await;
}

/// Has a node close a connection first, which leaves its end of it in TIME_WAIT.
fn leave_a_closed_connection(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_restarted_at_once_gets_its_address_again() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(1);
    for _ in 0..3 {
        let node: Node<Words> = node(dir.path(), 1).cluster(list.clone()).start().await.unwrap();
        let address = node.address().to_owned();
        tokio::task::spawn_blocking(move || leave_a_closed_connection(&address)).await.unwrap();
        end([node]).await;
    }
}
