//! What is planted: changes of the sources, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

/// Defects of one kind: one file of `tests/planted`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// What they have in common.
    pub title: String,
    /// The defects.
    #[serde(rename = "defect")]
    pub defects: Vec<Defect>,
}

/// A change that is known to be bad.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// Its name: lower-case words with hyphens, unlike every other.
    pub name: String,
    /// Why it is bad.
    pub why: String,
    /// The row of the table "Known bugs of others" in `docs/protocol.md` which it plants.
    pub bug: Option<String>,
    /// What is changed, in order.
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// One place that is changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, from the root of the workspace.
    pub file: String,
    /// The text that is there exactly once.
    pub find: String,
    /// The text that takes its place.
    pub put: String,
}

impl Edit {
    /// `text` with the change made.
    ///
    /// # Errors
    /// If the text to find is not there exactly once, or the change changes nothing.
    fn apply(&self, text: &str) -> Result<String, String> {
        let Edit { file, find, put } = self;
        match text.matches(find.as_str()).count() {
            _ if find == put => Err(format!("{file}: what is put is what is found:\n{find}")),
            1 => Ok(text.replacen(find.as_str(), put, 1)),
            count => Err(format!("{file}: stands there {count} times, not once:\n{find}")),
        }
    }
}

impl Defect {
    /// The files that it changes, with the text that each of them is to have, of the workspace at `root`.
    ///
    /// # Errors
    /// Says which change no longer applies.
    pub fn changed_files(&self, root: &Path) -> Result<BTreeMap<String, String>, String> {
        let mut files = BTreeMap::new();
        for edit in &self.edits {
            let text = match files.remove(&edit.file) {
                Some(text) => text,
                None => read(&root.join(&edit.file))?,
            };
            let text = edit.apply(&text).map_err(|error| format!("{}: {error}", self.name))?;
            files.insert(edit.file.clone(), text);
        }
        Ok(files)
    }

    /// A short form of what is planted, to tell whether an earlier result is one of this very defect.
    pub fn fingerprint(&self) -> String {
        let text: String =
            self.edits.iter().map(|edit| format!("{}\n{}\n{}\n", edit.file, edit.find, edit.put)).collect();
        // FNV-1a, 64 bits.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

/// All defects, in the order of their files' names.
///
/// # Errors
/// Says which file cannot be read, or which rule it breaks.
pub fn load(root: &Path) -> Result<Vec<Kind>, String> {
    let directory = root.join("tests/planted");
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let mut kinds = Vec::new();
    for path in paths {
        let kind: Kind =
            toml::from_str(&read(&path)?).map_err(|error| format!("{}: {error}", path.display()))?;
        kinds.push(kind);
    }
    let mut names = BTreeSet::new();
    for defect in kinds.iter().flat_map(|kind| &kind.defects) {
        let sound = defect.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !sound || defect.name.is_empty() || defect.edits.is_empty() {
            return Err(format!(
                "{:?}: a name is lower-case words with hyphens, and changes something",
                defect.name
            ));
        }
        if !names.insert(defect.name.as_str()) {
            return Err(format!("{}: there are two of that name", defect.name));
        }
    }
    Ok(kinds)
}

pub(super) fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(find: &str, put: &str) -> Edit {
        Edit { file: "a.rs".to_owned(), find: find.to_owned(), put: put.to_owned() }
    }

    #[test]
    fn a_change_applies_only_where_its_text_stands_exactly_once() {
        assert_eq!(edit("<=", "<").apply("a <= b"), Ok("a < b".to_owned()));
        assert!(edit("<=", "<").apply("a < b").is_err_and(|error| error.contains("0 times")));
        assert!(edit("<=", "<").apply("a <= b <= c").is_err_and(|error| error.contains("2 times")));
        assert!(edit("<=", "<=").apply("a <= b").is_err(), "it changes nothing");
    }
}
