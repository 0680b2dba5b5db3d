//! Nothing is so large that sled moves it out of its log, and space does not grow for ever.

use openraft_adapters::suite::flushed;
use openraft_adapters::{EntryRange, RaftLogStorage};
use std::sync::Arc;

use crate::support::{SEGMENT, append, blobs, id, meta, normal, open, read_all, run};

#[tokio::test]
async fn large_entries_and_snapshots_leave_nothing_beside_sleds_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let lens = [1, 100, 8_000, 8_192, 20_000, 100, 1 << 20, 7_900, 3 << 20, 300, 300_000];
    for round in 0..8 {
        let entries = lens.iter().zip(round * 11..).map(|(len, index)| normal(1, index, *len)).collect();
        append(&log, EntryRange::from_entries(entries)).await;
        store.snapshots(1).write(meta(round), vec![round as u8; 2_500_000].into()).await.unwrap();
        assert_eq!(blobs(dir.path()), 0, "round {round}");
    }
    let found: Vec<usize> = read_all(&log, 0).await.into_iter().map(|(_, len)| len).collect();
    assert_eq!(found, lens.repeat(8));
    // Half of it away: leaves are merged.
    flushed(|io| log.truncate(60, io)).await.unwrap();
    flushed(|io| log.purge(id(1, 20), io)).await.unwrap();
    append(&log, run(2, 60..400, 5_000)).await;
    assert_eq!(blobs(dir.path()), 0);
}

async fn append_and_purge(
    log: &Arc<dyn RaftLogStorage<crate::support::T>>,
    first: u64,
    count: u64,
    bytes: usize,
) {
    for begin in (first..first + count).step_by(20) {
        append(log, run(1, begin..begin + 20, bytes)).await;
    }
    flushed(|io| log.purge(id(1, first + count - 5), io)).await.unwrap();
}

#[tokio::test]
async fn space_does_not_grow_for_ever_under_append_and_purge() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let mut first = 0;
    let mut most = [0; 2];
    for half in &mut most {
        // 30 MiB in each half, of which some 2 MiB live at a time.
        for _ in 0..15 {
            append_and_purge(&log, first, 2_000, 1_000).await;
            first += 2_000;
            *half = store.bytes_on_disk().unwrap().max(*half);
        }
    }
    assert!(most[1] <= most[0] * 5 / 4, "grew from {} to {} bytes", most[0], most[1]);
    assert_eq!(blobs(dir.path()), 0);
}

#[tokio::test]
async fn sleds_log_never_runs_a_segment_ahead_of_the_barrier() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    let mut first = 0;
    for bytes in [10, 7_000, 300, 500_000, 8_000] {
        append_and_purge(&log, first, 60, bytes).await;
        first += 60;
        store.snapshots(1).write(meta(first), vec![1; 1_000_000].into()).await.unwrap();
    }
    let metrics = store.metrics();
    assert!(metrics.log_bytes_between_barriers_max < SEGMENT as u64, "{metrics:?}");
    assert!(metrics.log_bytes > 20 << 20, "enough was written to tell: {metrics:?}");
}

#[tokio::test]
async fn submissions_that_gather_share_one_barrier() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let logs: Vec<_> = (1..=50).map(|group| store.log(group)).collect();
    let before = store.metrics().barriers;
    // The first completion holds the writer until all others are queued.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    logs[0].save_vote(
        Default::default(),
        openraft_adapters::IoFlushed::new(move |_| {
            tell.send(()).unwrap();
            // Ends when the other end is dropped.
            let _ = held.recv();
        }),
    );
    told.recv().unwrap();
    let all: Vec<_> = logs.iter().map(|log| flushed(|io| log.append(run(1, 0..1, 10), io))).collect();
    let mut all = Box::pin(futures_join(all));
    std::future::poll_fn(|context| {
        let _ = all.as_mut().poll(context);
        std::task::Poll::Ready(())
    })
    .await;
    drop(hold);
    all.await;
    assert_eq!(store.metrics().barriers - before, 2, "one for the vote, one for all appends");
}

/// Polls all, so that each makes its submission, and waits for all.
async fn futures_join(futures: Vec<impl Future<Output = Result<(), openraft_adapters::StorageError>>>) {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
