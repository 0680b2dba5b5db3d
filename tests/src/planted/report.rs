//! What came of it: kept from run to run, and written as a table.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check::{CHECKS, Verdict};
use super::defect::{Defect, Kind};

/// Under this name stands what came of the unchanged copy. No defect has it.
const NOTHING: &str = "(nothing planted)";

/// Where what came of the defects is kept, from the root of the workspace: the page is made of it.
pub const KEPT: &str = "tests/planted/results.json";

/// The page, from the root of the workspace.
pub const PAGE: &str = "docs/planted-defects.md";

/// What is known of each defect.
#[derive(Debug, Default, PartialEq)]
pub struct Results {
    of: BTreeMap<String, Known>,
}

/// What is known of one defect.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    fingerprint: String,
    verdicts: BTreeMap<String, Verdict>,
}

impl Results {
    /// Those kept for the workspace at `root`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn open(root: &Path) -> Result<Self, String> {
        let path = root.join(KEPT);
        let failed = |error: String| format!("{}: {error}", path.display());
        let of = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error.to_string())),
            Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?,
        };
        Ok(Self { of })
    }

    /// Keeps them, one defect a line, and forgets those which are there no more.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep(&mut self, root: &Path, kinds: &[Kind]) -> Result<(), String> {
        let named =
            |name: &str| kinds.iter().flat_map(|kind| &kind.defects).any(|defect| defect.name == name);
        self.of.retain(|name, _| name == NOTHING || named(name));
        let line = |(name, known): (&String, &Known)| {
            let known = serde_json::to_string(known).expect("plain data");
            format!("{}:{known}", serde_json::to_string(name).expect("plain data"))
        };
        let lines: Vec<String> = self.of.iter().map(line).collect();
        let path = root.join(KEPT);
        let text = format!("{{\n{}\n}}\n", lines.join(",\n"));
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What `check` came to where `defect` was planted (`None`: nothing was), if that is known.
    pub fn get(&self, defect: Option<&Defect>, check: &str) -> Option<&Verdict> {
        let (name, fingerprint) = key(defect);
        self.of.get(name).filter(|known| known.fingerprint == fingerprint)?.verdicts.get(check)
    }

    /// Takes up what `check` came to.
    pub fn put(&mut self, defect: Option<&Defect>, check: &str, verdict: Verdict) {
        let (name, fingerprint) = key(defect);
        let known = self.of.entry(name.to_owned()).or_default();
        if known.fingerprint != fingerprint {
            *known = Known { fingerprint, verdicts: BTreeMap::new() };
        }
        known.verdicts.insert(check.to_owned(), verdict.rounded());
    }

    /// The page that states them all.
    pub fn page(&self, kinds: &[Kind]) -> String {
        let defects = || kinds.iter().flat_map(|kind| &kind.defects);
        let mut page = HEAD.to_owned();
        for check in CHECKS {
            let caught = |defect: &&Defect| self.is_caught(defect, check.name);
            let alone = |defect: &&Defect| {
                CHECKS.iter().all(|other| other.name == check.name || !self.is_caught(defect, other.name))
            };
            let clean = match self.get(None, check.name) {
                None => NOT_ASKED.to_owned(),
                Some(Verdict::Passed { seconds }) => format!("{seconds:.1}"),
                Some(other) => cell(other),
            };
            let row = (defects().filter(caught).count(), defects().filter(caught).filter(alone).count());
            say(&mut page, &format!("| {} | {} | {clean} | {} | {} |", check.name, check.what, row.0, row.1));
        }
        say(&mut page, &format!("\n{} defects.", defects().count()));
        for kind in kinds {
            self.table(kind, &mut page);
        }
        page
    }

    fn is_caught(&self, defect: &Defect, check: &str) -> bool {
        self.get(Some(defect), check).is_some_and(Verdict::is_caught)
    }

    fn table(&self, kind: &Kind, page: &mut String) {
        say(page, &format!("\n## {}\n", kind.title));
        let names: Vec<&str> = CHECKS.iter().map(|check| check.name).collect();
        say(page, &format!("| defect | {} |", names.join(" | ")));
        say(page, &format!("|---|{}", "---|".repeat(names.len())));
        for defect in &kind.defects {
            let verdicts = names.iter().map(|check| self.get(Some(defect), check));
            let cells: Vec<String> =
                verdicts.map(|known| known.map_or_else(|| NOT_ASKED.to_owned(), cell)).collect();
            say(page, &format!("| `{}` | {} |", defect.name, cells.join(" | ")));
        }
        say(page, "");
        for defect in &kind.defects {
            let bug = defect.bug.as_ref().map_or(String::new(), |bug| format!(" Known: {}.", lowered(bug)));
            let first = names.iter().find_map(|check| match self.get(Some(defect), check) {
                Some(Verdict::Noticed { by, .. }) => Some(format!(" First told by {check}: {by}")),
                Some(Verdict::Hung { .. }) => Some(format!(" First told by {check}, which does not end.")),
                _ => None,
            });
            let first = first.unwrap_or_else(|| " **Nothing notices it.**".to_owned());
            say(page, &format!("- `{}`: {}{bug}{first}", defect.name, defect.why));
        }
    }
}

fn key(defect: Option<&Defect>) -> (&str, String) {
    defect.map_or((NOTHING, String::new()), |defect| (&defect.name, defect.fingerprint()))
}

fn say(page: &mut String, line: &str) {
    writeln!(page, "{line}").expect("a string takes every line");
}

fn lowered(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// In the place of a verdict that is not known.
const NOT_ASKED: &str = "?";

/// A verdict in a table.
pub fn cell(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed { .. } => "-".to_owned(),
        Verdict::Noticed { seconds, .. } => format!("{seconds:.1}"),
        Verdict::Hung { seconds } => format!("hangs ({seconds:.0})"),
        Verdict::GaveUp { seconds } => format!("gave up ({seconds:.0})"),
    }
}

/// How the page begins.
const HEAD: &str = "\
# Planted defects

Small changes that are known to be bad, put in force one at a time in a copy of the workspace, and which checks notice
them. `cargo run -p openraft-tests --bin planted -- --write` asks every check about every defect and writes this page;
it is no part of the ordinary checks. What is planted stands in `tests/planted`; that every change still applies is an
ordinary test (`tests/tests/planted.rs`). All are compiled at once, each in a twin of the function that it changes
(`tests/src/planted/twins.rs`).

A number is the seconds from the start of a check until its failure showed, on a machine that had other work as well;
`-`: the check passes, and does not notice; \"hangs\": it did not end within its limit, which nobody would overlook;
\"gave up\": a search was ended before it had searched everything, which counts as not noticed; \"?\": not asked yet.

| check | what it runs | seconds with nothing planted | notices | notices alone |
|---|---|---|---|---|
";
