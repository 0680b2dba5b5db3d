//! Simulates clusters over many seeds and prints what they came to. A violation ends it with the seed, the step, the
//! shortest command that repeats it and the last events.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::Parser;
use openraft_tests::sim::kv::Kv;
use openraft_tests::sim::{Chosen, Coverage, Failure, Options, Report, from_ranges, in_words, run, shrink};

/// Simulates clusters of real cores on virtual time, with faults of network, disk, clock and process.
#[derive(Parser)]
struct Arguments {
    /// The seeds to run, `from..to`.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: Range<u64>,
    /// Steps of each run before its cluster is healed: delivered messages, I/O completions, timers, client operations and
    /// faults.
    #[arg(long, default_value_t = 20_000)]
    steps: u64,
    /// Runs at once. What is printed at the end does not depend on it.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Leaves these faults out: numbers and ranges, as `3,7-9`.
    #[arg(long, conflicts_with = "only")]
    without: Option<String>,
    /// Makes these faults only: numbers and ranges, as `3,7-9`, or `none`.
    #[arg(long)]
    only: Option<String>,
    /// Prints how often each fault and each path of the protocol was come upon.
    #[arg(long)]
    coverage: bool,
    /// How many of the last events of a run that fails are shown.
    #[arg(long, default_value_t = 120)]
    events: usize,
    /// Does not look for a smaller run that fails.
    #[arg(long)]
    no_shrink: bool,
}

/// Coverage is demanded of this many steps and more.
const DEMANDING_STEPS: u64 = 2_000_000;

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds; write for example 0..100");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    Ok(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let faults = match (&arguments.without, &arguments.only) {
        (Some(words), _) => from_ranges(words).map(Chosen::Without),
        (_, Some(words)) => from_ranges(words).map(Chosen::Only),
        (None, None) => Ok(Chosen::All),
    };
    let faults = match faults {
        Ok(faults) => faults,
        Err(words) => {
            eprintln!("{words}");
            return ExitCode::FAILURE;
        }
    };
    let (reports, failure) = run_all(&arguments, &faults);
    let sums = Sums::of(&reports);
    if arguments.coverage {
        print!("{}", sums.coverage);
    }
    let violations = u64::from(failure.is_some());
    println!("{}", sums.line(violations));
    if let Some(failure) = failure {
        tell(&arguments, &faults, failure);
        return ExitCode::FAILURE;
    }
    if sums.steps >= DEMANDING_STEPS && faults == Chosen::All {
        let lacking = sums.coverage.lacking(sums.steps);
        for (reached, found, needed) in &lacking {
            eprintln!("come upon too seldom: {reached}, {found} times instead of at least {needed}");
        }
        if !lacking.is_empty() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn options(arguments: &Arguments, seed: u64, faults: &Chosen) -> Options {
    Options { seed, steps: arguments.steps, faults: faults.clone(), shown: arguments.events }
}

/// A seed and how its run ended.
type Ran = (u64, Result<Report, Box<Failure>>);

/// Runs every seed, or as many as come before the first that fails; their reports in order.
fn run_all(arguments: &Arguments, faults: &Chosen) -> (Vec<Report>, Option<Box<Failure>>) {
    let seeds = arguments.seeds.clone();
    let next = AtomicU64::new(seeds.start);
    let done = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let reports: Mutex<Vec<Ran>> = Mutex::default();
    let shows = std::io::stderr().is_terminal();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let options = options(arguments, seed, faults);
                    let report = run(&options, Kv);
                    over.fetch_or(report.is_err(), Ordering::Relaxed);
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let (all, every) = (seeds.end - seeds.start, if shows { 1 } else { 100 });
                    if done.is_multiple_of(every) && all > 1 {
                        eprint!("{done} of {all} seeds{}", if shows { "\r" } else { "\n" });
                    }
                    reports.lock().expect("no thread panics with it").push((seed, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().expect("no thread panicked");
    reports.sort_by_key(|(seed, _)| *seed);
    let mut good = Vec::new();
    for (_, report) in reports {
        match report {
            Ok(report) => good.push(report),
            Err(failure) => return (good, Some(failure)),
        }
    }
    (good, None)
}

/// What all runs came to.
#[derive(Default)]
struct Sums {
    seeds: u64,
    steps: u64,
    faults: u64,
    elections: u64,
    commits: u64,
    operations: u64,
    digest: u64,
    coverage: Coverage,
}

impl Sums {
    fn of(reports: &[Report]) -> Self {
        let mut sums = Self::default();
        for report in reports {
            sums.seeds += 1;
            sums.steps += report.steps;
            sums.faults += report.faults;
            sums.elections += report.elections;
            sums.commits += report.commits;
            sums.operations += report.operations;
            sums.digest = sums.digest.rotate_left(5) ^ report.digest;
            sums.coverage += &report.coverage;
        }
        sums
    }

    fn line(&self, violations: u64) -> String {
        let Self { seeds, steps, faults, elections, commits, operations, digest, .. } = self;
        format!(
            "seeds={seeds} steps={steps} faults={faults} elections={elections} commits={commits} \
             operations={operations} violations={violations} digest={digest:016x}"
        )
    }
}

/// Says what failed, how to repeat it, and what came before.
fn tell(arguments: &Arguments, faults: &Chosen, failure: Box<Failure>) {
    let options = options(arguments, failure.seed, faults);
    eprintln!("BROKEN: {} (seed {}, step {})", failure.what, failure.seed, failure.step);
    let end = failure.faults.last().map_or(0, |last| last + 1);
    let (options, failure) = if arguments.no_shrink {
        let made: BTreeSet<u64> = failure.faults.iter().copied().collect();
        (Options { faults: Chosen::Only(made), ..options }, failure)
    } else {
        // Runs that fail may panic within, which says nothing new.
        std::panic::set_hook(Box::new(|_| ()));
        shrink(&options, failure, || Kv)
    };
    let Options { seed, steps, faults, .. } = options;
    let chosen = match &faults {
        Chosen::Only(made) => in_words(made, end),
        Chosen::All | Chosen::Without(_) => String::new(),
    };
    eprintln!("{} faults are enough. The last events of that run:", failure.faults.len());
    for event in &failure.events {
        eprintln!("  {event}");
    }
    eprintln!("BROKEN: {} (step {})", failure.what, failure.step);
    eprintln!(
        "repeat it: cargo run --release -p openraft-tests --bin simulate -- --seeds {seed}..{} --steps {steps}{chosen}",
        seed + 1
    );
}
