//! The demo: three nodes with one command, which stops them, continues with the data, and leaves no process behind.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{PROGRAM, assert_refused, eventually, request, run, signal, stdout_of};

/// A demo that runs, and what it printed until it was ready. If it is dropped, so are its nodes.
struct Demo {
    child: Child,
    printed: String,
}

impl Demo {
    fn start(dir: &Path, base_port: Option<u16>) -> Self {
        let child = Command::new(PROGRAM)
            .args(arguments(dir, base_port))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut demo = Self { child, printed: String::new() };
        let stdout = BufReader::new(demo.child.stdout.take().unwrap());
        for line in stdout.lines() {
            demo.printed += &(line.unwrap() + "\n");
            if demo.printed.lines().last().is_some_and(|line| line.starts_with("Ctrl-C")) {
                return demo;
            }
        }
        panic!("the demo ended: {}", demo.printed);
    }

    fn stop(mut self) {
        signal(self.child.id(), "TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the demo ended with {status}");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended in order.
        let _ = self.child.wait();
    }
}

fn arguments(dir: &Path, base_port: Option<u16>) -> Vec<String> {
    let mut arguments = vec!["demo".to_owned(), "--dir".to_owned(), dir.display().to_string()];
    arguments.extend(base_port.map(|port| format!("--base-port={port}")));
    arguments
}

/// Three free ports in a row, below those that the system gives to outgoing connections.
fn free_base_port() -> u16 {
    let offset = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    (0..)
        .map(|i: u16| 12_000 + (offset + 10 * i) % 10_000)
        .find(|port| (0..3).all(|i| TcpListener::bind(("127.0.0.1", port + i)).is_ok()))
        .unwrap()
}

#[test]
fn the_demo_serves_on_every_node_continues_with_its_data_and_refuses_another_port() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("demo");
    let port = free_base_port();
    let addresses: Vec<String> = (0..3).map(|i| format!("127.0.0.1:{}", port + i)).collect();
    let pids = || -> Vec<u64> {
        let status = |address: &String| request(address, "GET", "/v1/status", b"").unwrap().json();
        addresses.iter().map(|address| status(address)["pid"].as_u64().unwrap()).collect()
    };
    let all_gone = |pids: &[u64]| {
        eventually("all nodes to be gone", || {
            pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    };

    let demo = Demo::start(&dir, Some(port));
    for word in ["process id", "leader", "follower", "raft-kv put", "curl -X PUT"] {
        assert!(demo.printed.contains(word), "{word:?} is missing from: {}", demo.printed);
    }
    for (i, address) in addresses.iter().enumerate() {
        stdout_of(&run(&["put", "--endpoints", address, &format!("key-{i}"), &format!("value-{i}")]));
        for reader in &addresses {
            let answer = request(reader, "GET", &format!("/v1/kv/key-{i}"), b"").unwrap();
            assert_eq!(answer.body, format!("value-{i}").into_bytes());
        }
    }
    let first_pids = pids();
    let second = run(&arguments(&dir, None).iter().map(String::as_str).collect::<Vec<_>>());
    assert_refused(&second, 1, &["cannot listen on", "another demo?"]);
    demo.stop();
    all_gone(&first_pids);

    let other = run(&arguments(&dir, Some(port + 10)).iter().map(String::as_str).collect::<Vec<_>>());
    assert_refused(&other, 1, &[&format!("base port {port}, not {}", port + 10)]);

    // Again, with the port that it remembers; and even SIGKILL leaves no node behind.
    let mut demo = Demo::start(&dir, None);
    assert_eq!(stdout_of(&run(&["get", "--endpoints", &addresses[2], "key-1"])), "value-1\n");
    let second_pids = pids();
    assert_ne!(first_pids, second_pids);
    demo.child.kill().unwrap();
    all_gone(&second_pids);
}

#[test]
fn a_directory_that_holds_something_else_is_no_demo() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("thesis.txt"), b"precious").unwrap();
    let output =
        run(&arguments(dir.path(), Some(free_base_port())).iter().map(String::as_str).collect::<Vec<_>>());
    assert_refused(&output, 1, &["is not empty and holds no demo", "give a new or empty --dir"]);
}
