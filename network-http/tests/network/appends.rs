//! The append stream: order, windows, deadlines, and independence from the control connection.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use openraft_adapters::{AppendStream, NetworkError};
use openraft_engine::{AppendResult, LogId};
use openraft_network_http::ServerLimits;

use crate::fake::{self, LONG, T, append, heartbeat, identity, limits, listener, soon};

const MIB: usize = 1024 * 1024;

/// The positions of the next `count` replies.
async fn replies(stream: &mut Box<dyn AppendStream<T>>, count: u64) -> Vec<u64> {
    let mut positions = Vec::new();
    for _ in 0..count {
        positions.push(soon(stream.recv()).await.unwrap().position);
    }
    positions
}

#[tokio::test]
async fn many_appends_are_under_way_at_once_and_answered_in_order() {
    let node = fake::node(2).await;
    let mut stream = node.network().append_stream(LONG);
    for i in 0..500 {
        stream.send(append(i, if i % 100 == 0 { 4 * MIB } else { 100 })).unwrap();
    }
    assert_eq!(replies(&mut stream, 500).await, (0..500).collect::<Vec<_>>());
    assert_eq!(*node.raft.appends.lock().unwrap(), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_single_append_needs_no_stream() {
    let node = fake::node(2).await;
    let network = node.network();
    for i in 0..3 {
        let reply = soon(network.append(append(i, 10), LONG)).await.unwrap();
        assert_eq!(reply.result, AppendResult::Matched(Some(LogId::new(1, 1, i))));
    }
}

#[tokio::test]
async fn heartbeats_pass_a_backlog_of_appends_that_nobody_reads() {
    let narrow = ServerLimits { max_appends_in_flight: 1, ..limits() };
    let node = fake::start(listener().await, identity(2), true, narrow);
    node.raft.hold_appends.send_replace(true);
    let network = node.network();
    let mut stream = network.clone().append_stream(LONG);
    // More than every window and socket buffer on the way together.
    for i in 0..64 {
        stream.send(append(i, MIB)).unwrap();
    }
    for i in 0..20 {
        assert_eq!(soon(network.heartbeat(heartbeat(i), LONG)).await.unwrap().position, i);
    }
    assert!(stream.recv().now_or_never().is_none());
    node.raft.hold_appends.send_replace(false);
    assert_eq!(replies(&mut stream, 64).await, (0..64).collect::<Vec<_>>());
}

#[tokio::test]
async fn waiting_for_a_reply_may_be_given_up_and_taken_up_again() {
    let node = fake::node(2).await;
    let mut stream = node.network().append_stream(LONG);
    let mut positions = Vec::new();
    for i in 0..50 {
        stream.send(append(i, 10)).unwrap();
    }
    soon(async {
        while positions.len() < 50 {
            match stream.recv().now_or_never() {
                Some(reply) => positions.push(reply.unwrap().position),
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(positions, (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_append_without_an_answer_in_time_breaks_the_stream_for_good() {
    let node = fake::node(2).await;
    node.raft.hold_appends.send_replace(true);
    let within = Duration::from_millis(100);
    let mut stream = node.network().append_stream(within);
    stream.send(append(0, 10)).unwrap();
    let error = soon(stream.recv()).await.unwrap_err();
    assert!(matches!(error, NetworkError::Timeout { after, .. } if after == within), "{error}");
    assert_eq!(stream.send(append(1, 10)).unwrap_err(), error);
    assert_eq!(soon(stream.recv()).await.unwrap_err(), error);
}

#[tokio::test]
async fn an_append_that_the_node_has_no_room_for_breaks_the_stream_but_not_the_connection_to_come() {
    let node = fake::node(2).await;
    let network = node.network();
    node.raft.overloaded.store(true, Ordering::SeqCst);
    let mut stream = network.clone().append_stream(LONG);
    stream.send(append(0, 10)).unwrap();
    let error = soon(stream.recv()).await.unwrap_err();
    assert!(matches!(&error, NetworkError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("more messages waiting"), "{error}");
    node.raft.overloaded.store(false, Ordering::SeqCst);
    soon(async {
        while network.append(append(0, 10), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_without_messages_waits_and_makes_no_connection() {
    let node = fake::node(2).await;
    let mut stream = node.network().append_stream(LONG);
    assert!(stream.recv().now_or_never().is_none());
    assert!(node.raft.appends.lock().unwrap().is_empty());
}
