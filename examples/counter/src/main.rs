//! A replicated counter. `counter` runs three nodes in this process, each of which adds one. `counter --node 1` runs one of
//! the three, to be started in three terminals, and adds what it reads, a number a line.

use std::error::Error;

use openraft_node::{App, Consistency, LogId, Node};
use serde::{Deserialize, Serialize};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Counter(u64);

impl App for Counter {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: LogId<u64>, add: &u64) -> u64 {
        self.0 += add;
        self.0
    }

    fn query(&self, _: ()) -> u64 {
        self.0
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = [(1, "127.0.0.1:7901"), (2, "127.0.0.1:7902"), (3, "127.0.0.1:7903")];
    let given: Vec<String> = std::env::args().skip(1).collect();
    let ids = if given.len() == 2 { vec![given[1].parse()?] } else { vec![1, 2, 3] };
    let mut nodes = Vec::new();
    for id in ids {
        let data = std::env::temp_dir().join(format!("counter-{id}"));
        nodes.push(Node::<Counter>::builder(id, data).cluster(cluster).start().await?);
    }
    if let [node] = &nodes[..] {
        for line in std::io::stdin().lines() {
            println!("the sum is {}", node.write(line?.trim().parse()?).await?);
        }
    }
    for (node, i) in nodes.iter().zip(1..) {
        println!("node {i} adds 1: {}", node.write(1).await?);
        println!("node {i} reads: {}", node.read((), Consistency::Linearizable).await?);
    }
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}
