//! Stories of state hashes: nodes whose state machines are not deterministic find out.

#![allow(clippy::disallowed_methods)] // The test's own time, which is virtual.

use std::time::Duration;

use openraft_core::{Config, InvalidConfig};
use openraft_tests::cluster::Cluster;

fn every(entries: u64) -> Config {
    Config { state_hash_every: Some(entries), ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn followers_that_went_another_way_say_so_and_go_on() {
    let cluster = Cluster::start(3, every(10)).await;
    let leader = cluster.leader().await;
    for i in 0..30 {
        cluster.raft(leader).client_write(format!("w{i}")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for id in 1..=3 {
        assert_eq!(cluster.raft(id).metrics().borrow().state_hash_mismatch, None, "node {id}");
    }
    let thrown = cluster.raft(leader).client_write("dice".into()).await.unwrap().log_id.index;
    for i in 0..30 {
        cluster.raft(leader).client_write(format!("x{i}")).await.unwrap();
    }
    for id in cluster.others(leader) {
        let wait = cluster.raft(id).wait(Some(Duration::from_secs(1)));
        let metrics = wait.metrics(|m| m.state_hash_mismatch.is_some(), "the alarm").await.unwrap();
        let mismatch = metrics.state_hash_mismatch.unwrap();
        assert!(mismatch.index > thrown && mismatch.index.is_multiple_of(10), "{mismatch:?} after {thrown}");
        assert_eq!(mismatch.leader, leader);
        assert_ne!(mismatch.own, mismatch.leaders);
    }
    assert_eq!(cluster.raft(leader).metrics().borrow().state_hash_mismatch, None);
    let last = cluster.raft(leader).client_write("nothing is stopped".into()).await.unwrap();
    for id in 1..=3 {
        cluster.applied(id, last.log_id.index).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_fed_by_a_snapshot_hashes_the_same() {
    let config = Config {
        snapshot_every_entries: Some(50),
        snapshot_keep_entries: 10,
        purge_pin_bytes: 1_000,
        ..every(10)
    };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.stop(away).await;
    for i in 0..200 {
        cluster.raft(leader).client_write(format!("w{i}")).await.unwrap();
    }
    cluster.restart(away).await;
    for i in 0..20 {
        let written = cluster.raft(leader).client_write(format!("x{i}")).await.unwrap();
        cluster.applied(away, written.log_id.index).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = cluster.raft(away).metrics().borrow().clone();
    assert!(metrics.snapshot.is_some() && metrics.state_hash_mismatch.is_none(), "{metrics:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_interval_nothing_is_compared_and_zero_is_none() {
    assert_eq!(every(0).validate(), Err(InvalidConfig::ZeroHashInterval));
    let cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    for name in ["dice", "a", "dice", "b"] {
        cluster.raft(leader).client_write(name.into()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for id in 1..=3 {
        assert_eq!(cluster.raft(id).metrics().borrow().state_hash_mismatch, None, "node {id}");
    }
}
