//! Snapshots: durable, atomic to replace, readable while held, gone afterwards.

use bytes::Bytes;
use openraft_adapters::Snapshot;

use crate::support::{T, meta, open, raw};

fn content(seed: u8, len: usize) -> Bytes {
    (0..len).map(|i| (i as u64 * 31 + u64::from(seed)) as u8).collect::<Vec<_>>().into()
}

async fn read(snapshot: &Snapshot<T>, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let some = snapshot.source.read_at(out.len() as u64, piece).await.unwrap();
        if some.is_empty() {
            return out;
        }
        out.extend_from_slice(&some);
    }
}

fn stored_values(dir: &std::path::Path) -> usize {
    let db = raw(dir);
    db.scan_prefix([0x30]).count() + db.scan_prefix([0x31]).count()
}

#[tokio::test]
async fn a_snapshot_is_current_after_a_restart_and_reads_at_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    assert!(open(dir.path()).snapshots(1).current().is_none());
    let all = content(3, 100_001);
    open(dir.path()).snapshots(1).write(meta(10), all.clone()).await.unwrap();
    let store = open(dir.path());
    assert!(store.snapshots(2).current().is_none());
    let current = store.snapshots(1).current().unwrap();
    assert_eq!((&current.meta, current.source.len()), (&meta(10), 100_001));
    for piece in [1_000, 8_123, 1 << 20] {
        assert_eq!(read(&current, piece).await, all);
    }
    assert_eq!(current.source.read_at(99_999, 10).await.unwrap(), all[99_999..]);
    assert!(current.source.read_at(200_000, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_empty_snapshot_is_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).snapshots(1).write(meta(10), Bytes::new()).await.unwrap();
    let current = open(dir.path()).snapshots(1).current().unwrap();
    assert!(current.source.is_empty());
}

#[tokio::test]
async fn a_source_reads_on_after_its_snapshot_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let snapshots = store.snapshots(1);
    snapshots.write(meta(10), content(1, 50_000)).await.unwrap();
    let old = snapshots.current().unwrap();
    snapshots.write(meta(20), content(2, 60_000)).await.unwrap();
    store.put_app("any", b"write").await.unwrap();
    assert_eq!(read(&old, 10_000).await, content(1, 50_000));
    assert_eq!(snapshots.current().unwrap().meta, meta(20));
    drop((old, snapshots, store));
    let after = stored_values(dir.path());
    let fresh = tempfile::tempdir().unwrap();
    open(fresh.path()).snapshots(1).write(meta(20), content(2, 60_000)).await.unwrap();
    assert_eq!(after, stored_values(fresh.path()), "nothing of the old one is left");
}

#[tokio::test]
async fn an_older_snapshot_does_not_replace_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.snapshots(1).write(meta(20), content(2, 10)).await.unwrap();
    store.snapshots(1).write(meta(10), content(1, 10)).await.unwrap();
    assert_eq!(store.snapshots(1).current().unwrap().meta, meta(20));
}

#[tokio::test]
async fn a_received_snapshot_is_current_only_once_it_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let snapshots = store.snapshots(1);
    snapshots.write(meta(10), content(1, 10)).await.unwrap();
    let mut sink = snapshots.sink(&meta(30));
    let all = content(3, 70_000);
    sink.write_at(0, all.slice(..30_000)).await.unwrap();
    assert!(snapshots.install(&meta(30)).await.is_err(), "not all has come");
    sink.write_at(30_000, all.slice(30_000..)).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(snapshots.current().unwrap().meta, meta(10));
    assert!(snapshots.received(&meta(31)).is_none());
    assert_eq!(read(&snapshots.received(&meta(30)).unwrap(), 1 << 20).await, all);
    snapshots.install(&meta(30)).await.unwrap();
    snapshots.install(&meta(30)).await.unwrap();
    drop((snapshots, store));
    let current = open(dir.path()).snapshots(1).current().unwrap();
    assert_eq!(current.meta, meta(30));
    assert_eq!(read(&current, 1 << 20).await, all);
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = open(dir.path()).snapshots(1).sink(&meta(30));
    sink.write_at(0, content(3, 10)).await.unwrap();
    assert!(sink.write_at(11, content(3, 10)).await.is_err());
}

#[tokio::test]
async fn what_was_not_installed_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let snapshots = store.snapshots(1);
        let mut aborted = snapshots.sink(&meta(30));
        aborted.write_at(0, content(3, 70_000)).await.unwrap();
        aborted.abort().await;
        let mut replaced = snapshots.sink(&meta(31));
        replaced.write_at(0, content(3, 70_000)).await.unwrap();
        replaced.finish().await.unwrap();
        let mut received = snapshots.sink(&meta(32));
        received.write_at(0, content(3, 70_000)).await.unwrap();
        received.finish().await.unwrap();
    }
    assert_eq!(stored_values(dir.path()), 0);
}

#[tokio::test]
async fn what_a_crash_left_of_a_snapshot_is_removed_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).snapshots(1).write(meta(10), content(1, 50_000)).await.unwrap();
    let whole = stored_values(dir.path());
    {
        let db = raw(dir.path());
        let chunks: Vec<_> = db.scan_prefix([0x31]).map(Result::unwrap).collect();
        for (group, number) in [(1, 9), (0, 1), (7, 3)] {
            for (key, value) in &chunks {
                let mut key = key.to_vec();
                key[8] = group;
                key[16] = number;
                db.insert(key, value).unwrap();
            }
        }
    }
    assert!(stored_values(dir.path()) > whole);
    let current = open(dir.path()).snapshots(1).current().unwrap();
    assert_eq!(read(&current, 9_999).await, content(1, 50_000));
    drop(current);
    assert_eq!(stored_values(dir.path()), whole);
}
