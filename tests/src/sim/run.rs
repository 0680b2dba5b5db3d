//! One run: clients and faults for so many steps; then a quorum is healed, then everything, and the books are closed.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::Env;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::chance::Chance;
use super::clock::sleep;
use super::cluster::Cluster;
use super::coverage::Coverage;
use super::observer::Observer;
use super::plan::{Chosen, Plan};
use super::settings::{Drift, Settings};
use super::subject::Subject;
use super::workload::Clients;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// How many steps before the cluster is healed: delivered messages, I/O completions, timers, client operations and
    /// faults.
    pub steps: u64,
    /// Which of the faults are made.
    pub faults: Chosen,
    /// How many of the last events a failure shows.
    pub shown: usize,
}

impl Options {
    /// All faults; a failure shows 120 events.
    pub fn new(seed: u64, steps: u64) -> Self {
        Self { seed, steps, faults: Chosen::All, shown: 120 }
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps, with those after it was healed.
    pub steps: u64,
    /// Faults made.
    pub faults: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Entries committed.
    pub commits: u64,
    /// Operations of clients, answered or not.
    pub operations: u64,
    /// What was come upon.
    pub coverage: Coverage,
    /// Of the whole trace: the same seed gives the same.
    pub digest: u64,
}

/// A run in which something happened that may not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The step at which it was seen.
    pub step: u64,
    /// What.
    pub what: String,
    /// The last events before it, oldest first, in words.
    pub events: Vec<String>,
    /// The numbers of the faults that were made.
    pub faults: Vec<u64>,
}

/// Runs one cluster of `subject` on virtual time, on a runtime of its own.
///
/// # Errors
/// The first violation of an invariant, of liveness or of what the subject demands.
pub fn run<S: Subject>(options: &Options, subject: S) -> Result<Report, Box<Failure>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(simulate(options, subject))
}

async fn simulate<S: Subject>(options: &Options, subject: S) -> Result<Report, Box<Failure>> {
    let observer = Observer::new(options.shown);
    let chance = Chance::new(options.seed);
    let settings = Settings::draw(&mut SmallRng::seed_from_u64(options.seed ^ 0x5e77_1465));
    observer.note(format!("{settings:?}"));
    let subject = Arc::new(subject);
    let lease_is_right = matches!(settings.drift, Drift::Within(_));
    let count = settings.clients;
    let mut cluster = Cluster::new(subject.clone(), settings, chance.clone(), observer.clone());
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let clients =
        Clients::new(subject.clone(), count, cluster.doors.clone(), chance, observer.clone(), lease_is_right);
    clients.begin(&Env::tokio());
    let faults = break_things(options, &mut cluster).await;
    if observer.violation().is_none() {
        cluster.heal_a_quorum(&clients).await;
    }
    if observer.violation().is_none() {
        cluster.heal_all(&clients).await;
    }
    clients.stop();
    // Longer than any client waits.
    sleep(Duration::from_secs(5)).await;
    let history = clients.history();
    if observer.violation().is_none()
        && let Err(what) = subject.judge(&history)
    {
        observer.fail(what);
    }
    if let Some((step, what)) = observer.violation() {
        let (seed, events) = (options.seed, observer.recent());
        return Err(Box::new(Failure { seed, step, what, events, faults }));
    }
    let (elections, commits) =
        observer.invariants(|invariants| (invariants.elections(), invariants.committed_end()));
    Ok(Report {
        steps: observer.steps(),
        faults: faults.len() as u64,
        elections,
        commits,
        operations: history.len() as u64,
        coverage: observer.coverage(),
        digest: observer.digest(),
    })
}

/// Makes faults until the steps are done, or something is violated. Returns the numbers of those made.
async fn break_things<S: Subject>(options: &Options, cluster: &mut Cluster<S>) -> Vec<u64> {
    let mut made = Vec::new();
    for fault in Plan::new(options.seed) {
        let died = cluster.died.clone();
        let env = Env::tokio();
        // A process that dies in the midst of its work is buried at once.
        if env.timeout(fault.after, died.notified()).await.is_ok() {
            cluster.tend().await;
            sleep(fault.after / 2).await;
        }
        cluster.tend().await;
        let over = cluster.observer.steps() >= options.steps || cluster.observer.violation().is_some();
        if over {
            break;
        }
        if options.faults.has(fault.number) && cluster.make(&fault).await {
            made.push(fault.number);
        }
    }
    made
}
