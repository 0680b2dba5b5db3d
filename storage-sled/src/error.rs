//! Why a directory could not be opened, in words for an operator: which directory, what was found, what to do.

use std::path::{Path, PathBuf};

/// A directory could not be opened as the store of this node. Nothing in it was changed, except that a directory whose
/// creation was interrupted may have been cleared for a new beginning.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is outside its bounds.
    #[error("the store cannot be opened with these options: {reason}")]
    Options {
        /// Which one, and what it may be.
        reason: String,
    },
    /// There is no directory, and the options say not to create one.
    #[error("{} does not exist: give the directory this node used before, or allow it to be created", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The operating system refuses access.
    #[error("{} cannot be used as a data directory ({action}: {source}): check that it is a directory that \
             this user may read and write, and that its disk has space", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was tried.
        action: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// Another process, or another handle of this one, has it open.
    #[error("{} uses {}: stop it first, or give this node a directory of its own", user(*process), dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The process's number, as it left it; 0 if it could not be read.
        process: u32,
    },
    /// It holds files, and they are not those of a store.
    #[error("{} is not empty and holds no store (found {found:?}): give an empty or a new directory", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// One of the files found.
        found: String,
    },
    /// A newer version of this library wrote it.
    #[error("{} was written in format {found}, and this version knows format {known}: run the newer version \
             that wrote it", dir.display())]
    Newer {
        /// The directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version knows.
        known: u32,
    },
    /// A version of this library from before the first release wrote it.
    #[error("{} was written in format {found}, and this version knows only format {known}: take the data out with the \
             version that wrote it", dir.display())]
    Older {
        /// The directory.
        dir: PathBuf,
        /// The format found.
        found: u32,
        /// The format this version knows.
        known: u32,
    },
    /// It belongs to another node.
    #[error("{} belongs to node {found}, and this is node {wanted}: start node {found} on it, or give node {wanted} \
             its own directory", dir.display())]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// Who wants it.
        wanted: String,
    },
    /// It belongs to a node of another cluster.
    #[error("{} belongs to cluster {found}, and this node is of cluster {wanted}: give the name it was created with, \
             or another directory", dir.display())]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// The cluster's name in it, quoted.
        found: String,
        /// The name asked for, quoted.
        wanted: String,
    },
    /// It holds something else than was written to it.
    #[error("{} is damaged ({what}): keep a copy for inspection, remove this node from the cluster, and add it again \
             with an empty directory", dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

impl OpenError {
    pub(crate) fn io(dir: &Path, action: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { dir: dir.to_owned(), action: action.into(), source }
    }

    pub(crate) fn damaged(dir: &Path, what: impl ToString) -> Self {
        Self::Damaged { dir: dir.to_owned(), what: what.to_string() }
    }
}

/// Who has a directory open.
fn user(process: u32) -> String {
    if process == std::process::id() {
        "a node in this very process".to_owned()
    } else {
        format!("another process ({process})")
    }
}
