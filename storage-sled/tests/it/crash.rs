//! Crashes: whatever instant and whatever subset of unsynced blocks, the store opens after a prefix of its submissions
//! that is not shorter than its last completion.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use openraft_adapters::engine::Vote;
use openraft_adapters::suite::flushed;
use openraft_adapters::{IoFlushed, RaftLogStorage};

use crate::support::{T, append, copy, id, open, read_all, run};

/// A completion that copies the directory, while the writer stands still, and then tells.
fn copying(from: PathBuf, to: PathBuf, told: mpsc::Sender<()>) -> IoFlushed {
    IoFlushed::new(move |result| {
        result.unwrap();
        copy(&from, &to);
        told.send(()).unwrap();
    })
}

/// What a log holds, in words.
async fn summary(log: &Arc<dyn RaftLogStorage<T>>) -> String {
    let state = log.log_state().await.unwrap();
    let first = state.purged.map_or(0, |id| id.index + 1);
    let entries = read_all(log, first).await;
    format!("{} {:?} {:?} {} entries", state.vote.vote, state.purged, state.last_log_id, entries.len())
}

#[tokio::test]
async fn a_kill_at_any_completion_loses_nothing_completed() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let completed = Arc::new(Mutex::new(0));
    for n in 0..12 {
        let (from, to, completed) =
            (dir.path().to_owned(), copies.path().join(n.to_string()), completed.clone());
        // All are submitted at once; each completion takes a copy while the later ones are queued or half done.
        let io = IoFlushed::new(move |result| {
            result.unwrap();
            copy(&from, &to);
            *completed.lock().unwrap() += 1;
        });
        log.append(run(1, n * 10..n * 10 + 10, 3_000), io);
    }
    flushed(|io| log.save_vote(Vote::new(1, 1).into(), io)).await.unwrap();
    assert_eq!(*completed.lock().unwrap(), 12);
    for n in 0..12 {
        let state = open(&copies.path().join(n.to_string())).log(1).log_state().await.unwrap();
        let last = state.last_log_id.unwrap().index;
        assert!(last >= n * 10 + 9 && last % 10 == 9, "after completion {n} the log ends with {last}");
    }
}

const BLOCK: usize = 4096;

/// The file `before`, with some of the blocks in which `after` differs from it.
fn torn(before: &[u8], after: &[u8], keep: impl Fn(usize) -> bool) -> Vec<u8> {
    let mut image = before.to_vec();
    for (n, block) in after.chunks(BLOCK).enumerate() {
        let at = n * BLOCK;
        if keep(n) {
            image.resize(image.len().max(at + block.len()), 0);
            image[at..at + block.len()].copy_from_slice(block);
        }
    }
    image
}

/// A sequence of numbers from a seed.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// Opens the image of a power cut in which the file is `db`.
async fn after_power_cut(template: &Path, db: &[u8]) -> String {
    let image = tempfile::tempdir().unwrap();
    copy(template, image.path());
    fs::write(image.path().join("db"), db).unwrap();
    summary(&open(image.path()).log(1)).await
}

#[tokio::test]
async fn a_power_cut_that_keeps_any_of_the_unsynced_blocks_loses_nothing_completed() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let (mut last, mut seed, mut partial) = (0, 11, BTreeSet::new());
    for round in 0..25 {
        // Enough in between that segments fill, are freed and are used again.
        for _ in 0..8 {
            append(&log, run(1, last..last + 15, 2_000)).await;
            last += 15;
        }
        flushed(|io| log.purge(id(1, last - 20), io)).await.unwrap();
        // Until the purge has removed its records: from then on the writer rests between submissions.
        for term in 0..8 {
            flushed(|io| log.save_vote(Vote::new(term, 1).into(), io)).await.unwrap();
        }

        let (before, after) =
            (copies.path().join(format!("{round}a")), copies.path().join(format!("{round}b")));
        let (tell, told) = mpsc::channel();
        let (second_log, second) = (log.clone(), copying(dir.path().to_owned(), after.clone(), tell));
        let (from, to) = (dir.path().to_owned(), before.clone());
        let entries = run(1, last..last + 8, 2_000);
        log.save_vote(
            Vote::new(100, 1).into(),
            IoFlushed::new(move |result| {
                result.unwrap();
                copy(&from, &to);
                // Submitted from here, it is the whole of the next round, with one barrier at its end.
                second_log.append(entries, second);
            }),
        );
        // The writer is a thread of its own and needs no runtime.
        told.recv().unwrap();
        last += 8;

        // Opening writes, so that only copies are opened.
        let (a, b) = (fs::read(before.join("db")).unwrap(), fs::read(after.join("db")).unwrap());
        let expected = [after_power_cut(&before, &a).await, after_power_cut(&after, &b).await];
        assert_ne!(expected[0], expected[1]);
        for _ in 0..6 {
            let density = next(&mut seed) % 100;
            let choice: Vec<bool> =
                (0..b.len() / BLOCK + 1).map(|_| next(&mut seed) % 100 < density).collect();
            let found = after_power_cut(&before, &torn(&a, &b, |n| choice[n])).await;
            assert!(expected.contains(&found), "round {round}: {found} is neither of {expected:?}");
            partial.insert(found == expected[1]);
        }
    }
    assert!(partial.contains(&false), "some images had lost the append");
}
