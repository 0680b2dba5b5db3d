//! The walk fails where a page is wrong, and says where; and the pages can be walked at all. Whether they are right, only
//! `bin/walk` can tell.
#![allow(clippy::disallowed_methods)]
// Real processes keep real time.

use std::path::{Path, PathBuf};
use std::process::Command;

use openraft_tests::walk::expect::{line_matches, lines_match};
use openraft_tests::walk::page::{Act, Step, commands_in_prose, steps};
use openraft_tests::walk::walker::{Tally, Walker};
use openraft_tests::walk::{Failure, pages};

/// A page of these lines, read.
fn read(lines: &[&str]) -> Result<Vec<Step>, Failure> {
    steps("page.md", &lines.join("\n"))
}

/// A page of these lines, walked in an empty directory.
async fn walk(lines: &[&str]) -> Result<Tally, Failure> {
    let ground = tempfile::tempdir().unwrap();
    let clone = ground.path().join("clone");
    std::fs::create_dir(&clone).unwrap();
    Walker::new(ground.path(), &clone, None, None).walk("page.md", &read(lines)?).await
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn what_varies_matches_and_the_rest_must_be_the_same() {
    assert!(line_matches("took … s on port …", "took 0.25 s on port 7001"));
    assert!(line_matches("… ready", " ready"));
    assert!(!line_matches("took … s", "took 3 minutes"));
    assert!(!line_matches("ready", "ready or not"));
    assert!(lines_match(&["first", "…", "last"], &["first", "last"]));
    assert!(lines_match(&["first", "…", "last"], &["first", "second", "third", "last"]));
    assert!(!lines_match(&["first", "…", "last"], &["first", "last", "more"]));
    assert!(!lines_match(&[], &["something"]));
}

#[test]
fn every_page_of_the_repository_can_be_walked_or_says_why_not() {
    pages::check_all_listed(&root()).unwrap();
    pages::check_prose(&root()).unwrap();
    for page in pages::WALKED {
        let steps = steps(page, &pages::read(&root(), page).unwrap()).unwrap();
        assert!(steps.iter().any(|step| matches!(step, Step::Run { .. } | Step::Start { .. })), "{page}");
    }
}

#[test]
fn the_test_command_alone_is_not_run_and_stands_on_one_page() {
    let all =
        pages::WALKED.iter().flat_map(|page| steps(page, &pages::read(&root(), page).unwrap()).unwrap());
    let not_run: Vec<_> = all.filter(|step| matches!(step, Step::NotRun { .. })).collect();
    assert!(matches!(&not_run[..], [Step::NotRun { command, .. }] if command.text == pages::TEST_COMMAND));
    let failure = read(&["<!-- walk: not run: too long -->", "```sh", "make", "```"]).unwrap_err();
    assert!(failure.expected.contains(pages::TEST_COMMAND), "{failure}");
}

#[test]
fn a_page_with_blocks_that_is_not_listed_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        assert!(
            Command::new("git").args(arguments).current_dir(directory.path()).status().unwrap().success()
        );
    };
    git(&["init", "--quiet"]);
    std::fs::write(directory.path().join("words.md"), "Words, and `code` among them.\n").unwrap();
    git(&["add", "."]);
    pages::check_all_listed(directory.path()).unwrap();
    std::fs::write(directory.path().join("new.md"), "Try:\n\n```sh\nmake\n```\n").unwrap();
    git(&["add", "."]);
    let failure = pages::check_all_listed(directory.path()).unwrap_err();
    assert_eq!(
        (failure.page.as_str(), failure.line, failure.came.as_str()),
        ("new.md", 3, "an unlisted page")
    );
}

#[test]
fn a_block_of_an_unknown_kind_is_an_error_and_no_gap() {
    let failure = read(&["Words.", "", "```yaml", "a: b", "```"]).unwrap_err();
    assert_eq!((failure.page.as_str(), failure.line), ("page.md", 3));
    assert!(failure.doing.contains("yaml"), "{failure}");
    for page in [
        &["```rust", "fn main() {}", "```"][..],
        &["```", "what is this?", "```"],
        &["~~~", "make", "~~~"],
        &["```sh", "make"],
        &["```text", "printed by nobody", "```"],
        &["<!-- walk: dance -->", "```sh", "make", "```"],
        &["<!-- walk: terminal one -->", "Words.", "```sh", "make", "```"],
        &["<!-- walk: program -->", "```rust", "fn main() {}", "```"],
    ] {
        assert!(read(page).is_err(), "{page:?}");
    }
}

#[test]
fn a_file_must_be_named_to_the_reader_too() {
    let file = ["<!-- walk: file src/main.rs -->", "```rust", "fn main() {}", "```"];
    let page = |words: &'static str| [&[words, ""][..], &file[..]].concat();
    let expected = Step::File { line: 4, path: "src/main.rs".to_owned(), text: "fn main() {}\n".to_owned() };
    assert_eq!(read(&page("All of it is `src/main.rs`:")).unwrap(), [expected]);
    assert!(read(&page("All of it:")).is_err());
}

