//! What all tests of whole nodes share: an application, and addresses that nobody else takes.
#![allow(dead_code, reason = "each program uses a part of it")]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};

use openraft_node::{App, LogId, Node};
use serde::{Deserialize, Serialize};

/// A list of words. One is more than it can bear.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl App for Words {
    type Command = String;
    type Reply = usize;
    type Query = usize;
    type Answer = Option<String>;

    fn apply(&mut self, _: LogId<u64>, word: &String) -> usize {
        assert_ne!(word, "abracadabra", "a word that no state machine survives");
        self.0.push(word.clone());
        self.0.len()
    }

    fn query(&self, at: usize) -> Option<String> {
        self.0.get(at).cloned()
    }
}

/// Listeners on free ports, with their addresses. They have a loopback address of their own where the system has more than
/// one: no outgoing connection takes such a port while its node is down.
pub(crate) fn listeners(count: u64) -> Vec<(u64, String, TcpListener)> {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 250, low, 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 250);
    let bind = || TcpListener::bind((own, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
    let bound = (1..=count).map(|id| (id, bind()));
    bound.map(|(id, listener)| (id, listener.local_addr().unwrap().to_string(), listener)).collect()
}

/// Free addresses, all held until all are chosen.
pub(crate) fn addresses(count: u64) -> Vec<(u64, String)> {
    listeners(count).into_iter().map(|(id, address, _)| (id, address)).collect()
}

/// Ends nodes, one after the other.
pub(crate) async fn end<A: App>(nodes: impl IntoIterator<Item = Node<A>>) {
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
