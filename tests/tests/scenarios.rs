//! Every scenario in `scenarios/` says what happens; see `openraft_tests::script`.

use std::path::{Path, PathBuf};

use openraft_tests::script::run_file;

/// The scenario files, in the order of their names.
fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(directory).expect("the scenarios' directory");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_scenario_says_what_happens() {
    let write = std::env::var_os("SCENARIOS_WRITE").is_some_and(|value| value == "1");
    let files = files();
    assert!(!files.is_empty(), "there are no scenarios");
    let failures: Vec<String> = files.iter().filter_map(|file| run_file(file, write).err()).collect();
    assert!(failures.is_empty(), "{} of {} fail\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}
