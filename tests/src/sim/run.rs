//! One run: clients and faults, then healing, convergence and the last checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft_adapters::Env;
use openraft_core::{Config, Raft, ReadPolicy, ServerState};
use rand::Rng;
use rand::seq::IndexedRandom;

use super::Types;
use super::churn;
use super::cluster::Cluster;
use super::network::Network;
use super::runtime::{Chance, sleep};
use super::trace::Trace;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many nodes form the cluster.
    pub nodes: u64,
    /// How many nodes more wait to be admitted.
    pub spares: u64,
    /// How many faults before the cluster is healed.
    pub faults: u32,
    /// How many clients.
    pub clients: u64,
}

impl Options {
    /// Three nodes and two more, six clients, sixty faults.
    pub fn new(seed: u64) -> Self {
        Self { seed, nodes: 3, spares: 2, faults: 60, clients: 6 }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events traced.
    pub steps: u64,
    /// Faults made.
    pub faults: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Entries applied.
    pub commits: u64,
    /// Writes that a client saw acknowledged.
    pub acknowledged: u64,
    /// Changes of the membership that were answered.
    pub changes: u64,
    /// Directories lost by nodes that were members no more.
    pub wipes: u64,
    /// Linearizable reads that were answered.
    pub reads: u64,
    /// Of the whole trace: the same seed gives the same.
    pub digest: u64,
}

/// How long a healed cluster may take, in virtual time, until everybody has applied everything and a write succeeds.
const RECOVERY: Duration = Duration::from_secs(60);

/// Runs one cluster on virtual time, on a runtime of its own.
///
/// # Panics
/// On any violation, after printing the seed and the last events.
pub fn run(options: &Options) -> Report {
    let trace = Trace::new();
    let shown = trace.clone();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime of one thread");
        runtime.block_on(simulate(options, trace))
    }));
    result.unwrap_or_else(|panic| {
        eprintln!("seed {} failed; the last events were:", options.seed);
        for event in shown.recent() {
            eprintln!("  {event}");
        }
        std::panic::resume_unwind(panic)
    })
}

/// What the clients share.
struct Clients {
    stop: AtomicBool,
    reads: AtomicU64,
}

async fn simulate(options: &Options, trace: Trace) -> Report {
    let chance = Chance::new(options.seed);
    let network = Network::new(chance.clone(), trace.clone());
    network.heal(20);
    let config = Config {
        heartbeat_interval_ms: 50,
        election_timeout_min_ms: 300,
        election_timeout_max_ms: 600,
        pre_vote: !chance.one_in(4),
        lease_reads: true,
        write_timeout_ms: 2_000,
        read_timeout_ms: 2_000,
        snapshot_every_entries: chance.one_in(2).then_some(40),
        snapshot_every_bytes: Some(chance.draw(|rng| rng.random_range(2_000..20_000))),
        snapshot_interval_ms: chance.one_in(3).then_some(1_500),
        purge_pin_absence_ms: if chance.one_in(2) { 1_000 } else { 600_000 },
        max_apply_bytes: chance.draw(|rng| rng.random_range(1..3_000)),
        max_unapplied_bytes: chance.draw(|rng| rng.random_range(1..20_000)),
        state_hash_every: Some(5),
        snapshot_keep_entries: chance.draw(|rng| rng.random_range(0..20)),
        purge_pin_bytes: chance.draw(|rng| rng.random_range(0..60)) * 150,
        ..Config::default()
    };
    let mut cluster =
        Cluster::new(options.nodes, options.spares, network.clone(), chance.clone(), trace.clone(), config);
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let rafts = Arc::new(tokio::sync::RwLock::new(Vec::new()));
    let clients = Arc::new(Clients { stop: AtomicBool::new(false), reads: AtomicU64::new(0) });
    let env = Env::tokio();
    for client in 0..options.clients {
        let (rafts, clients) = (rafts.clone(), clients.clone());
        env.spawn("client", run_client(client, rafts, clients, chance.clone(), trace.clone()));
    }
    let mut faults = 0;
    while faults < options.faults {
        publish(&cluster, &rafts).await;
        // Now and then one upon the other, so that an election meets a crash.
        let pause =
            if chance.one_in(3) { chance.micros(500, 20_000) } else { chance.micros(20_000, 700_000) };
        sleep(pause).await;
        fault(&mut cluster, &network, &chance, &trace).await;
        check(&cluster, &trace);
        faults += 1;
    }
    network.heal(0);
    for id in cluster.ids() {
        if !cluster.up().contains(&id) {
            cluster.start(id).await;
        }
    }
    publish(&cluster, &rafts).await;
    trace.note("healed".to_owned());
    // The clients go on for a while in a healthy cluster, then the books are closed.
    sleep(Duration::from_secs(5)).await;
    clients.stop.store(true, Ordering::Relaxed);
    let converged = env.timeout(RECOVERY, converge(&mut cluster)).await;
    if converged.is_err() {
        for id in cluster.ids() {
            let metrics = cluster.raft(id).map(|raft| raft.metrics().borrow().clone());
            trace.note(format!("at the end n{id}: {metrics:?}"));
        }
        panic!("the healed cluster did not recover within {RECOVERY:?} of virtual time");
    }
    check(&cluster, &trace);
    let (changes, wipes) = trace.churn();
    Report {
        steps: trace.steps(),
        faults: u64::from(faults),
        elections: trace.elections(),
        commits: trace.applied_count(),
        acknowledged: trace.acknowledged_count(),
        changes,
        wipes,
        reads: clients.reads.load(Ordering::Relaxed),
        digest: trace.digest(),
    }
}

