//! After a failed write: every later submission fails with the first cause, and opening anew helps.

use openraft_adapters::ReadError;
use openraft_adapters::engine::Vote;
use openraft_adapters::suite::flushed;
use openraft_storage_sled::{SledOptions, SledStore};

use crate::support::{T, append, copy, id, open, read_all, run};

#[tokio::test]
async fn a_refused_write_ends_all_writing_with_the_first_cause() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (log, other) = (store.log(1), store.log(2));
    append(&log, run(1, 0..5, 10)).await;
    flushed(|io| log.purge(id(1, 2), io)).await.unwrap();
    let first = flushed(|io| log.truncate(1, io)).await.unwrap_err();
    assert_eq!(flushed(|io| log.append(run(1, 5..6, 10), io)).await.unwrap_err(), first);
    assert_eq!(flushed(|io| other.save_vote(Vote::new(1, 1).into(), io)).await.unwrap_err(), first);
    assert_eq!(store.put_app("a", b"b").await.unwrap_err(), first);
    assert_eq!(log.reader().read(3..4, 0).await.unwrap_err(), ReadError::Storage(first.clone()));
    assert_eq!(store.failure(), Some(first));
    drop((store, log, other));
    assert_eq!(read_all(&open(dir.path()).log(1), 3).await.len(), 2);
}

#[tokio::test]
async fn a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log(1);
    let error = flushed(|io| log.append(run(1, 1..2, 10), io)).await.unwrap_err();
    assert!(error.to_string().contains("must have index 0"), "{error}");
}

#[tokio::test]
async fn a_completion_that_panics_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path()).log(1);
    log.save_vote(
        Vote::new(1, 1).into(),
        openraft_adapters::IoFlushed::new(|_| panic!("of the caller's own")),
    );
    flushed(|io| log.save_vote(Vote::new(2, 1).into(), io)).await.unwrap();
}

/// Needs a directory on a disk of some 30 MiB, named in SMALL_DISK: a full disk cannot be had without the privilege to
/// mount one.
#[tokio::test]
#[ignore = "needs a small disk"]
async fn a_full_disk_is_an_error_and_what_was_acknowledged_is_still_there() {
    let dir = std::path::PathBuf::from(std::env::var_os("SMALL_DISK").expect("SMALL_DISK names a directory"));
    let options = || SledOptions::new(1, "small");
    let mut acknowledged = 0;
    let first = {
        let store = SledStore::<T>::open(&dir, options()).unwrap();
        let log = store.log(1);
        let first = loop {
            match flushed(|io| log.append(run(1, acknowledged..acknowledged + 10, 10_000), io)).await {
                Ok(()) => acknowledged += 10,
                Err(error) => break error,
            }
        };
        assert_eq!(flushed(|io| log.save_vote(Vote::new(2, 1).into(), io)).await.unwrap_err(), first);
        first
    };
    println!("after {acknowledged} entries: {first}");
    // sled writes when it opens a database: without a free block it must say so, and with some all is there.
    if let Err(error) = SledStore::<T>::open(&dir, options()) {
        println!("opened while full: {error}");
    }
    let roomy = tempfile::tempdir().unwrap();
    copy(&dir, roomy.path());
    let store = SledStore::<T>::open(roomy.path(), options()).unwrap();
    let held = read_all(&store.log(1), 0).await.len() as u64;
    assert!(held >= acknowledged, "{held} of {acknowledged}");
}
