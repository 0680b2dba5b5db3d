//! Reads while the log is written, and completions against the barrier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use openraft_adapters::engine::Vote;
use openraft_adapters::suite::flushed;
use openraft_adapters::{IoFlushed, ReadError};

use crate::support::{append, id, open, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_during_a_truncation_never_mixes_two_logs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    append(&log, run(1, 0..10, 300)).await;
    append(&log, run(1, 10..80, 300)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let (reader, stopped) = (log.reader(), stop.clone());
    let reading = tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            match reader.read(5..80, u64::MAX).await {
                Ok(entries) => {
                    let mut terms: Vec<u64> = entries.iter().map(|e| e.log_id.leader_id.term).collect();
                    assert_eq!(terms.len(), 75);
                    terms.drain(..5);
                    terms.dedup();
                    assert_eq!(terms.len(), 1, "entries of several logs: {terms:?}");
                }
                // Just cut: the log ends before what was asked for.
                Err(ReadError::Storage(error)) => {
                    assert!(error.to_string().contains("the log holds"), "{error}")
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    for term in 2..60 {
        flushed(|io| log.truncate(10, io)).await.unwrap();
        append(&log, run(term, 10..45, 300)).await;
        append(&log, run(term, 45..80, 300)).await;
    }
    stop.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    assert_eq!(log.reader().read(10..80, u64::MAX).await.unwrap().first_log_id().unwrap().leader_id.term, 59);
}

#[tokio::test]
async fn a_completion_comes_after_the_barrier_that_it_tells_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    for term in 1..20 {
        let before = store.metrics().barriers;
        let (tell, told) = mpsc::channel();
        let seen = store.clone();
        log.save_vote(
            Vote::new(term, 1).into(),
            IoFlushed::new(move |_| tell.send(seen.metrics().barriers).unwrap()),
        );
        assert_eq!(told.recv().unwrap(), before + 1, "vote of term {term}");
    }
}

#[tokio::test]
async fn what_the_log_weighs_is_known_after_a_reopening_without_reading_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let all = run(1, 0..40, 1_000);
    append(&log, all.slice(0..25)).await;
    append(&log, all.slice(25..40)).await;
    assert_eq!(log.log_state().await.unwrap().log_bytes, all.weight());
    flushed(|io| log.truncate(30, io)).await.unwrap();
    flushed(|io| log.purge(id(1, 9), io)).await.unwrap();
    drop((log, store));
    let store = open(dir.path());
    let log = store.log(1);
    let found = log.log_state().await.unwrap().log_bytes;
    assert!(found.abs_diff(all.weight() / 2) < 100, "{found} of {}", all.weight());
    flushed(|io| log.purge(id(1, 50), io)).await.unwrap();
    assert_eq!(log.log_state().await.unwrap().log_bytes, 0);
}
