//! The core submits what the engine orders in the order in which it comes, whatever one turn brings together.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::memory::{MemDisk, MemRouter, MemSnapshots, MemStateMachine};
use openraft_adapters::{
    AppendEntriesRequest, Entry, EntryPayload, EntryRange, Env, RaftLogStorage, RaftServer,
};
use openraft_core::{Config, Raft, RaftParts};
use openraft_engine::{AppendHeader, LogId, Vote};
use openraft_tests::cluster::{List, Names, initial, replica};

/// Node 1 of three, whose disk writes when it is told to.
async fn node(disk: &MemDisk<Names>) -> Raft<Names> {
    let env = Env::tokio();
    let router: MemRouter<Names> = MemRouter::new();
    let parts = RaftParts {
        config: Config::default(),
        replica: replica(1),
        env: env.clone(),
        network: Arc::new(router.factory(1, env)),
        log: disk.open(),
        state_machine: Box::new(MemStateMachine::<Names, List>::open(MemSnapshots::new())),
    };
    Raft::start(parts).await.expect("an empty store")
}

/// One entry of the leader of `term`, which is node `term + 1`, after the entry `prev`.
fn append(term: u64, prev: LogId<u64>, name: &str) -> AppendEntriesRequest<Names> {
    let vote = Vote::new_committed(term, term + 1);
    let log_id = LogId { leader_id: vote.leader_id(), index: prev.index + 1 };
    let header = AppendHeader {
        from: replica(term + 1),
        admitted: Some(LogId::default()),
        to: replica(1).store_id,
        vote,
        prev_log_id: Some(prev),
        committed: None,
        position: 1,
        promise: Duration::ZERO,
    };
    let entry = Entry::new(log_id, EntryPayload::Normal(name.to_owned()));
    AppendEntriesRequest { header, entries: EntryRange::from_entries(vec![entry]) }
}

/// Lets the core take what it was sent.
async fn settle() {
    Env::tokio().sleep(Duration::from_millis(1)).await;
}

/// Merged, the two entries would be one write behind the vote, and the vote's completion would confirm an entry that is
/// not on the disk.
#[tokio::test(start_paused = true)]
async fn appends_of_two_leaders_in_one_turn_are_two_writes_with_the_vote_between_them() {
    let disk = MemDisk::held();
    let raft = node(&disk).await;
    let formed = tokio::join!(raft.initialize(initial(3)), async {
        settle().await;
        disk.flush_all()
    });
    formed.0.expect("an empty node");
    // It follows node 2 already, so that the next append brings no vote with it.
    let first = raft.append_entries(append(1, LogId::default(), "a"));
    settle().await;
    disk.flush_all();
    first.await.expect("the node runs");

    let of_two = raft.append_entries(append(1, LogId::new(1, 2, 1), "b"));
    let of_three = raft.append_entries(append(2, LogId::new(1, 2, 2), "c"));
    settle().await;
    assert_eq!(disk.unflushed(), 3, "an append, the vote, an append");
    disk.crash(1);
    let held = disk.open().log_state().await.expect("a sound store");
    assert_eq!((held.vote.vote, held.last_log_id), (Vote::new_committed(1, 2), Some(LogId::new(1, 2, 2))));
    drop((of_two, of_three));
}
