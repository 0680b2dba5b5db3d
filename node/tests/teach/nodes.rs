//! Nodes to hold wrongly, and how their words are looked at.

use std::path::Path;
use std::time::{Duration, Instant};

use openraft_node::{App, LogId, Node, NodeBuilder, NodeTypes, OfApp};
use serde::{Deserialize, Serialize};

pub(crate) use crate::shared::{addresses, end};
use crate::table;

/// An application's node that is being described.
pub(crate) type Builder<A> = NodeBuilder<NodeTypes<A>, OfApp<A>>;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A list of words. Some are more than it can bear.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl App for Words {
    type Command = String;
    type Reply = usize;
    type Query = usize;
    type Answer = String;

    fn apply(&mut self, _: LogId<u64>, word: &String) -> usize {
        assert_ne!(word, "abracadabra", "a word that no state machine survives");
        if word == "wait" {
            tokio::runtime::Handle::current().block_on(async {});
        }
        self.0.push(word.clone());
        self.0.len()
    }

    /// Panics if there is no such word.
    fn query(&self, at: usize) -> String {
        self.0[at].clone()
    }
}

/// Node `id` in a directory of its own below `dir`, which gives up soon on what cannot be.
pub(crate) fn node<A: App>(dir: &Path, id: u64) -> Builder<A> {
    Node::builder(id, dir.join(format!("node-{id}"))).config(|config| {
        config.write_timeout_ms = 2_000;
        config.read_timeout_ms = 2_000;
    })
}

/// Nodes 1 to `count` as one cluster, with a leader.
pub(crate) async fn cluster<A: App>(dir: &Path, count: u64) -> (Vec<(u64, String)>, Vec<Node<A>>) {
    let list = addresses(count);
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(node(dir, id).cluster(list.clone()).start().await.unwrap());
    }
    for node in &nodes {
        soon(node.ready()).await.unwrap();
    }
    (list, nodes)
}

/// Has `node` lead, in a cluster of two with `other`.
pub(crate) async fn lead<A: App, B: App>(node: &Node<A>, other: &Node<B>) {
    let (id, metrics) = (node.raft().metrics().borrow().id, other.raft().metrics());
    let leads = async {
        while metrics.borrow().current_leader != Some(id) {
            // Refused where the other does not lead, or was only just elected.
            let _ = other.raft().transfer_leader(Some(id)).await;
            tokio::task::yield_now().await;
        }
    };
    soon(leads).await;
}

/// What comes, within a time that only a defect needs.
pub(crate) async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, coming).await.expect("it takes too long")
}

/// The words with which a node does not start, which must be those of a `row` of the table.
pub(crate) async fn refusal<A: App>(builder: Builder<A>, row: &str) -> String {
    let words = match soon(builder.start()).await {
        Ok(_) => panic!("it started, though it should say: {row}"),
        Err(error) => error.to_string(),
    };
    table::explained(&words, row);
    words
}

/// Writes to a node until it says why it cannot in the words of a `row` of the table: what stands in the way shows only
/// once the others have been asked.
pub(crate) async fn why_not_written<A: App>(
    node: &Node<A>,
    command: impl Fn() -> A::Command,
    row: &str,
) -> String {
    let begun = Instant::now();
    loop {
        let words = match node.write(command()).await {
            Ok(_) => panic!("it was written, though it should say: {row}"),
            Err(error) => error.to_string(),
        };
        if table::fits(&words, row) {
            table::explained(&words, row);
            return words;
        }
        assert!(begun.elapsed() < LONG, "it says {words:?} and never {row:?}");
    }
}