#[test]
fn commands_keep_their_lines_and_continue_after_a_backslash() {
    let steps =
        read(&["```sh", "# a comment", "one", "two \\", "  more", "```", "<!-- walk: end of x -->"]).unwrap();
    let [Step::Run { commands, shown: None }, Step::Act { line: 7, act: Act::Await, .. }] = &steps[..] else {
        panic!("{steps:?}")
    };
    let commands: Vec<(usize, &str)> = commands.iter().map(|c| (c.line, c.text.as_str())).collect();
    assert_eq!(commands, [(3, "one"), (4, "two \\\n  more")]);
}

#[test]
fn a_command_in_a_sentence_is_found() {
    let found =
        commands_in_prose("page.md", "Say `cargo run` or `nothing`.\n\n```sh\ncargo test\n```\n").unwrap();
    assert!(matches!(&found[..], [command] if command.line == 1 && command.text == "cargo run"));
}

#[tokio::test]
async fn a_page_that_tells_the_truth_passes() {
    let tally = walk(&[
        "The directory and variables last:",
        "```sh",
        "mkdir inner && cd inner",
        "name=world",
        "```",
        "Put this into `greeting.toml`:",
        "<!-- walk: file greeting.toml -->",
        "```toml",
        "greeting = 'hello'",
        "```",
        "```sh",
        "cat greeting.toml; ls ../inner",
        "echo \"hello $name\"; echo unseen >&2",
        "```",
        "```text",
        "greeting = '…'",
        "greeting.toml",
        "hello world",
        "```",
    ]);
    assert_eq!(tally.await.unwrap(), Tally { commands: 4, files: 1, shown: 3 });
}

#[tokio::test]
async fn a_wrong_output_fails_with_what_was_expected_and_what_came() {
    let failure =
        walk(&["```sh", "true", "echo hello", "```", "```text", "good bye", "```"]).await.unwrap_err();
    assert_eq!((failure.page.as_str(), failure.line, failure.doing.as_str()), ("page.md", 5, "echo hello"));
    assert_eq!((failure.expected.as_str(), failure.came.as_str()), ("good bye", "hello\n"));
}

#[tokio::test]
async fn an_output_that_the_page_does_not_show_fails() {
    let failure = walk(&["```sh", "echo surprise", "```"]).await.unwrap_err();
    assert_eq!(failure.came, "surprise\n");
}

#[tokio::test]
async fn a_failing_command_fails_with_its_line_and_its_words() {
    let failure = walk(&["```sh", "true", "echo no such thing >&2; false", "true", "```"]).await.unwrap_err();
    assert_eq!(failure.line, 3);
    assert!(failure.came.contains("exit code 1") && failure.came.contains("no such thing"), "{failure}");
}

#[tokio::test]
async fn a_program_in_a_terminal_is_talked_to_until_it_ends() {
    let page = |answer: &'static str| {
        let program = "echo ready; while read word; do echo a log line >&2; echo \"$word!\"; done";
        let start = ["<!-- walk: terminal one -->", "```sh", program, "```"];
        let talk = ["```text", "ready", "> hello", answer, "```", "<!-- walk: close one -->"];
        [&start[..], &talk].concat()
    };
    walk(&page("hello!")).await.unwrap();
    let failure = walk(&page("hello?")).await.unwrap_err();
    assert_eq!((failure.line, failure.expected.as_str()), (8, "hello?"));
    assert!(failure.came.contains("hello!"), "{failure}");
}

#[tokio::test]
async fn a_program_that_ends_too_early_fails() {
    let start =
        ["<!-- walk: terminal one -->", "```sh", "echo sorry; exit 3", "```", "```text", "ready", "```"];
    let failure = walk(&start).await.unwrap_err();
    assert!(failure.came.contains("sorry"), "{failure}");
    let ends = ["<!-- walk: terminal one -->", "```sh", "exit 3", "```", "<!-- walk: end of one -->"];
    let failure = walk(&ends).await.unwrap_err();
    assert!(failure.came.contains('3'), "{failure}");
}

#[tokio::test]
async fn nothing_runs_on_after_a_failure() {
    let ground = tempfile::tempdir().unwrap();
    let id = ground.path().join("id");
    let program = format!("sleep 1000 & echo $! >{}; echo ready; wait", id.display());
    let page = [
        "<!-- walk: terminal one -->",
        "```sh",
        &program,
        "```",
        "```text",
        "ready",
        "```",
        "```sh",
        "false",
        "```",
    ];
    let steps = read(&page).unwrap();
    let failure =
        Walker::new(ground.path(), ground.path(), None, None).walk("page.md", &steps).await.unwrap_err();
    assert_eq!(failure.doing, "false");
    let id = std::fs::read_to_string(id).unwrap();
    let state = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let command = format!("curl http://{}/key", taken.local_addr().unwrap());
    let failure = walk(&["```sh", "true", &command, "```"]).await.unwrap_err();
    assert_eq!(failure.line, 3);
    assert!(failure.came.contains("stop what listens there"), "{failure}");
}
