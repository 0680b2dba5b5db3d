//! Stories of the byte budget: it is spent, it is given back, and nobody stays stuck on it.

#![allow(clippy::disallowed_methods)] // The test's own time, which is virtual.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use openraft_core::{Config, ReadIndexError, ReadPolicy, ServerState, WriteError, WriteLimit};
use openraft_tests::cluster::{Cluster, Names};

/// Room for some thirty writes of 300 bytes.
fn small() -> Config {
    Config {
        snapshot_every_entries: None,
        memory_budget_bytes: 24_000,
        max_proposal_bytes: 2_000,
        ..Config::default()
    }
}

fn filler(i: usize) -> String {
    format!("{i}-{}", "x".repeat(300))
}

/// Waits until nothing is held on any node.
async fn nothing_held(cluster: &Cluster) {
    for id in cluster.nodes.keys() {
        let wait = cluster.raft(*id).wait(Some(Duration::from_secs(20)));
        wait.metrics(|m| m.held_bytes == 0, format!("node {id} to hold nothing")).await.unwrap();
    }
}

/// Writes until `id` has refused ten writes as overloaded; the rest are left waiting in the background.
async fn fill(cluster: &Cluster, id: u64) -> tokio::task::JoinHandle<usize> {
    let raft = cluster.raft(id).clone();
    let writes = (0..200).map(move |i| {
        let raft = raft.clone();
        async move { raft.client_write(filler(i)).await }
    });
    let all = join_all(writes).map(|results| {
        results.iter().filter(|result| matches!(result, Err(WriteError::Overloaded { .. }))).count()
    });
    #[allow(clippy::disallowed_methods)] // A client of the story, not a task of a node.
    let task = tokio::spawn(all);
    let limit = cluster.raft(id).metrics().borrow().held_bytes_limit;
    let wait = cluster.raft(id).wait(Some(Duration::from_secs(1)));
    wait.metrics(|m| m.held_bytes > limit - 1_000, "the budget to be spent").await.unwrap();
    task
}

