//! A whole run: a cluster, load on it, faults, healing, judgement and report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::clock_ns;
use super::cluster::Cluster;
use super::disk::Disk;
use super::fault::Kind;
use super::inflict::{Inflicted, Inflictor};
use super::load::{self, Amount, Load};
use super::net::Network;
use super::verdict;
use super::windows::{self, Window};
use crate::history::{self, Operation, Outcome};

/// Nodes that may join besides those that form the cluster.
pub const STRANGERS: u64 = 2;

/// How long every member may take to serve after everything is healed, and the cluster to form. Much longer than it
/// takes, because the machine may be busy: only a defect reaches it.
const HEALED_PATIENCE: Duration = Duration::from_secs(600);

/// Of the run's time, how much is left at its end for the cluster to serve undisturbed.
const CALM_SHARE: u32 = 8;

/// How large a disk is, in MiB, where disks are limited.
const DISK_MB: u64 = 256;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program `raft-kv`.
    pub program: PathBuf,
    /// Where histories, logs and data go.
    pub dir: PathBuf,
    /// How long there is load, in seconds.
    pub seconds: u64,
    /// What the faults are drawn from.
    pub seed: u64,
    /// How many nodes form the cluster.
    pub nodes: u64,
    /// Whether to run on loopback even where namespaces can be made.
    pub loopback: bool,
    /// The load of each process.
    pub amount: Amount,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What it says, several lines.
    pub text: String,
    /// The last line.
    pub last_line: String,
    /// Whether nothing happened that must not.
    pub good: bool,
}

/// Runs it. `interrupted` ends it early; there is no verdict then.
///
/// # Errors
/// If it cannot be run, or was interrupted.
pub fn run(settings: &Settings, interrupted: &AtomicBool) -> Result<Report, String> {
    let mut text = String::new();
    let begun = Instant::now();
    let cluster = prepare(settings, &mut text)?;
    print!("{text}");
    let founders = cluster.members();
    founders.iter().try_for_each(|id| cluster.start(*id))?;
    let given_up = || interrupted.load(Ordering::Relaxed);
    founders.iter().try_for_each(|id| cluster.wait_ready(*id, HEALED_PATIENCE, &given_up))?;
    println!("chaos: {} nodes serve after {:.1} s", founders.len(), begun.elapsed().as_secs_f64());

    let begin_ns = clock_ns();
    let end = Instant::now() + Duration::from_secs(settings.seconds);
    let loads: Result<Vec<Load>, String> = (0..load::KINDS.len())
        .map(|index| {
            let seed = settings.seed.wrapping_add(1 << 32).wrapping_mul(index as u64 + 1);
            Load::start(&cluster, &settings.dir, index, settings.amount, settings.seconds, seed)
        })
        .collect();
    let loads = loads?;
    let inflictor = Inflictor::new(&cluster, interrupted);
    let kinds = kinds_here(&cluster);
    inflictor.run(settings.seed, &kinds, end - Duration::from_secs(settings.seconds) / CALM_SHARE);
    let (faults, notes) = inflictor.into_done();
    if interrupted.load(Ordering::Relaxed) {
        return Err("interrupted".to_owned());
    }
    for id in cluster.members() {
        if let Err(reason) = cluster.wait_ready(id, HEALED_PATIENCE, &given_up) {
            cluster.defect(format!("after everything was healed, {reason}"));
        }
    }
    let patience =
        end.max(Instant::now()) + Duration::from_millis(settings.amount.timeout_ms) + HEALED_PATIENCE;
    let histories: Result<Vec<PathBuf>, String> =
        loads.into_iter().map(|load| load.finish(patience)).collect();
    let histories = histories?;
    let until_ns = begin_ns + settings.seconds * 1_000_000_000;
    let mut operations = verdict::read_histories(&histories)?;
    let judged = judge(&cluster, &mut operations, &settings.dir);
    let notes = [notes, cluster.take_remarks()].concat();
    let seconds = begun.elapsed().as_secs();
    Ok(report(text, settings, &cluster, &operations, &faults, &notes, &judged, (begin_ns, until_ns), seconds))
}

/// Network, disks and processes that are not started yet; says into `text` what cannot be done here.
fn prepare(settings: &Settings, text: &mut String) -> Result<Cluster, String> {
    let total = settings.nodes + STRANGERS;
    let made = if settings.loopback { Err("as was asked".to_owned()) } else { Network::namespaces(total) };
    let network = match made {
        Ok(network) => {
            let _ = writeln!(text, "chaos: every node and the clients in a network namespace of their own");
            network
        }
        Err(reason) => {
            let _ = writeln!(text, "chaos: on loopback ({reason}); left out: all cuts of links");
            Network::loopback(total)?
        }
    };
    let mut disks = Vec::new();
    let mut unlimited = None;
    for id in 1..=total {
        let root = settings.dir.join(format!("disk-{id}"));
        disks.push(match Disk::limited(&root, DISK_MB) {
            Ok(disk) => disk,
            Err(reason) => {
                unlimited = Some(reason);
                Disk::plain(&root)?
            }
        });
    }
    if let Some(reason) = unlimited {
        let _ = writeln!(text, "chaos: no disks of limited size ({reason}); left out: full disks");
    }
    let options = ["--snapshot-every", "3000", "--snapshot-keep", "300", "--cache-mb", "16", "--lease-reads"];
    let options = options.map(str::to_owned).to_vec();
    let _ = writeln!(
        text,
        "chaos: seed {}, {} s, {} nodes and {STRANGERS} that may join, {} clients, data in {}",
        settings.seed,
        settings.seconds,
        settings.nodes,
        settings.amount.clients * load::KINDS.len() as u64,
        settings.dir.display()
    );
    Ok(Cluster::new(settings.program.clone(), network, settings.dir.clone(), disks, settings.nodes, options))
}

