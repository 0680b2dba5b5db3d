//! SIGKILL in the middle of things: nothing acknowledged is ever missing.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::harness::{Cluster, PROGRAM, eventually, request};

/// Enough that the import is still under way when a tenth of it has been seen.
const IMPORTED_KEYS: usize = 20_000;

#[test]
fn an_import_survives_the_death_of_the_leader_and_all_three_nodes_agree() {
    let (mut cluster, started) = Cluster::start(&[]);
    let mut stanzas = String::new();
    let mut expected = String::new();
    for i in 0..IMPORTED_KEYS {
        stanzas += &format!("Package: package-{i:05}\nVersion: 1.{i}-1\nDescription: one\n of many\n\n");
        expected += &format!("package-{i:05}\t1.{i}-1\n");
    }
    let input = cluster.file("packages", stanzas.as_bytes());
    let mut import = Command::new(PROGRAM)
        .args(["import", "--format", "dpkg", "--in-flight", "64", "--timeout-ms", "60000"])
        .args(["--endpoints", &cluster.endpoints()])
        .arg(&input)
        .stderr(cluster.output_file("import.log"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("a tenth of the keys", || {
        (cluster.status(started.leader)?["keys"].as_u64()? >= IMPORTED_KEYS as u64 / 10).then_some(())
    });
    cluster.kill(started.leader);
    assert!(import.try_wait().unwrap().is_none(), "the import had ended before the leader was killed");
    let status = import.wait().unwrap();
    assert!(status.success(), "the import ended with {status}");

    cluster.start_node(started.leader);
    cluster.wait_for_leader();
    for id in 1..=3 {
        let found = cluster.export(id);
        assert!(found == expected, "node {id} holds {} lines", found.lines().count());
    }
}

#[test]
fn nothing_acknowledged_is_missing_after_all_three_are_killed_while_writing() {
    let (mut cluster, _) = Cluster::start(&["--snapshot-every", "500", "--snapshot-keep", "100"]);
    let acknowledged: Mutex<BTreeMap<String, String>> = Mutex::default();
    for round in 0..3 {
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let addresses: Vec<String> = (1..=3).map(|id| cluster.address(id).to_owned()).collect();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let (address, stop, count, acknowledged) =
                    (&addresses[writer % 3], &stop, &count, &acknowledged);
                scope.spawn(move || {
                    for i in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let (key, value) = (format!("{round}-{writer}-{i:06}"), format!("value-{i}"));
                        let put = request(address, "PUT", &format!("/v1/kv/{key}"), value.as_bytes());
                        if put.is_ok_and(|answer| answer.status == 200) {
                            count.fetch_add(1, Ordering::Relaxed);
                            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(key, value);
                        }
                    }
                });
            }
            eventually("a few hundred acknowledged writes", || {
                (count.load(Ordering::Relaxed) >= 400).then_some(())
            });
            cluster.kill_at_once(&[1, 2, 3]);
            stop.store(true, Ordering::Relaxed);
        });
        cluster.start_all();
        cluster.wait_for_leader();
        let acknowledged = acknowledged.lock().unwrap();
        let exports: Vec<String> = (1..=3).map(|id| cluster.export(id)).collect();
        assert!(exports[0] == exports[1] && exports[1] == exports[2], "the nodes differ in round {round}");
        let found: BTreeMap<&str, &str> =
            exports[0].lines().map(|line| line.split_once('\t').unwrap()).collect();
        let missing: Vec<&String> = acknowledged
            .iter()
            .filter(|(k, v)| found.get(k.as_str()) != Some(&v.as_str()))
            .map(|(k, _)| k)
            .collect();
        assert!(
            missing.is_empty(),
            "round {round}: of {} acknowledged, missing: {missing:?}",
            acknowledged.len()
        );
    }
}
