//! What `bin/planted` plants still applies, and every bug that `docs/protocol.md` knows of others is among it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use openraft_tests::planted::check::CHECKS;
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

/// A defect that is new, or planted anew, is to be asked about: `bin/planted --only NAME --write`.
#[test]
fn the_page_states_what_came_of_every_defect_and_something_notices_each() {
    let kinds = defect::load(&root()).expect("tests/planted");
    let results = Results::open(&root()).expect("the results");
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
    assert!(page == results.page(&kinds), "bin/planted --write writes the page");
    let unnoticed: Vec<String> = defects()
        .into_iter()
        .filter(|defect| {
            let known =
                |check: &&str| results.get(Some(defect), check).is_some_and(|verdict| verdict.is_caught());
            !CHECKS.iter().map(|check| check.name).any(|check| known(&check))
        })
        .map(|defect| defect.name)
        .collect();
    assert!(unnoticed.is_empty(), "nothing notices {unnoticed:?}");
}
