//! Real processes in a temporary directory, each with a port for peers and one for clients, and requests as curl makes them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take that should take a moment: much longer than it does, because tests share the machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes from 1 to 4, of which the first ones form the cluster and the others may join.
pub(crate) struct Cluster {
    dir: TempDir,
    host: Ipv4Addr,
    founders: usize,
    /// For each node the ports for peers and for clients.
    ports: Vec<(u16, u16)>,
    nodes: [Option<Child>; 4],
    options: Vec<String>,
}

/// Where one node answers clients.
pub(crate) struct Client(SocketAddrV4);

/// Status, head and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Cluster {
    /// None of the nodes runs yet. Every cluster has a loopback address of its own, so that no outgoing connection takes the
    /// port of a node that is down for a moment.
    pub(crate) fn prepare(founders: usize, options: &[&str]) -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(2);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let host = Ipv4Addr::new(127, 1 + high % 250, low, NEXT.fetch_add(1, Ordering::Relaxed));
        // All are held until all are chosen: a port given back may be given out again at once.
        let held: Vec<_> = (0..8).map(|_| TcpListener::bind((host, 0)).unwrap()).collect();
        let port = |i: usize| held[i].local_addr().unwrap().port();
        Self {
            dir: tempfile::tempdir().unwrap(),
            host,
            founders,
            ports: (0..4).map(|i| (port(2 * i), port(2 * i + 1))).collect(),
            nodes: Default::default(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    }

    /// The founders run, and a write is committed.
    pub(crate) fn start(founders: usize, options: &[&str]) -> Self {
        let mut cluster = Self::prepare(founders, options);
        (1..=founders).for_each(|id| cluster.start_node(id));
        cluster.put_until_done(1, "/started", "yes");
        cluster
    }

    pub(crate) fn start_node(&mut self, id: usize) {
        assert!(self.nodes[id - 1].is_none(), "node {id} runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log_file(id)).unwrap();
        let listed = self.founders.max(id);
        let urls: Vec<String> = (1..=listed).map(|id| self.url(id)).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_raftexample"))
            .args(["--id", &id.to_string(), "--cluster", &urls.join(",")])
            .args(["--port", &self.ports[id - 1].1.to_string()])
            .args((id > self.founders).then_some("--join"))
            .args(&self.options)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.nodes[id - 1] = Some(child.unwrap());
    }

    /// The peer URL of a node.
    pub(crate) fn url(&self, id: usize) -> String {
        format!("http://{}:{}", self.host, self.ports[id - 1].0)
    }

    fn log_file(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}.log"))
    }

    /// What the node has said so far, in all its lives.
    pub(crate) fn log(&self, id: usize) -> String {
        std::fs::read_to_string(self.log_file(id)).unwrap_or_default()
    }

    /// SIGKILL, and waits until the process is gone.
    pub(crate) fn kill(&mut self, id: usize) {
        let mut child = self.nodes[id - 1].take().expect("it runs");
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "node {id} had ended by itself");
    }

    /// SIGTERM; the node must end in order.
    pub(crate) fn stop(&mut self, id: usize) {
        let pid = self.nodes[id - 1].as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let status = self.wait_for_end(id);
        assert!(status.success(), "node {id} ended with {status}");
    }

    /// Waits until the node has ended.
    pub(crate) fn wait_for_end(&mut self, id: usize) -> ExitStatus {
        let mut child = self.nodes[id - 1].take().expect("it runs");
        let ended = eventually(|| child.try_wait().unwrap());
        ended.unwrap_or_else(|| {
            self.nodes[id - 1] = Some(child);
            panic!("node {id} does not end")
        })
    }

    /// Where clients ask node `id`.
    pub(crate) fn client(&self, id: usize) -> Client {
        Client(SocketAddrV4::new(self.host, self.ports[id - 1].1))
    }

    /// A request to the client port of node `id`.
    pub(crate) fn request(&self, id: usize, method: &str, path: &str, body: &str) -> Option<Answer> {
        self.client(id).request(method, path, body)
    }

    /// The status of the answer to a request.
    #[track_caller]
    pub(crate) fn status(&self, id: usize, method: &str, path: &str, body: &str) -> u16 {
        self.request(id, method, path, body).expect("an answer").status
    }

    /// Puts until it is acknowledged: a node may be starting, or without a leader for a moment.
    #[track_caller]
    pub(crate) fn put_until_done(&self, id: usize, path: &str, value: &str) {
        let done = eventually(|| self.request(id, "PUT", path, value).filter(|answer| answer.status == 204));
        assert!(done.is_some(), "PUT {path} to node {id} was never acknowledged");
    }

    /// Waits until the node answers a read of `path`, with whatever the cluster holds.
    #[track_caller]
    pub(crate) fn get(&self, id: usize, path: &str) -> Option<String> {
        let answer = eventually(|| {
            self.request(id, "GET", path, "").filter(|answer| matches!(answer.status, 200 | 404))
        });
        let answer = answer.expect("a read that is answered");
        (answer.status == 200).then_some(answer.body)
    }
}

impl Client {
    /// A request on a connection of its own. Nothing, if no complete answer came.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: example\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
    }

    /// The status of the answer, if one came.
    pub(crate) fn status(&self, method: &str, path: &str, body: &str) -> Option<u16> {
        self.request(method, path, body).map(|answer| answer.status)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill(); // It may be gone already.
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 1..=4 {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- node {id}\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
            }
        }
    }
}

/// What `look` finds, as soon as it finds something, within [`PATIENCE`].
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = look();
        if found.is_some() || Instant::now() > end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
