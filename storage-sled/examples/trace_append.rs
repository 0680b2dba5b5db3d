//! A few durable appends with marks between them, to be run under a system-call trace:
//!
//! `strace -f -y -e trace=openat,pwrite64,write,sync_file_range,fdatasync,fsync,ftruncate,rename \
//!  target/debug/examples/trace_append DIRECTORY`

use openraft_adapters::engine::{LogId, Vote};
use openraft_adapters::suite::flushed;
use openraft_adapters::{Entry, EntryPayload, EntryRange};
use openraft_storage_sled::{SledOptions, SledStore};

openraft_adapters::declare_raft_types!(
    /// Proposals of bytes.
    T: D = Vec<u8>
);

fn run(first: u64, count: u64, bytes: usize) -> EntryRange<T> {
    let entry = |index| Entry::new(LogId::new(1, 1, index), EntryPayload::Normal(vec![index as u8; bytes]));
    EntryRange::from_entries((first..first + count).map(entry).collect())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = std::env::args().nth(1).expect("the first argument is a directory");
    eprintln!("---- open");
    let store = SledStore::<T>::open(dir.as_ref(), SledOptions::new(1, "trace")).expect("the store opens");
    let log = store.log(1);
    let first = log.log_state().await.expect("the log is readable").last_log_id.map_or(0, |id| id.index + 1);

    eprintln!("---- vote");
    flushed(|io| log.save_vote(Vote::new(1, 1).into(), io)).await.expect("durable");
    eprintln!("---- one entry of 128 bytes");
    flushed(|io| log.append(run(first, 1, 128), io)).await.expect("durable");
    eprintln!("---- a hundred entries of 128 bytes");
    flushed(|io| log.append(run(first + 1, 100, 128), io)).await.expect("durable");
    eprintln!("---- ten appends and a vote submitted together");
    for n in 0..10 {
        log.append(run(first + 101 + n, 1, 128), openraft_adapters::IoFlushed::new(|_| {}));
    }
    flushed(|io| log.save_vote(Vote::new(2, 1).into(), io)).await.expect("durable");
    eprintln!("---- one entry of 1 MiB");
    flushed(|io| log.append(run(first + 111, 1, 1 << 20), io)).await.expect("durable");
    eprintln!("---- purge");
    flushed(|io| log.purge(LogId::new(1, 1, first + 111), io)).await.expect("durable");
    eprintln!("---- close");
}
