//! The nodes: processes of `raft-kv serve`, and the administrator's commands to them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::disk::Disk;
use super::net::{Network, Place};
use super::shell;

/// How long one command of the administrator may try.
const COMMAND_TIMEOUT_MS: u64 = 8_000;

/// How long a node may take to end in order: longer than only a defect does.
const STOP_PATIENCE: Duration = Duration::from_secs(600);

/// How often a node is asked for all that it holds.
const EXPORT_ATTEMPTS: u32 = 5;

/// A cluster of processes. All of them end when it is dropped.
pub struct Cluster {
    program: PathBuf,
    network: Network,
    dir: PathBuf,
    founders: u64,
    options: Vec<String>,
    nodes: Vec<Mutex<Node>>,
    members: Mutex<BTreeSet<u64>>,
    defects: Mutex<Vec<String>>,
    remarks: Mutex<Vec<String>>,
}

/// One node: its disk, and its process while it runs.
struct Node {
    id: u64,
    disk: Disk,
    child: Option<Child>,
    /// Whether it joins the cluster that the founders formed.
    joins: bool,
    /// Whether its process may end by itself, as on a full disk.
    may_end: bool,
    /// Whether it has joined and was not seen to serve yet: a member that has not heard of the latest change of the members
    /// may refuse it, and then it ends.
    joining: bool,
    /// Whether it was ever without room: its log then tells of it.
    was_full: bool,
}

impl Cluster {
    /// A cluster that `founders` nodes are to form; nothing runs yet. There is a disk for every node that may take part.
    /// `options` are given to every node besides its own.
    pub fn new(
        program: PathBuf,
        network: Network,
        dir: PathBuf,
        disks: Vec<Disk>,
        founders: u64,
        options: Vec<String>,
    ) -> Self {
        let node = |(id, disk)| Node {
            id,
            disk,
            child: None,
            joins: id > founders,
            joining: false,
            may_end: false,
            was_full: false,
        };
        Self {
            program,
            network,
            dir,
            founders,
            options,
            nodes: (1..).zip(disks).map(node).map(Mutex::new).collect(),
            members: Mutex::new((1..=founders).collect()),
            defects: Mutex::default(),
            remarks: Mutex::default(),
        }
    }

    /// The links between nodes and clients.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All nodes that may take part.
    pub fn ids(&self) -> Vec<u64> {
        (1..=self.nodes.len() as u64).collect()
    }

    /// The nodes that are members, as far as the administrator has had it confirmed.
    pub fn members(&self) -> BTreeSet<u64> {
        lock(&self.members).clone()
    }

    /// Notes that a node is a member from now on, or no longer.
    pub(super) fn set_member(&self, id: u64, member: bool) {
        let mut members = lock(&self.members);
        if member {
            members.insert(id)
        } else {
            members.remove(&id)
        };
    }

    /// Whether the node's disk can be filled.
    pub fn can_fill(&self, id: u64) -> bool {
        self.node(id).disk.is_limited()
    }

    /// The addresses of all nodes, as `--endpoints` takes them.
    pub fn endpoints(&self) -> String {
        self.ids().into_iter().map(|id| self.network.address(id)).collect::<Vec<_>>().join(",")
    }

    /// Where the log of a node is written.
    pub fn log_path(&self, id: u64) -> PathBuf {
        self.dir.join(format!("node-{id}.log"))
    }

