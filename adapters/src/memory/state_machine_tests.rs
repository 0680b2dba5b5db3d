//! Tests of the state machine in memory: replies, snapshots, restarts.

use bytes::Bytes;
use openraft_engine::{LogId, Membership, SnapshotMeta, StoreId, StoredMembership};

use super::{MemApp, MemStateMachine};
use crate::{
    Entry, EntryPayload, EntryRange, LogIdOf, RaftStateMachine, RaftTypeConfig, SnapshotMetaOf,
    SnapshotSource, StoredMembershipOf,
};

crate::declare_raft_types!(T: D = String, R = usize);

/// Keeps every proposal and replies with how many there are.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Kept(Vec<String>);

impl MemApp<T> for Kept {
    fn apply(&mut self, log_id: LogIdOf<T>, proposal: &String) -> usize {
        self.0.push(format!("{log_id} {proposal}"));
        self.0.len()
    }
}

type Machine = MemStateMachine<T, Kept>;

fn membership() -> StoredMembershipOf<T> {
    let members = Membership::new_initial([(1, StoreId(1), <T as RaftTypeConfig>::Node::new("a:1"))]);
    StoredMembership::new(LogId::new(0, 0, 0), members)
}

/// Entries from `first` on: a proposal each, but for `-`, which is blank.
fn entries(first: u64, proposals: &[&str]) -> EntryRange<T> {
    let entries = proposals.iter().zip(first..).map(|(proposal, index)| {
        let payload = match *proposal {
            "-" => EntryPayload::Blank,
            data => EntryPayload::Normal(data.to_owned()),
        };
        Entry::new(LogId::new(1, 1, index), payload)
    });
    EntryRange::from_entries(entries.collect())
}

async fn machine_with(proposals: &[&str]) -> Machine {
    let mut machine = Machine::new();
    machine.apply(entries(0, proposals)).await.unwrap();
    machine
}

async fn snapshot(machine: &mut Machine) -> SnapshotMetaOf<T> {
    machine.snapshot_builder(membership()).await.unwrap().build().await.unwrap()
}

async fn content(source: &dyn SnapshotSource, chunk: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut offset = 0;
    while offset < source.len() {
        chunks.push(source.read_at(offset, chunk).await.unwrap());
        offset += chunks.last().unwrap().len() as u64;
    }
    chunks
}

/// Sends `from`'s current snapshot to `to` in small chunks; stops before `finish` if told so.
async fn transfer(from: &mut Machine, to: &mut Machine, finish: bool) -> SnapshotMetaOf<T> {
    let current = from.current_snapshot().await.unwrap().unwrap();
    let mut sink = to.snapshot_sink(&current.meta).await.unwrap();
    let mut offset = 0;
    for chunk in content(&*current.source, 7).await {
        let length = chunk.len() as u64;
        sink.write_at(offset, chunk).await.unwrap();
        offset += length;
    }
    if finish {
        sink.finish().await.unwrap();
    }
    current.meta
}

#[tokio::test]
async fn every_normal_entry_gets_one_reply_and_the_others_none() {
    let mut machine = Machine::new();
    let reader = machine.reader();
    assert_eq!(machine.last_applied().await.unwrap(), None);
    assert_eq!(machine.apply(entries(0, &["-", "a", "-", "b"])).await.unwrap(), [1, 2]);
    assert_eq!(machine.apply(entries(4, &["-"])).await.unwrap(), [0; 0]);
    assert_eq!(reader.last_applied(), Some(LogId::new(1, 1, 4)));
    assert_eq!(reader.get(), Kept(vec!["T1-N1-1 a".to_owned(), "T1-N1-3 b".to_owned()]));
}

#[tokio::test]
async fn entries_out_of_order_are_an_error() {
    let mut machine = machine_with(&["a"]).await;
    assert!(machine.apply(entries(2, &["c"])).await.is_err());
    assert!(machine.apply(entries(0, &["a"])).await.is_err());
    assert_eq!(machine.reader().last_applied(), Some(LogId::new(1, 1, 0)));
}

