//! What a crash between two atomic batches leaves behind belongs to no log, and opening removes it.

use std::path::Path;

use openraft_adapters::suite::flushed;

use crate::support::{append, id, open, raw, read_all, run};

const HEAD: u8 = 0x10;
const RECORD: u8 = 0x20;

/// All keys and values that begin with `kind`.
fn values(dir: &Path, kind: u8) -> Vec<(Vec<u8>, Vec<u8>)> {
    raw(dir).scan_prefix([kind]).map(|item| item.unwrap()).map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

fn put(dir: &Path, values: Vec<(Vec<u8>, Vec<u8>)>) {
    let db = raw(dir);
    for (key, value) in values {
        db.insert(key, value).unwrap();
    }
    db.flush().unwrap();
}

#[tokio::test]
async fn records_of_an_append_cut_short_vanish() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).log(1), run(1, 0..10, 20)).await;
    let head = values(dir.path(), HEAD);
    append(&open(dir.path()).log(1), run(2, 10..400, 200)).await;
    let whole = values(dir.path(), RECORD);
    assert!(whole.len() > 5, "the append took several records");
    put(dir.path(), head);

    let store = open(dir.path());
    let log = store.log(1);
    let state = log.log_state().await.unwrap();
    assert_eq!((state.last_log_id, state.leader_starts), (Some(id(1, 9)), vec![id(1, 0)]));
    append(&log, run(3, 10..12, 20)).await;
    assert_eq!(read_all(&log, 0).await.len(), 12);
    drop((store, log));
    assert_eq!(values(dir.path(), RECORD).len(), 2);
}

#[tokio::test]
async fn a_record_that_reaches_beyond_the_last_entry_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).log(1), run(1, 0..4, 20)).await;
    let head = values(dir.path(), HEAD);
    {
        let log = open(dir.path()).log(1);
        flushed(|io| log.truncate(0, io)).await.unwrap();
        // One record where there were two appends, as when appends are merged.
        append(&log, run(1, 0..9, 20)).await;
    }
    put(dir.path(), head);
    let log = open(dir.path()).log(1);
    append(&log, run(2, 4..6, 33)).await;
    let lens: Vec<usize> = read_all(&log, 0).await.into_iter().map(|(_, len)| len).collect();
    assert_eq!(lens, [20, 20, 20, 20, 33, 33]);
}

#[tokio::test]
async fn records_that_a_truncation_had_still_to_remove_vanish() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path()).log(1);
        append(&log, run(1, 0..10, 20)).await;
        append(&log, run(1, 10..20, 20)).await;
    }
    let before = values(dir.path(), RECORD);
    {
        let log = open(dir.path()).log(1);
        flushed(|io| log.truncate(10, io)).await.unwrap();
    }
    put(dir.path(), before);
    let log = open(dir.path()).log(1);
    append(&log, run(2, 10..11, 20)).await;
    assert_eq!(read_all(&log, 0).await.len(), 11);
}

#[tokio::test]
async fn records_that_a_purge_had_still_to_remove_vanish() {
    let dir = tempfile::tempdir().unwrap();
    {
        let log = open(dir.path()).log(1);
        for first in [0, 10, 20] {
            append(&log, run(1, first..first + 10, 20)).await;
        }
    }
    let before = values(dir.path(), RECORD);
    {
        let log = open(dir.path()).log(1);
        flushed(|io| log.purge(id(1, 14), io)).await.unwrap();
    }
    put(dir.path(), before);
    let store = open(dir.path());
    let log = store.log(1);
    // Removal goes on with the next rounds.
    flushed(|io| log.save_vote(Default::default(), io)).await.unwrap();
    flushed(|io| log.save_vote(Default::default(), io)).await.unwrap();
    assert_eq!(read_all(&log, 15).await.len(), 15);
    drop((store, log));
    assert_eq!(values(dir.path(), RECORD).len(), 2, "the rest of the second record, and the third");
}
