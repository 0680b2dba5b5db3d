//! The table of `docs/troubleshooting.md`: what is told here stands there, and what stands there is told here.

/// The page.
const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

/// Where the words are seen.
const TESTS: [&str; 6] = [
    include_str!("directories.rs"),
    include_str!("forming.rs"),
    include_str!("joining.rs"),
    include_str!("running.rs"),
    include_str!("starting.rs"),
    include_str!("upgrading.rs"),
];

/// The messages of the table, without their marks.
fn rows() -> Vec<&'static str> {
    let cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(message, _)| message).collect()
}

/// Whether `words` are those of a row, in which `…` stands for whatever differs.
pub(crate) fn fits(words: &str, row: &str) -> bool {
    let mut rest = words;
    row.split('…').map(str::trim).all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

/// Checks that `words`, which a node said, are those of a `row`, and that the table has that row.
pub(crate) fn explained(words: &str, row: &str) {
    assert!(fits(words, row), "it says {words:?} and not {row:?}");
    assert!(
        rows().contains(&row),
        "docs/troubleshooting.md has no row for {row:?}, which the library says: {words}"
    );
}

#[test]
fn every_message_in_the_table_is_one_that_a_test_here_sees() {
    let rows = rows();
    assert!(rows.len() > 20, "the table was not found: {rows:?}");
    for row in rows {
        let literal = format!("{row:?}");
        assert!(TESTS.iter().any(|test| test.contains(&literal)), "no test sees {literal}");
    }
}

#[test]
fn every_message_in_the_table_has_a_cause_and_a_remedy() {
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{line}");
        assert!(cells.iter().all(|cell| cell.len() > 10), "{line}");
    }
}
