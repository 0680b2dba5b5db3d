//! Damaged values: reported with group, index and file, never served, never skipped.

use std::path::Path;

use openraft_adapters::ReadError;
use openraft_storage_sled::{OpenError, SledStore};

use crate::support::{T, append, meta, open, options, raw, run};

/// Flips a bit in the middle of the `n`th value whose key begins with `prefix`.
fn flip(dir: &Path, prefix: &[u8], n: usize) {
    let db = raw(dir);
    let (key, value) = db.scan_prefix(prefix).nth(n).expect("there are so many").unwrap();
    let mut value = value.to_vec();
    let middle = value.len() / 2;
    value[middle] ^= 4;
    db.insert(key, value).unwrap();
    db.flush().unwrap();
}

/// Three records in group 9: entries 0 to 9, 10 to 19 and 20 to 29.
async fn three_records(dir: &Path) {
    let log = open(dir).log(9);
    for first in [0, 10, 20] {
        append(&log, run(1, first..first + 10, 30)).await;
    }
}

const RECORD: u8 = 0x20;
const HEAD: u8 = 0x10;

#[tokio::test]
async fn a_damaged_record_is_reported_with_group_index_and_file() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path()).await;
    flip(dir.path(), &[RECORD], 1);
    let reader = open(dir.path()).log(9).reader();
    let Err(ReadError::Storage(error)) = reader.read(12..15, u64::MAX).await else { panic!("it was served") };
    let words = error.to_string();
    for part in ["group 9", "from 12", "from 10 on", "checksum", &dir.path().join("db").display().to_string()]
    {
        assert!(words.contains(part), "{part:?} in {words}");
    }
}

#[tokio::test]
async fn a_read_across_a_damaged_record_fails_and_one_beside_it_does_not() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path()).await;
    flip(dir.path(), &[RECORD], 1);
    let reader = open(dir.path()).log(9).reader();
    assert!(reader.read(0..30, u64::MAX).await.is_err());
    assert!(reader.read(9..11, u64::MAX).await.is_err());
    assert_eq!(reader.read(0..10, u64::MAX).await.unwrap().len(), 10);
    assert_eq!(reader.read(20..30, u64::MAX).await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_missing_record_is_an_error_and_not_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path()).await;
    {
        let db = raw(dir.path());
        let (key, _) = db.scan_prefix([RECORD]).nth(1).unwrap().unwrap();
        db.remove(key).unwrap();
        db.flush().unwrap();
    }
    let reader = open(dir.path()).log(9).reader();
    let error = reader.read(5..25, u64::MAX).await.unwrap_err();
    assert!(error.to_string().contains("entry 10 is missing"), "{error}");
}

#[tokio::test]
async fn a_damaged_head_keeps_the_store_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path()).await;
    flip(dir.path(), &[HEAD], 0);
    let error = SledStore::<T>::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }) && error.to_string().contains("group 9"), "{error}");
}

#[tokio::test]
async fn a_log_without_a_head_keeps_the_store_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    three_records(dir.path()).await;
    append(&open(dir.path()).log(8), run(1, 0..3, 10)).await;
    {
        let db = raw(dir.path());
        let (key, _) = db.scan_prefix([HEAD]).nth(1).unwrap().unwrap();
        db.remove(key).unwrap();
        db.flush().unwrap();
    }
    let error = SledStore::<T>::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }) && error.to_string().contains("group 9"), "{error}");
}

#[tokio::test]
async fn a_damaged_chunk_of_a_snapshot_is_an_error_where_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let content = vec![1; 50_000];
    open(dir.path()).snapshots(9).write(meta(5), content.into()).await.unwrap();
    flip(dir.path(), &[0x31], 2);
    let source = open(dir.path()).snapshots(9).current().unwrap().source;
    assert_eq!(source.read_at(0, 10_000).await.unwrap().len(), 10_000);
    let error = source.read_at(0, 50_000).await.unwrap_err();
    assert!(error.to_string().contains("chunk 2") && error.to_string().contains("group 9"), "{error}");
}