type Rafts = Arc<tokio::sync::RwLock<Vec<(u64, Raft<Types>)>>>;

async fn publish(cluster: &Cluster, rafts: &Rafts) {
    let up = cluster.up().into_iter().filter_map(|id| cluster.raft(id).map(|raft| (id, raft))).collect();
    *rafts.write().await = up;
}

/// One thing goes wrong, or right again.
async fn fault(cluster: &mut Cluster, network: &Network, chance: &Chance, trace: &Trace) {
    let ids = cluster.ids();
    let id = chance.draw(|rng| *ids.choose(rng).expect("there are nodes"));
    let kind = chance.draw(|rng| rng.random_range(0..15));
    match kind {
        0..=1 => cluster.crash(id).await,
        2..=3 => {
            // Back at once: whoever forgot what it promised meets the same election again.
            cluster.crash(id).await;
            cluster.start(id).await;
        }
        4..=5 => {
            let down: Vec<u64> = ids.into_iter().filter(|id| !cluster.up().contains(id)).collect();
            if let Some(id) = chance.draw(|rng| down.choose(rng).copied()) {
                cluster.start(id).await;
            }
        }
        6 => {
            trace.note(format!("n{id} is cut off"));
            for other in ids.into_iter().filter(|other| *other != id) {
                network.cut(id, other);
                network.cut(other, id);
            }
        }
        7 => {
            let other = chance.draw(|rng| *ids.choose(rng).expect("there are nodes"));
            trace.note(format!("n{id} > n{other} is cut"));
            network.cut(id, other);
        }
        8 => {
            let lose = chance.draw(|rng| rng.random_range(4..60));
            trace.note(format!("links are whole; one message in {lose} is lost"));
            network.heal(lose);
        }
        9 => {
            if let Some(raft) = cluster.raft(id) {
                trace.note(format!("n{id} is to hand over"));
                // Whether it does is its own business.
                let _ = Env::tokio().timeout(Duration::from_millis(50), raft.transfer_leader(None)).await;
            }
        }
        10..=12 => churn::change(cluster, chance, trace).await,
        13 => churn::wipe(cluster, id, trace).await,
        _ => {
            if let Some(raft) = cluster.raft(id) {
                // A node that is stopping anyway may not answer.
                let _ = Env::tokio().timeout(Duration::from_millis(50), raft.trigger().snapshot()).await;
            }
        }
    }
}

