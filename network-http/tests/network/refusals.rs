//! Handshakes that fail, over the wire: each reason reaches the one who connected.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::NetworkError;
use openraft_engine::{ClusterId, Replica, StoreId};
use openraft_network_http::HttpOptions;

use crate::fake::{
    self, FakeIdentity, LONG, append, heartbeat, identity, limits, listener, network_from, soon,
};

fn changed(change: impl FnOnce(&mut openraft_adapters::Identity<u64>)) -> Arc<FakeIdentity> {
    let identity = identity(1);
    change(&mut identity.0.lock().unwrap());
    identity
}

#[tokio::test]
async fn every_reason_for_a_refusal_reaches_the_one_who_connected_and_the_server_goes_on() {
    let node = fake::node(2).await;
    let table = [
        (changed(|i| i.cluster_name = "other".to_owned()), 2, "belongs to the cluster \"test\""),
        (changed(|i| i.cluster_id = Some(ClusterId(43))), 2, "formed with different lists"),
        (changed(|i| i.cluster_id = None), 2, "you are not in a cluster yet"),
        (identity(1), 3, "it is node 2, not node 3"),
        (changed(|i| i.replica = Replica { node_id: 2, store_id: StoreId(1) }), 2, "two nodes with one id"),
    ];
    for (identity, target, words) in table {
        let network = network_from(identity, target, node.addr, HttpOptions::default());
        let error = soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap_err();
        assert!(matches!(&error, NetworkError::Refused { reason, .. } if reason.contains(words)), "{error}");
        // Another try within the pause is answered alike, without a connection; other lanes share it.
        assert_eq!(soon(network.heartbeat(heartbeat(2), LONG)).await.unwrap_err(), error);
        assert_eq!(soon(network.append(append(1, 10), LONG)).await.unwrap_err(), error);
    }
    soon(node.network().heartbeat(heartbeat(1), LONG)).await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_not_formed_or_not_started_refuses_until_it_is() {
    let forming = identity(2);
    forming.0.lock().unwrap().cluster_id = None;
    let node = fake::start(listener().await, forming.clone(), true, limits());
    let network = node.network();
    let error = soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("it is not in a cluster yet"), "{error}");
    forming.0.lock().unwrap().cluster_id = Some(ClusterId(42));
    soon(async {
        while network.heartbeat(heartbeat(2), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let starting = fake::start(listener().await, identity(3), false, limits());
    let error = soon(starting.network().heartbeat(heartbeat(1), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("it is starting"), "{error}");
}

#[tokio::test]
async fn our_own_identity_is_read_at_each_handshake() {
    let node = fake::node(2).await;
    let forming = changed(|i| i.cluster_id = None);
    let network = network_from(forming.clone(), 2, node.addr, HttpOptions::default());
    soon(network.heartbeat(heartbeat(1), LONG)).await.unwrap_err();
    forming.0.lock().unwrap().cluster_id = Some(ClusterId(42));
    soon(async {
        while network.heartbeat(heartbeat(2), LONG).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
