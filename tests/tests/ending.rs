//! Stories of how a node ends: asked to, by its last handle, by a panic; and what it holds on to until then.

#![allow(clippy::disallowed_methods)] // The test's own time, which is virtual.

use std::time::Duration;

use openraft_adapters::memory::{Fate, MessageKind, Transit};

use openraft_core::{Config, Fatal, ReadPolicy, ServerState, WriteError};
use openraft_tests::cluster::Cluster;

fn config() -> Config {
    Config { snapshot_every_entries: None, ..Config::default() }
}

/// `future`, which must be done within `secs` seconds.
async fn within<T>(secs: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(secs), future).await.expect("it ends in time")
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_goes_the_node_goes_with_all_its_tasks() {
    let mut cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    cluster.raft(leader).client_write("x".into()).await.unwrap();
    cluster.router.unregister(leader);
    let node = cluster.nodes.remove(&leader).unwrap();
    let mut metrics = node.raft.metrics();
    assert!(node.tasks.running().contains(&"replication"));
    drop(node.raft);
    within(5, async { while metrics.changed().await.is_ok() {} }).await;
    assert_eq!(metrics.borrow().fatal, Some(Fatal::Stopped));
    // A vote request of the election long past may have a moment left; nothing else has.
    within(5, async {
        while !node.tasks.running().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_while_a_follower_is_out_of_reach_and_leaves_no_task() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    cluster.router.isolate(cluster.others(leader)[0]);
    for i in 0..20 {
        cluster.raft(leader).client_write(format!("w{i}")).await.unwrap();
    }
    within(2, cluster.raft(leader).shutdown()).await.unwrap();
    let running = cluster.nodes[&leader].tasks.running();
    assert!(running.iter().all(|name| *name == "raft-core" || *name == "vote"), "{running:?}");
    let metrics = cluster.raft(leader).metrics().borrow().clone();
    assert_eq!((metrics.state, metrics.current_leader), (ServerState::Follower, None));
    assert!(metrics.followers.is_empty());
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_while_a_snapshot_transfer_hangs() {
    let config = Config {
        snapshot_every_entries: Some(20),
        snapshot_keep_entries: 5,
        purge_pin_bytes: 1_000,
        // So little memory that the follower cannot be fed from it.
        memory_budget_bytes: 24_000,
        max_proposal_bytes: 2_000,
        ..config()
    };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.stop(away).await;
    for _ in 0..100 {
        cluster.raft(leader).client_write("x".repeat(500)).await.unwrap();
    }
    let (hangs, mut hung) = tokio::sync::watch::channel(false);
    cluster.router.set_faults(move |message: &Transit<u64>| {
        if message.kind == MessageKind::Snapshot && !message.reply {
            hangs.send_replace(true);
            return Fate::Drop;
        }
        Fate::Deliver
    });
    cluster.restart(away).await;
    let begun = tokio::time::timeout(Duration::from_secs(20), hung.wait_for(|hung| *hung)).await;
    assert!(begun.is_ok(), "{:?}", cluster.raft(leader).metrics().borrow());
    drop(begun);
    within(2, cluster.raft(leader).shutdown()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_nobody_writes_a_snapshot_any_more() {
    let cluster = Cluster::start(1, config()).await;
    cluster.raft(1).client_write("x".into()).await.unwrap();
    let node = &cluster.nodes[&1];
    node.brake.pull();
    assert!(cluster.raft(1).trigger().snapshot().await.unwrap());
    within(2, cluster.raft(1).shutdown()).await.unwrap();
    assert!(!node.tasks.running().contains(&"snapshot"));
    node.brake.release();
    tokio::task::yield_now().await;
    assert_eq!(node.snapshots.current_meta(), None);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_panics_while_it_is_written_keeps_no_later_one_from_being_built() {
    let cluster = Cluster::start(1, config()).await;
    cluster.raft(1).client_write("x".into()).await.unwrap();
    cluster.nodes[&1].brake.spoil_next_snapshot();
    assert!(cluster.raft(1).trigger().snapshot().await.unwrap());
    within(5, async {
        while !cluster.raft(1).trigger().snapshot().await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let wait = cluster.raft(1).wait(Some(Duration::from_secs(5)));
    wait.metrics(|m| m.snapshot == m.applied, "the second snapshot").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_caller_of_a_node_that_panics_is_told_the_cause() {
    let cluster = Cluster::start(1, config()).await;
    let raft = cluster.raft(1);
    let (write, other) =
        tokio::join!(raft.client_write("panic".into()), raft.client_write("beside it".into()));
    for cause in [write.unwrap_err(), other.unwrap_err()] {
        assert!(
            matches!(&cause, WriteError::Fatal(Fatal::Panicked(text)) if text.contains("survive")),
            "{cause:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_node_that_stops_are_answered_though_its_application_never_returns() {
    let cluster = Cluster::start(1, config()).await;
    let raft = cluster.raft(1);
    cluster.nodes[&1].brake.pull();
    let stuck = raft.client_write("stuck".into());
    let stopping = async {
        raft.wait(None).metrics(|m| m.applied < m.committed, "the write to be committed").await.unwrap();
        raft.shutdown().await
    };
    let late = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        raft.client_write("late".into()).await
    };
    let stopping = async { tokio::time::timeout(Duration::from_secs(30), stopping).await };
    let answers = async { within(10, async { tokio::join!(stuck, late) }).await };
    let ((stuck, late), stopping) = tokio::join!(answers, stopping);
    assert!(matches!(stuck, Err(WriteError::OutcomeUnknown { .. })), "{stuck:?}");
    assert!(matches!(late, Err(WriteError::Fatal(Fatal::Stopped))), "{late:?}");
    assert!(stopping.is_err(), "shutdown waits for the application, which still runs");
    cluster.nodes[&1].brake.release();
    within(2, raft.shutdown()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_single_node_comes_back_with_everything_and_says_at_once_who_it_is() {
    let mut cluster = Cluster::start(1, config()).await;
    for i in 0..50 {
        cluster.raft(1).client_write(format!("w{i}")).await.unwrap();
    }
    assert!(cluster.raft(1).trigger().snapshot().await.unwrap());
    cluster.raft(1).client_write("after the snapshot".into()).await.unwrap();
    let before = cluster.names(1);
    cluster.stop(1).await;
    cluster.restart(1).await;
    let metrics = cluster.raft(1).metrics().borrow().clone();
    assert_eq!((metrics.id, metrics.state), (1, ServerState::Follower));
    cluster.leader().await;
    cluster.raft(1).ensure_linearizable(ReadPolicy::ReadIndex).await.unwrap();
    assert_eq!(cluster.names(1), before);
}
