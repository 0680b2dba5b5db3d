//! The command that checks files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use openraft_tests::history::{Operation, write_lines};
use tempfile::TempDir;

use crate::make::{get, put};

fn file(directory: &TempDir, name: &str, operations: &[Operation]) -> PathBuf {
    let path = directory.path().join(name);
    let mut text = Vec::new();
    write_lines(&mut text, operations).expect("memory takes all");
    std::fs::write(&path, text).expect("a file");
    path
}

fn check(files: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_check-history")).args(files).output().expect("check-history")
}

#[test]
fn it_ends_with_what_the_worst_of_the_files_is() {
    let directory = TempDir::new().expect("a directory");
    let good = file(&directory, "good", &[put(1, "a", 0, 1), get(2, "a", 2, 3)]);
    let bad = file(&directory, "bad", &[put(1, "a", 0, 1), get(2, "", 2, 3)]);
    let none = directory.path().join("none");
    assert_eq!(check(&[&good]).status.code(), Some(0));
    assert_eq!(check(&[&good, &none]).status.code(), Some(2));
    assert_eq!(check(&[&none, &bad, &good]).status.code(), Some(1));
}

#[test]
fn it_shows_what_has_no_order() {
    let directory = TempDir::new().expect("a directory");
    let bad = file(&directory, "bad", &[put(1, "a", 0, 1), get(2, "", 2, 3)]);
    let output = String::from_utf8(check(&[&bad]).stdout).expect("text");
    assert!(output.contains("bad: not linearizable: key \"k\""), "{output}");
    assert!(output.contains("client 2    get -> absent"), "{output}");
}
