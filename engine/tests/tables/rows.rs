//! Tables in text files: prose after `#`, rows `what is given => what comes of it`, blank lines between groups.

use std::path::Path;

/// Judges every row of the table `name`: `answer` says what comes of what is given, or begins anew when it is given
/// nothing, between two groups. With `TABLES_WRITE=1` the answers are written into the file, to be read and committed.
///
/// # Panics
/// If an answer is not the one in the file; with all rows where that is so.
pub(crate) fn judge(name: &str, mut answer: impl FnMut(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut failures, mut written, mut rows) = (Vec::new(), Vec::new(), 0);
    for (number, line) in text.lines().enumerate() {
        if line.is_empty() {
            answer("");
        }
        if line.is_empty() || line.starts_with('#') {
            written.push(line.to_owned());
            continue;
        }
        rows += 1;
        let (given, expected) = line.split_once("=>").unwrap_or((line, ""));
        let got = answer(given.trim());
        if got != expected.trim() {
            failures.push(format!("{name}:{}: {line}\n    got: {got}", number + 1));
        }
        written.push(format!("{given}=> {got}"));
    }
    assert!(rows > 0, "{name} holds no row");
    if std::env::var_os("TABLES_WRITE").is_some_and(|value| value == "1") {
        std::fs::write(&path, written.join("\n") + "\n").expect("a table that can be written");
    } else {
        assert!(
            failures.is_empty(),
            "{} of {rows} rows are not so:\n{}",
            failures.len(),
            failures.join("\n")
        );
    }
}

/// The ids in braces or bare, separated by commas or spaces.
pub(crate) fn ids(text: &str) -> Vec<u64> {
    let bare = text.trim().trim_start_matches('{').trim_end_matches('}');
    let parts = bare.split([',', ' ']).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap_or_else(|_| panic!("`{part}` in `{text}` is no id"))).collect()
}
