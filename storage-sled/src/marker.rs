//! The marker: a small text file that says whose a directory is, readable before sled has touched anything, by us and
//! by an operator with `cat`.
//!
//! It is written twice. `state: creating` comes before any other file, so that a creation cut short is recognised and
//! begun anew; `state: complete` comes once the identity is durable inside the database, and from then on a database
//! without that identity is damage, not a new beginning.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::OpenError;
use crate::format::FORMAT;

const FILE: &str = "openraft-store";
const NEW_FILE: &str = "openraft-store.new";
/// The file that is locked while a process has the directory open.
pub(crate) const LOCK_FILE: &str = "lock";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) complete: bool,
    /// The node id as it is displayed.
    pub(crate) node: String,
    /// The cluster's name, quoted and escaped.
    pub(crate) cluster: String,
    /// The store id in hexadecimal.
    pub(crate) store: String,
    /// sled's segment size in bytes, which cannot change once there is data.
    pub(crate) segment_size: usize,
}

impl Marker {
    /// The marker of `dir`; `None` if the directory is empty or has seen no more than a lock.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let text = match fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::none_in(dir),
            Err(e) => return Err(OpenError::io(dir, format!("reading {FILE}"), e)),
        };
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| OpenError::damaged(dir, format!("the file {FILE} has no line {name:?}")))
        };
        let number = |name: &str| {
            value(name)?
                .parse::<u32>()
                .map_err(|_| OpenError::damaged(dir, format!("{name:?} in the file {FILE} is not a number")))
        };
        let found = number("format")?;
        let known = u32::from(FORMAT);
        if found > known {
            return Err(OpenError::Newer { dir: dir.to_owned(), found, known });
        }
        if found < known {
            return Err(OpenError::Older { dir: dir.to_owned(), found, known });
        }
        Ok(Some(Self {
            complete: value("state")? == "complete",
            node: value("node")?,
            cluster: value("cluster")?,
            store: value("store")?,
            segment_size: number("segment-size")? as usize,
        }))
    }

    fn none_in(dir: &Path) -> Result<Option<Self>, OpenError> {
        for entry in fs::read_dir(dir).map_err(|e| OpenError::io(dir, "listing it", e))? {
            let entry = entry.map_err(|e| OpenError::io(dir, "listing it", e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // The last is what a file system puts into the root of an otherwise empty disk.
            if ![LOCK_FILE, NEW_FILE, "lost+found"].contains(&name.as_str()) {
                return Err(OpenError::Foreign { dir: dir.to_owned(), found: name });
            }
        }
        Ok(None)
    }

    /// Replaces the marker, durably and as a whole.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let text = format!(
            "This directory is the store of one Raft node. Do not edit or copy it while the node runs.\n\
             format: {FORMAT}\nstate: {}\nnode: {}\ncluster: {}\nstore: {}\nsegment-size: {}\n",
            if self.complete { "complete" } else { "creating" },
            self.node,
            self.cluster,
            self.store,
            self.segment_size,
        );
        let write = || {
            let mut file = File::create(dir.join(NEW_FILE))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(dir.join(NEW_FILE), dir.join(FILE))?;
            sync_dir(dir)
        };
        write().map_err(|e| OpenError::io(dir, format!("writing {FILE}"), e))
    }
}

/// Makes creations, renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
