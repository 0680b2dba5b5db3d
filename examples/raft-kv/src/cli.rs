//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::bench::BenchOptions;
use crate::client::Client;
use crate::cluster_list::{ClusterList, parse_address};
use crate::exit::Failure;
use crate::wire::Consistency;

/// A replicated key-value server over HTTP, its client and its demo.
#[derive(Debug, Parser)]
#[command(
    name = "raft-kv",
    version,
    after_help = "Exit codes: 0 done; 1 failed, or the key has no value; 2 wrong usage; 3 outcome unknown: the write \
                  may or may not have happened; 4 the key has another version, nothing was changed.\nLogs go to standard error; RUST_LOG sets their level (default info)."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node until Ctrl-C or SIGTERM.
    ///
    /// To form a cluster, give every node the same command but for --id, --data and --listen. Empty directories form it
    /// by themselves once all nodes in --cluster run. To add a node to a cluster, start it on an empty directory with
    /// --join and the address of a member instead of --cluster: it is admitted, catches up and becomes a voter. The same
    /// command on a directory that holds data continues.
    ///
    /// HTTP: PUT, GET and DELETE /v1/kv/KEY (to GET: ?consistency=linearizable, the default, lease, follower or stale; to PUT
    /// and DELETE: ?if_version=VERSION, 0 for no value, answered by 409 if it has another); GET /v1/status;
    /// GET /v1/export; POST /v1/snapshot; POST /v1/transfer-leader; /healthz answers 200 while the process runs, /readyz once the node can serve. Errors are JSON:
    /// code, message and, where known, the leader's address. Any node takes any request; one that does not lead
    /// passes it on.
    Serve(ServeOptions),
    /// Run three nodes on this machine and show them until Ctrl-C.
    ///
    /// Run it again with the same directory and it continues with the data.
    Demo(DemoOptions),
    /// Set a key.
    Put(PutOptions),
    /// Set a key if it has the version that is given: compare and set.
    ///
    /// The version of a key is the log index of the write that made it; `get --with-version` shows it. If the key has
    /// another version, nothing is changed and the exit code is 4. An attempt whose outcome is not known is repeated
    /// where that can do no harm; if the key is then found changed, by that attempt or by another write, the outcome
    /// stays unknown and the exit code is 3.
    Cas(CasOptions),
    /// Print the value of a key.
    Get(GetOptions),
    /// Remove a key.
    Delete(DeleteOptions),
    /// Show what every endpoint says of itself.
    Status(StatusOptions),
    /// Hand leadership to another node, so that the one that leads can be stopped without a gap in service.
    TransferLeader(TransferOptions),
    /// Show and change who is in the cluster.
    ///
    /// A new node needs no command: `serve --join` adds it.
    #[command(subcommand)]
    Member(MemberCommand),
    /// Make the nodes take a snapshot now, each of the endpoints, so that they may shorten their logs.
    Snapshot(SnapshotOptions),
    /// Write many keys from a file or standard input.
    ///
    /// Every key is written once, with its last value in the input, and a write whose outcome is unknown is sent again
    /// until it is acknowledged: writing the same value twice does no harm here.
    Import(ImportOptions),
    /// Print all keys and values of one node, in the form that import reads.
    Export(ExportOptions),
    /// Put load on the cluster and measure it: many clients, each with one operation in flight.
    ///
    /// Prints operations per second and how long they took. An operation counts as an error if it was certainly not
    /// done and as unknown if it may have been done; it is then not sent again. Times are of what was answered.
    Bench(BenchOptions),
}

/// How a client reaches the cluster.
#[derive(Args, Clone, Debug)]
pub(crate) struct ClusterOptions {
    /// The nodes to ask, HOST:PORT,...; one that runs is enough.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = parse_address,
        default_value = "127.0.0.1:7101,127.0.0.1:7102,127.0.0.1:7103"
    )]
    pub(crate) endpoints: Vec<String>,
    /// How long to try, in milliseconds: for the whole request, all attempts together.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout_ms: u64,
}

impl ClusterOptions {
    /// A client of these endpoints.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.endpoints.clone(), self.timeout())
    }

    /// The time for one request.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

