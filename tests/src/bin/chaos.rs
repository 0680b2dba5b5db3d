//! Faults on real processes of `raft-kv` under load, and a verdict on what its clients saw. `docs/chaos.md` says more.

// Real processes keep real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use openraft_tests::chaos::load::Amount;
use openraft_tests::chaos::run::{Report, Settings, run};
use tokio::signal::unix::{SignalKind, signal};

/// Runs nodes of `raft-kv` in network namespaces, puts load on them, kills, pauses, cuts, fills, restarts, adds and
/// removes them, and judges the histories of all operations. Needs root for namespaces and disks of limited size;
/// without, it runs on loopback and says what it leaves out.
#[derive(Parser)]
struct Arguments {
    /// How long there is load, in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    seconds: u64,
    /// What the faults are drawn from; drawn itself if it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many nodes form the cluster.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(3..=5))]
    nodes: u64,
    /// Write the report to this file too.
    #[arg(long)]
    report: Option<PathBuf>,
    /// The program `raft-kv`; without it, it is built as this program was.
    #[arg(long)]
    raft_kv: Option<PathBuf>,
    /// Where data, logs and histories go: a new directory. Kept if something is wrong.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Keep the directory in any case.
    #[arg(long)]
    keep: bool,
    /// Run on loopback even where namespaces can be made.
    #[arg(long)]
    loopback: bool,
    /// How many clients each of the three processes has that put load on the cluster.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    clients: u64,
    /// How many keys the clients of a process share.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    keys: u64,
    /// How long each client rests between two operations, in milliseconds: what is recorded must be judged.
    #[arg(long, default_value_t = 10)]
    rest_ms: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Err(error) = listen(interrupted.clone()) {
        eprintln!("chaos: signals cannot be received: {error}");
        return ExitCode::FAILURE;
    }
    match chaos(&arguments, &interrupted) {
        Ok(report) if report.good => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("chaos: {reason}");
            ExitCode::from(2)
        }
    }
}

/// From now on signals end the run in order: namespaces and processes go with it.
fn listen(interrupted: Arc<AtomicBool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let guard = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            interrupted.store(true, Ordering::Relaxed);
        });
    });
    Ok(())
}

fn chaos(arguments: &Arguments, interrupted: &AtomicBool) -> Result<Report, String> {
    let program = match &arguments.raft_kv {
        Some(program) => std::path::absolute(program).map_err(|e| e.to_string())?,
        None => build()?,
    };
    if !program.is_file() {
        return Err(format!("{} is not there; give --raft-kv the path of the program", program.display()));
    }
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(since_1970.as_secs());
    let dir = arguments
        .dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("raft-chaos-{}-{seed}", std::process::id())));
    let dir = std::path::absolute(dir).map_err(|e| e.to_string())?;
    if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{} is not empty; give --dir a new directory", dir.display()));
    }
    std::fs::create_dir_all(&dir).map_err(|e| format!("{} cannot be made: {e}", dir.display()))?;
    let settings = Settings {
        program,
        dir: dir.clone(),
        seconds: arguments.seconds,
        seed,
        nodes: arguments.nodes,
        loopback: arguments.loopback,
        amount: Amount {
            clients: arguments.clients,
            keys: arguments.keys,
            rest_ms: arguments.rest_ms,
            timeout_ms: 2_000,
        },
    };
    let result = run(&settings, interrupted);
    if let Ok(report) = &result {
        // The first lines were printed when they were known.
        let rest = report.text.split_once("\n\n").map_or(report.text.as_str(), |(_, rest)| rest);
        print!("\n{rest}");
        if let Some(path) = &arguments.report {
            std::fs::write(path, &report.text)
                .map_err(|e| format!("{} cannot be written: {e}", path.display()))?;
        }
    }
    let wrong = !matches!(&result, Ok(report) if report.good) && !interrupted.load(Ordering::Relaxed);
    if wrong || arguments.keep {
        eprintln!("chaos: kept {} (seed {seed})", dir.display());
    } else {
        let _ = std::fs::remove_dir_all(&dir); // What is left lies in the directory for temporary files.
    }
    result
}

/// Builds `raft-kv` in the profile and the target directory of this program.
fn build() -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|e| format!("this program has no path: {e}"))?;
    let profile = me.parent().ok_or("this program is in no directory")?;
    let target = profile.parent().ok_or("this program is in no target directory")?;
    let release: &[&str] = if profile.ends_with("release") { &["--release"] } else { &[] };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--locked", "--package", "raft-kv", "--manifest-path"])
        .arg(workspace)
        .arg("--target-dir")
        .arg(target)
        .args(release)
        .status()
        .map_err(|e| format!("cargo cannot be run: {e}; give --raft-kv the path of the program"))?;
    if !status.success() {
        return Err("raft-kv cannot be built".to_owned());
    }
    Ok(profile.join("raft-kv"))
}
