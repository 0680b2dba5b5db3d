//! Stories over clusters of real cores in memory, on virtual time.

use std::time::Duration;

use futures::FutureExt;
use openraft_core::{
    Config, Fatal, InitializeError, ReadIndexError, ReadPolicy, ServerState, TransferError, WriteError,
};
use openraft_tests::cluster::{Cluster, initial};

fn config() -> Config {
    Config { snapshot_every_entries: None, ..Config::default() }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_applied_on_every_node_in_the_same_order() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let writes = (0..100).map(|i| cluster.raft(leader).client_write(format!("w{i}")));
    let replies = futures::future::try_join_all(writes).await.unwrap();
    let last = replies.iter().map(|reply| reply.log_id.index).max().unwrap();
    assert_eq!(replies.iter().map(|reply| reply.reply).max(), Some(99));
    for id in 1..=3 {
        cluster.applied(id, last).await;
        assert_eq!(cluster.names(id), cluster.names(leader));
    }
    assert_eq!(cluster.names(leader).len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_follower_refuses_writes_and_reads_and_names_the_leader() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster
        .raft(follower)
        .wait(None)
        .metrics(|m| m.current_leader == Some(leader), "the leader")
        .await
        .unwrap();
    let Err(WriteError::NotLeader(to)) = cluster.raft(follower).client_write("x".into()).await else {
        panic!("a follower took a write")
    };
    assert_eq!(to.leader.unwrap().0, leader);
    let read = cluster.raft(follower).ensure_linearizable(ReadPolicy::ReadIndex).await;
    assert!(matches!(read, Err(ReadIndexError::NotLeader(to)) if to.leader.clone().unwrap().0 == leader));
}

#[tokio::test(start_paused = true)]
async fn a_leader_cut_off_says_unknown_to_what_it_proposed_and_its_place_is_taken() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    cluster.router.isolate(old);
    let stuck = cluster.raft(old).client_write("stuck".into());
    let read = cluster.raft(old).ensure_linearizable(ReadPolicy::ReadIndex);
    let (stuck, read) = tokio::join!(stuck, read);
    assert!(matches!(stuck, Err(WriteError::OutcomeUnknown { .. })), "{stuck:?}");
    assert!(matches!(read, Err(ReadIndexError::NotLeader(_))), "{read:?}");
    assert_ne!(
        cluster.raft(old).metrics().borrow().state,
        ServerState::Leader,
        "check-quorum made it step down"
    );
    assert!(matches!(cluster.raft(old).client_write("no".into()).await, Err(WriteError::NotLeader(_))));

    let rest = cluster.others(old);
    let new = cluster.leader_among(&rest).await;
    let reply = cluster.raft(new).client_write("after".into()).await.unwrap();
    cluster.router.heal();
    cluster.applied(old, reply.log_id.index).await;
    assert_eq!(cluster.names(old), ["after"], "what was never committed is gone from the old leader too");
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_quorum_ends_by_its_deadline_and_is_never_called_refused() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    cluster.router.isolate(leader);
    let write = cluster.raft(leader).client_write_within("late".into(), Duration::from_millis(50)).await;
    let Err(error) = write else { panic!("a write without a quorum was acknowledged") };
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(error.to_string().contains("deadline"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_stopped_whole_comes_back_with_everything() {
    let mut cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    for i in 0..20 {
        cluster.raft(leader).client_write(format!("w{i}")).await.unwrap();
    }
    let before = cluster.names(leader);
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    let leader = cluster.leader().await;
    cluster.raft(leader).ensure_linearizable(ReadPolicy::ReadIndex).await.unwrap();
    assert_eq!(cluster.names(leader), before);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_away_longer_than_the_log_reaches_gets_the_snapshot() {
    let config = Config {
        snapshot_every_entries: Some(50),
        snapshot_keep_entries: 10,
        purge_pin_bytes: 2_000,
        ..Config::default()
    };
    let mut cluster = Cluster::start(3, config).await;
    let leader = cluster.leader().await;
    let away = cluster.others(leader)[0];
    cluster.stop(away).await;
    for i in 0..400 {
        cluster.raft(leader).client_write(format!("w{i}")).await.unwrap();
    }
    let metrics = cluster.raft(leader).wait(None).metrics(|m| m.purged.is_some(), "a purge").await.unwrap();
    let held = cluster.raft(away).metrics().borrow().last_log;
    assert!(metrics.purged > held, "the log no longer reaches back to where the follower left");
    cluster.restart(away).await;
    let reply = cluster.raft(leader).client_write("last".into()).await.unwrap();
    cluster.applied(away, reply.log_id.index).await;
    assert_eq!(cluster.names(away), cluster.names(leader));
    let snapshot = cluster.raft(away).metrics().borrow().snapshot;
    assert!(snapshot >= metrics.purged, "it came by snapshot: {snapshot:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_slow_disk_holds_up_is_bounded_by_the_budget() {
    let config = Config {
        memory_budget_bytes: 200_000,
        max_proposal_bytes: 10_000,
        election_timeout_min_ms: 500_000,
        election_timeout_max_ms: 1_000_000,
        stall_timeout_ms: None,
        ..config()
    };
    let cluster = Cluster::start(1, config).await;
    cluster.nodes[&1].disk.fail("held up");
    // The failing disk stops the node; before it knows, writes are refused beyond the budget and not queued for ever.
    let writes = (0..100).map(|_| cluster.raft(1).client_write("x".repeat(5_000)).boxed());
    let results = futures::future::join_all(writes).await;
    let overloaded = results.iter().filter(|r| matches!(r, Err(WriteError::Overloaded { .. }))).count();
    assert!((70..100).contains(&overloaded), "{overloaded} of 100 writes were refused");
    assert!(results.iter().all(Result::is_err));
}

#[tokio::test(start_paused = true)]
async fn a_failed_disk_stops_the_node_with_the_cause() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    cluster.nodes[&leader].disk.fail("no space left on device");
    let write = cluster.raft(leader).client_write("x".into()).await;
    assert!(write.as_ref().is_err_and(WriteError::is_outcome_unknown), "{write:?}");
    let Err(Fatal::Storage(error)) = cluster.raft(leader).shutdown().await else { panic!("it goes on") };
    assert!(error.to_string().contains("no space left on device"), "{error}");
    let next = cluster.raft(leader).client_write("y".into()).await;
    assert!(matches!(next, Err(WriteError::Fatal(Fatal::Storage(_)))), "{next:?}");
    let rest = cluster.others(leader);
    let new = cluster.leader_among(&rest).await;
    cluster.raft(new).client_write("z".into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_application_that_panics_stops_its_node_with_the_words_of_the_panic() {
    let cluster = Cluster::start(1, config()).await;
    let write = cluster.raft(1).client_write("panic".into()).await;
    assert!(write.as_ref().is_err_and(WriteError::is_outcome_unknown), "{write:?}");
    let Err(fatal) = cluster.raft(1).shutdown().await else { panic!("it goes on") };
    assert!(fatal.to_string().contains("the application does not survive"), "{fatal}");
}

#[tokio::test(start_paused = true)]
async fn an_oversized_write_is_refused_before_it_is_queued() {
    let cluster = Cluster::start(1, Config { max_proposal_bytes: 1_000, ..config() }).await;
    let write = cluster.raft(1).client_write("x".repeat(1_001)).await;
    assert!(matches!(write, Err(WriteError::TooLarge { limit: 1_000, .. })), "{write:?}");
    cluster.raft(1).client_write("x".repeat(900)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn forming_can_be_repeated_with_the_same_list_and_with_no_other() {
    let cluster = Cluster::start(3, config()).await;
    cluster.raft(1).initialize(initial(3)).await.unwrap();
    let other = cluster.raft(1).initialize(initial(2)).await;
    assert!(matches!(other, Err(InitializeError::Refused(_))), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_node_finishes_what_was_proposed_and_refuses_the_rest() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let writes: Vec<_> =
        (0..50).map(|i| cluster.raft(leader).client_write(format!("w{i}")).boxed()).collect();
    let (results, stopped) = tokio::join!(futures::future::join_all(writes), cluster.raft(leader).shutdown());
    stopped.unwrap();
    for result in &results {
        // Applied, or certainly not proposed: nobody is left with an unknown outcome.
        assert!(matches!(result, Ok(_) | Err(WriteError::NotLeader(_))), "{result:?}");
    }
    assert!(matches!(
        cluster.raft(leader).client_write("x".into()).await,
        Err(WriteError::Fatal(Fatal::Stopped))
    ));
}

#[tokio::test(start_paused = true)]
async fn leadership_is_handed_over_under_load_and_no_write_is_lost_or_of_unknown_outcome() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let target = cluster.others(old)[1];
    let writes = (0..200).map(|i| cluster.raft(old).client_write(format!("w{i}")));
    let (results, transferred) =
        tokio::join!(futures::future::join_all(writes), cluster.raft(old).transfer_leader(Some(target)));
    transferred.unwrap();
    cluster.raft(target).wait(None).state(ServerState::Leader).await.unwrap();
    let mut acknowledged = 0;
    for result in &results {
        match result {
            Ok(_) => acknowledged += 1,
            Err(WriteError::NotLeader(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let reply = cluster.raft(target).client_write("after".into()).await.unwrap();
    assert_eq!(reply.reply, acknowledged);
    let again = cluster.raft(old).transfer_leader(None).await;
    assert!(matches!(again, Err(TransferError::NotLeader(_))), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_transfer_to_a_node_that_cannot_take_over_fails_and_the_writes_that_waited_are_done_here() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    cluster.router.isolate(target);
    cluster.raft(leader).client_write("ahead of the target".into()).await.unwrap();
    let transfer = cluster.raft(leader).transfer_leader(Some(target));
    let write = async {
        cluster.raft(leader).wait(None).leader().await.unwrap();
        cluster.raft(leader).client_write("waits".into()).await
    };
    let (transfer, write) = tokio::join!(transfer, write);
    assert!(matches!(transfer, Err(TransferError::Refused(_))), "{transfer:?}");
    write.unwrap();
    assert_eq!(cluster.leader().await, leader);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_shut_down_hands_over_first() {
    let mut cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let term = cluster.raft(old).metrics().borrow().vote.term;
    cluster.stop(old).await;
    let rest = cluster.others(old);
    let new = cluster.leader_among(&rest).await;
    let metrics = cluster.raft(new).metrics().borrow().clone();
    assert_eq!(metrics.vote.term, term + 1, "no election timeout passed, no second campaign was needed");
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_together_are_served_together() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let written = cluster.raft(leader).client_write("x".into()).await.unwrap();
    let reads = (0..1_000).map(|_| cluster.raft(leader).ensure_linearizable(ReadPolicy::ReadIndex));
    for upto in futures::future::try_join_all(reads).await.unwrap() {
        assert!(upto >= written.log_id);
    }
}
