//! A cluster without a quorum: what was not proposed and what is unknown are told apart, in words and in exit codes.

use crate::harness::{Cluster, assert_refused, eventually, stdout_of};

#[test]
fn a_write_that_the_leader_cannot_commit_is_of_unknown_outcome() {
    // The leader steps down late, so that the write surely reaches it while it leads; its deadline comes before.
    let options = ["--election-min-ms", "5000", "--election-max-ms", "6000", "--write-timeout-ms", "1500"];
    let (mut cluster, started) = Cluster::start(&options);
    let others: Vec<usize> = (1..=3).filter(|id| *id != started.leader).collect();
    cluster.kill_at_once(&others);
    let message = cluster.http(started.leader, "PUT", "/v1/kv/k", b"v").error(504, "outcome_unknown");
    assert!(message.contains("may or may not have happened"), "{message}");
    let put = cluster.client_of(cluster.address(started.leader), "put", &["k2", "v"]);
    assert_refused(&put, 3, &["raft-kv: outcome unknown"]);
}

#[test]
fn a_write_that_nobody_took_is_certainly_not_done() {
    let (mut cluster, started) = Cluster::start(&["--write-timeout-ms", "1000"]);
    assert_eq!(cluster.http(1, "PUT", "/v1/kv/k", b"v").status, 200);
    let others: Vec<usize> = (1..=3).filter(|id| *id != started.leader).collect();
    cluster.kill_at_once(&others);
    eventually("the leader to step down", || {
        (cluster.status(started.leader)?["role"] != "leader").then_some(())
    });
    let last = started.leader;
    let message = cluster.http(last, "PUT", "/v1/kv/k", b"w").error(504, "not_proposed");
    assert!(message.contains("safe to try again") && message.contains("2 of the nodes 1, 2, 3"), "{message}");
    cluster.http(last, "DELETE", "/v1/kv/k", b"").error(504, "not_proposed");
    let message = cluster.http(last, "GET", "/v1/kv/k", b"").error(504, "read_timed_out");
    assert!(message.contains("consistency=stale"), "{message}");
    assert_eq!(cluster.http(last, "GET", "/v1/kv/k?consistency=stale", b"").body, b"v");
    assert_eq!(
        stdout_of(&cluster.client_of(cluster.address(last), "get", &["--consistency", "stale", "k"])),
        "v\n"
    );

    let put = cluster.client("put", &["--timeout-ms", "1000", "k", "w"]);
    assert_refused(&put, 1, &["no node took the request"]);

    // With a quorum again, the cluster serves and nothing of it was written.
    others.iter().for_each(|id| cluster.start_node(*id));
    cluster.wait_for_leader();
    assert_eq!(cluster.http(1, "GET", "/v1/kv/k", b"").body, b"v");
}
