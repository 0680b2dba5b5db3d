//! Writes that happen only if the key has a certain version.

use std::thread;

use crate::harness::{Cluster, assert_refused, stdout_of};

#[test]
fn a_write_with_a_condition_happens_on_exactly_the_version_it_asks_for() {
    let (cluster, started) = Cluster::start(&[]);
    let other = started.leader % 3 + 1;
    let put = cluster.http(other, "PUT", "/v1/kv/k?if_version=0", b"first");
    let version = put.json()["log_index"].as_u64().unwrap();
    let message =
        cluster.http(other, "PUT", "/v1/kv/k?if_version=0", b"again").error(409, "version_mismatch");
    assert!(message.contains(&format!("has version {version}, not no value")), "{message}");
    let refused = cluster.http(started.leader, "DELETE", "/v1/kv/k?if_version=1", b"");
    refused.error(409, "version_mismatch");
    assert_eq!(refused.json()["version"], version);
    assert_eq!(cluster.http(1, "GET", "/v1/kv/k", b"").body, b"first");
    let next = cluster.http(other, "PUT", &format!("/v1/kv/k?if_version={version}"), b"second");
    let next = next.json()["log_index"].as_u64().unwrap();
    assert_eq!(cluster.http(1, "DELETE", &format!("/v1/kv/k?if_version={next}"), b"").status, 200);
    let refused = cluster.http(1, "PUT", &format!("/v1/kv/k?if_version={next}"), b"third");
    assert_eq!((refused.status, &refused.json()["version"]), (409, &0.into()));
}

#[test]
fn the_client_compares_and_sets_and_says_which_version_it_met() {
    let (cluster, _) = Cluster::start(&[]);
    let version = |output: String| output.trim().strip_prefix("ok, version ").unwrap().to_owned();
    let first = version(stdout_of(&cluster.client("cas", &["k", "0", "a"])));
    assert_eq!(stdout_of(&cluster.client("get", &["--with-version", "k"])), format!("{first}\ta\n"));
    assert_refused(&cluster.client("cas", &["k", "0", "b"]), 4, &[&first, "nothing was changed"]);
    let second = version(stdout_of(&cluster.client("cas", &["k", &first, "b"])));
    assert_refused(&cluster.client("delete", &["--if-version", &first, "k"]), 4, &[&second]);
    stdout_of(&cluster.client("delete", &["--if-version", &second, "k"]));
    assert_refused(&cluster.client("cas", &["k", &second, "c"]), 4, &["has no value"]);
    assert_refused(&cluster.client("cas", &["k", "new", "c"]), 2, &["new"]);
}

#[test]
fn of_many_who_count_at_once_each_counts_once() {
    let (cluster, _) = Cluster::start(&[]);
    stdout_of(&cluster.client("put", &["count", "0"]));
    let (clients, rounds) = (4, 5);
    thread::scope(|scope| {
        for client in 0..clients {
            let cluster = &cluster;
            scope.spawn(move || (0..rounds).for_each(|_| count(cluster, client % 3 + 1)));
        }
    });
    assert_eq!(stdout_of(&cluster.client("get", &["count"])), format!("{}\n", clients * rounds));
}

/// Adds one to the key "count" by way of node `id`, as often as it takes.
fn count(cluster: &Cluster, id: usize) {
    loop {
        let found = stdout_of(&cluster.client_of(cluster.address(id), "get", &["--with-version", "count"]));
        let (version, count) = found.trim().split_once('\t').unwrap();
        let next = (count.parse::<u64>().unwrap() + 1).to_string();
        let output = cluster.client_of(cluster.address(id), "cas", &["count", version, &next]);
        match output.status.code() {
            Some(0) => return,
            Some(4) => {}
            other => panic!("{other:?}: {output:?}"),
        }
    }
}
