//! The load: processes of `raft-kv bench` that record what they see.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::cluster::Cluster;

/// The length of the values. What is stored is the name of the value, filled up with dots.
pub const VALUE_BYTES: usize = 128;

/// What one process is told besides the endpoints and the time.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// How its results are named.
    pub name: &'static str,
    /// Of a hundred operations.
    pub mix: &'static str,
    /// How fresh reads are, all of them linearizable.
    pub consistency: &'static str,
}

/// The processes of a run. No deletes: a key that comes and goes says less about which write was seen.
pub const KINDS: [Kind; 3] = [
    Kind { name: "at the leader", mix: "put=40,get=40,cas=20", consistency: "linearizable" },
    Kind { name: "reads by lease", mix: "put=40,get=50,cas=10", consistency: "lease" },
    Kind { name: "reads on any node", mix: "put=30,get=60,cas=10", consistency: "follower" },
];

/// A process that puts load on the cluster. It ends when this is dropped, if not before.
pub struct Load {
    kind: Kind,
    child: Child,
    history: PathBuf,
    log: PathBuf,
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// How many clients each process has.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long each client rests between two operations, in milliseconds.
    pub rest_ms: u64,
    /// How long an operation may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Load {
    /// Starts the process number `index` for `seconds`, which writes into `dir`.
    ///
    /// # Errors
    /// If there can be no process for it.
    pub fn start(
        cluster: &Cluster,
        dir: &std::path::Path,
        index: usize,
        amount: Amount,
        seconds: u64,
        seed: u64,
    ) -> Result<Self, String> {
        let kind = KINDS[index];
        let (history, log) =
            (dir.join(format!("history-{index}.jsonl")), dir.join(format!("bench-{index}.log")));
        let failed = |e: std::io::Error| format!("the load cannot be started: {e}");
        let child = cluster
            .client_command()
            .args(["bench", "--endpoints", &cluster.endpoints(), "--json"])
            .args(["--clients", &amount.clients.to_string(), "--keys", &amount.keys.to_string()])
            .args(["--rest-ms", &amount.rest_ms.to_string(), "--timeout-ms", &amount.timeout_ms.to_string()])
            .args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()])
            .args(["--value-size", &VALUE_BYTES.to_string()])
            .args(["--mix", kind.mix, "--consistency", kind.consistency])
            .arg("--history")
            .arg(&history)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(failed)?)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self { kind, child, history, log })
    }

    /// Waits for its end and returns where its history is.
    ///
    /// # Errors
    /// If it failed, or does not end before `end`.
    pub fn finish(mut self, end: Instant) -> Result<PathBuf, String> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(self.history.clone()),
                Ok(Some(status)) => {
                    let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                    return Err(format!(
                        "the load ({}) ended with {status}: {}",
                        self.kind.name,
                        said.trim()
                    ));
                }
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
                Ok(None) => return Err(format!("the load ({}) does not end", self.kind.name)),
                Err(error) => return Err(format!("the load ({}) is lost: {error}", self.kind.name)),
            }
        }
    }
}

/// Some seconds of large values, of which nothing is recorded: about 20 MB more in every log, so that every store needs
/// more room than it had.
///
/// # Errors
/// If it could not be run. That nothing was answered is none.
pub(super) fn burst(cluster: &Cluster) -> Result<(), String> {
    let status = cluster
        .client_command()
        .args(["bench", "--endpoints", &cluster.endpoints(), "--timeout-ms", "2000"])
        .args(["--clients", "4", "--rest-ms", "20", "--seconds", "3"])
        .args(["--value-size", "32768", "--keys", "20", "--mix", "put=100"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .status();
    status.map(drop).map_err(|e| format!("the load cannot be started: {e}"))
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It has ended already, as a rule.
        let _ = self.child.wait();
    }
}
