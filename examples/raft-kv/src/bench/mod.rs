//! `bench`: a closed loop of load on a cluster, measured, and recorded for a checker if wanted.
//!
//! # Layout
//!
//! - `options`, `mix`: what is to be done.
//! - `worker`: one client, and what all of them share.
//! - `outcome`: what an answer means; `history`: every operation as a line; `stats`: counts and times.
//! - `progress`: the line on the terminal.
//!
//! The clients are tasks of one thread: the machine that is measured is often the one that measures, and work that moves
//! between threads costs more than the operations themselves.

mod history;
mod mix;
mod options;
mod outcome;
mod progress;
mod stats;
mod worker;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::client::commands::node_status;
use crate::exit::{Failure, say};
use crate::open_files::make_room_for_connections;
use crate::signals::Stop;
use crate::wire::Consistency;

use history::{Clock, History};
use mix::Op;
pub(crate) use options::BenchOptions;
use stats::Stats;
use worker::{Keys, Load};

/// How long an endpoint may take to answer before the run begins, however little time an operation is given.
const BEGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the load and prints what came of it.
pub(crate) async fn bench(options: BenchOptions) -> Result<(), Failure> {
    options.validate()?;
    let room = make_room_for_connections();
    if options.clients > room {
        return Err(Failure::Usage(format!(
            "--clients {}: each needs a connection, and this process may open {room}; raise the limit of open files \
             (ulimit -n), or give fewer clients",
            options.clients
        )));
    }
    let history = options.history.as_deref().map(History::create).transpose()?;
    let mut stop = Stop::listen(false)?;
    let client = options.cluster.client();
    let patient = options.cluster.timeout().max(BEGIN_PATIENCE);
    someone_answers(&Client::new(options.cluster.endpoints.clone(), patient)).await?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(since_1970.subsec_nanos().into());
    let prefix = match history {
        // A checker takes keys to have no value at first.
        Some(_) => format!("bench-{:x}-{:x}-", since_1970.as_micros(), std::process::id()),
        None => "bench-".to_owned(),
    };
    let started = Instant::now();
    let end = started + Duration::from_secs(options.seconds);
    let load = Arc::new(Load {
        client,
        readers: readers(&options),
        consistency: options.consistency,
        mix: options.mix,
        keys: Keys::new(prefix, options.keys, options.mix.percent(Op::Cas) > 0),
        value_size: options.value_size,
        rest: Duration::from_millis(options.rest_ms),
        end,
        stopping: AtomicBool::new(false),
        clock: Clock::start(),
        stats: Mutex::new(Stats::new(started, end)),
        history,
    });
    run(&load, options.clients, options.seconds, seed, &mut stop).await?;
    let report = load.stats().report(&options, seed, Instant::now());
    let text = match options.json {
        true => serde_json::to_string(&report).map_err(|e| Failure::error(e.to_string()))? + "\n",
        false => report.lines(),
    };
    say(&text)?;
    if report.is_empty() { Err(Failure::error("no operation was answered")) } else { Ok(()) }
}

/// Starts the clients and waits for all of them.
async fn run(
    load: &Arc<Load>,
    clients: usize,
    seconds: u64,
    seed: u64,
    stop: &mut Stop,
) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    for id in 0..clients {
        workers.spawn(worker::work(load.clone(), id, seed));
    }
    let all_ended = async {
        while let Some(ended) = workers.join_next().await {
            ended.map_err(|e| Failure::error(format!("a client of the load ended early: {e}")))?;
        }
        Ok(())
    };
    let progress = progress::show(load, seconds);
    let (mut all_ended, mut progress) = (std::pin::pin!(all_ended), std::pin::pin!(progress));
    let result = loop {
        tokio::select! {
            biased;
            result = &mut all_ended => break result,
            // What is in flight is still waited for, so that its outcome is known.
            () = stop.wanted() => load.stopping.store(true, Ordering::Relaxed),
            () = &mut progress => {}
        }
    };
    progress::clear();
    if let Some(history) = &load.history {
        history.flush();
        history.check()?;
    }
    result
}

/// For reads that any node serves: one client for each endpoint, which begins with that one.
fn readers(options: &BenchOptions) -> Vec<Client> {
    if !matches!(options.consistency, Consistency::Follower | Consistency::Stale) {
        return Vec::new();
    }
    let endpoints = &options.cluster.endpoints;
    let beginning_with = |first: usize| [&endpoints[first..], &endpoints[..first]].concat();
    (0..endpoints.len()).map(|first| Client::new(beginning_with(first), options.cluster.timeout())).collect()
}

/// Fails if no endpoint answers: it is known at once that nothing will come of the run.
async fn someone_answers(client: &Client) -> Result<(), Failure> {
    let mut answers: FuturesUnordered<_> =
        client.endpoints().iter().map(|endpoint| node_status(client, endpoint)).collect();
    let mut reasons = Vec::new();
    while let Some((endpoint, answer)) = answers.next().await {
        match answer {
            Ok(_) => return Ok(()),
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    Err(Failure::error(format!(
        "no endpoint answers ({}); are the nodes running, and is --endpoints right?",
        reasons.join("; ")
    )))
}
