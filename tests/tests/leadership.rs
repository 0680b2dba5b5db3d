//! Stories of leadership hooks: what an application is told, in which order, and how it ends.

#![allow(clippy::disallowed_methods)] // The test's own time, which is virtual.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft_core::{Config, LeadershipChange, LeadershipGuard};
use openraft_tests::cluster::{Cluster, Names};

type Change = LeadershipChange<Names>;

fn config() -> Config {
    Config { snapshot_every_entries: None, ..Config::default() }
}

/// What one node's hook was told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<Change>>>);

impl Told {
    fn of(cluster: &Cluster, id: u64) -> (Self, LeadershipGuard<Names>) {
        let told = Self::default();
        let into = told.clone();
        let guard = cluster.raft(id).on_leadership_change(move |change| into.0.lock().unwrap().push(change));
        (told, guard)
    }

    fn all(&self) -> Vec<Change> {
        self.0.lock().unwrap().clone()
    }

    /// Gained and Lost alternate, beginning with Gained, and the tokens grow.
    fn check(&self) {
        let mut leads = None;
        let mut greatest = None;
        for change in self.all() {
            match change {
                Change::Gained { vote } => {
                    assert_eq!(leads.replace(vote), None, "{:?}", self.all());
                    assert!(greatest < Some(vote), "{:?}", self.all());
                    greatest = Some(vote);
                }
                Change::Lost { vote } => assert_eq!(leads.take(), Some(vote), "{:?}", self.all()),
                Change::Changed { .. } => {}
            }
        }
    }
}

async fn soon() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::test(start_paused = true)]
async fn every_node_is_told_who_leads_and_the_leader_that_it_may_act() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let vote = cluster.raft(leader).metrics().borrow().vote;
    for id in 1..=3 {
        let (told, _guard) = Told::of(&cluster, id);
        soon().await;
        let mut expected = vec![Change::Changed { leader: Some(leader), vote }];
        expected.extend((id == leader).then_some(Change::Gained { vote }));
        assert_eq!(told.all(), expected, "what holds when the hook is registered comes first");
    }
}

#[tokio::test(start_paused = true)]
async fn leadership_is_not_gained_before_an_entry_of_its_own_is_applied() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let rest = cluster.others(old);
    let told: Vec<_> = rest.iter().map(|id| Told::of(&cluster, *id)).collect();
    for id in &rest {
        cluster.nodes[id].brake.pull();
    }
    cluster.router.isolate(old);
    let new = cluster.leader_among(&rest).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let at = rest.iter().position(|id| *id == new).unwrap();
    let vote = cluster.raft(new).metrics().borrow().vote;
    let last = told[at].0.all().last().copied();
    assert_eq!(
        last,
        Some(Change::Changed { leader: Some(new), vote }),
        "it leads, and its state is not up to date"
    );
    cluster.nodes[&new].brake.release();
    soon().await;
    assert_eq!(told[at].0.all().last(), Some(&Change::Gained { vote }));
    for id in &rest {
        cluster.nodes[id].brake.release();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_loses_before_it_hears_of_its_successor_whose_token_is_greater() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let (told, _guard) = Told::of(&cluster, old);
    let first = cluster.raft(old).metrics().borrow().vote;
    cluster.router.isolate(old);
    let new = cluster.leader_among(&cluster.others(old)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let lost = told.all().iter().position(|change| *change == Change::Lost { vote: first });
    assert!(lost.is_some(), "{:?}", told.all());
    cluster.router.heal();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let new = cluster.leader_among(&[new, old]).await;
    let vote = cluster.raft(new).metrics().borrow().vote;
    assert!(vote > first);
    assert!(told.all().contains(&Change::Changed { leader: Some(new), vote }), "{:?}", told.all());
    told.check();
}

#[tokio::test(start_paused = true)]
async fn through_many_transfers_gained_and_lost_alternate_on_every_node_with_growing_tokens() {
    let cluster = Cluster::start(3, config()).await;
    let told: Vec<_> = (1..=3).map(|id| Told::of(&cluster, id)).collect();
    for round in 0..20 {
        let leader = cluster.leader().await;
        cluster.raft(leader).client_write(format!("w{round}")).await.unwrap();
        let _ = cluster.raft(leader).transfer_leader(None).await;
    }
    cluster.leader().await;
    soon().await;
    let gained: usize = told
        .iter()
        .map(|(told, _)| told.all().iter().filter(|change| matches!(change, Change::Gained { .. })).count())
        .sum();
    assert!(gained > 15, "{gained}");
    for (told, _) in &told {
        told.check();
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_has_told_its_hooks_when_shutdown_returns_and_leaves_no_task() {
    let mut cluster = Cluster::start(1, config()).await;
    let (told, guard) = Told::of(&cluster, 1);
    soon().await;
    let vote = cluster.raft(1).metrics().borrow().vote;
    cluster.stop(1).await;
    let end = [Change::Lost { vote }, Change::Changed { leader: None, vote }];
    assert_eq!(told.all()[2..], end);
    soon().await;
    assert_eq!(cluster.nodes[&1].tasks.running(), Vec::<&str>::new());
    let (late, _late) = Told::of(&cluster, 1);
    soon().await;
    assert_eq!(late.all(), [], "a stopped node has nothing to tell");
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_core_that_dies_of_a_panic_tells_its_hooks_too() {
    let cluster = Cluster::start(1, config()).await;
    let (told, _guard) = Told::of(&cluster, 1);
    let vote = cluster.raft(1).metrics().borrow().vote;
    let _ = cluster.raft(1).client_write("panic".into()).await;
    soon().await;
    assert!(told.all().contains(&Change::Lost { vote }), "{:?}", told.all());
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_harms_nobody_and_is_called_again() {
    let cluster = Cluster::start(1, config()).await;
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let _guard = cluster.raft(1).on_leadership_change(move |_| {
        *counted.lock().unwrap() += 1;
        panic!("a hook that panics");
    });
    soon().await;
    assert_eq!(*calls.lock().unwrap(), 2);
    cluster.raft(1).client_write("the core goes on".into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hook_whose_guard_is_dropped_is_not_called_again_and_its_task_ends() {
    let cluster = Cluster::start(1, config()).await;
    let (told, guard) = Told::of(&cluster, 1);
    soon().await;
    drop(guard);
    soon().await;
    assert!(!cluster.nodes[&1].tasks.running().contains(&"leadership-hook"));
    let before = told.all();
    cluster.raft(1).shutdown().await.unwrap();
    assert_eq!(told.all(), before);
}
