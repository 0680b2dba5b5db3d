//! The load generator: what it counts, what it records, and what it refuses to start with.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Cluster, PROGRAM, assert_refused, eventually, run, signal, stdout_of};

/// A run that ends with the test, if not before.
struct Running(Child);

impl Running {
    /// Begins one of ten minutes on `cluster`, which writes to `history`.
    fn begin(cluster: &Cluster, history: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(PROGRAM)
            .args(["bench", "--endpoints", &cluster.endpoints(), "--seconds", "600", "--json", "--history"])
            .arg(history)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Interrupts it, and returns what it prints then.
    fn interrupt(mut self) -> String {
        signal(self.0.id(), "INT");
        let mut printed = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert!(self.0.wait().unwrap().success());
        printed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended.
        let _ = self.0.wait();
    }
}

/// The lines of a history.
fn read_history(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(lines: &[Value], outcome: &str) -> u64 {
    lines.iter().filter(|line| line["outcome"] == outcome).count() as u64
}

#[test]
fn a_run_prints_one_object_and_its_history_tells_the_same_story() {
    let (cluster, _) = Cluster::start(&[]);
    let history = cluster.file("history", b"");
    let arguments = ["--clients", "8", "--value-size", "100", "--keys", "20", "--seed", "7"];
    let mix = ["--mix", "put=30,get=30,cas=30,delete=10"];
    let bench = Running::begin(&cluster, &history, &[&arguments[..], &mix].concat());
    eventually("operations of every kind, and a cas that came too late", || {
        let lines = read_whole_lines(&history);
        let ended = |op: &str, outcome: &str| lines.iter().any(|l| l["op"] == op && l["outcome"] == outcome);
        let all_ok = ["put", "get", "cas", "delete"].iter().all(|op| ended(op, "ok"));
        (all_ok && ended("cas", "fail")).then_some(())
    });
    let printed = bench.interrupt();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    let result: Value = serde_json::from_str(&printed).unwrap();
    for name in ["ops_per_s", "p50_us", "p99_us", "max_us", "errors", "unknown"] {
        assert!(result[name].is_number(), "{name}: {result}");
    }
    let (p50, p99, max) = (&result["p50_us"], &result["p99_us"], &result["max_us"]);
    assert!(0 < p50.as_u64().unwrap() && p50.as_u64() <= p99.as_u64() && p99.as_u64() <= max.as_u64());

    let lines = read_history(&history);
    assert_eq!(count(&lines, "ok"), result["ok"].as_u64().unwrap());
    let failed = result["conflicts"].as_u64().unwrap() + result["errors"].as_u64().unwrap();
    assert_eq!(count(&lines, "fail"), failed);
    assert_eq!(count(&lines, "unknown"), result["unknown"].as_u64().unwrap());

    // Every value is written by one operation, and what is read was written.
    let written: Vec<&str> = lines.iter().filter_map(|line| line["value"].as_str()).collect();
    let values: BTreeSet<&str> = written.iter().copied().collect();
    assert_eq!(values.len(), written.len());
    for line in &lines {
        for name in ["read", "expect"] {
            assert!(line[name].is_null() || values.contains(line[name].as_str().unwrap()), "{name}: {line}");
        }
    }
    // Each client had one operation in flight.
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for line in &lines {
        let (called, returned) = (line["call_ns"].as_u64().unwrap(), line["return_ns"].as_u64());
        let before = last.insert(line["client"].as_u64().unwrap(), returned.unwrap_or(called));
        assert!(before.is_none_or(|before| before <= called), "{line}");
    }
    // What the cluster holds in the end is a value of the history, whole.
    let key =
        lines.iter().find(|line| line["op"] == "put" && line["outcome"] == "ok").unwrap()["key"].clone();
    let found = cluster.http(1, "GET", &format!("/v1/kv/{}", key.as_str().unwrap()), b"");
    if found.status == 200 {
        assert_eq!(found.body.len(), 100);
    }
}

#[test]
fn without_json_the_result_is_lines_for_people() {
    let (cluster, _) = Cluster::start(&[]);
    let arguments = ["--clients", "2", "--seconds", "1", "--value-size", "8", "--mix", "put=50,get=50"];
    for consistency in ["linearizable", "lease", "follower", "stale"] {
        let output = cluster.client("bench", &[&arguments[..], &["--consistency", consistency]].concat());
        let printed = stdout_of(&output);
        assert!(output.stderr.is_empty(), "a bar where there is no terminal: {output:?}");
        for words in ["operations/s", "put ", "get ", "0 errors", "longest time without an answer"] {
            assert!(printed.contains(words), "{words:?} is missing from: {printed}");
        }
    }
}

#[test]
fn what_was_sent_and_not_answered_is_unknown_and_what_was_not_sent_is_an_error() {
    let (mut cluster, _) = Cluster::start(&[]);
    let history = cluster.file("history", b"");
    let bench =
        Running::begin(&cluster, &history, &["--mix", "put=100", "--clients", "4", "--timeout-ms", "500"]);
    eventually("some writes", || (count(&read_whole_lines(&history), "ok") > 20).then_some(()));
    // Nobody answers a connection to a paused process; later, nobody takes one.
    (1..=3).for_each(|id| signal(cluster.pid(id), "STOP"));
    eventually("writes of unknown outcome", || {
        (count(&read_whole_lines(&history), "unknown") >= 4).then_some(())
    });
    cluster.kill_at_once(&[1, 2, 3]);
    eventually("writes that were not sent", || {
        (count(&read_whole_lines(&history), "fail") >= 4).then_some(())
    });
    bench.interrupt();
    let lines = read_history(&history);
    for line in &lines {
        assert_eq!(line["return_ns"].is_null(), line["outcome"] == "unknown", "{line}");
    }
}

/// What a process that still writes the file has finished.
fn read_whole_lines(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_the_reason() {
    let bench = |arguments: &[&str]| run(&[&["bench"], arguments].concat());
    assert_refused(&bench(&["--mix", "put=50,get=45"]), 2, &["add up to 95, not to 100"]);
    assert_refused(&bench(&["--mix", "put=50,scan=50"]), 2, &["no operation `scan`"]);
    assert_refused(&bench(&["--clients", "0"]), 2, &["--clients"]);
    assert_refused(&bench(&["--seconds", "0"]), 2, &["--seconds"]);
    assert_refused(&bench(&["--value-size", "1048577"]), 2, &["--value-size"]);
    assert_refused(&bench(&["--keys", "0"]), 2, &["--keys"]);
    assert_refused(&bench(&["--endpoints", ""]), 2, &["--endpoints"]);
    assert_refused(&bench(&["--history", "h", "--value-size", "8"]), 2, &["--value-size 24 or more"]);
    assert_refused(&bench(&["--history", "h", "--consistency", "stale"]), 2, &["--consistency stale"]);
    assert_refused(&bench(&["--history", "/nowhere/h"]), 1, &["/nowhere/h cannot be written"]);
}

#[test]
fn a_run_does_not_begin_where_nobody_answers() {
    let cluster = Cluster::prepare(&[]);
    let output = cluster.client("bench", &["--seconds", "1", "--timeout-ms", "2000"]);
    assert_refused(&output, 1, &["no endpoint answers", cluster.address(1), "are the nodes running"]);
    assert!(output.stdout.is_empty());
}
