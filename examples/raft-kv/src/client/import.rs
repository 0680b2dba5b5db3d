//! `import`: many keys, many writes in flight.
//!
//! Every key is written once, with the last value that the input has for it. Writing the same value of the same key
//! again changes nothing that this import promises, so that here, and only here, a write whose outcome is unknown is
//! sent again until it is acknowledged.

use std::io::{IsTerminal, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Method;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::cli::{ImportOptions, InputFormat};
use crate::exit::Failure;
use crate::http::Call;
use crate::wire;

use super::lines::{self, Pairs};
use super::{CallError, Client, Repeat};

/// Reads the input and writes all of it.
pub(crate) async fn import(options: ImportOptions) -> Result<(), Failure> {
    let input = read_input(&options)?;
    let pairs = match options.format {
        InputFormat::Lines => lines::parse_lines(&input),
        InputFormat::Dpkg => lines::parse_dpkg(&input),
    };
    let pairs = pairs.map_err(|e| Failure::error(format!("the input is not understood: {e}")))?;
    drop(input);
    if pairs.is_empty() {
        return Err(Failure::error("the input holds no keys; is --format right?"));
    }
    let run = Arc::new(Run::new(pairs.len() as u64));
    let result = write_all(options.cluster.client(), pairs, options.in_flight, &run).await;
    eprintln!("{}{}", if std::io::stderr().is_terminal() { "\r" } else { "" }, run.summary());
    result
}

fn read_input(options: &ImportOptions) -> Result<Vec<u8>, Failure> {
    if options.file.as_os_str() == "-" {
        let mut input = Vec::new();
        std::io::stdin()
            .read_to_end(&mut input)
            .map_err(|e| Failure::error(format!("standard input cannot be read: {e}")))?;
        return Ok(input);
    }
    std::fs::read(&options.file)
        .map_err(|e| Failure::error(format!("{} cannot be read: {e}", options.file.display())))
}

/// What is counted while the import runs.
struct Run {
    total: u64,
    started: Instant,
    acknowledged: AtomicU64,
    /// Attempts beyond the first of each write.
    repeated: AtomicU64,
    pauses: Mutex<Pauses>,
}

struct Pauses {
    last_acknowledged: Instant,
    longest: Duration,
}

impl Run {
    fn new(total: u64) -> Self {
        let now = Instant::now();
        Self {
            total,
            started: now,
            acknowledged: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            pauses: Mutex::new(Pauses { last_acknowledged: now, longest: Duration::ZERO }),
        }
    }

    fn acknowledge(&self, attempts: u32) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.repeated.fetch_add(u64::from(attempts - 1), Ordering::Relaxed);
        let now = Instant::now();
        let mut pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.longest = pauses.longest.max(now.saturating_duration_since(pauses.last_acknowledged));
        pauses.last_acknowledged = now;
    }

    fn summary(&self) -> String {
        let acknowledged = self.acknowledged.load(Ordering::Relaxed);
        let seconds = self.started.elapsed().as_secs_f64();
        let longest = self.pauses.lock().unwrap_or_else(PoisonError::into_inner).longest;
        format!(
            "{acknowledged} of {} keys acknowledged in {seconds:.1} s, {:.0} keys/s; longest pause {:.2} s, {} \
             attempts repeated",
            self.total,
            acknowledged as f64 / seconds.max(0.001),
            longest.as_secs_f64(),
            self.repeated.load(Ordering::Relaxed),
        )
    }
}

async fn write_all(client: Client, pairs: Pairs, in_flight: usize, run: &Arc<Run>) -> Result<(), Failure> {
    let client = Arc::new(client);
    let queue = Arc::new(Mutex::new(pairs.into_iter()));
    let mut writers = JoinSet::new();
    for _ in 0..in_flight {
        writers.spawn(writer(client.clone(), queue.clone(), run.clone()));
    }
    let progress = tokio::spawn(show_progress(run.clone()));
    let mut failure = None;
    while let Some(ended) = writers.join_next().await {
        let result = ended.unwrap_or_else(|e| Err(Failure::error(format!("a writer ended early: {e}"))));
        if let Err(error) = result
            && failure.is_none()
        {
            // The others finish what they have in flight, so that the count at the end is exact, and take no more.
            queue.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
            failure = Some(error);
        }
    }
    progress.abort();
    failure.map_or(Ok(()), Err)
}

type Queue = Arc<Mutex<std::collections::btree_map::IntoIter<String, Bytes>>>;

/// Writes keys one at a time until there are none.
async fn writer(client: Arc<Client>, queue: Queue, run: Arc<Run>) -> Result<(), Failure> {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((key, value)) = next else { return Ok(()) };
        let call = Call::new(Method::PUT, wire::key_path(&key)).body(value);
        match client.call(&call, Repeat::Freely).await {
            Ok(answered) => run.acknowledge(answered.attempts),
            Err(CallError::OutcomeUnknown { reason }) => {
                return Err(Failure::OutcomeUnknown(format!(
                    "the import stopped at key {key:?}, outcome unknown: {reason}; run it again with the same input, \
                     that does no harm"
                )));
            }
            Err(error) => {
                return Err(Failure::error(format!(
                    "the import stopped at key {key:?}: {error}; run it again with the same input, that does no harm"
                )));
            }
        }
    }
}

/// On a terminal a line that is written over; elsewhere a line now and then, for a log.
async fn show_progress(run: Arc<Run>) {
    let terminal = std::io::stderr().is_terminal();
    let mut interval =
        tokio::time::interval(if terminal { Duration::from_millis(200) } else { Duration::from_secs(2) });
    interval.tick().await;
    loop {
        interval.tick().await;
        let line = run.summary();
        if terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush(); // Progress that cannot be shown is no reason to stop.
        } else {
            eprintln!("{line}");
        }
    }
}
