//! Runs the simulation over many seeds and prints what they came to; a violation ends it with the seed.

use std::ops::Range;

use clap::Parser;
use openraft_tests::sim::{Options, run};

/// Simulates clusters of real cores on virtual time.
#[derive(Parser)]
struct Arguments {
    /// The seeds to run, `from..to`.
    #[arg(long, value_parser = parse_range, default_value = "0..100")]
    seeds: Range<u64>,
    /// Faults in each run.
    #[arg(long, default_value_t = 60)]
    faults: u32,
    /// Nodes in each cluster.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Nodes more that wait to be admitted.
    #[arg(long, default_value_t = 2)]
    spares: u64,
    /// Clients in each run.
    #[arg(long, default_value_t = 6)]
    clients: u64,
}

fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("{text:?} is no range of seeds; write for example 0..100");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    Ok(from.parse().map_err(|_| wrong())?..to.parse().map_err(|_| wrong())?)
}

fn main() {
    let arguments = Arguments::parse();
    let log = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let (mut seeds, mut steps, mut faults, mut elections, mut commits, mut digest) = (0u64, 0, 0, 0, 0, 0u64);
    let (mut changes, mut wipes) = (0u64, 0u64);
    for seed in arguments.seeds {
        let Arguments { nodes, spares, faults: made, clients, .. } = arguments;
        let options = Options { seed, nodes, spares, faults: made, clients };
        let report = run(&options);
        seeds += 1;
        steps += report.steps;
        faults += report.faults;
        elections += report.elections;
        commits += report.commits;
        changes += report.changes;
        wipes += report.wipes;
        digest = digest.rotate_left(5) ^ report.digest;
    }
    println!(
        "seeds={seeds} steps={steps} faults={faults} elections={elections} commits={commits} changes={changes} \
         wipes={wipes} violations=0 digest={digest:016x}"
    );
}