/// No check has failed in any task, and no core has ended by itself.
fn check(cluster: &Cluster, trace: &Trace) {
    assert_eq!(trace.violation(), None, "a check failed");
    for id in cluster.up() {
        let Some(metrics) = cluster.raft(id).map(|raft| raft.metrics().borrow().clone()) else { continue };
        assert_eq!(metrics.fatal, None, "node {id} stopped by itself");
        assert_eq!(metrics.state_hash_mismatch, None, "node {id} is in another state than its leader");
    }
}

/// Waits until a write succeeds and every member, on the store that the leader's membership names, has applied it.
async fn converge(cluster: &mut Cluster) {
    let mut last = None;
    'write: for attempt in 0.. {
        for id in cluster.ids() {
            let Some(raft) = cluster.raft(id) else { continue };
            if let Ok(reply) = raft.client_write(format!("last-{attempt}-{id}")).await {
                last = Some(reply.log_id.index);
                break 'write;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
    let last = last.expect("the loop ends with a write");
    // The leader's: a node that is no member any more, or never became one, may hold a later one that was rolled back.
    let membership = loop {
        let all = cluster.ids().into_iter().filter_map(|id| cluster.raft(id));
        let all = all.map(|raft| raft.metrics().borrow().clone());
        let leader = all.filter(|metrics| metrics.state == ServerState::Leader).max_by_key(|m| m.vote.term);
        let settled = leader.filter(|leader| leader.membership.log_id <= leader.committed);
        match settled.map(|leader| leader.membership.membership.clone()) {
            Some(membership) if !membership.is_joint() => break membership,
            _ => sleep(Duration::from_millis(100)).await,
        }
    };
    for id in cluster.ids() {
        if membership.knows(&cluster.replica(id)) {
            let raft = cluster.raft(id).expect("every node is up");
            raft.wait(None).applied(last).await.expect("the node is up");
        }
    }
}

/// Writes names and reads, on whatever node it finds, until it is told to stop.
async fn run_client(client: u64, rafts: Rafts, clients: Arc<Clients>, chance: Chance, trace: Trace) {
    let mut sequence = 0;
    while !clients.stop.load(Ordering::Relaxed) {
        sleep(chance.micros(1_000, 60_000)).await;
        let chosen = {
            let rafts = rafts.read().await;
            chance.draw(|rng| rafts.choose(rng).cloned())
        };
        let Some((_, raft)) = chosen else { continue };
        if chance.one_in(4) {
            let patience = chance.micros(20_000, 2_000_000);
            // A read that is given up tells nothing.
            let policies = [ReadPolicy::ReadIndex, ReadPolicy::Lease, ReadPolicy::Follower];
            let policy = chance.draw(|rng| *policies.choose(rng).expect("there are three"));
            let _ = Env::tokio().timeout(patience, read(&raft, policy, &clients, &trace)).await;
            continue;
        }
        sequence += 1;
        let name = format!("c{client}-{sequence}");
        // Some have little patience, so that not all of them wait for a leader that is cut off.
        let patience = if chance.one_in(3) { Duration::from_secs(2) } else { chance.micros(20_000, 200_000) };
        match raft.client_write_within(name.clone(), patience).await {
            Ok(reply) => trace.acknowledged(&name, reply.log_id),
            Err(error) if error.is_outcome_unknown() => trace.note(format!("{name}: {error}")),
            Err(_) => trace.refused(&name),
        }
    }
}

/// A linearizable read, by whatever policy, sees every write that was acknowledged before it began.
async fn read(raft: &Raft<Types>, policy: ReadPolicy, clients: &Clients, trace: &Trace) {
    let before = trace.acknowledged_upto();
    if let Ok(upto) = raft.ensure_linearizable(policy).await {
        trace.require(Some(upto.index) >= before, || {
            format!("a read up to {upto} misses the write acknowledged at {before:?}")
        });
        let applied = raft.metrics().borrow().applied;
        trace.require(applied.map(|applied| applied.index) >= Some(upto.index), || {
            format!("a read up to {upto} was let through when {applied:?} was applied")
        });
        trace.note(format!("a read up to {upto} by {policy:?}, applied {applied:?}"));
        clients.reads.fetch_add(1, Ordering::Relaxed);
    }
}