/// The faults that can be had here.
fn kinds_here(cluster: &Cluster) -> Vec<(Kind, u32)> {
    let can_fill = cluster.ids().into_iter().any(|id| cluster.can_fill(id));
    let here =
        |kind: Kind| (cluster.network().can_cut() || !kind.cuts()) && (can_fill || kind != Kind::DiskFull);
    Kind::ALL.into_iter().filter(|(kind, _)| here(*kind)).collect()
}

/// What must not have happened, each in words, and what is said of the history.
struct Judged {
    defects: Vec<String>,
    history: String,
    verdict: &'static str,
}

/// Adds the final reads to the history while it is judged.
fn judge(cluster: &Cluster, operations: &mut Vec<Operation>, dir: &Path) -> Judged {
    let mut finals = Vec::new();
    for id in cluster.members() {
        match verdict::final_reads(cluster, id, operations, dir) {
            Ok(reads) => finals.extend(reads),
            Err(reason) => cluster.defect(format!("node {id} cannot be read in the end: {reason}")),
        }
    }
    // Whoever ended without a reason is found by this.
    cluster.check_running();
    let mut defects = cluster.take_defects();
    for id in cluster.ids() {
        let log = std::fs::read(cluster.log_path(id)).unwrap_or_default();
        let lines = verdict::log_defects(&String::from_utf8_lossy(&log), cluster.was_full(id));
        defects.extend(lines.into_iter().map(|line| format!("the log of node {id}: {line}")));
    }
    defects.extend(verdict::lost_writes(operations, &finals));
    let recorded = operations.len();
    operations.extend(finals);
    let checked = history::check(operations);
    operations.truncate(recorded);
    let (history, verdict) = match checked {
        Ok(summary) if summary.is_decided() => (summary.to_string(), "linearizable"),
        Ok(summary) => (format!("{summary}; undecided: {:?}", summary.undecided), "undecided"),
        Err(violation) => (violation.to_string(), "violation"),
    };
    let verdict = if verdict == "linearizable" && !defects.is_empty() { "defects" } else { verdict };
    Judged { defects, history, verdict }
}

#[expect(clippy::too_many_arguments, reason = "everything that was seen comes together here")]
fn report(
    mut text: String,
    settings: &Settings,
    cluster: &Cluster,
    operations: &[Operation],
    faults: &[Inflicted],
    notes: &[String],
    judged: &Judged,
    (begin_ns, until_ns): (u64, u64),
    took_s: u64,
) -> Report {
    let count = |outcome| operations.iter().filter(|operation| operation.outcome == outcome).count();
    let (ok, fail, unknown) = (count(Outcome::Ok), count(Outcome::Fail), count(Outcome::Unknown));
    let acknowledged = operations.iter().filter(|operation| operation.outcome == Outcome::Ok);
    let times: Vec<u64> = acknowledged.filter_map(|operation| operation.return_ns).collect();
    let windows = windows::windows(times, begin_ns, until_ns);
    let longest = windows.iter().map(Window::ms).max().unwrap_or_default();
    let seconds_in = |ns: u64| ns.saturating_sub(begin_ns) as f64 / 1e9;

    let _ = writeln!(text, "\noperations: {} ({ok} ok, {fail} failed, {unknown} unknown)", operations.len());
    let _ = writeln!(text, "history: {}", judged.history);
    let mut by_kind: BTreeMap<Kind, u64> = BTreeMap::new();
    faults.iter().for_each(|fault| *by_kind.entry(fault.kind).or_default() += 1);
    let by_kind: Vec<String> = by_kind.into_iter().map(|(kind, number)| format!("{kind} {number}")).collect();
    let _ = writeln!(text, "faults: {} ({})", faults.len(), by_kind.join(", "));
    let members: Vec<String> = cluster.members().into_iter().map(|id| id.to_string()).collect();
    let _ = writeln!(text, "members in the end: {}", members.join(", "));
    let long: Vec<&Window> =
        windows.iter().filter(|window| window.end_ns - window.begin_ns > windows::LISTED_NS).collect();
    let _ = writeln!(text, "windows of more than a second without an acknowledged operation: {}", long.len());
    for window in long {
        let causes = windows::causes(window, faults);
        let causes: Vec<String> =
            causes.iter().map(|fault| format!("{} of {}", fault.kind, fault.what)).collect();
        let causes = if causes.is_empty() { "no fault".to_owned() } else { causes.join("; ") };
        let _ = writeln!(text, "  at {:7.1} s, {:6} ms: {causes}", seconds_in(window.begin_ns), window.ms());
    }
    let _ = writeln!(text, "every fault, from its beginning until those whom it met served again:");
    for fault in faults {
        let (begin, end) = (seconds_in(fault.begin_ns), seconds_in(fault.end_ns));
        let _ =
            writeln!(text, "  {begin:7.1} s to {end:7.1} s  {:<15} {}", fault.kind.to_string(), fault.what);
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    for defect in &judged.defects {
        let _ = writeln!(text, "DEFECT: {defect}");
    }
    let last_line = format!(
        "seconds={} operations={} ok={ok} fail={fail} unknown={unknown} faults={} longest_unavailable_ms={longest} \
         verdict={}",
        settings.seconds,
        operations.len(),
        faults.len(),
        judged.verdict
    );
    let _ = writeln!(text, "the run took {took_s} s\n{last_line}");
    Report { text, last_line, good: judged.verdict == "linearizable" }
}
