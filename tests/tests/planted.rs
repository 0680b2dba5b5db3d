//! What `bin/planted` plants still applies, and every bug that `docs/protocol.md` knows of others is among it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use openraft_tests::planted::check::{CHECKS, Verdict};
use openraft_tests::planted::defect::{self, Defect};
use openraft_tests::planted::report::{PAGE, Results};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn defects() -> Vec<Defect> {
    let kinds = defect::load(&root()).expect("tests/planted");
    kinds.into_iter().flat_map(|kind| kind.defects).collect()
}

/// Whoever edits a line in which a defect is planted plants it anew: see `openraft_tests::planted`.
#[test]
fn every_planted_change_still_applies() {
    let broken: Vec<String> =
        defects().iter().filter_map(|defect| defect.changed_files(&root()).err()).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

#[test]
fn every_known_bug_of_others_is_planted() {
    let page = std::fs::read_to_string(root().join("docs/protocol.md")).expect("docs/protocol.md");
    let (_, table) = page.split_once("\n## Known bugs of others\n").expect("the table");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let known: BTreeSet<&str> = rows.map(|(bug, _)| bug).filter(|bug| *bug != "bug").collect();
    let defects = defects();
    let planted: BTreeSet<&str> = defects.iter().filter_map(|defect| defect.bug.as_deref()).collect();
    assert_eq!(known, planted);
}

/// A defect that is new is to be asked about: `bin/planted --only NAME --write`.
#[test]
fn every_defect_stands_on_the_page_and_something_notices_each() {
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
    let results = Results::open(&root()).expect("the results");
    for defect in defects() {
        assert!(
            page.contains(&format!("\n- `{}`: ", defect.name)),
            "{} does not stand on the page",
            defect.name
        );
        let mut known = CHECKS.iter().filter_map(|check| results.get(Some(&defect), check.name)).peekable();
        // One that was planted anew need not have been asked about since.
        let noticed = known.peek().is_none() || known.any(Verdict::is_caught);
        assert!(noticed, "nothing notices {}", defect.name);
    }
}
