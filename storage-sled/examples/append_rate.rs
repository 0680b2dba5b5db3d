//! Measures durable appends: 64 tasks that each wait for their own flush, with 1 and with 100 entries of 128 bytes.
//!
//! `cargo run --release -p openraft-storage-sled --example append_rate [DIRECTORY] [SECONDS]`

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openraft_adapters::engine::LogId;
use openraft_adapters::{Entry, EntryPayload, EntryRange, IoFlushed, RaftLogStorage};
use openraft_storage_sled::{SledOptions, SledStore};

openraft_adapters::declare_raft_types!(
    /// Proposals of bytes.
    T: D = Vec<u8>
);

const TASKS: u64 = 64;
const PURGE_BEHIND: u64 = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(5, |s| s.parse().expect("a number of seconds"));
    for (tasks, entries) in [(1, 1), (TASKS, 1), (1, 100), (TASKS, 100)] {
        let dir = parent.join(format!("append-rate-{}-{tasks}-{entries}", std::process::id()));
        measure(&dir, tasks, entries, Duration::from_secs(seconds)).await;
        // What is left over is a temporary directory.
        let _ = std::fs::remove_dir_all(&dir);
    }
}

async fn measure(dir: &std::path::Path, tasks: u64, entries: u64, length: Duration) {
    let store = SledStore::<T>::open(dir, SledOptions::new(1, "measure")).expect("the store opens");
    let log = store.log(1);
    let next = Arc::new(Mutex::new(0));
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut running = Vec::new();
    for _ in 0..tasks {
        let (log, next, done) = (log.clone(), next.clone(), done.clone());
        running.push(tokio::spawn(async move {
            while begin.elapsed() < length {
                append(&*log, &next, entries).await;
                done.fetch_add(entries, Ordering::Relaxed);
            }
        }));
    }
    for task in running {
        task.await.expect("a task ends");
    }
    let took = begin.elapsed().as_secs_f64();
    let metrics = store.metrics();
    println!(
        "{tasks:3} tasks, {entries:3} entries each: {:8.0} durable entries/s, {:6.0} rounds/s, {:6.0} barriers/s, {:.1} \
         bytes to sled's log per byte, at most {} KiB between barriers, {} MiB on disk",
        done.load(Ordering::Relaxed) as f64 / took,
        metrics.rounds as f64 / took,
        metrics.barriers as f64 / took,
        metrics.log_bytes as f64 / metrics.payload_bytes as f64,
        metrics.log_bytes_between_barriers_max >> 10,
        store.bytes_on_disk().expect("the directory is listed") >> 20,
    );
}

/// Appends the next entries of the log; now and then purges what lies far behind.
async fn append(log: &dyn RaftLogStorage<T>, next: &Mutex<u64>, count: u64) {
    let submitted = {
        let mut next = next.lock().expect("nothing panics here");
        let first = *next;
        *next += count;
        let run = (first..*next)
            .map(|index| Entry::new(LogId::new(1, 1, index), EntryPayload::Normal(vec![index as u8; 128])))
            .collect();
        if first / PURGE_BEHIND < *next / PURGE_BEHIND && first >= PURGE_BEHIND {
            log.purge(LogId::new(1, 1, first - PURGE_BEHIND), IoFlushed::new(|_| {}));
        }
        let run = EntryRange::<T>::from_entries(run);
        // Submitted under the lock: the log takes entries in the order of their indexes.
        let (tell, told) = tokio::sync::oneshot::channel();
        log.append(
            run,
            IoFlushed::new(move |result| {
                let _ = tell.send(result);
            }),
        );
        told
    };
    submitted.await.expect("the completion is fired").expect("the append is durable");
}