#[tokio::test(start_paused = true)]
async fn after_bursts_and_refusals_nothing_is_held() {
    let cluster = Cluster::start(3, small()).await;
    let leader = cluster.leader().await;
    let mut refused = 0;
    for _ in 0..20 {
        let writes = (0..100).map(|i| cluster.raft(leader).client_write(filler(i)));
        let results = join_all(writes).await;
        refused += results.iter().filter(|r| matches!(r, Err(WriteError::Overloaded { .. }))).count();
        let follower = cluster.others(leader)[0];
        let turned_away = cluster.raft(follower).client_write(filler(0)).await;
        assert!(matches!(turned_away, Err(WriteError::NotLeader(_))), "{turned_away:?}");
    }
    assert!(refused > 0, "the bursts were to go beyond the budget");
    assert!(cluster.names(leader).len() > 100);
    nothing_held(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_full_of_undecided_writes_takes_its_successors_log_and_holds_nothing() {
    let cluster = Cluster::start(3, small()).await;
    let old = cluster.leader().await;
    cluster.router.isolate(old);
    let refused = fill(&cluster, old).await;
    let rest = cluster.others(old);
    let new = cluster.leader_among(&rest).await;
    assert!(refused.await.unwrap() > 0);
    for i in 0..10 {
        cluster.raft(new).client_write(format!("new {}", filler(i))).await.unwrap();
    }
    cluster.router.heal();
    let last = cluster.raft(new).client_write("last".into()).await.unwrap();
    cluster.applied(old, last.log_id.index).await;
    assert_eq!(cluster.names(old), cluster.names(new));
    nothing_held(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_application_stands_still_turns_busy_instead_of_growing_and_then_recovers() {
    let cluster = Cluster::start(3, small()).await;
    let leader = cluster.leader().await;
    let slow = cluster.others(leader)[0];
    cluster.nodes[&slow].brake.pull();
    let mut last = 0;
    for i in 0..200 {
        last = cluster.raft(leader).client_write(filler(i)).await.unwrap().log_id.index;
        let metrics = cluster.raft(slow).metrics().borrow().clone();
        assert!(metrics.held_bytes <= metrics.held_bytes_limit, "{metrics:?}");
    }
    let behind = cluster.raft(slow).metrics().borrow().last_log;
    assert!(behind.is_some_and(|behind| behind.index + 100 < last), "it took only what it had room for");
    cluster.nodes[&slow].brake.release();
    cluster.applied(slow, last).await;
    assert_eq!(cluster.names(slow), cluster.names(leader));
    nothing_held(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_application_stands_still_refuses_writes_and_answers_the_others_by_their_deadline() {
    let cluster = Cluster::start(1, small()).await;
    cluster.nodes[&1].brake.pull();
    let writes = (0..100).map(|i| cluster.raft(1).client_write_within(filler(i), Duration::from_secs(2)));
    let results = tokio::time::timeout(Duration::from_secs(3), join_all(writes)).await;
    let results =
        results.expect("every write is answered by its deadline, also behind a blocked application");
    let overloaded = results.iter().filter(|r| matches!(r, Err(WriteError::Overloaded { .. }))).count();
    let unknown = results.iter().filter(|r| matches!(r, Err(WriteError::OutcomeUnknown { .. }))).count();
    assert!(overloaded > 50 && unknown > 10, "{overloaded} overloaded, {unknown} unknown");
    assert_eq!(overloaded + unknown, 100);
    let read = cluster.raft(1).ensure_linearizable(ReadPolicy::ReadIndex).await;
    assert_eq!(read, Err(ReadIndexError::TimedOut));
    cluster.nodes[&1].brake.release();
    cluster.raft(1).client_write("after".into()).await.unwrap();
    assert_eq!(cluster.names(1).len(), unknown + 1, "what was of unknown outcome took effect after all");
    nothing_held(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_snapshot_was_installed_nothing_is_held() {
    let config = Config {
        snapshot_every_entries: Some(20),
        snapshot_keep_entries: 5,
        purge_pin_bytes: 4_000,
        ..small()
    };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.router.isolate(away);
    for i in 0..200 {
        cluster.raft(leader).client_write(filler(i)).await.unwrap();
    }
    cluster.router.heal();
    let leader = cluster.leader().await;
    let last = cluster.raft(leader).client_write("last".into()).await.unwrap();
    cluster.applied(away, last.log_id.index).await;
    let metrics = cluster.raft(away).metrics().borrow().clone();
    assert!(metrics.purged.is_some(), "{metrics:?}");
    assert_eq!(metrics.purged, metrics.snapshot, "behind a snapshot of its own it would keep five entries");
    nothing_held(&cluster).await;
}

/// What the log store of a node holds.
fn log_bytes(cluster: &Cluster, id: u64) -> u64 {
    cluster.nodes[&id].disk.log_bytes()
}

#[tokio::test(start_paused = true)]
async fn while_a_follower_is_away_the_log_grows_by_what_it_may_pin_and_no_more() {
    let config = Config {
        snapshot_every_bytes: Some(20_000),
        snapshot_keep_entries: 5,
        purge_pin_bytes: 40_000,
        ..small()
    };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.router.isolate(away);
    let (mut greatest, mut written) = (0, 0);
    for i in 0..500 {
        cluster.raft(leader).client_write(filler(i)).await.unwrap();
        written += 400;
        greatest = log_bytes(&cluster, leader).max(greatest);
    }
    // Pinned, applied since the last snapshot, and what a snapshot under way leaves behind.
    assert!(greatest > 40_000, "it was pinned at all: {greatest}");
    assert!(greatest < 40_000 + 2 * 20_000, "{greatest} of {written} bytes");
    cluster.router.heal();
    let leader = cluster.leader().await;
    let last = cluster.raft(leader).client_write("last".into()).await.unwrap();
    cluster.applied(away, last.log_id.index).await;
    assert_eq!(cluster.names(away), cluster.names(leader));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_away_for_too_long_pins_nothing() {
    let config = Config {
        snapshot_every_bytes: Some(20_000),
        snapshot_keep_entries: 5,
        purge_pin_absence_ms: 20_000,
        ..small()
    };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.router.isolate(away);
    for i in 0..300 {
        cluster.raft(leader).client_write(filler(i)).await.unwrap();
    }
    assert!(log_bytes(&cluster, leader) > 100_000, "all of it, for the one that is away");
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(cluster.raft(leader).metrics().borrow().state, ServerState::Leader);
    assert!(log_bytes(&cluster, leader) < 40_000);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_applied_something_builds_a_snapshot_after_its_interval_and_then_none() {
    let config = Config { snapshot_interval_ms: Some(60_000), ..small() };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let written = cluster.raft(leader).client_write("a".into()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(55)).await;
    assert_eq!(cluster.raft(leader).metrics().borrow().snapshot, None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    for id in 1..=3 {
        assert_eq!(cluster.raft(id).metrics().borrow().snapshot, Some(written.log_id), "node {id}");
    }
    assert!(!cluster.raft(leader).trigger().snapshot().await.unwrap(), "nothing new");
}

/// How many of `results` were refused by which limit.
fn refused<T>(results: &[Result<T, WriteError<Names>>], limit: WriteLimit) -> usize {
    results.iter().filter(|r| matches!(r, Err(WriteError::Overloaded { by, .. }) if *by == limit)).count()
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_a_quorum_takes_no_more_than_its_limit_of_uncommitted_bytes_and_says_so() {
    let config = Config {
        memory_budget_bytes: 1 << 20,
        max_uncommitted_bytes: 10_000,
        election_timeout_min_ms: 50_000,
        election_timeout_max_ms: 100_000,
        stall_timeout_ms: None,
        ..small()
    };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    cluster.router.isolate(leader);
    let writes =
        (0..100).map(|i| cluster.raft(leader).client_write_within(filler(i), Duration::from_secs(1)));
    let results = join_all(writes).await;
    let (by_limit, all) = (refused(&results, WriteLimit::Uncommitted), results.len());
    assert!((70..80).contains(&by_limit), "{by_limit} of {all} refused, some 25 of 400 bytes taken");
    let metrics = cluster.raft(leader).metrics().borrow().clone();
    assert!((9_000..=10_000).contains(&metrics.uncommitted_bytes), "{metrics:?}");
    let error = results.iter().find_map(|r| r.as_ref().err().filter(|e| !e.is_outcome_unknown()));
    let text = error.expect("some were refused").to_string();
    assert!(text.contains("max_uncommitted_bytes") && text.contains("followers"), "{text}");
    cluster.router.heal();
    cluster.raft(leader).client_write("after".into()).await.unwrap();
    assert_eq!(cluster.raft(leader).metrics().borrow().uncommitted_bytes, 0);
    nothing_held(&cluster).await;
}

#[tokio::test(start_paused = true)]
async fn one_write_of_any_permitted_size_is_taken_when_nothing_is_uncommitted() {
    let cluster = Cluster::start(3, Config { max_uncommitted_bytes: 1, ..small() }).await;
    let leader = cluster.leader().await;
    for i in 0..3 {
        cluster.raft(leader).client_write(filler(i)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_application_is_behind_by_more_than_the_limit_takes_no_writes_and_says_so() {
    let config = Config { memory_budget_bytes: 1 << 20, max_unapplied_bytes: 10_000, ..small() };
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    cluster.nodes[&leader].brake.pull();
    let mut results = Vec::new();
    for i in 0..100 {
        let write = cluster.raft(leader).client_write_within(filler(i), Duration::from_millis(10));
        results.push(write.await);
    }
    let by_limit = refused(&results, WriteLimit::Unapplied);
    assert!((65..80).contains(&by_limit), "{by_limit} refused");
    assert!(cluster.raft(leader).metrics().borrow().unapplied_bytes > 10_000);
    cluster.nodes[&leader].brake.release();
    let wait = cluster.raft(leader).wait(Some(Duration::from_secs(1)));
    wait.metrics(|m| m.unapplied_bytes == 0, "everything to be applied").await.unwrap();
    cluster.raft(leader).client_write("after".into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_to_apply_weighs_no_more_than_its_limit() {
    let config = Config { memory_budget_bytes: 1 << 20, max_apply_bytes: 1_000, ..small() };
    let cluster = Cluster::start(1, config).await;
    cluster.nodes[&1].brake.pull();
    let writes = (0..30).map(|i| cluster.raft(1).client_write(filler(i)));
    let release = async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        cluster.nodes[&1].brake.release();
    };
    let (results, ()) = futures::join!(join_all(writes), release);
    assert!(results.iter().all(Result::is_ok));
    let batches = cluster.nodes[&1].brake.batches();
    assert!(batches.iter().all(|weight| *weight <= 1_000), "{batches:?}");
    assert!(batches.iter().filter(|weight| **weight > 500).count() > 10, "two to a batch: {batches:?}");
}

#[tokio::test(start_paused = true)]
async fn a_read_beyond_the_limit_of_waiting_reads_is_refused() {
    let cluster = Cluster::start(3, Config { max_waiting_reads: 5, ..small() }).await;
    let leader = cluster.leader().await;
    cluster.router.isolate(leader);
    let reads = (0..20).map(|_| cluster.raft(leader).ensure_linearizable(ReadPolicy::ReadIndex));
    let results = join_all(reads).await;
    let refused = results.iter().filter(|r| **r == Err(ReadIndexError::Overloaded)).count();
    assert_eq!(refused, 15, "{results:?}");
}
