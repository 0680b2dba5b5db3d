//! Three `serve` processes in a temporary directory, and two that may join them.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::{PROGRAM, Response, eventually, request, run, run_with};

/// A cluster; its processes end and its directory goes with it.
pub(crate) struct Cluster {
    dir: TempDir,
    addresses: Vec<String>,
    nodes: Vec<Option<Child>>,
    options: Vec<String>,
    /// What the nodes that join are given instead of the list.
    joins: BTreeMap<usize, Vec<String>>,
}

/// How a cluster is found after a start.
pub(crate) struct Started {
    /// The number of the leader, from 1.
    pub(crate) leader: usize,
}

/// Sends a signal, by the name that `kill` knows.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill -{name} {pid} failed");
}

/// How many nodes form the cluster; the others may join it.
const FOUNDERS: usize = 3;
const NODES: usize = 5;

/// A free address for every node. Every cluster has a loopback address of its own where the system has more than one, so that no
/// outgoing connection can take the port of a node that is down for a moment.
fn free_addresses(host: Ipv4Addr) -> Vec<String> {
    let bind = || TcpListener::bind((host, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
    // All are held until all are chosen: a port given back may be given out again at once.
    let held: Vec<TcpListener> = (0..NODES).map(|_| bind()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(2);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 1 + high % 250, low, u8::try_from(number).expect("fewer than 250 clusters"))
}

impl Cluster {
    /// Three nodes that do not run yet, each to be started with `options` besides its own.
    pub(crate) fn prepare(options: &[&str]) -> Self {
        let host = own_host();
        Self {
            dir: tempfile::tempdir().unwrap(),
            addresses: free_addresses(host),
            nodes: (0..NODES).map(|_| None).collect(),
            joins: BTreeMap::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// Three running nodes with a leader that all of them know.
    pub(crate) fn start(options: &[&str]) -> (Self, Started) {
        let mut cluster = Self::prepare(options);
        cluster.start_all();
        let started = cluster.wait_for_leader();
        (cluster, started)
    }

    pub(crate) fn start_all(&mut self) {
        (1..=3).for_each(|id| self.start_node(id));
    }

    /// Starts node `id`, now and later, with `--join` and the address of `member`.
    pub(crate) fn start_joiner(&mut self, id: usize, member: usize, options: &[&str]) {
        self.join_by(id, member, options);
        self.start_node(id);
    }

    /// From now on node `id` is started with `--join` and the address of `member`.
    pub(crate) fn join_by(&mut self, id: usize, member: usize, options: &[&str]) {
        let arguments = [&["--join", self.address(member)], options].concat();
        self.joins.insert(id, arguments.into_iter().map(str::to_owned).collect());
    }

    /// Starts node `id`, from 1; it must not run.
    pub(crate) fn start_node(&mut self, id: usize) {
        assert!(self.nodes[id - 1].is_none(), "node {id} runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log(id)).unwrap();
        self.nodes[id - 1] = Some(self.command(id).stderr(log).spawn().unwrap());
    }

    /// Runs `serve` for node `id`, which must end by itself.
    pub(crate) fn serve_to_its_end(&self, id: usize) -> Output {
        self.command(id).output().unwrap()
    }

    fn command(&self, id: usize) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--id", &id.to_string(), "--listen", self.address(id)])
            .args(self.joins.get(&id).cloned().unwrap_or_else(|| vec!["--cluster".to_owned(), self.list()]))
            .arg("--data")
            .arg(self.data(id))
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self, id: usize) {
        self.kill_at_once(&[id]);
    }

    /// SIGKILL to several before waiting for any.
    pub(crate) fn kill_at_once(&mut self, ids: &[usize]) {
        let mut children: Vec<Child> =
            ids.iter().map(|id| self.nodes[id - 1].take().expect("it runs")).collect();
        children.iter_mut().for_each(|child| child.kill().unwrap());
        children.iter_mut().for_each(|child| assert!(!child.wait().unwrap().success()));
    }

    /// Takes note that node `id`, which was sent SIGKILL, is gone.
    pub(crate) fn reap(&mut self, id: usize) {
        let mut child = self.nodes[id - 1].take().expect("it ran");
        assert!(!child.wait().unwrap().success());
    }

    /// SIGTERM; the node must then end by itself and in order.
    pub(crate) fn stop(&mut self, id: usize) {
        let mut child = self.nodes[id - 1].take().expect("it runs");
        signal(child.id(), "TERM");
        let status = child.wait().unwrap();
        assert!(status.success(), "node {id} ended with {status}");
    }

    /// The process of node `id`.
    pub(crate) fn pid(&self, id: usize) -> u32 {
        self.nodes[id - 1].as_ref().expect("it runs").id()
    }

    pub(crate) fn address(&self, id: usize) -> &str {
        &self.addresses[id - 1]
    }

    /// The addresses of the nodes that formed the cluster, as `--endpoints` takes them.
    pub(crate) fn endpoints(&self) -> String {
        self.addresses[..FOUNDERS].join(",")
    }

    fn list(&self) -> String {
        let list: Vec<String> =
            (1..).zip(&self.addresses[..FOUNDERS]).map(|(id, a): (u32, _)| format!("{id}={a}")).collect();
        list.join(",")
    }

    pub(crate) fn data(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    fn log(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}.log"))
    }

    /// One HTTP request to node `id`.
    pub(crate) fn http(&self, id: usize, method: &str, path: &str, body: &[u8]) -> Response {
        request(self.address(id), method, path, body).unwrap()
    }

    /// The status of node `id`, if it answers.
    pub(crate) fn status(&self, id: usize) -> Option<serde_json::Value> {
        request(self.address(id), "GET", "/v1/status", b"").ok().map(|response| response.json())
    }

    /// Waits until every running node knows the same leader, and that one leads.
    pub(crate) fn wait_for_leader(&self) -> Started {
        let running: Vec<usize> = (1..=FOUNDERS).filter(|id| self.nodes[id - 1].is_some()).collect();
        eventually("a leader that all running nodes know", || {
            let statuses: Vec<_> = running.iter().filter_map(|id| self.status(*id)).collect();
            let leader = statuses.iter().find(|status| status["role"] == "leader")?;
            let agreed =
                statuses.iter().filter(|s| s["leader"] == leader["id"] && s["term"] == leader["term"]);
            (agreed.count() == running.len())
                .then(|| Started { leader: leader["id"].as_u64().unwrap() as usize })
        })
    }

    /// The client, `command` first, with the endpoints of this cluster.
    pub(crate) fn client(&self, command: &str, arguments: &[&str]) -> Output {
        self.client_of(&self.endpoints(), command, arguments)
    }

    /// The client with these endpoints.
    pub(crate) fn client_of(&self, endpoints: &str, command: &str, arguments: &[&str]) -> Output {
        let command: Vec<&str> = command.split(' ').collect();
        run(&[&command[..], &["--endpoints", endpoints], arguments].concat())
    }

    /// The client with something on standard input.
    pub(crate) fn client_with(&self, command: &str, arguments: &[&str], input: &[u8]) -> Output {
        run_with(&[&[command, "--endpoints", &self.endpoints()], arguments].concat(), input)
    }

    /// Everything that node `id` holds once it has caught up.
    pub(crate) fn export(&self, id: usize) -> String {
        let file = self.dir.path().join(format!("export-{id}"));
        let output = self.client_of(self.address(id), "export", &["-o", file.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        std::fs::read_to_string(file).unwrap()
    }

    /// A file in the cluster's directory.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Where a process that the test starts may write.
    pub(crate) fn output_file(&self, name: &str) -> File {
        File::create(self.dir.path().join(name)).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill(); // It may be gone already.
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 1..=NODES {
                let log = std::fs::read_to_string(self.log(id)).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!(
                    "--- the end of the log of node {id}\n{}",
                    lines[lines.len().saturating_sub(40)..].join("\n")
                );
            }
        }
    }
}