#[derive(Args, Debug)]
pub(crate) struct PutOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// The key: at most 1024 bytes of UTF-8.
    pub(crate) key: String,
    /// The value: at most 1048576 bytes; `-` reads it from standard input.
    pub(crate) value: String,
}

#[derive(Args, Debug)]
pub(crate) struct CasOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// The key: at most 1024 bytes of UTF-8.
    pub(crate) key: String,
    /// The version that the key must have; 0: it must have no value.
    pub(crate) version: u64,
    /// The value: at most 1048576 bytes; `-` reads it from standard input.
    pub(crate) value: String,
}

#[derive(Args, Debug)]
pub(crate) struct SnapshotOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
}

#[derive(Args, Debug)]
pub(crate) struct GetOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// How fresh the value must be.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) consistency: Consistency,
    /// Print the version of the key and a tab before the value.
    #[arg(long)]
    pub(crate) with_version: bool,
    /// Print the bytes of the value and nothing after them.
    #[arg(short, long)]
    pub(crate) no_newline: bool,
    /// The key.
    pub(crate) key: String,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// Remove the key only if it has this version; otherwise nothing is changed and the exit code is 4.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
    /// The key.
    pub(crate) key: String,
}

#[derive(Args, Debug)]
pub(crate) struct TransferOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// The id of the node that is to lead; without it, the one that holds most of the log.
    #[arg(long)]
    pub(crate) to: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// Print all that the nodes say, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the input of an import is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputFormat {
    /// A line for each key: `key<TAB>value`, or `key value`; \\, \t, \n, \r and \xHH are escapes.
    Lines,
    /// Stanzas with Package and Version, as `apt-cache dumpavail` prints them.
    Dpkg,
}

