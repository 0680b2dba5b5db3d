//! Clients on the same address: both versions of HTTP, limits, and a stop that lets them finish.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openraft_network_http::{ServerLimits, WIRE_VERSION};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fake::{self, LONG, TestNode, heartbeat, identity, limits, listener, soon};

async fn over_http1(node: &TestNode, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let tcp = TcpStream::connect(node.addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

async fn over_http2(node: &TestNode, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let tcp = TcpStream::connect(node.addr).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    (response.status(), response.into_body().collect().await.unwrap().to_bytes())
}

fn request(node: &TestNode, method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let uri = format!("http://{}{path}", node.addr);
    Request::builder().method(method).uri(uri).body(Full::from(body)).unwrap()
}

#[tokio::test]
async fn peers_and_clients_of_both_http_versions_share_one_address() {
    let node = fake::node(2).await;
    soon(node.network().heartbeat(heartbeat(1), LONG)).await.unwrap();
    let hello = soon(over_http1(&node, request(&node, "GET", "/hello", ""))).await;
    assert_eq!(hello, (StatusCode::OK, Bytes::from("hello")));
    let echo = soon(over_http2(&node, request(&node, "POST", "/echo", "ping"))).await;
    assert_eq!(echo, (StatusCode::OK, Bytes::from("ping")));
    let nowhere = soon(over_http1(&node, request(&node, "GET", "/nowhere", ""))).await;
    assert_eq!(nowhere.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn clients_on_the_paths_of_peers_are_told_so() {
    let node = fake::node(2).await;
    let get = soon(over_http1(&node, request(&node, "GET", "/raft/control", ""))).await;
    assert_eq!(get.0, StatusCode::METHOD_NOT_ALLOWED);
    let unknown = soon(over_http1(&node, request(&node, "POST", "/raft/else", ""))).await;
    assert_eq!(unknown.0, StatusCode::NOT_FOUND);
    let form = soon(over_http1(&node, request(&node, "POST", "/raft/form", ""))).await;
    assert_eq!(form.0, StatusCode::BAD_REQUEST);
    let large: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    let mut request = request(&node, "POST", "/raft/form", large);
    request.headers_mut().insert("x-raft-wire-version", WIRE_VERSION.into());
    let (status, words) = soon(over_http2(&node, request)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(words.starts_with(b"the request cannot be read"), "{words:?}");
}

#[tokio::test]
async fn a_stop_lets_a_clients_request_finish_and_does_not_wait_for_peers() {
    let mut node = fake::node(2).await;
    let network = node.network();
    soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap();
    let slow = tokio::spawn({
        let request = request(&node, "GET", "/slow", "");
        let tcp = TcpStream::connect(node.addr).await.unwrap();
        async move {
            let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
            tokio::spawn(connection);
            let response = sender.send_request(request).await.unwrap();
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    soon(node.slow_came.notified()).await;
    node.begin_stop();
    // Once the address is closed the stop has begun; peers are still served on what they have.
    soon(async {
        while TcpStream::connect(node.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    soon(network.heartbeat(heartbeat(2), LONG)).await.unwrap();
    node.slow.notify_one();
    assert_eq!(soon(slow).await.unwrap(), "at last");
    soon(node.stopped()).await;
}

#[tokio::test]
async fn a_client_that_never_finishes_is_cut_off_after_the_drain() {
    let short = ServerLimits { drain_timeout: Duration::from_millis(20), ..limits() };
    let mut node = fake::start(listener().await, identity(2), true, short);
    let mut tcp = TcpStream::connect(node.addr).await.unwrap();
    tcp.write_all(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    soon(node.slow_came.notified()).await;
    node.begin_stop();
    soon(node.stopped()).await;
    assert_eq!(soon(tcp.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed() {
    let impatient = ServerLimits { header_timeout: Duration::from_millis(20), ..limits() };
    let node = fake::start(listener().await, identity(2), true, impatient);
    for beginning in ["", "PRI", "GET /hel"] {
        let mut tcp = TcpStream::connect(node.addr).await.unwrap();
        tcp.write_all(beginning.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(tcp.read_to_end(&mut answer)).await;
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "after {beginning:?}");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_and_there_is_room_again_afterwards() {
    let one = ServerLimits { max_connections: 1, ..limits() };
    let node = fake::start(listener().await, identity(2), true, one);
    let mut first = TcpStream::connect(node.addr).await.unwrap();
    first.write_all(b"GET /slow HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    soon(node.slow_came.notified()).await;
    let mut second = TcpStream::connect(node.addr).await.unwrap();
    assert_eq!(soon(second.read(&mut [0; 8])).await.unwrap_or(0), 0);
    drop(first);
    soon(async {
        loop {
            let mut next = TcpStream::connect(node.addr).await.unwrap();
            let _ = next.write_all(b"GET /hello HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
            let mut answer = String::new();
            if next.read_to_string(&mut answer).await.is_ok() && answer.contains("200 OK") {
                break;
            }
        }
    })
    .await;
}
