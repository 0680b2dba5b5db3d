//! Whole clusters of processes, asked over HTTP as clients ask: at least what the tests of the original cover.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Real processes keep real time.

mod harness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::{Cluster, eventually};

#[test]
fn a_put_is_acknowledged_once_it_is_committed_and_then_every_node_reads_it() {
    let mut cluster = Cluster::start(3, &[]);
    for id in 1..=3 {
        let value = format!("from {id}");
        assert_eq!(cluster.status(id, "PUT", "/key", &value), 204);
        for reader in 1..=3 {
            assert_eq!(cluster.get(reader, "/key"), Some(value.clone()));
        }
    }
    cluster.kill(2);
    cluster.kill(3);
    let answer = cluster.request(1, "PUT", "/key", "by one of three").expect("an answer");
    assert!(matches!(answer.status, 503 | 504), "{} {}", answer.status, answer.body);
    // What is stale needs nobody else, and shows nothing that was not committed.
    let stale = cluster.request(1, "GET", "/key?consistency=stale", "").expect("an answer");
    assert_eq!((stale.status, stale.body.as_str()), (200, "from 3"));
    assert_eq!(cluster.status(1, "GET", "/key", ""), 503);
}

#[test]
fn requests_that_are_not_understood_are_answered_with_what_there_is() {
    let cluster = Cluster::start(1, &[]);
    assert_eq!(cluster.get(1, "/nothing"), None);
    for method in ["PATCH", "OPTIONS"] {
        let answer = cluster.request(1, method, "/key", "").expect("an answer");
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains("allow: put, get, post, delete"), "{}", answer.head);
    }
    let url = cluster.url(2);
    for path in ["/four", "/0", "/", "/-1"] {
        assert_eq!(cluster.status(1, "POST", path, &url), 400, "{path}");
        assert_eq!(cluster.status(1, "DELETE", path, ""), 400, "{path}");
    }
    assert_eq!(cluster.status(1, "POST", "/2", "not a URL"), 400);
    assert_eq!(cluster.status(1, "GET", "/key?consistency=perhaps", ""), 400);
}

#[test]
fn what_was_acknowledged_is_there_after_stops_before_and_during_replay() {
    let mut cluster = Cluster::start(1, &[]);
    for i in 0..100 {
        assert_eq!(cluster.status(1, "PUT", &format!("/{i}"), &i.to_string()), 204);
    }
    cluster.stop(1);
    // At once, and ever later into the start: before the log is opened, while it is replayed, after that.
    for pause_ms in [0, 5, 10, 20, 40, 80, 160] {
        cluster.start_node(1);
        std::thread::sleep(Duration::from_millis(pause_ms));
        cluster.kill(1);
    }
    cluster.start_node(1);
    for i in 0..100 {
        assert_eq!(cluster.get(1, &format!("/{i}")), Some(i.to_string()));
    }
}

#[test]
fn a_stop_with_writes_in_flight_loses_none_that_was_acknowledged() {
    let mut cluster = Cluster::start(1, &[]);
    let ended = AtomicBool::new(false);
    let address = cluster.client(1);
    let acknowledged: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (address, ended) = (&address, &ended);
                scope.spawn(move || {
                    let keys = (0..).map(|i| format!("/{writer}-{i}"));
                    let going = keys.take_while(|_| !ended.load(Ordering::Relaxed));
                    going.filter(|key| address.status("PUT", key, key) == Some(204)).collect::<Vec<_>>()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        cluster.stop(1);
        ended.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert!(!acknowledged.is_empty(), "nothing was written before the stop");
    cluster.start_node(1);
    for key in &acknowledged {
        assert_eq!(cluster.get(1, key).as_ref(), Some(key));
    }
}

#[test]
fn a_node_waits_until_it_is_added_then_serves_and_is_a_member_after_a_restart() {
    let mut cluster = Cluster::start(3, &[]);
    cluster.start_node(4);
    let waits = eventually(|| cluster.log(4).contains("node 4 is not announced yet").then_some(()));
    assert!(waits.is_some(), "{}", cluster.log(4));
    let url = cluster.url(4);
    assert_eq!(cluster.status(2, "POST", "/4", &url), 204);
    assert_eq!(cluster.get(4, "/started").as_deref(), Some("yes"));
    assert_eq!(cluster.status(1, "POST", "/4", &url), 204, "again, as a member");
    assert_eq!(cluster.status(1, "POST", "/4", &cluster.url(3)), 409, "at another address");
    cluster.kill(4);
    cluster.put_until_done(1, "/key", "while it was down");
    cluster.start_node(4);
    assert_eq!(cluster.get(4, "/key").as_deref(), Some("while it was down"));
    assert_eq!(cluster.status(4, "PUT", "/key", "by the fourth"), 204);
    assert_eq!(cluster.get(1, "/key").as_deref(), Some("by the fourth"));
}

#[test]
fn a_node_that_is_removed_ends_by_itself_whoever_is_asked_and_the_others_go_on() {
    let mut cluster = Cluster::start(3, &[]);
    // Once by another node, once by itself; one of the three leads.
    assert_eq!(cluster.status(1, "DELETE", "/3", ""), 204);
    assert_eq!(cluster.wait_for_end(3).code(), Some(0));
    cluster.put_until_done(1, "/key", "two are left");
    assert_eq!(cluster.status(1, "DELETE", "/3", ""), 204, "again");
    cluster.put_until_done(2, "/key", "two are left");
    assert_eq!(cluster.status(2, "DELETE", "/2", ""), 204);
    assert_eq!(cluster.wait_for_end(2).code(), Some(0));
    cluster.put_until_done(1, "/key", "one is left");
    assert_eq!(cluster.get(1, "/key").as_deref(), Some("one is left"));
    assert_eq!(cluster.status(1, "DELETE", "/1", ""), 409, "the last voter");
}

#[test]
fn a_new_node_catches_up_from_a_snapshot_where_the_log_no_longer_reaches_back() {
    let mut cluster = Cluster::start(1, &["--snapshot-entries", "20"]);
    for i in 0..100 {
        assert_eq!(cluster.status(1, "PUT", &format!("/{i}"), &i.to_string()), 204);
    }
    let built = eventually(|| (cluster.log(1).matches("snapshot built").count() >= 3).then_some(()));
    assert!(built.is_some(), "{}", cluster.log(1));
    // What was purged on disk may still be in memory, and is sent from there; it is not after a restart.
    cluster.stop(1);
    cluster.start_node(1);
    cluster.put_until_done(1, "/key", "after the restart");
    assert_eq!(cluster.status(1, "POST", "/2", &cluster.url(2)), 204);
    cluster.start_node(2);
    for i in 0..100 {
        assert_eq!(cluster.get(2, &format!("/{i}")), Some(i.to_string()));
    }
    assert!(cluster.log(2).contains("the state comes from a snapshot"), "{}", cluster.log(2));
    cluster.put_until_done(2, "/key", "by the second");
    assert_eq!(cluster.get(1, "/key").as_deref(), Some("by the second"));
}
