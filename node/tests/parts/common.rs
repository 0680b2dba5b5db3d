//! Nodes on listeners that are bound already, and requests as a client makes them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use openraft_node::Node;
use serde_json::Value;

pub(crate) use crate::shared::{Words, end, listeners};

/// As tokio takes them.
pub(crate) fn tokio_listener(listener: TcpListener) -> tokio::net::TcpListener {
    listener.set_nonblocking(true).unwrap();
    tokio::net::TcpListener::from_std(listener).unwrap()
}

/// Three nodes on sled in `dir`, which take from `change` what else they are told.
pub(crate) async fn three(dir: &std::path::Path) -> Vec<Node<Words>> {
    let bound = listeners(3);
    let cluster: Vec<_> = bound.iter().map(|(id, address, _)| (*id, address.clone())).collect();
    let mut nodes = Vec::new();
    for (id, _, listener) in bound {
        let node = Node::<Words>::builder(id, dir.join(id.to_string())).cluster(cluster.clone());
        nodes.push(node.listener(tokio_listener(listener)).start().await.unwrap());
    }
    nodes
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One request on a connection of its own.
pub(crate) async fn request(address: &str, method: &str, path: &str, body: &[u8]) -> Answer {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (address, sent) = (address.to_owned(), [head.as_bytes(), body].concat());
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        // A server that refuses what is too large need not read it to its end.
        let _ = stream.write_all(&sent);
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received);
        received
    };
    let received = tokio::task::spawn_blocking(exchange).await.unwrap();
    let text = String::from_utf8_lossy(&received);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    let begin = received.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    Answer { status: status.unwrap(), body: received[begin..].to_vec() }
}
