//! The guide names every message, every command and every call.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn assert_all_named(names: &[String], page: &str) {
    let text = read(page);
    let missing: Vec<_> = names.iter().filter(|name| !text.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{page} does not name {missing:?}");
}

#[test]
fn every_command_has_its_paragraph() {
    let source = read("src/command.rs");
    let (_, variants) = source.split_once("pub enum Command<").expect("the enum");
    let (variants, _) = variants.split_once("\n}\n").expect("its end");
    let names: Vec<String> = variants
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| format!("**`{}", name(line)))
        .collect();
    assert!(names.len() > 15, "only {names:?} were found");
    assert_all_named(&names, "docs/commands.md");
}

#[test]
fn every_message_has_its_paragraph() {
    let source = read("src/message.rs");
    let names: Vec<String> = source
        .split("\npub struct ")
        .skip(1)
        .map(name)
        .filter(|name| ["Request", "Reply", "Header"].iter().any(|end| name.ends_with(end)))
        .map(|name| format!("(crate::{name})"))
        .collect();
    assert!(names.len() > 10, "only {names:?} were found");
    assert_all_named(&names, "docs/messages.md");
}

#[test]
fn every_call_that_changes_the_engine_is_listed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let mut names = Vec::new();
    for file in std::fs::read_dir(here).expect("the source is there") {
        let path = file.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("text");
            for call in source.split("\n    pub fn ").skip(1) {
                let head = call.split_once(" {\n").map_or(call, |(head, _)| head);
                names.extend(head.contains("&mut self").then(|| format!("(crate::Engine::{})", name(call))));
            }
        }
    }
    assert!(names.len() > 20, "only {names:?} were found");
    assert_all_named(&names, "docs/driving.md");
}
