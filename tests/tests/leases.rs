//! Stories of lease reads, and of what is done by request, over whole clusters on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft_adapters::Env;
use openraft_adapters::memory::{Fate, MessageKind, Transit};
use openraft_core::{Config, ReadPolicy, ServerState};
use openraft_tests::cluster::Cluster;

fn config() -> Config {
    Config { lease_reads: true, ..Config::default() }
}

/// A cluster whose leader has been heard of and has committed something.
async fn cluster(config: Config) -> (Cluster, u64) {
    let cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    cluster.raft(leader).client_write("first".into()).await.unwrap();
    // More than a heartbeat, so that the promises of a quorum are in.
    Env::tokio().sleep(Duration::from_millis(150)).await;
    (cluster, leader)
}

/// No heartbeat is answered any more. Counts them.
fn silence(cluster: &Cluster) -> Arc<AtomicUsize> {
    let beats = Arc::new(AtomicUsize::new(0));
    let counted = beats.clone();
    cluster.router.set_faults(move |message: &Transit<u64>| {
        if message.kind != MessageKind::Heartbeat {
            return Fate::Deliver;
        }
        counted.fetch_add(usize::from(!message.reply), Ordering::Relaxed);
        Fate::Drop
    });
    beats
}

async fn reads_at_once(cluster: &Cluster, id: u64, policy: ReadPolicy) -> bool {
    let read = cluster.raft(id).ensure_linearizable(policy);
    Env::tokio().timeout(Duration::from_millis(1), read).await.is_ok_and(|read| read.is_ok())
}

#[tokio::test(start_paused = true)]
async fn while_the_lease_stands_a_read_costs_no_message_and_when_it_has_ended_it_waits_for_a_quorum() {
    let (cluster, leader) = cluster(config()).await;
    let beats = silence(&cluster);
    assert!(reads_at_once(&cluster, leader, ReadPolicy::Lease).await);
    assert_eq!(beats.load(Ordering::Relaxed), 0);
    assert!(!reads_at_once(&cluster, leader, ReadPolicy::ReadIndex).await, "this one asks");
    Env::tokio().sleep(Duration::from_millis(500)).await;
    assert!(!reads_at_once(&cluster, leader, ReadPolicy::Lease).await);
}

#[tokio::test(start_paused = true)]
async fn a_lease_read_sees_every_write_acknowledged_before() {
    let (cluster, leader) = cluster(config()).await;
    for i in 0..50 {
        let name = format!("w{i}");
        let written = cluster.raft(leader).client_write(name.clone()).await.unwrap();
        let upto = cluster.raft(leader).ensure_linearizable(ReadPolicy::Lease).await.unwrap();
        assert!(upto >= written.log_id);
        assert_eq!(cluster.names(leader).last(), Some(&name));
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_off_unless_asked_for() {
    let (cluster, leader) = cluster(Config::default()).await;
    silence(&cluster);
    assert!(!reads_at_once(&cluster, leader, ReadPolicy::Lease).await);
}

#[tokio::test(start_paused = true)]
async fn an_election_by_request_unseats_no_leader_that_is_well() {
    let (cluster, leader) = cluster(config()).await;
    let vote = cluster.raft(leader).metrics().borrow().vote;
    let follower = cluster.others(leader)[0];
    assert!(cluster.raft(follower).trigger().elect().await.unwrap());
    assert!(!cluster.raft(leader).trigger().elect().await.unwrap(), "it leads");
    Env::tokio().sleep(Duration::from_secs(3)).await;
    let metrics = cluster.raft(leader).metrics().borrow().clone();
    assert_eq!((metrics.state, metrics.vote), (ServerState::Leader, vote));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_by_request_goes_to_every_follower_and_a_forgotten_leader_is_known_again_by_it() {
    let (cluster, leader) = cluster(Config { heartbeat_interval_ms: 200, ..config() }).await;
    let follower = cluster.others(leader)[0];
    let raft = cluster.raft(follower);
    assert!(raft.trigger().forget_leader().await.unwrap());
    assert!(!raft.trigger().forget_leader().await.unwrap());
    assert_eq!(raft.metrics().borrow().current_leader, None);
    assert!(cluster.raft(leader).trigger().heartbeat().await.unwrap());
    assert!(!raft.trigger().heartbeat().await.unwrap());
    assert_eq!(raft.wait(None).leader().await.unwrap().current_leader, Some(leader));
}
