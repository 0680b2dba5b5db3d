//! Recording peers and the cluster: the first one for ever.

use openraft_adapters::IdentityStore;
use openraft_adapters::engine::{ClusterId, Replica, StoreId};

use crate::support::open;

fn replica(node_id: u64, store: u128) -> Replica<u64> {
    Replica { node_id, store_id: StoreId(store) }
}

#[tokio::test]
async fn the_first_store_recorded_for_a_peer_wins_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let store = open(dir.path());
        assert_eq!(store.record_peer(replica(2, 20)).await.unwrap(), replica(2, 20));
        assert_eq!(store.record_peer(replica(2, 21)).await.unwrap(), replica(2, 20));
        assert_eq!(store.record_peer(replica(3, 30)).await.unwrap(), replica(3, 30));
    }
}

#[tokio::test]
async fn of_two_stores_recorded_at_once_one_wins_for_both() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = tokio::join!(store.record_peer(replica(2, 20)), store.record_peer(replica(2, 21)));
    assert_eq!(a.unwrap(), b.unwrap());
}

#[tokio::test]
async fn a_record_whose_caller_went_away_stands() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut first = store.record_peer(replica(2, 20));
    // Polled once, then dropped.
    std::future::poll_fn(|context| {
        let _ = first.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(first);
    assert_eq!(store.record_peer(replica(2, 21)).await.unwrap(), replica(2, 20));
    drop(store);
    assert_eq!(open(dir.path()).record_peer(replica(2, 22)).await.unwrap(), replica(2, 20));
}

#[tokio::test]
async fn another_cluster_is_refused_once_one_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(store.identity().cluster_id, None);
    store.record_cluster(ClusterId(5)).await.unwrap();
    assert_eq!(store.identity().cluster_id, Some(ClusterId(5)));
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.identity().cluster_id, Some(ClusterId(5)));
    store.record_cluster(ClusterId(5)).await.unwrap();
    let error = store.record_cluster(ClusterId(6)).await.unwrap_err();
    assert!(error.to_string().contains("belongs to cluster"), "{error}");
}
