//! Bad input: each is refused with a message that says what is wrong and what to do.

use std::net::TcpListener;

use crate::harness::{Cluster, assert_refused, run};

#[test]
fn a_port_in_use_is_named() {
    let cluster = Cluster::prepare(&[]);
    let _held = TcpListener::bind(cluster.address(1)).unwrap();
    assert_refused(
        &cluster.serve_to_its_end(1),
        1,
        &["raft-kv: cannot listen on", cluster.address(1), "another process listens there"],
    );
}

#[test]
fn a_node_that_is_told_neither_to_form_nor_to_join_hears_of_both() {
    let output = run(&["serve", "--id", "1", "--data", "unused", "--listen", "127.0.0.1:1"]);
    assert_refused(&output, 2, &["required arguments were not provided", "--cluster", "--join"]);
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let cluster = Cluster::prepare(&[]);
    std::fs::write(cluster.data(1), b"not a directory").unwrap();
    let shown = cluster.data(1).display().to_string();
    assert_refused(&cluster.serve_to_its_end(1), 1, &["raft-kv: ", &shown, "check that it is a directory"]);
}

#[test]
fn a_directory_that_holds_something_else_is_refused_and_left_alone() {
    let cluster = Cluster::prepare(&[]);
    std::fs::create_dir(cluster.data(1)).unwrap();
    std::fs::write(cluster.data(1).join("thesis.txt"), b"precious").unwrap();
    assert_refused(&cluster.serve_to_its_end(1), 1, &["holds no store", "give an empty or a new directory"]);
    assert_eq!(std::fs::read_dir(cluster.data(1)).unwrap().count(), 1);
}

#[test]
fn the_directory_of_another_node_is_refused() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.start_node(1);
    crate::harness::eventually("node 1 to answer", || cluster.status(1));
    cluster.stop(1);
    std::fs::rename(cluster.data(1), cluster.data(2)).unwrap();
    assert_refused(&cluster.serve_to_its_end(2), 1, &["belongs to node 1", "this is node 2"]);
}

#[test]
fn the_directory_of_another_cluster_is_refused() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.start_node(1);
    crate::harness::eventually("node 1 to answer", || cluster.status(1));
    cluster.stop(1);
    let (data, address) = (cluster.data(1), cluster.address(1));
    let data = data.to_str().unwrap();
    let list = format!("1={address}");
    let arguments = ["serve", "--id", "1", "--data", data, "--listen", address, "--cluster", &list];
    let output = run(&[&arguments[..], &["--name", "other"]].concat());
    assert_refused(&output, 1, &["belongs to cluster", "\"raft-kv\"", "\"other\"", "give the name"]);
}

#[test]
fn a_directory_in_use_is_refused() {
    let mut cluster = Cluster::prepare(&[]);
    cluster.start_node(1);
    crate::harness::eventually("node 1 to answer", || cluster.status(1));
    let data = cluster.data(1);
    let (address, data) = (cluster.address(2), data.to_str().unwrap());
    let list = format!("1={address}");
    let output = run(&["serve", "--id", "1", "--data", data, "--listen", address, "--cluster", &list]);
    assert_refused(&output, 1, &["another process", "uses", data, "stop it first"]);
}

#[test]
fn a_malformed_command_line_is_wrong_usage_and_says_what_is_wrong() {
    let serve = |listen: &str, list: &str| {
        run(&["serve", "--id", "1", "--data", "/nonexistent/data", "--listen", listen, "--cluster", list])
    };
    for (listen, list, word) in [
        ("127.0.0.1:1", "1:127.0.0.1:1", "is not of the form ID=HOST:PORT"),
        ("127.0.0.1:1", "", "the list is empty"),
        ("127.0.0.1:1", "x=127.0.0.1:1", "is not a node id"),
        ("127.0.0.1:1", "1=127.0.0.1:1,1=127.0.0.1:2", "node 1 is listed twice"),
        ("127.0.0.1:1", "1=127.0.0.1:1,2=127.0.0.1:1", "have the same address"),
        ("127.0.0.1:1", "1=localhost", "has no port"),
        ("127.0.0.1:1", "2=127.0.0.1:1", "--id 1 is not in --cluster"),
        ("127.0.0.1", "1=127.0.0.1:1", "has no port"),
    ] {
        assert_refused(&serve(listen, list), 2, &[word]);
    }
    let election = ["--listen", "127.0.0.1:1", "--cluster", "1=127.0.0.1:1", "--election-max-ms", "1"];
    let output = run(&[&["serve", "--id", "1", "--data", "/nonexistent/data"], &election[..]].concat());
    assert_refused(&output, 2, &["these options do not fit together"]);
}

#[test]
fn what_a_request_gets_wrong_is_said_in_json() {
    let (cluster, _) = Cluster::start(&[]);
    let long_key = format!("/v1/kv/{}", "k".repeat(1025));
    for (method, path, body, status, code, word) in [
        ("GET", "/v1/nothing", &b""[..], 404, "unknown_route", "/v1/kv/KEY"),
        ("GET", "/", b"", 404, "unknown_route", "/v1/status"),
        ("POST", "/v1/kv/k", b"v", 405, "method_not_allowed", "GET, PUT and DELETE"),
        ("PUT", "/v1/kv/", b"v", 400, "bad_key", "the key is empty"),
        ("PUT", "/v1/kv", b"v", 400, "bad_key", "the key is empty"),
        ("PUT", "/v1/kv/%ff", b"v", 400, "bad_key", "not UTF-8"),
        ("PUT", &long_key, b"v", 400, "bad_key", "1025 bytes and 1024 are allowed"),
        ("PUT", "/v1/kv/k?x=1", b"v", 400, "bad_query", "x=1"),
        ("GET", "/v1/kv/k?consistency=maybe", b"", 400, "bad_query", "consistency=stale"),
        ("PUT", "/v1/kv/k?if_version=new", b"v", 400, "bad_query", "if_version=VERSION"),
        ("DELETE", "/v1/kv/k?if_version=-1", b"", 400, "bad_query", "if_version=VERSION"),
        ("GET", "/v1/snapshot", b"", 405, "method_not_allowed", "POST"),
        ("GET", "/v1/kv/missing", b"", 404, "not_found", "missing"),
    ] {
        let message = cluster.http(2, method, path, body).error(status, code);
        assert!(message.contains(word), "{method} {path}: {message}");
    }
}

#[test]
fn a_value_beyond_the_limit_is_refused_and_one_at_the_limit_is_stored() {
    let (cluster, _) = Cluster::start(&[]);
    let largest = vec![b'x'; 1 << 20];
    for id in 1..=3 {
        assert_eq!(cluster.http(id, "PUT", "/v1/kv/large", &largest).status, 200);
    }
    assert!(cluster.http(3, "GET", "/v1/kv/large", b"").body == largest);
    let message =
        cluster.http(1, "PUT", "/v1/kv/large", &vec![b'x'; (1 << 20) + 1]).error(413, "value_too_large");
    assert!(message.contains("1048577 bytes and 1048576 are allowed"), "{message}");
    let put = cluster.client_with("put", &["large", "-"], &vec![b'x'; (1 << 20) + 1]);
    assert_refused(&put, 1, &["1048576 are allowed"]);
    let put = cluster.client("put", &[&"k".repeat(1025), "v"]);
    assert_refused(&put, 1, &["the key has 1025 bytes"]);
}
