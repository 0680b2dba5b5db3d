//! The demo's processes: `serve` of this same program, each with its log in a file.
//!
//! A node stops when its standard input ends, which the demo holds: so none outlives the demo, however that ends. Nodes
//! are in process groups of their own, so that Ctrl-C reaches only the demo, which then stops them in order.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::exit::Failure;

use super::directory::{DemoDirectory, NODES};

/// How long a node may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The three processes.
pub(super) struct Nodes {
    nodes: Vec<DemoNode>,
}

struct DemoNode {
    id: u64,
    child: Child,
    log: PathBuf,
    /// How to start it by hand.
    command_line: String,
    ended: Option<ExitStatus>,
}

/// The program that runs.
pub(super) fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|e| Failure::error(format!("this program's own file is not known: {e}")))
}

impl Nodes {
    /// Starts all of them.
    pub(super) fn start(directory: &DemoDirectory) -> Result<Self, Failure> {
        let nodes = (1..=NODES).map(|id| DemoNode::start(directory, id)).collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }

    /// Why a node ended before there was a leader, from its log.
    pub(super) fn start_failure(&mut self) -> Option<Failure> {
        let node = self.nodes.iter_mut().find_map(|node| node.newly_ended().then_some(node))?;
        let log = std::fs::read_to_string(&node.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        let last = last.strip_prefix("raft-kv: ").unwrap_or(last);
        Some(Failure::error(format!("node {} ended: {last} (its log is {})", node.id, node.log.display())))
    }

    /// A sentence for each node that has ended since the last call.
    pub(super) fn report_ended(&mut self) -> String {
        let mut text = String::new();
        for node in &mut self.nodes {
            if node.newly_ended() {
                let _ = write!(text, "{}", node.obituary());
            }
        }
        text
    }

    /// For each node that is down, how to start it by hand.
    pub(super) fn how_to_restart(&self) -> String {
        self.nodes.iter().filter(|node| node.ended.is_some()).map(DemoNode::obituary).collect()
    }

    /// Stops all of them: asks, waits, and kills what does not stop.
    pub(super) async fn stop(&mut self) {
        for node in &mut self.nodes {
            drop(node.child.stdin.take());
        }
        for node in &mut self.nodes {
            if tokio::time::timeout(STOP_TIMEOUT, node.child.wait()).await.is_err() {
                tracing::warn!(id = node.id, "the node did not stop in time and is killed");
                let _ = node.child.kill().await; // It may have stopped just now.
            }
        }
    }
}

impl DemoNode {
    fn start(directory: &DemoDirectory, id: u64) -> Result<Self, Failure> {
        let failed = |e| Failure::error(format!("node {id} cannot be started: {e}"));
        let program = program()?;
        let arguments = [
            "serve".to_owned(),
            "--id".to_owned(),
            id.to_string(),
            "--data".to_owned(),
            directory.data(id).display().to_string(),
            "--listen".to_owned(),
            directory.address(id),
            "--cluster".to_owned(),
            directory.cluster()?.to_string(),
        ];
        let log = directory.log(id);
        let file: File = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        let child = Command::new(&program)
            .args(&arguments)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let command_line = format!("{} {}", program.display(), arguments.join(" "));
        Ok(Self { id, child, log, command_line, ended: None })
    }

    fn newly_ended(&mut self) -> bool {
        if self.ended.is_some() {
            return false;
        }
        // An error says that nothing is known of the child, and is no news.
        self.ended = self.child.try_wait().ok().flatten();
        self.ended.is_some()
    }

    fn obituary(&self) -> String {
        let how = self.ended.map_or("is unknown".to_owned(), |status| status.to_string());
        format!("node {} has ended ({how}); to start it again:\n  {}\n", self.id, self.command_line)
    }
}
