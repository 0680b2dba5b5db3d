//! Which pages are walked, in one place.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::Failure;
use super::page::{self, Item, Step};

/// The pages that a newcomer is sent to, in the order in which they are walked.
pub const WALKED: [&str; 3] = ["README.md", "docs/getting-started.md", "examples/raftexample/README.md"];

/// Pages with blocks that are not walked, and why not.
pub const NOT_WALKED: [(&str, &str); 2] = [
    ("docs/storage-sled.md", "its block is a recorded trace of system calls"),
    ("engine/docs/example.md", "its block is compiled and run as the engine's documentation"),
];

/// Pages whose commands are for those who carry on the work, and why they are not run here.
pub const FOR_CONTRIBUTORS: [(&str, &str); 3] = [
    ("docs/mutants.md", "its command needs cargo-mutants, and hours of a machine's time"),
    ("docs/chaos.md", "its command needs root and ten minutes; .ci/run has a shorter one"),
    ("docs/hostile-input.md", "its commands need cargo-fuzz, and hours of a machine's time"),
];

/// The one command that the walk cannot run, because it runs the walk: `.ci/run` takes it out of the README and runs it.
pub const TEST_COMMAND: &str = "cargo test --workspace --locked";

/// What a walked page is, by its name.
///
/// # Errors
/// If it cannot be read.
pub fn read(root: &Path, page: &str) -> Result<String, Failure> {
    std::fs::read_to_string(root.join(page)).map_err(|error| Failure {
        page: page.to_owned(),
        line: 1,
        doing: "reading the page".to_owned(),
        expected: "a page, as tests/src/walk/pages.rs lists it".to_owned(),
        came: error.to_string(),
    })
}

/// Every Markdown page that git knows below `root`.
///
/// # Errors
/// If `root` is no work tree of git.
pub fn all(root: &Path) -> Result<BTreeSet<String>, Failure> {
    let failed = |came: String| Failure {
        page: ".".to_owned(),
        line: 1,
        doing: format!("git ls-files in {}", root.display()),
        expected: "the names of the pages".to_owned(),
        came,
    };
    let listed = Command::new("git").args(["ls-files", "-z", "*.md"]).current_dir(root).output();
    let listed = listed.map_err(|error| failed(error.to_string()))?;
    if !listed.status.success() {
        return Err(failed(String::from_utf8_lossy(&listed.stderr).into_owned()));
    }
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// Checks that each page with blocks is walked or says why not, and that what is not walked holds no command.
///
/// # Errors
/// The first page that is neither.
pub fn check_all_listed(root: &Path) -> Result<(), Failure> {
    for name in all(root)? {
        if WALKED.contains(&name.as_str()) || FOR_CONTRIBUTORS.iter().any(|(page, _)| *page == name) {
            continue;
        }
        let excused = NOT_WALKED.iter().any(|(page, _)| *page == name);
        for item in page::items(&name, &read(root, &name)?)? {
            let Item::Block(block) = item else { continue };
            let commands = matches!(block.kind.as_str(), "sh" | "bash" | "shell" | "console");
            if !excused || commands {
                return Err(Failure {
                    page: name,
                    line: block.line,
                    doing: format!("a block of kind {:?}", block.kind),
                    expected: "a page with blocks is listed in tests/src/walk/pages.rs: as WALKED, or, if no block of it \
                               is a command, as NOT_WALKED with the reason, or, if no newcomer is sent there, FOR_CONTRIBUTORS"
                        .to_owned(),
                    came: if excused { "a command on a page that is not walked" } else { "an unlisted page" }
                        .to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Checks that a command that stands in a sentence of a walked page stands in a block as well, where it is run.
///
/// # Errors
/// The first that does not.
pub fn check_prose(root: &Path) -> Result<(), Failure> {
    let mut run = Vec::new();
    for name in WALKED {
        for step in page::steps(name, &read(root, name)?)? {
            match step {
                Step::Run { commands, .. } | Step::Start { commands, .. } => run.extend(commands),
                Step::NotRun { command, .. } => run.push(command),
                _ => {}
            }
        }
    }
    for name in WALKED {
        for command in page::commands_in_prose(name, &read(root, name)?)? {
            if !run.iter().any(|known| known.text.contains(&command.text)) {
                return Err(Failure {
                    page: name.to_owned(),
                    line: command.line,
                    doing: command.text,
                    expected: "a command in a sentence stands in a block of a walked page as well".to_owned(),
                    came: "one that nobody runs".to_owned(),
                });
            }
        }
    }
    Ok(())
}
