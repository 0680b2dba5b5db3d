//! The marker: a small text file that says whose a directory is, readable before sled has touched anything, by us and
//! by an operator with `cat`.
//!
//! It is written twice. `state: creating` comes before any other file, so that a creation cut short is recognised and
//! begun anew; `state: complete` comes once the identity is durable inside the database, and from then on a database
//! without that identity is damage, not a new beginning. Its last line is a checksum: what reads as `creating` is removed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::OpenError;
use crate::format::FORMAT;

const FILE: &str = "openraft-store";
const COMPLETE: &str = "complete";
/// Before the checksum, in the last line.
const CHECKSUM: &str = "checksum: ";
const NEW_FILE: &str = "openraft-store.new";
/// The file that is locked while a process has the directory open.
pub(crate) const LOCK_FILE: &str = "lock";

/// The CRC-32 of what stands before it, and the end of its line.
fn checksum(content: &str) -> String {
    format!("{:08x}\n", crc32fast::hash(content.as_bytes()))
}

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

/// Why a text is no marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MarkerError {
    Damaged(String),
    /// The format that it states.
    Newer(u32),
    /// The format that it states.
    Older(u32),
}

impl MarkerError {
    fn of(self, dir: &Path) -> OpenError {
        let (dir, known) = (dir.to_owned(), u32::from(FORMAT));
        match self {
            Self::Damaged(reason) => OpenError::damaged(&dir, reason),
            Self::Newer(found) => OpenError::Newer { dir, found, known },
            Self::Older(found) => OpenError::Older { dir, found, known },
        }
    }
}

impl Marker {
    /// The marker of `dir`; `None` if the directory is empty or has seen no more than a lock.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, OpenError> {
        let text = match fs::read_to_string(dir.join(FILE)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::none_in(dir),
            Err(e) => return Err(OpenError::io(dir, format!("reading {FILE}"), e)),
        };
        Self::parse(&text).map(Some).map_err(|error| error.of(dir))
    }

    /// The marker whose file holds `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, MarkerError> {
        let damaged = |what: String| MarkerError::Damaged(format!("the file {FILE} {what}"));
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
                .ok_or_else(|| damaged(format!("has no line {name:?}")))
        };
        let number = |name: &str| {
            value(name)?.parse::<u32>().map_err(|_| damaged(format!("says of {name:?} what is no number")))
        };
        let found = number("format")?;
        let known = u32::from(FORMAT);
        if found > known {
            return Err(MarkerError::Newer(found));
        }
        if found < known {
            return Err(MarkerError::Older(found));
        }
        // A state or a segment size that is not what was written would cost the database.
        let whole = text.rsplit_once(CHECKSUM).is_some_and(|(content, stated)| stated == checksum(content));
        if !whole {
            return Err(damaged("is not as it was written: its checksum is another".to_owned()));
        }
        Ok(Self {
            complete: value("state")? == COMPLETE,
            node: value("node")?,
            cluster: value("cluster")?,
            store: value("store")?,
            segment_size: number("segment-size")? as usize,
        })
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

    /// What the file holds.
    pub(crate) fn text(&self) -> String {
        let content = format!(
            "This directory is the store of one Raft node. Do not edit or copy it while the node runs.\n\
             format: {FORMAT}\nstate: {}\nnode: {}\ncluster: {}\nstore: {}\nsegment-size: {}\n",
            if self.complete { COMPLETE } else { "creating" },
            self.node,
            self.cluster,
            self.store,
            self.segment_size,
        );
        let checksum = checksum(&content);
        content + CHECKSUM + &checksum
    }

    /// Replaces the marker, durably and as a whole.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let text = self.text();
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
