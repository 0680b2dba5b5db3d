//! The counter runs as its README says, and is as short as it says.
#![allow(clippy::disallowed_methods)]
// Real processes keep real time.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_counter");
const SOURCE: &str = include_str!("../src/main.rs");

fn counter(temp: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("TMPDIR", temp).stdin(Stdio::null());
    command
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may be gone already.
        let _ = self.0.wait();
    }
}

#[test]
fn the_author_writes_at_most_forty_lines() {
    let own = SOURCE.lines().map(str::trim);
    let own = own.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("use "));
    assert!(own.count() <= 40);
}

#[test]
fn the_readme_shows_this_very_code() {
    let readme = include_str!("../../../README.md");
    let code = &SOURCE[SOURCE.find("use ").expect("it uses something")..];
    assert!(readme.contains(code), "README.md and examples/counter/src/main.rs differ");
}

/// The ports are the same in both ways of running it, so this is one test.
#[test]
fn three_nodes_in_one_process_or_in_three_count_on_what_was_counted_before() {
    let temp = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let output = counter(temp.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        for node in 1..=3 {
            let sum = 3 * round + node;
            assert!(text.contains(&format!("node {node} adds 1: {sum}\n")), "{text}");
            assert!(text.contains(&format!("node {node} reads: {sum}\n")), "{text}");
        }
    }
    let mut nodes: Vec<Process> = (1..=3)
        .map(|id| {
            let mut command = counter(temp.path());
            command.args(["--node", &id.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            Process(command.spawn().unwrap())
        })
        .collect();
    let mut sum = 6;
    for node in &mut nodes {
        sum += 10;
        let (input, output) = (node.0.stdin.as_mut().unwrap(), node.0.stdout.as_mut().unwrap());
        input.write_all(b"10\n").unwrap();
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, format!("the sum is {sum}\n"));
    }
}