#[tokio::test]
async fn a_snapshot_shows_the_state_when_its_builder_was_made() {
    let mut machine = machine_with(&["a", "b"]).await;
    let builder = machine.snapshot_builder(membership()).await.unwrap();
    machine.apply(entries(2, &["c"])).await.unwrap();
    let meta = builder.build().await.unwrap();
    assert_eq!((meta.last_log_id, &meta.membership), (Some(LogId::new(1, 1, 1)), &membership()));
    let current = machine.current_snapshot().await.unwrap().unwrap();
    assert_eq!(current.meta, meta);
    let state: Kept = postcard::from_bytes(&content(&*current.source, 5).await.concat()).unwrap();
    assert_eq!(state.0.len(), 2);
}

#[tokio::test]
async fn a_restart_restores_the_current_snapshot() {
    let mut machine = machine_with(&["a", "b"]).await;
    snapshot(&mut machine).await;
    machine.apply(entries(2, &["lost with the process"])).await.unwrap();
    let mut again = Machine::open(machine.snapshots());
    assert_eq!(again.last_applied().await.unwrap(), Some(LogId::new(1, 1, 1)));
    assert_eq!(again.reader().with(|kept| kept.0.len()), 2);
    assert_eq!(again.apply(entries(2, &["c"])).await.unwrap(), [3]);
}

#[tokio::test]
async fn two_snapshots_of_one_state_have_different_names() {
    let mut machine = machine_with(&["a"]).await;
    assert_ne!(snapshot(&mut machine).await.snapshot_id, snapshot(&mut machine).await.snapshot_id);
}

#[tokio::test]
async fn an_installed_snapshot_replaces_the_state_and_survives_a_restart() {
    let mut leader = machine_with(&["a", "b", "c"]).await;
    snapshot(&mut leader).await;
    let mut follower = machine_with(&["x"]).await;
    let meta = transfer(&mut leader, &mut follower, true).await;
    assert_eq!(follower.reader().with(|kept| kept.0.len()), 1, "nothing changes before it is installed");
    follower.install_snapshot(&meta).await.unwrap();
    assert_eq!(follower.reader().get(), leader.reader().get());
    let mut again = Machine::open(follower.snapshots());
    assert_eq!(again.last_applied().await.unwrap(), meta.last_log_id);
    assert_eq!(again.reader().get(), leader.reader().get());
}

#[tokio::test]
async fn a_snapshot_that_no_sink_finished_is_not_installed() {
    let mut leader = machine_with(&["a", "b"]).await;
    snapshot(&mut leader).await;
    let mut follower = machine_with(&["x"]).await;
    let meta = transfer(&mut leader, &mut follower, false).await;
    assert!(follower.install_snapshot(&meta).await.is_err());
    let meta = transfer(&mut leader, &mut follower, true).await;
    let other = SnapshotMeta { snapshot_id: "another".to_owned(), ..meta };
    assert!(follower.install_snapshot(&other).await.is_err());
    assert_eq!(follower.reader().with(|kept| kept.0.len()), 1);
}

#[tokio::test]
async fn a_content_that_does_not_decode_changes_nothing() {
    let mut machine = machine_with(&["a"]).await;
    let meta = snapshot(&mut machine).await;
    let broken = SnapshotMeta { snapshot_id: "broken".to_owned(), ..meta.clone() };
    let mut sink = machine.snapshot_sink(&broken).await.unwrap();
    sink.write_at(0, Bytes::from_static(&[255; 3])).await.unwrap();
    sink.finish().await.unwrap();
    assert!(machine.install_snapshot(&broken).await.is_err());
    assert_eq!(machine.current_snapshot().await.unwrap().unwrap().meta, meta);
    assert_eq!(machine.reader().with(|kept| kept.0.len()), 1);
}

#[tokio::test]
async fn a_chunk_that_leaves_a_gap_is_refused() {
    let mut machine = Machine::new();
    let mut sink = machine.snapshot_sink(&SnapshotMetaOf::<T>::default()).await.unwrap();
    sink.write_at(0, Bytes::from_static(b"abc")).await.unwrap();
    assert!(sink.write_at(4, Bytes::from_static(b"e")).await.is_err());
}

#[tokio::test]
async fn a_build_that_ends_after_a_newer_install_does_not_replace_it() {
    let mut leader = machine_with(&["a", "b", "c"]).await;
    snapshot(&mut leader).await;
    let mut follower = machine_with(&["a"]).await;
    let slow = follower.snapshot_builder(membership()).await.unwrap();
    let meta = transfer(&mut leader, &mut follower, true).await;
    follower.install_snapshot(&meta).await.unwrap();
    slow.build().await.unwrap();
    assert_eq!(follower.snapshots().current_meta(), Some(meta));
}
