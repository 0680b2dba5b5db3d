//! Peers that break the rules, written by hand: the stream ends, the server goes on.

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openraft_engine::{ClusterId, HeartbeatRequest, Replica};
use openraft_network_http::WIRE_VERSION;
use openraft_network_http::frame::{FrameDecoder, HEAD_BYTES, Kind, encode_small};
use serde::Serialize;
use std::convert::Infallible;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::fake::{self, LONG, TestNode, heartbeat, replica, soon};

/// The hello as a peer of this version writes it.
fn hello(version: u16, from: Replica<u64>) -> Bytes {
    let mut payload = version.to_le_bytes().to_vec();
    payload.extend(postcard::to_allocvec(&("test", Some(ClusterId(42)), from, 2u64)).unwrap());
    encode_small(0, Kind::Hello, 0, &payload)
}

fn frame<V: Serialize>(kind: Kind, value: &V) -> Bytes {
    encode_small(0, kind, 1, &postcard::to_allocvec(value).unwrap())
}

struct RawStream {
    outbound: mpsc::UnboundedSender<Bytes>,
    response: Incoming,
    _sender: Box<dyn std::any::Any>,
}

async fn connect(node: &TestNode, path: &str) -> RawStream {
    let tcp = TcpStream::connect(node.addr).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    let (outbound, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let body = StreamBody::new(futures::stream::poll_fn(move |cx| {
        queue.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))))
    }));
    let uri = format!("http://{}{path}", node.addr);
    let response = sender.send_request(Request::post(uri).body(body).unwrap()).await.unwrap();
    RawStream { outbound, response: response.into_body(), _sender: Box::new(sender) }
}

impl RawStream {
    fn send(&self, bytes: Bytes) {
        self.outbound.send(bytes).unwrap();
    }

    /// The frames that come until the server ends the stream.
    async fn rest(mut self) -> Vec<(Kind, Bytes)> {
        let mut bytes = BytesMut::new();
        while let Some(Ok(frame)) = soon(self.response.frame()).await {
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        let mut decoder = FrameDecoder::new(100_000);
        let mut input = bytes.freeze();
        let mut frames = Vec::new();
        while !input.is_empty() {
            frames.extend(decoder.decode(&mut input).unwrap().map(|f| (f.kind, f.payload)));
        }
        frames
    }
}

async fn still_serves(node: &TestNode) {
    soon(node.network().heartbeat(heartbeat(1), LONG)).await.unwrap();
}

fn kinds(frames: &[(Kind, Bytes)]) -> Vec<Kind> {
    frames.iter().map(|(kind, _)| *kind).collect()
}

#[tokio::test]
async fn another_wire_version_is_refused_in_words() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/control").await;
    stream.send(hello(WIRE_VERSION + 1, replica(1)));
    let frames = stream.rest().await;
    assert_eq!(kinds(&frames), [Kind::HelloReply]);
    assert!(String::from_utf8_lossy(&frames[0].1).contains("version"), "{frames:?}");
    still_serves(&node).await;
}

#[tokio::test]
async fn a_damaged_frame_ends_the_stream() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/control").await;
    stream.send(hello(WIRE_VERSION, replica(1)));
    let mut bad = frame(Kind::Heartbeat, &heartbeat(1)).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    stream.send(bad.into());
    assert_eq!(kinds(&stream.rest().await), [Kind::HelloReply]);
    still_serves(&node).await;
}

#[tokio::test]
async fn a_frame_that_claims_too_much_ends_the_stream_before_its_payload_is_sent() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/append").await;
    stream.send(hello(WIRE_VERSION, replica(1)));
    let mut head = frame(Kind::Append, &()).to_vec();
    head[17..21].copy_from_slice(&(200u32 << 20).to_le_bytes());
    stream.send(head[..HEAD_BYTES].to_vec().into());
    assert_eq!(kinds(&stream.rest().await), [Kind::HelloReply]);
    still_serves(&node).await;
}

#[tokio::test]
async fn a_message_in_anothers_name_ends_the_stream() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/control").await;
    stream.send(hello(WIRE_VERSION, replica(1)));
    stream.send(frame(Kind::Heartbeat, &HeartbeatRequest { from: replica(3), ..heartbeat(1) }));
    assert_eq!(kinds(&stream.rest().await), [Kind::HelloReply]);
    still_serves(&node).await;
}

#[tokio::test]
async fn a_message_of_the_wrong_lane_or_group_ends_the_stream() {
    let node = fake::node(2).await;
    let payload = postcard::to_allocvec(&heartbeat(1)).unwrap();
    for (path, group) in [("/raft/append", 0), ("/raft/snapshot", 0), ("/raft/control", 7)] {
        let stream = connect(&node, path).await;
        stream.send(hello(WIRE_VERSION, replica(1)));
        stream.send(encode_small(group, Kind::Heartbeat, 1, &payload));
        assert_eq!(kinds(&stream.rest().await), [Kind::HelloReply], "{path} {group}");
    }
    still_serves(&node).await;
}

#[tokio::test]
async fn entries_that_do_not_decode_end_the_stream_with_the_reason() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/append").await;
    stream.send(hello(WIRE_VERSION, replica(1)));
    stream.send(encode_small(0, Kind::Append, 1, b"\x02\0\0\0ab and no entries"));
    let answers = stream.rest().await;
    assert_eq!(kinds(&answers), [Kind::HelloReply, Kind::Error]);
    let words = String::from_utf8_lossy(&answers[1].1);
    assert!(words.contains("does not decode"), "{words}");
    assert!(node.raft.appends.lock().unwrap().is_empty());
    still_serves(&node).await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_hello_is_refused() {
    let node = fake::node(2).await;
    let stream = connect(&node, "/raft/control").await;
    stream.send(frame(Kind::Heartbeat, &heartbeat(1)));
    assert_eq!(kinds(&stream.rest().await), [Kind::HelloReply]);
    still_serves(&node).await;
}