    /// What must not have happened, in words. Takes it.
    pub fn take_defects(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.defects))
    }

    /// What happened that is worth telling, in words. Takes it.
    pub(super) fn take_remarks(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.remarks))
    }

    /// Notes something that must not happen.
    pub(super) fn defect(&self, what: String) {
        eprintln!("chaos: DEFECT: {what}");
        lock(&self.defects).push(what);
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// If there can be no process for it.
    pub fn start(&self, id: u64) -> Result<(), String> {
        let mut node = self.node(id);
        if node.child.is_some() {
            return Ok(());
        }
        let failed = |e: std::io::Error| format!("node {id} cannot be started: {e}");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(id)).map_err(failed)?;
        let arrival = if node.joins {
            let members = self.members().into_iter().filter(|member| *member != id);
            let addresses: Vec<String> = members.map(|member| self.network.address(member)).collect();
            ["--join".to_owned(), addresses.join(",")]
        } else {
            let list = (1..=self.founders).map(|id| format!("{id}={}", self.network.address(id)));
            ["--cluster".to_owned(), list.collect::<Vec<_>>().join(",")]
        };
        let mut command = self.network.command(Place::Node(id), &self.program.to_string_lossy());
        command
            .args(["serve", "--id", &id.to_string(), "--listen", &self.network.address(id), "--data"])
            .arg(node.disk.data())
            .args(arrival)
            .args(&self.options)
            // It ends with this process, whatever ends this one.
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // What interrupts this process is not to end the nodes before they are told.
            .process_group(0);
        node.child = Some(command.spawn().map_err(failed)?);
        node.may_end = node.joining;
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub(super) fn kill(&self, id: u64) {
        if let Some(mut child) = self.node(id).child.take() {
            let _ = child.kill(); // It may be gone already.
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits until the node has ended by itself, in order.
    pub(super) fn stop(&self, id: u64) {
        let Some(mut child) = self.node(id).child.take() else { return };
        signal(child.id(), "TERM");
        let end = Instant::now() + STOP_PATIENCE;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                _ => break None,
            }
        };
        match status {
            Some(status) if status.success() => {}
            Some(status) => self.defect(format!("node {id} ended with {status} when it was told to stop")),
            None => {
                self.defect(format!(
                    "node {id} did not end within {STOP_PATIENCE:?} when it was told to stop"
                ));
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }

    /// SIGSTOP.
    pub(super) fn pause(&self, id: u64) {
        self.signal(id, "STOP");
    }

    /// SIGCONT.
    pub(super) fn go_on(&self, id: u64) {
        self.signal(id, "CONT");
    }

    fn signal(&self, id: u64, name: &str) {
        if let Some(child) = &self.node(id).child {
            signal(child.id(), name);
        }
    }

    /// Fills the node's disk. From now on its process may end by itself.
    pub(super) fn fill_disk(&self, id: u64) {
        let mut node = self.node(id);
        (node.may_end, node.was_full) = (true, true);
        if let Err(error) = node.disk.fill() {
            drop(node);
            self.defect(format!("the disk of node {id} cannot be filled: {error}"));
        }
    }

    /// Frees the node's disk. Its process may still end of what it met, until it is started again.
    pub(super) fn free_disk(&self, id: u64) {
        if let Err(error) = self.node(id).disk.free() {
            self.defect(format!("the disk of node {id} cannot be freed: {error}"));
        }
    }

    /// Destroys what a node has that is no member and does not run. It joins when it is started again.
    pub(super) fn wipe(&self, id: u64) {
        let mut node = self.node(id);
        (node.joins, node.joining) = (true, true);
        if let Err(error) = node.disk.wipe() {
            drop(node);
            self.defect(format!("the disk of node {id} cannot be wiped: {error}"));
        }
    }

    /// Whether the node's process runs. One that ended by itself without a reason is a defect.
    pub fn runs(&self, id: u64) -> bool {
        let mut node = self.node(id);
        let Some(child) = &mut node.child else { return false };
        match child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                node.child = None;
                let (may_end, joining) = (node.may_end, node.joining);
                drop(node);
                let what = format!("node {id} ended by itself with {status}: {}", self.last_words(id));
                match (may_end, joining) {
                    (false, _) => self.defect(what),
                    (true, true) => lock(&self.remarks).push(format!("while it joined, {what}")),
                    (true, false) => {}
                }
                false
            }
            Err(error) => {
                drop(node);
                self.defect(format!("it is not known whether node {id} runs: {error}"));
                false
            }
        }
    }

    /// The node was seen to serve: from now on its process may not end by itself.
    fn serves(&self, id: u64) {
        let mut node = self.node(id);
        if std::mem::replace(&mut node.joining, false) {
            node.may_end = false;
        }
    }

    /// Notes every member that ended by itself without a reason.
    pub(super) fn check_running(&self) {
        for id in self.members() {
            self.runs(id);
        }
    }

    /// Whether the log of the node may tell of a full disk.
    pub(super) fn was_full(&self, id: u64) -> bool {
        self.node(id).was_full
    }

    fn last_words(&self, id: u64) -> String {
        let log = std::fs::read(self.log_path(id)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().last().unwrap_or("its log is empty").to_owned()
    }

    /// A command of the administrator, as `raft-kv` with `arguments` says it.
    pub(super) fn admin(&self, arguments: &[&str]) -> Result<String, String> {
        shell::output(self.client_command().args(arguments))
    }

    /// `raft-kv` where the clients are.
    pub(super) fn client_command(&self) -> Command {
        self.network.command(Place::Clients, &self.program.to_string_lossy())
    }

    /// `raft-kv` with `command`, the endpoints and `arguments`.
    pub(super) fn order(&self, command: &[&str], arguments: &[&str]) -> Result<String, String> {
        let (endpoints, timeout) = (self.endpoints(), COMMAND_TIMEOUT_MS.to_string());
        let common = ["--endpoints", &endpoints, "--timeout-ms", &timeout];
        self.admin(&[command, &common, arguments].concat())
    }

    /// What a node says of itself, if it answers.
    pub(super) fn status(&self, id: u64) -> Option<Value> {
        let address = self.network.address(id);
        let text = self.admin(&["status", "--json", "--endpoints", &address, "--timeout-ms", "2000"]).ok()?;
        let all: Value = serde_json::from_str(&text).ok()?;
        all.get(0)?.get("status").cloned()
    }

    /// What all nodes say of themselves, those that answer.
    pub(super) fn statuses(&self) -> Vec<Value> {
        let endpoints = self.endpoints();
        let text = self.admin(&["status", "--json", "--endpoints", &endpoints, "--timeout-ms", "1000"]);
        let all = text.ok().and_then(|text| serde_json::from_str::<Vec<Value>>(&text).ok());
        all.unwrap_or_default().iter().filter_map(|one| one.get("status").cloned()).collect()
    }

    /// The member that leads, the one of the highest term where several say so.
    pub(super) fn leader(&self) -> Option<u64> {
        let statuses = self.statuses();
        let leaders = statuses.iter().filter(|status| status["role"] == "leader");
        leaders.max_by_key(|status| status["term"].as_u64())?["id"].as_u64()
    }

    /// Why node `id` is not a voter that serves, if it is not.
    pub(super) fn why_not_ready(&self, id: u64) -> Option<String> {
        let Some(status) = self.status(id) else { return Some("it does not answer".to_owned()) };
        let waiting = status["waiting_for"].as_array().cloned().unwrap_or_default();
        let votes = status["members"].as_array().is_some_and(|members| {
            members.iter().any(|member| member["id"] == id && member["voter"] == true)
        });
        match (waiting.is_empty(), votes) {
            (true, true) => None,
            (true, false) => Some(format!("it is no voter, but {}", status["role"])),
            _ => Some(format!("it waits {}", Value::Array(waiting))),
        }
    }

    /// Waits until node `id` is a voter that serves, and starts it again should it have ended where it may.
    ///
    /// # Errors
    /// Why it is not, after `within`, or when `given_up` says so.
    pub(super) fn wait_ready(
        &self,
        id: u64,
        within: Duration,
        given_up: &dyn Fn() -> bool,
    ) -> Result<(), String> {
        let end = Instant::now() + within;
        loop {
            let reason = match self.runs(id) {
                false => {
                    self.start(id)?;
                    "it has ended".to_owned()
                }
                true => match self.why_not_ready(id) {
                    None => {
                        self.serves(id);
                        return Ok(());
                    }
                    Some(reason) => reason,
                },
            };
            if Instant::now() >= end || given_up() {
                return Err(format!("node {id} is not ready after {within:?}: {reason}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Everything that node `id` holds once it has caught up with what was acknowledged, as lines of key and value.
    pub(super) fn export(&self, id: u64, to: &Path) -> Result<String, String> {
        let (address, to) = (self.network.address(id), to.to_string_lossy());
        let arguments = ["export", "--endpoints", &address, "--timeout-ms", "60000", "-o", &to];
        // A busy machine is no reason to judge nothing.
        let mut result = self.admin(&arguments);
        for _ in 1..EXPORT_ATTEMPTS {
            if result.is_ok() {
                break;
            }
            result = self.admin(&arguments);
        }
        result?;
        std::fs::read_to_string(to.as_ref()).map_err(|e| format!("{to} cannot be read: {e}"))
    }

    fn node(&self, id: u64) -> MutexGuard<'_, Node> {
        let node = lock(&self.nodes[(id - 1) as usize]);
        debug_assert_eq!(node.id, id, "nodes are numbered from 1");
        node
    }
}

/// What a thread that panicked left is still whole: nothing here is changed in two steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a signal, by the name that `kill` knows, to a process that was not waited for yet.
pub(super) fn signal(pid: u32, name: &str) {
    let _ = shell::run(&format!("kill -{name} {pid}")); // It may have ended a moment ago.
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.ids() {
            self.kill(id);
        }
    }
}
