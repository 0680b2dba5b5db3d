//! What a healthy cluster does, by the client and by plain HTTP, on every node.

use crate::harness::{Cluster, assert_refused, eventually, request_with, signal, stdout_of};

#[test]
fn every_node_takes_writes_and_reads_them_back_linearizably() {
    let (cluster, _) = Cluster::start(&[]);
    for id in 1..=3 {
        let key = format!("/v1/kv/from-{id}");
        let put = cluster.http(id, "PUT", &key, format!("value {id}").as_bytes());
        assert_eq!(put.status, 200, "{put:?}");
        assert_eq!(put.json()["existed"], false);
        for reader in 1..=3 {
            let get = cluster.http(reader, "GET", &key, b"");
            assert_eq!((get.status, get.body), (200, format!("value {id}").into_bytes()));
        }
    }
    let again = cluster.http(1, "PUT", "/v1/kv/from-2", b"other");
    assert_eq!(again.json()["existed"], true);
    let deleted = cluster.http(3, "DELETE", "/v1/kv/from-2", b"");
    assert_eq!((deleted.status, &deleted.json()["existed"]), (200, &true.into()));
    cluster.http(2, "GET", "/v1/kv/from-2", b"").error(404, "not_found");
}

#[test]
fn the_client_prints_bare_values_and_says_what_is_missing() {
    let (cluster, _) = Cluster::start(&[]);
    stdout_of(&cluster.client("put", &["hello", "world"]));
    assert_eq!(stdout_of(&cluster.client("get", &["hello"])), "world\n");
    assert_eq!(stdout_of(&cluster.client("get", &["-n", "hello"])), "world");
    stdout_of(&cluster.client_with("put", &["a/b ?%", "-"], b"\xff\n\x00"));
    assert_eq!(cluster.client("get", &["-n", "a/b ?%"]).stdout, b"\xff\n\x00");
    assert!(stdout_of(&cluster.client("delete", &["hello"])).starts_with("deleted"));
    assert_refused(&cluster.client("get", &["hello"]), 1, &["raft-kv: key \"hello\" has no value"]);
    assert!(stdout_of(&cluster.client("delete", &["hello"])).contains("had no value"));
}

#[test]
fn leadership_is_handed_over_by_request_to_whichever_node_it_goes() {
    let (cluster, started) = Cluster::start(&[]);
    let target = started.leader % 3 + 1;
    let other = target % 3 + 1;
    let output = cluster.client_of(cluster.address(other), "transfer-leader", &["--to", &target.to_string()]);
    assert_eq!(stdout_of(&output), format!("ok, node {} leads no more\n", started.leader));
    eventually("the target to lead", || {
        cluster.status(target).filter(|status| status["role"] == "leader").map(|_| ())
    });
    stdout_of(&cluster.client("put", &["k", "v"]));
    assert_refused(&cluster.client("transfer-leader", &["--to", "9"]), 1, &["no such voter"]);
    cluster.http(1, "POST", "/v1/transfer-leader?too=1", b"").error(400, "bad_query");
}

#[test]
fn one_endpoint_is_enough_and_dead_ones_are_skipped() {
    let (mut cluster, started) = Cluster::start(&[]);
    let follower = started.leader % 3 + 1;
    stdout_of(&cluster.client_of(cluster.address(follower), "put", &["k", "v"]));
    cluster.kill(follower);
    let endpoints = format!("{},{}", cluster.address(follower), cluster.address(started.leader));
    assert_eq!(stdout_of(&cluster.client_of(&endpoints, "get", &["k"])), "v\n");
    let output = cluster.client("status", &[]);
    let table = stdout_of(&output);
    assert!(table.contains("down") && table.contains("leader"), "{table}");
}

#[test]
fn a_node_that_hangs_is_passed_over_by_the_client() {
    let (cluster, started) = Cluster::start(&[]);
    let follower = started.leader % 3 + 1;
    signal(cluster.pid(follower), "STOP");
    let endpoints = format!("{},{}", cluster.address(follower), cluster.address(started.leader));
    stdout_of(&cluster.client_of(&endpoints, "put", &["k", "v"]));
    signal(cluster.pid(follower), "CONT");
}

#[test]
fn a_follower_that_must_not_forward_names_the_leader() {
    let (cluster, started) = Cluster::start(&[]);
    let follower = started.leader % 3 + 1;
    let headers = ["x-raft-kv-no-forward: 1"];
    let answer = request_with(cluster.address(follower), "PUT", "/v1/kv/k", &headers, b"v").unwrap();
    answer.error(421, "not_leader");
    assert_eq!(answer.json()["leader"], cluster.address(started.leader));
}