#[derive(Args, Debug)]
pub(crate) struct ImportOptions {
    /// The nodes to ask, HOST:PORT,...; one that runs is enough.
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// How the input is written.
    #[arg(long, value_enum, default_value = "lines")]
    pub(crate) format: InputFormat,
    /// How many writes are under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) in_flight: usize,
    /// The file; `-` is standard input. It is read whole before the first write.
    #[arg(default_value = "-")]
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct ExportOptions {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    /// Take what the node holds, which may be old, instead of first catching up with the leader.
    #[arg(long)]
    pub(crate) stale: bool,
    /// Write to this file instead of standard output.
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
#[command(group(clap::ArgGroup::new("arrival").required(true).args(["cluster", "join"])))]
pub(crate) struct ServeOptions {
    /// The id of this node: one of those in --cluster, or with --join one that no member has.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) id: u64,
    /// The directory that keeps the node's log, snapshots and identity; created if it is not there.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// The address to listen on, for peers and clients.
    #[arg(long, value_parser = parse_address)]
    pub(crate) listen: String,
    /// All nodes that form the cluster, ID=HOST:PORT,...; the same on every node.
    #[arg(long)]
    pub(crate) cluster: Option<ClusterList>,
    /// Join the cluster to which these nodes belong, HOST:PORT,...; one that runs is enough.
    #[arg(long, value_delimiter = ',', value_parser = parse_address)]
    pub(crate) join: Vec<String>,
    /// With --join: where the others reach this node, if not at --listen.
    #[arg(long, value_parser = parse_address, requires = "join")]
    pub(crate) advertise: Option<String>,
    /// With --join: stay a learner, which holds the data and does not vote, until `member promote`.
    #[arg(long, requires = "join")]
    pub(crate) learner: bool,
    /// The cluster's name: nodes of another name are refused.
    #[arg(long, default_value = "raft-kv")]
    pub(crate) name: String,
    /// How often a leader says that it leads, in milliseconds.
    #[arg(long, default_value_t = 100)]
    pub(crate) heartbeat_ms: u64,
    /// A follower that hears from no leader for a time drawn from here on becomes a candidate, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pub(crate) election_min_ms: u64,
    /// The upper bound of that time, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    pub(crate) election_max_ms: u64,
    /// How willing the node is to lead, from 0 to 3: when the leader is lost it waits, for each step below 3, the span
    /// between the two times longer before it becomes a candidate.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) election_priority: u8,
    /// Serve ?consistency=lease without a round of messages while the followers' promises stand. Only where clocks can
    /// be trusted: a machine that is suspended, or a virtual machine that is moved, may serve old values afterwards.
    #[arg(long)]
    pub(crate) lease_reads: bool,
    /// The byte budget for entries in memory, in MiB; when it is spent, writes are refused.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(8..=65_536))]
    pub(crate) memory_budget_mb: u64,
    /// What sled may cache beside the budget, in MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) cache_mb: u64,
    /// Take a snapshot after this many entries; 0 takes none.
    #[arg(long, default_value_t = 50_000)]
    pub(crate) snapshot_every: u64,
    /// How many entries before a snapshot stay in the log for followers that are behind.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) snapshot_keep: u64,
    /// Take a snapshot after this many MiB of entries; 0 takes none for that.
    #[arg(long, default_value_t = 64)]
    pub(crate) snapshot_every_mb: u64,
    /// Take a snapshot this many seconds after the first entry since the last one; 0 takes none for that.
    #[arg(long, default_value_t = 0)]
    pub(crate) snapshot_interval_s: u64,
    /// How many MiB of the log more than that may stay for a follower that is further behind; one still further behind
    /// is sent a snapshot.
    #[arg(long, default_value_t = 64)]
    pub(crate) purge_pin_mb: u64,
    /// A follower that was away for longer than this many seconds holds back nothing of the log.
    #[arg(long, default_value_t = 600)]
    pub(crate) purge_pin_absence_s: u64,
    /// How long a request may wait for a leader and for its commit, in milliseconds.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) write_timeout_ms: u64,
    /// How many connections, of clients and peers together, may be open at once; without it, as many as the limit of
    /// open files leaves room for.
    #[arg(long, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(16..=1_000_000))]
    pub(crate) max_connections: Option<usize>,
    /// Stop when standard input ends: how the demo stops its nodes, and why none outlives it.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

impl ServeOptions {
    /// Where peers and clients reach this node.
    pub(crate) fn address(&self) -> &str {
        let listed = self.cluster.as_ref().and_then(|cluster| cluster.address(self.id));
        listed.or(self.advertise.as_deref()).unwrap_or(&self.listen)
    }

    /// What clap cannot check: that options fit one another.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        match &self.cluster {
            Some(cluster) if cluster.address(self.id).is_none() => {
                return Err(Failure::Usage(format!(
                    "--id {} is not in --cluster {cluster}; list this node with its address there, or give the id that \
                     is",
                    self.id
                )));
            }
            None if is_wildcard(self.address()) => {
                return Err(Failure::Usage(format!(
                    "nobody can reach this node at {}; give --advertise HOST:PORT, the address by which the others do",
                    self.address()
                )));
            }
            _ => {}
        }
        if self.name.trim().is_empty() {
            return Err(Failure::Usage("--name is empty; give the cluster a name".to_owned()));
        }
        Ok(())
    }
}

/// Whether it is an address to listen on and none to connect to.
fn is_wildcard(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:")
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members as the leader sees them.
    List(ClusterOptions),
    /// Add a running node of this cluster that was removed, or tell the others a member's new address.
    Add {
        #[command(flatten)]
        cluster: ClusterOptions,
        /// Where the node answers.
        #[arg(value_parser = parse_address)]
        address: String,
        /// It stays a learner until `member promote`; otherwise it becomes a voter once it has caught up.
        #[arg(long)]
        learner: bool,
    },
    /// Remove a node, a voter or a learner. A leader that is removed hands over.
    Remove {
        #[command(flatten)]
        cluster: ClusterOptions,
        /// The node.
        id: u64,
    },
    /// Make a voter of a learner that has caught up.
    Promote {
        #[command(flatten)]
        cluster: ClusterOptions,
        /// The node.
        id: u64,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DemoOptions {
    /// Where the three nodes keep their data and logs.
    #[arg(long, default_value = "raft-kv-demo")]
    pub(crate) dir: PathBuf,
    /// Node N listens on this port + N - 1; 7101 in a new directory, else the one that was used before.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65_533))]
    pub(crate) base_port: Option<u16>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
