//! The demo's directory: the data of three nodes, and the base port they were formed with, which is part of what they
//! know of one another and so cannot change.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cluster_list::ClusterList;
use crate::exit::Failure;

/// The port of node 1 unless another is given.
const DEFAULT_BASE_PORT: u16 = 7101;
/// How many nodes there are.
pub(super) const NODES: u64 = 3;
const RECORD: &str = "demo.json";

/// What is recorded beside the data.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    base_port: u16,
}

/// A directory whose ports are known.
#[derive(Debug)]
pub(super) struct DemoDirectory {
    path: PathBuf,
    base_port: u16,
}

impl DemoDirectory {
    /// Takes `path` into use: a new or empty one with `base_port`, an old one with the port it has.
    pub(super) fn open(path: &Path, base_port: Option<u16>) -> Result<Self, Failure> {
        let shown = path.display();
        let recorded = read_record(path)?;
        if let (Some(recorded), Some(wanted)) = (recorded, base_port)
            && recorded != wanted
        {
            return Err(Failure::error(format!(
                "{shown} holds the data of a demo on base port {recorded}, not {wanted}; leave --base-port away or give \
                 {recorded} to continue with it, or give another --dir"
            )));
        }
        let this =
            Self { path: path.to_owned(), base_port: recorded.or(base_port).unwrap_or(DEFAULT_BASE_PORT) };
        // Before anything is written: a demo that could not start must not leave a record of its port.
        this.check_ports()?;
        if recorded.is_none() {
            this.record()?;
        }
        Ok(this)
    }

    fn check_ports(&self) -> Result<(), Failure> {
        for address in self.addresses() {
            TcpListener::bind(&address).map_err(|e| {
                Failure::error(format!(
                    "cannot listen on {address}: {e}; stop what listens there (another demo?), or give another \
                     --base-port with another --dir"
                ))
            })?;
        }
        Ok(())
    }

    fn record(&self) -> Result<(), Failure> {
        let failed = |e| {
            Failure::error(format!(
                "{} cannot be used as the demo's directory: {e}; give a --dir that can be written",
                self.path.display()
            ))
        };
        fs::create_dir_all(&self.path).map_err(failed)?;
        if fs::read_dir(&self.path).map_err(failed)?.next().is_some() {
            return Err(Failure::error(format!(
                "{} is not empty and holds no demo; give a new or empty --dir",
                self.path.display()
            )));
        }
        let text = serde_json::to_vec(&Record { base_port: self.base_port }).map_err(|e| failed(e.into()))?;
        let half_written = self.path.join("demo.json.new");
        fs::write(&half_written, text).map_err(failed)?;
        fs::rename(half_written, self.path.join(RECORD)).map_err(failed)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where node `id` keeps its data.
    pub(super) fn data(&self, id: u64) -> PathBuf {
        self.path.join(format!("node-{id}"))
    }

    /// Where node `id` writes its log.
    pub(super) fn log(&self, id: u64) -> PathBuf {
        self.path.join(format!("node-{id}.log"))
    }

    /// Where node `id` listens.
    pub(super) fn address(&self, id: u64) -> String {
        format!("127.0.0.1:{}", u64::from(self.base_port) + id - 1)
    }

    /// Where all of them listen, in order.
    pub(super) fn addresses(&self) -> Vec<String> {
        (1..=NODES).map(|id| self.address(id)).collect()
    }

    /// The list that all of them are given.
    pub(super) fn cluster(&self) -> Result<ClusterList, Failure> {
        let text: Vec<String> = (1..=NODES).map(|id| format!("{id}={}", self.address(id))).collect();
        text.join(",").parse().map_err(|e| Failure::error(format!("the demo's own list is malformed: {e}")))
    }
}

fn read_record(path: &Path) -> Result<Option<u16>, Failure> {
    let record = path.join(RECORD);
    let text = match fs::read(&record) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            return Err(Failure::error(format!(
                "{} cannot be used as the demo's directory: {e}; give a --dir that can be read and written",
                path.display()
            )));
        }
    };
    let record: Record = serde_json::from_slice(&text).map_err(|e| {
        Failure::error(format!("{} is damaged: {e}; restore it, or give another --dir", record.display()))
    })?;
    Ok(Some(record.base_port))
}