#[test]
fn a_follower_answers_linearizable_reads_itself_without_passing_them_on() {
    let (cluster, started) = Cluster::start(&[]);
    let follower = started.leader % 3 + 1;
    for i in 0..20 {
        let value = format!("{i}");
        cluster.http(started.leader, "PUT", "/v1/kv/k", value.as_bytes());
        let headers = ["x-raft-kv-no-forward: 1"];
        let path = "/v1/kv/k?consistency=follower";
        let get = request_with(cluster.address(follower), "GET", path, &headers, b"").unwrap();
        assert_eq!((get.status, get.body), (200, value.into_bytes()));
    }
    let get = cluster.client_of(cluster.address(follower), "get", &["--consistency", "follower", "k"]);
    assert_eq!(stdout_of(&get), "19\n");
}

#[test]
fn lease_reads_see_what_was_written_before_whether_they_are_switched_on_or_not() {
    for options in [&["--lease-reads"][..], &[]] {
        let (cluster, _) = Cluster::start(options);
        for i in 0..10 {
            let value = format!("{i}");
            cluster.http(i % 3 + 1, "PUT", "/v1/kv/k", value.as_bytes());
            let get = cluster.http((i + 1) % 3 + 1, "GET", "/v1/kv/k?consistency=lease", b"");
            assert_eq!((get.status, get.body), (200, value.into_bytes()));
        }
        assert_eq!(stdout_of(&cluster.client("get", &["--consistency", "lease", "k"])), "9\n");
    }
}

#[test]
fn a_snapshot_is_taken_by_request_and_not_twice_of_the_same() {
    let (cluster, _) = Cluster::start(&["--snapshot-every", "0"]);
    stdout_of(&cluster.client("put", &["k", "v"]));
    (1..=3).for_each(|id| drop(cluster.export(id)));
    let said = stdout_of(&cluster.client("snapshot", &[]));
    assert_eq!(said.matches("a snapshot is being made").count(), 3, "{said}");
    for id in 1..=3 {
        eventually("the snapshot to cover all that is applied", || {
            let status = cluster.status(id)?;
            (status["snapshot_index"].is_u64() && status["snapshot_index"] == status["applied_index"])
                .then_some(())
        });
    }
    let said = stdout_of(&cluster.client("snapshot", &[]));
    assert_eq!(said.matches("nothing was applied since the snapshot").count(), 3, "{said}");
}

#[test]
fn the_status_names_every_index_and_member_and_the_node_is_ready() {
    let (cluster, started) = Cluster::start(&[]);
    cluster.http(1, "PUT", "/v1/kv/k", b"v");
    for id in 1..=3 {
        // The followers hear of the commit a moment later.
        let applied = |status: &serde_json::Value| status["keys"] == 1;
        let status = eventually("the write to be applied", || cluster.status(id).filter(applied));
        assert_eq!(status["id"], id);
        assert_eq!(status["pid"], cluster.pid(id));
        assert_eq!(status["role"], if id == started.leader { "leader" } else { "follower" });
        assert_eq!(status["leader"], started.leader);
        assert_eq!(status["members"].as_array().unwrap().len(), 3);
        for field in ["term", "last_log_index", "committed_index", "applied_index"] {
            assert!(status[field].as_u64().is_some(), "{field}: {status}");
        }
        assert_eq!(cluster.http(id, "GET", "/healthz", b"").status, 200);
        eventually("the node to be ready", || {
            (cluster.http(id, "GET", "/readyz", b"").status == 200).then_some(())
        });
    }
}

#[test]
fn an_export_is_read_back_by_import_exactly() {
    let (cluster, _) = Cluster::start(&[]);
    let lines = "a b\tvalue with\\ttab\nbytes\t\\xff\\n\nempty\t\nkey\tvalue\n";
    let imported = cluster.client_with("import", &[], lines.as_bytes());
    assert!(imported.status.success(), "{imported:?}");
    for id in 1..=3 {
        assert_eq!(cluster.export(id), lines);
    }
    assert_refused(&cluster.client_with("import", &[], b"nothing\n"), 1, &["line 1", "key<TAB>value"]);
}

#[test]
fn a_node_that_is_stopped_in_order_continues_with_its_data() {
    let (mut cluster, started) = Cluster::start(&["--snapshot-every", "200", "--snapshot-keep", "50"]);
    let lines: String = (0..1000).map(|i| format!("key-{i:04}\tvalue-{i}\n")).collect();
    assert!(cluster.client_with("import", &[], lines.as_bytes()).status.success());
    let purged = || cluster.status(started.leader)?["purged_index"].as_u64();
    eventually("the log to be purged behind a snapshot", purged);
    (1..=3).for_each(|id| cluster.stop(id));
    cluster.start_all();
    cluster.wait_for_leader();
    (1..=3).for_each(|id| assert_eq!(cluster.export(id), lines));
}
