//! The walk: the pages that a newcomer follows are followed to the letter, from a fresh clone, so that they cannot rot.
//!
//! - [`pages`]: which pages those are; a page with blocks that is not listed is an error.
//! - [`page`]: a page's blocks as steps: commands, files, programs, and what should come out. Its directives say in
//!   comments, which a reader does not see, what the page says in words: "in a terminal of its own", "in `src/main.rs`".
//! - [`expect`]: what a page shows against what came.
//! - `shell`: the reader's terminal, in which commands run one after another; `terminal`: further ones, in which
//!   programs go on running.
//! - [`walker`]: takes the steps, keeps the time.
//!
//! `bin/walk` puts them together.

// These are real processes, which keep real time; nothing of this is simulated.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod expect;
pub mod page;
pub mod pages;
mod shell;
mod terminal;
pub mod walker;

use std::fmt;

/// Why the walk cannot go on: where on which page, and what was expected there.
#[derive(Debug)]
pub struct Failure {
    /// The page, from the root of the repository.
    pub page: String,
    /// The line on it, from 1.
    pub line: usize,
    /// The command, or what else was done.
    pub doing: String,
    /// What should have happened.
    pub expected: String,
    /// What happened.
    pub came: String,
}

impl Failure {
    fn at(page: &str, line: usize, doing: &str, expected: &str, came: &str) -> Self {
        Self {
            page: page.to_owned(),
            line,
            doing: doing.to_owned(),
            expected: expected.to_owned(),
            came: came.to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { page, line, doing, expected, came } = self;
        writeln!(f, "{page}:{line}: {doing}")?;
        writeln!(f, "expected:\n{}", indented(expected))?;
        write!(f, "came:\n{}", indented(came))
    }
}

impl std::error::Error for Failure {}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}
