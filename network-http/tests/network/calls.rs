//! Votes, heartbeats, read indexes, requests to form, and peers that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use http::StatusCode;
use openraft_adapters::{
    FormReply, FormRequest, FormationNetwork, JoinNetwork, JoinReply, JoinRequest, NetworkError,
    RaftNetworkFactory,
};
use openraft_engine::{BasicNode, ClusterId, LogId, ReadIndexRequest, Vote, VoteRequest};
use openraft_network_http::{HttpNetwork, HttpOptions};
use tokio::net::{TcpListener, TcpSocket};

use crate::fake::{self, LONG, T, heartbeat, identity, known, limits, listener, network_from, replica, soon};

#[tokio::test]
async fn votes_and_heartbeats_are_answered() {
    let node = fake::node(2).await;
    let network = node.network();
    let request = VoteRequest {
        pre_vote: false,
        from: replica(1),
        vote: Vote::new(3, 1),
        last_log_id: None,
        ..Default::default()
    };
    let reply = soon(network.vote(request, LONG)).await.unwrap();
    assert_eq!((reply.from, reply.vote, reply.granted), (replica(2), Vote::new(3, 1), true));
    assert_eq!(reply.last_log_id, Some(LogId::new(1, 1, 9)));
    let replies = futures::future::join_all((0..100).map(|i| network.heartbeat(heartbeat(i), LONG)));
    let positions: Vec<u64> = soon(replies).await.into_iter().map(|r| r.unwrap().position).collect();
    assert_eq!(positions, (0..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_read_index_is_asked_for_and_answered() {
    let node = fake::node(2).await;
    let reply = soon(node.network().read_index(ReadIndexRequest { from: replica(1) }, LONG)).await.unwrap();
    assert_eq!((reply.from, reply.result), (replica(2), Ok(LogId::new(1, 1, 9))));
}

#[tokio::test]
async fn a_request_to_form_is_answered_before_there_is_a_core() {
    let node = fake::start(listener().await, identity(2), false, limits());
    let network = HttpNetwork::<T>::new(identity(1), HttpOptions::default());
    let peer = BasicNode::new(node.addr.to_string());
    let request = |name: &str| FormRequest {
        from: replica(1),
        to: 2,
        cluster_name: name.to_owned(),
        cluster_id: ClusterId(1),
    };
    let reply = soon(network.form(2, &peer, request("test"))).await.unwrap();
    assert_eq!(reply, FormReply::Recorded { from: replica(2), known: known() });
    let reply = soon(network.form(2, &peer, request("other"))).await.unwrap();
    assert_eq!(reply, FormReply::Refused { reason: "another name".to_owned() });
}

#[tokio::test]
async fn what_a_node_with_another_version_answers_to_a_request_to_form_reaches_the_one_who_asked() {
    let listener = listener().await;
    let peer = BasicNode::new(listener.local_addr().unwrap().to_string());
    let answer =
        || async { (StatusCode::BAD_REQUEST, [("x-raft-wire-version", "999")], "you are too old\n") };
    let server = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let network = HttpNetwork::<T>::new(identity(1), HttpOptions::default());
    let request =
        FormRequest { from: replica(1), to: 2, cluster_name: "test".to_owned(), cluster_id: ClusterId(1) };
    let error = soon(network.form(2, &peer, request)).await.unwrap_err();
    assert!(matches!(&error, NetworkError::Refused { reason, .. } if reason == "you are too old"), "{error}");
    server.abort();
}

#[tokio::test]
async fn a_request_to_join_needs_no_more_than_an_address() {
    let node = fake::start(listener().await, identity(2), false, limits());
    let network = HttpNetwork::<T>::new(identity(1), HttpOptions::default());
    let request = JoinRequest {
        from: replica(1),
        node: BasicNode::new("host:1"),
        cluster_name: "test".to_owned(),
        cluster_id: None,
        promote: true,
    };
    let reply = soon(network.join(&BasicNode::new(node.addr.to_string()), request.clone())).await.unwrap();
    assert_eq!(reply, JoinReply::AskLeader { node: request.node.clone() });
    let error = soon(network.join(&BasicNode::new("nowhere"), request)).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_peer_that_is_down_is_unreachable_at_once_and_reached_again_when_it_is_up() {
    // A port that is taken but not listened on: nobody else can be given it meanwhile.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = port.local_addr().unwrap();
    let network = network_from(identity(1), 2, addr, HttpOptions::default());
    let error = soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap_err();
    assert!(matches!(error, NetworkError::Unreachable { .. }), "{error}");
    let _node = fake::start(port.listen(128).unwrap(), identity(2), true, limits());
    soon(async {
        while network.heartbeat(heartbeat(2), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_peer_that_went_and_came_back_is_reached_on_a_new_connection() {
    let mut node = fake::node(2).await;
    let (addr, network) = (node.addr, node.network());
    soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap();
    node.begin_stop();
    soon(node.stopped()).await;
    soon(network.heartbeat(heartbeat(2), LONG)).await.unwrap_err();
    let _node = fake::start(TcpListener::bind(addr).await.unwrap(), identity(2), true, limits());
    soon(async {
        while network.heartbeat(heartbeat(3), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn while_a_pause_lasts_no_attempt_is_made() {
    let port = listener().await;
    let addr = port.local_addr().unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = attempts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = port.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            drop(stream);
        }
    });
    let options = HttpOptions { backoff_min: LONG, backoff_max: LONG, ..HttpOptions::default() };
    let network = network_from(identity(1), 2, addr, options);
    for i in 0..100 {
        let error = soon(network.heartbeat(heartbeat(i), LONG)).await.unwrap_err();
        assert!(matches!(error, NetworkError::Unreachable { .. }), "{error}");
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_peer_that_takes_connections_and_says_nothing_costs_no_more_than_the_deadline() {
    let port = listener().await;
    let network = network_from(identity(1), 2, port.local_addr().unwrap(), HttpOptions::default());
    let within = Duration::from_millis(20);
    let error = soon(network.heartbeat(heartbeat(1), within)).await.unwrap_err();
    assert!(matches!(error, NetworkError::Timeout { after, .. } if after == within), "{error}");
}

#[tokio::test]
async fn a_deadline_too_short_for_connecting_does_not_keep_the_connection_from_being_made() {
    let node = fake::node(2).await;
    let network = node.network();
    soon(async {
        while network.heartbeat(heartbeat(1), Duration::from_micros(300)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_that_names_it() {
    let network = HttpNetwork::<T>::new(identity(1), HttpOptions::default());
    let network = network.network(2, &BasicNode::new("nowhere"));
    let error = soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}
