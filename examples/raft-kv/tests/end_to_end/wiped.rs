//! Directories that were lost: two wiped nodes of three must never become a cluster of their own.

use crate::harness::{Cluster, eventually};

#[test]
fn two_wiped_nodes_of_three_form_no_second_cluster_and_everyone_says_what_it_waits_for() {
    let (mut cluster, _) = Cluster::start(&["--write-timeout-ms", "1000"]);
    assert_eq!(cluster.http(1, "PUT", "/v1/kv/k", b"v").status, 200);
    cluster.kill_at_once(&[1, 2, 3]);
    for id in [2, 3] {
        std::fs::remove_dir_all(cluster.data(id)).unwrap();
    }
    cluster.start_all();

    let waits = |id: usize, word: &str| {
        eventually(&format!("node {id} to say that it waits, with {word:?}"), || {
            let status = cluster.status(id)?;
            let sentences = status["waiting_for"].as_array()?.clone();
            sentences.iter().any(|sentence| sentence.as_str().unwrap().contains(word)).then_some(status)
        })
    };
    for id in [2, 3] {
        let status = waits(id, "wiped");
        assert_eq!(status["role"], "forming", "{status}");
        assert_eq!(status["cluster_id"], serde_json::Value::Null, "{status}");
    }
    let status = waits(1, "2 of the nodes 1, 2, 3 must run");
    assert_ne!(status["role"], "leader", "{status}");

    // Nobody takes a write, and everybody says so.
    for id in 1..=3 {
        let message = cluster.http(id, "PUT", "/v1/kv/k", b"other").error(504, "not_proposed");
        assert!(message.contains("safe to try again"), "{message}");
        cluster.http(id, "GET", "/readyz", b"").error(503, "not_ready");
    }
    for id in 1..=3 {
        assert_eq!(cluster.status(id).unwrap()["leader"], serde_json::Value::Null);
    }
}

#[test]
fn one_wiped_node_of_three_takes_no_part_and_the_others_go_on() {
    let (mut cluster, _) = Cluster::start(&[]);
    assert_eq!(cluster.http(1, "PUT", "/v1/kv/k", b"v").status, 200);
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data(3)).unwrap();
    cluster.start_node(3);
    let status = eventually("node 3 to say that its directory was wiped", || {
        let status = cluster.status(3)?;
        status["waiting_for"].to_string().contains("wiped").then_some(status)
    });
    assert_eq!(status["role"], "forming", "{status}");
    eventually("the other two to serve", || {
        (cluster.http(1, "PUT", "/v1/kv/k", b"w").status == 200).then_some(())
    });
    assert_eq!(cluster.http(2, "GET", "/v1/kv/k", b"").body, b"w");
}
