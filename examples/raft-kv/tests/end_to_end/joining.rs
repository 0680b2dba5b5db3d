//! Nodes that join a running cluster, leave it and come back.

use crate::harness::{Cluster, assert_refused, eventually, request, stdout_of};

/// Waits until the leader lists node `id` with this role.
pub(crate) fn becomes(cluster: &Cluster, endpoints: &str, id: usize, role: &str) {
    eventually(&format!("node {id} to be a {role}"), || {
        let output = cluster.client_of(endpoints, "member list", &[]);
        let list = output.status.success().then(|| stdout_of(&output))?;
        let line = list.lines().find(|line| line.starts_with(&format!("{id} ")))?;
        (line.contains(&format!("  {role}  ")) || (role == "voter" && line.contains("  leader  ")))
            .then_some(())
    });
}

#[test]
fn one_command_adds_a_node_which_catches_up_and_votes() {
    let (mut cluster, started) = Cluster::start(&[]);
    let lines: String = (0..200).map(|i| format!("key-{i:03}\tvalue-{i}\n")).collect();
    assert!(cluster.client_with("import", &[], lines.as_bytes()).status.success());
    // A follower is asked, which names the leader.
    cluster.start_joiner(4, started.leader % 3 + 1, &[]);
    becomes(&cluster, &cluster.endpoints(), 4, "voter");
    assert_eq!(cluster.export(4), lines);
    assert_eq!(cluster.status(4).unwrap()["cluster_id"], cluster.status(1).unwrap()["cluster_id"]);
    // The same command continues, also when the member that it names is gone.
    cluster.stop(4);
    cluster.kill(started.leader % 3 + 1);
    cluster.start_node(4);
    eventually("node 4 to serve", || {
        (request(cluster.address(4), "GET", "/readyz", b"").ok()?.status == 200).then_some(())
    });
    assert_eq!(cluster.export(4), lines);
}

#[test]
fn a_learner_that_was_killed_while_it_joined_continues_and_votes_only_when_it_is_promoted() {
    let (mut cluster, _) = Cluster::start(&[]);
    stdout_of(&cluster.client("put", &["k", "v"]));
    cluster.start_joiner(4, 1, &["--learner"]);
    std::thread::sleep(std::time::Duration::from_millis(100));
    cluster.kill(4);
    cluster.start_node(4);
    becomes(&cluster, &cluster.endpoints(), 4, "learner");
    eventually("the learner to have the data", || {
        (cluster.status(4)?["keys"] == 1 && cluster.status(4)?["role"] == "learner").then_some(())
    });
    eventually("the learner to be promoted", || {
        let output = cluster.client("member promote", &["4"]);
        output.status.success().then_some(())
    });
    becomes(&cluster, &cluster.endpoints(), 4, "voter");

    // Removed, it runs on and can be added again as it is.
    assert!(stdout_of(&cluster.client("member remove", &["4"])).starts_with("ok, node 4 is removed"));
    assert_eq!(stdout_of(&cluster.client("member remove", &["4"])), "ok, node 4 is no member\n");
    let output = cluster.client("member promote", &["4"]);
    assert_refused(&output, 1, &["node 4 is not a member"]);
    let added = cluster.client("member add", &[cluster.address(4)]);
    assert!(stdout_of(&added).starts_with("ok, node 4 is a member"));
    becomes(&cluster, &cluster.endpoints(), 4, "voter");
}

#[test]
fn whoever_may_not_join_is_told_why_and_ends() {
    let (mut cluster, started) = Cluster::start(&[]);
    cluster.join_by(4, 1, &["--name", "other"]);
    assert_refused(&cluster.serve_to_its_end(4), 1, &["the cluster \"raft-kv\", not \"other\""]);
    // Another directory with the id of a member. Had that one led, the others would send the new one on to itself.
    let wiped = started.leader % 3 + 1;
    cluster.kill(wiped);
    std::fs::remove_dir_all(cluster.data(wiped)).unwrap();
    cluster.join_by(wiped, started.leader, &[]);
    let output = cluster.serve_to_its_end(wiped);
    let refusal = format!("node {wiped} is a member on the store");
    assert_refused(&output, 1, &[&refusal, "remove the node first"]);
    let output = cluster.client("member add", &[cluster.address(5)]);
    assert_refused(&output, 1, &[cluster.address(5), "cannot be reached"]);
}

#[test]
fn a_wiped_node_is_removed_and_then_joins_on_its_new_store() {
    let (mut cluster, _) = Cluster::start(&[]);
    stdout_of(&cluster.client("put", &["k", "v"]));
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data(3)).unwrap();
    eventually("node 3 to be removed", || {
        cluster.client("member remove", &["3"]).status.success().then_some(())
    });
    cluster.start_joiner(3, 1, &[]);
    becomes(&cluster, &cluster.endpoints(), 3, "voter");
    assert_eq!(cluster.export(3), "k\tv\n");
}
