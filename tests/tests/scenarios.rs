//! Every scenario in `scenarios/` says what happens (see `openraft_tests::script`), and `docs/protocol.md` names them
//! all, with the tests beside them.

use std::collections::BTreeSet;
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

/// The words in backquotes of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The names of all functions in the Rust sources below `directory`.
fn functions(directory: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable directory").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a readable source");
            let heads = source.lines().filter_map(|line| line.trim_start().split_once("fn "));
            names.extend(heads.filter_map(|(_, rest)| Some(rest.split_once('(')?.0.to_owned())));
        }
    }
}

#[test]
fn every_clause_names_scenarios_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/protocol.md")).expect("docs/protocol.md");
    let scenarios: BTreeSet<String> = files()
        .iter()
        .map(|file| file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let mut tests = BTreeSet::new();
    functions(&root, &mut tests);

    let mut named = BTreeSet::new();
    let mut wrong = Vec::new();
    // The rows of the tables that have a column for scenarios and one for tests.
    for row in page.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 4) {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, clause, said_scenarios, said_tests, _] = columns[..] else { continue };
        if said_scenarios == "scenarios" {
            continue;
        }
        let (in_scenarios, in_tests) = (quoted(said_scenarios).count(), quoted(said_tests).count());
        if in_scenarios + in_tests == 0 {
            wrong.push(format!("{clause}: names nothing"));
        }
        for scenario in quoted(said_scenarios) {
            named.insert(scenario.to_owned());
            if !scenarios.contains(scenario) {
                wrong.push(format!("{clause}: there is no scenario {scenario}"));
            }
        }
        for test in quoted(said_tests).filter(|test| !tests.contains(*test)) {
            wrong.push(format!("{clause}: there is no test {test}"));
        }
    }
    assert!(!named.is_empty(), "no table was found");
    wrong.extend(scenarios.difference(&named).map(|scenario| format!("no clause names {scenario}")));
    assert!(wrong.is_empty(), "docs/protocol.md:\n{}", wrong.join("\n"));
}
