//! A cluster that is not formed yet: nodes that say for whom they wait.

use crate::harness::{Cluster, eventually};

#[test]
fn a_node_without_its_peers_lives_is_not_ready_and_says_for_whom_it_waits() {
    let mut cluster = Cluster::prepare(&["--write-timeout-ms", "500"]);
    cluster.start_node(1);
    let status = eventually("node 1 to say for whom it waits", || {
        let status = cluster.status(1)?;
        let text = status["waiting_for"].to_string();
        (text.contains("node 2") && text.contains("node 3")).then_some(status)
    });
    assert_eq!((&status["role"], &status["leader"]), (&"forming".into(), &serde_json::Value::Null));
    assert_eq!(cluster.http(1, "GET", "/healthz", b"").status, 200);
    let message = cluster.http(1, "GET", "/readyz", b"").error(503, "not_ready");
    assert!(message.contains("node 2") && message.contains("node 3"), "{message}");
    let message = cluster.http(1, "PUT", "/v1/kv/k", b"v").error(504, "not_proposed");
    assert!(message.contains("not formed yet"), "{message}");
    cluster.http(1, "GET", "/v1/kv/k", b"").error(504, "read_timed_out");
    cluster.stop(1);
}

#[test]
fn a_cluster_forms_when_the_last_node_comes_and_in_whatever_order() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.start_node(3);
    cluster.start_node(1);
    eventually("node 3 to wait for node 2 only", || {
        let text = cluster.status(3)?["waiting_for"].to_string();
        text.contains("node 2").then_some(())
    });
    // A restart on the way changes nothing.
    cluster.kill(3);
    cluster.start_node(3);
    cluster.start_node(2);
    cluster.wait_for_leader();
    assert_eq!(cluster.http(1, "PUT", "/v1/kv/k", b"v").status, 200);
}
