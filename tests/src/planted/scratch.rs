//! The copy of the workspace in which defects are planted, and planting one by changing its files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::defect::Defect;

/// A copy of the workspace, and what is built of it.
#[derive(Clone, Debug)]
pub struct Scratch {
    /// The copy.
    pub workspace: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
}

impl Scratch {
    /// The copy below `directory`, brought to what stands in the workspace at `root`, but for the files that are `other`
    /// than there. A file that is the same already is left alone, so that nothing is built again for it.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn copy(root: &Path, other: &BTreeMap<String, String>, directory: &Path) -> io::Result<Self> {
        let scratch = Self { workspace: directory.join("workspace"), target: directory.join("target") };
        let other = other.iter().map(|(file, text)| (root.join(file), text.as_bytes())).collect();
        bring_over(root, &other, &scratch.workspace)?;
        Ok(scratch)
    }

    /// Runs `work` while `defect` is planted, and takes it out again whatever came of it. Should this process be killed
    /// meanwhile, the next [`copy`](Self::copy) does.
    ///
    /// # Errors
    /// If a change of the defect does not apply, or a file cannot be written.
    pub fn with<T>(&self, defect: &Defect, work: impl FnOnce() -> T) -> Result<T, String> {
        let changed = defect.changed_files(&self.workspace)?;
        let mut intact = BTreeMap::new();
        for file in changed.keys() {
            intact.insert(file.clone(), self.read(file)?);
        }
        self.write(&changed)?;
        let result = work();
        self.write(&intact)?;
        Ok(result)
    }

    fn read(&self, file: &str) -> Result<String, String> {
        std::fs::read_to_string(self.workspace.join(file)).map_err(|error| format!("{file}: {error}"))
    }

    fn write(&self, files: &BTreeMap<String, String>) -> Result<(), String> {
        for (file, text) in files {
            std::fs::write(self.workspace.join(file), text).map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(())
    }
}

/// What of a directory is copied: neither what is built nor what is hidden.
fn is_source(name: &str) -> bool {
    name != "target" && !name.starts_with('.')
}

/// Makes `to` what `from` is, but for the files of it that are `other`.
fn bring_over(from: &Path, other: &BTreeMap<PathBuf, &[u8]>, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let (wanted, held) = (names(from)?, names(to)?);
    for name in held.iter().filter(|name| !wanted.contains(name)) {
        let path = to.join(name);
        if path.is_dir() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
    }
    for name in wanted {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            bring_over(&from, other, &to)?;
            continue;
        }
        let text = match other.get(&from) {
            Some(text) => text.to_vec(),
            None => std::fs::read(&from)?,
        };
        if std::fs::read(&to).ok().as_ref() != Some(&text) {
            std::fs::write(&to, text)?;
        }
    }
    Ok(())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_source(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
