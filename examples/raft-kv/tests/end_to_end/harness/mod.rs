//! A cluster of processes, the client, and a small HTTP client.

mod cluster;
mod http;

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub(crate) use cluster::{Cluster, signal};
pub(crate) use http::{Response, request, request_with};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_raft-kv");

/// How long anything may take that should take a moment: much longer than it does, because tests share the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What `look` finds, as soon as it finds something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program to its end with `input` on standard input.
pub(crate) fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // Beside the reading of its output, so that neither waits for the other. It may end without reading all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    run_with(arguments, b"")
}

/// Standard output of a command that must succeed.
pub(crate) fn stdout_of(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Checks that a command ended with `code` and that its last line of standard error holds all of `words`.
#[track_caller]
pub(crate) fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is missing from: {text}");
    }
}
