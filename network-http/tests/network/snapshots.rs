//! Snapshots: whole, refused, and broken on either side.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{NetworkError, SnapshotHeaderOf, SnapshotSource, StorageError};
use openraft_engine::{AppendResult, LogId, SnapshotMeta, Vote};

use crate::fake::{self, LONG, T, heartbeat, replica, soon};

const MIB: usize = 1024 * 1024;

struct Source {
    content: Bytes,
    /// Reads from here on fail.
    broken_at: u64,
}

#[async_trait]
impl SnapshotSource for Source {
    fn len(&self) -> u64 {
        self.content.len() as u64
    }

    async fn read_at(&self, offset: u64, max_bytes: usize) -> Result<Bytes, StorageError> {
        if offset >= self.broken_at {
            return Err(StorageError::message("reading a snapshot", "a bad block"));
        }
        let offset = offset as usize;
        Ok(self.content.slice(offset..self.content.len().min(offset + max_bytes)))
    }
}

fn source(bytes: usize) -> Source {
    let content: Vec<u8> = (0..bytes).map(|i| (i / 7 % 251) as u8).collect();
    Source { content: content.into(), broken_at: u64::MAX }
}

fn header() -> SnapshotHeaderOf<T> {
    let meta = SnapshotMeta { last_log_id: Some(LogId::new(1, 1, 77)), ..SnapshotMeta::default() };
    SnapshotHeaderOf::<T> {
        from: replica(1),
        admitted: None,
        to: Default::default(),
        vote: Vote::new_committed(1, 1),
        position: 5,
        meta,
    }
}

#[tokio::test]
async fn a_snapshot_of_many_windows_arrives_whole() {
    let node = fake::node(2).await;
    for bytes in [40 * MIB + 13, MIB, 0] {
        let source = source(bytes);
        let content = source.content.clone();
        let reply = soon(node.network().snapshot(header(), Box::new(source), LONG)).await.unwrap();
        assert_eq!(reply.result, AppendResult::Matched(Some(LogId::new(1, 1, 77))));
        assert!(node.raft.snapshot.lock().unwrap().take().unwrap() == content, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_wanted_is_refused_before_it_is_sent() {
    let node = fake::node(2).await;
    node.raft.refuse_snapshots.store(true, Ordering::SeqCst);
    let error = soon(node.network().snapshot(header(), Box::new(source(40 * MIB)), LONG)).await.unwrap_err();
    assert!(
        matches!(&error, NetworkError::Refused { reason, .. } if reason == "no snapshot wanted"),
        "{error}"
    );
}

#[tokio::test]
async fn a_full_disk_at_the_receiver_ends_the_transfer_with_its_reason() {
    let node = fake::node(2).await;
    node.raft.disk_full.store(true, Ordering::SeqCst);
    let error = soon(node.network().snapshot(header(), Box::new(source(40 * MIB)), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    soon(node.raft.aborted.notified()).await;
}

#[tokio::test]
async fn a_source_that_fails_half_way_leaves_nothing_at_the_receiver() {
    let node = fake::node(2).await;
    let network = node.network();
    let source = Source { broken_at: 2 * MIB as u64, ..source(5 * MIB) };
    let error = soon(network.snapshot(header(), Box::new(source), LONG)).await.unwrap_err();
    assert!(error.to_string().contains("a bad block"), "{error}");
    soon(node.raft.aborted.notified()).await;
    assert!(node.raft.snapshot.lock().unwrap().is_none());
}

#[tokio::test]
async fn heartbeats_go_on_while_a_snapshot_is_sent() {
    let node = fake::node(2).await;
    let network = node.network();
    let transfer = network.snapshot(header(), Box::new(source(40 * MIB)), LONG);
    let beats = async {
        for i in 0..20 {
            network.heartbeat(heartbeat(i), LONG).await.unwrap();
        }
    };
    let (reply, ()) = soon(futures::future::join(transfer, beats)).await;
    reply.unwrap();
}
