//! The events of a run, their digest, and the safety checks that follow each of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_engine::{LogId, Vote};

/// How many of the last events a failure shows.
const SHOWN: usize = 80;

/// Shared by all parts of one run.
#[derive(Clone)]
pub(super) struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// With fixed keys: the same events give the same digest in every process.
    hasher: DefaultHasher,
    steps: u64,
    recent: VecDeque<String>,
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// What was applied at each index, by whomever first.
    applied: Vec<(LogId<u64>, Option<String>)>,
    /// Where each write was applied.
    places: BTreeMap<String, u64>,
    acknowledged: BTreeSet<String>,
    refused: BTreeSet<String>,
    elections: u64,
    changes: u64,
    wipes: u64,
    /// The first check that failed. The task that found it panics, but that ends only the task.
    violation: Option<String>,
}

impl Inner {
    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            self.violation.get_or_insert_with(|| what.clone());
            panic!("{what}");
        }
    }
}

impl Trace {
    pub(super) fn new() -> Self {
        let inner = Inner {
            hasher: DefaultHasher::new(),
            steps: 0,
            recent: VecDeque::new(),
            leaders: BTreeMap::new(),
            applied: Vec::new(),
            places: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            refused: BTreeSet::new(),
            elections: 0,
            changes: 0,
            wipes: 0,
            violation: None,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event.
    pub(super) fn note(&self, event: String) {
        let mut inner = self.lock();
        inner.steps += 1;
        event.hash(&mut inner.hasher);
        if inner.recent.len() == SHOWN {
            inner.recent.pop_front();
        }
        inner.recent.push_back(event);
    }

    /// A message of a leader was seen: election safety (paper, figure 3).
    pub(super) fn saw_leader(&self, vote: Vote<u64>) {
        let mut inner = self.lock();
        let before = inner.leaders.insert(vote.term, vote.node_id);
        if before.is_none() {
            inner.elections += 1;
        }
        let one = before.is_none_or(|before| before == vote.node_id);
        inner.require(one, || format!("term {} has two leaders, {before:?} and {}", vote.term, vote.node_id));
    }

    /// `node` applied an entry: state machine safety.
    pub(super) fn applied(&self, node: u64, log_id: LogId<u64>, data: Option<String>) {
        self.note(format!("n{node} applies {log_id} {data:?}"));
        let mut inner = self.lock();
        let index = log_id.index as usize;
        if let Some(known) = inner.applied.get(index).cloned() {
            let same = known == (log_id, data);
            return inner.require(same, || {
                format!("node {node} applied {log_id} where {known:?} was applied before")
            });
        }
        let follows = inner.applied.len() == index;
        inner.require(follows, || {
            format!("node {node} applied {log_id} before anybody applied the entry before it")
        });
        if let Some(name) = &data {
            let refused = inner.refused.contains(name);
            inner.require(!refused, || format!("{name} was applied, but its client was told: not proposed"));
            let earlier = inner.places.insert(name.clone(), log_id.index);
            inner.require(earlier.is_none(), || format!("{name} was applied twice"));
        }
        inner.applied.push((log_id, data));
    }

    /// A change of the membership was answered.
    pub(super) fn changed(&self, log_id: LogId<u64>) {
        self.note(format!("the membership of {log_id} is committed"));
        self.lock().changes += 1;
    }

    /// A node that is no member loses its directory.
    pub(super) fn wiped(&self) {
        self.lock().wipes += 1;
    }

    /// Changes of the membership answered, and directories lost.
    pub(super) fn churn(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.changes, inner.wipes)
    }

    /// A client was told that its write is applied.
    pub(super) fn acknowledged(&self, name: &str, log_id: LogId<u64>) {
        self.note(format!("{name} is acknowledged at {log_id}"));
        let mut inner = self.lock();
        assert_eq!(
            inner.places.get(name),
            Some(&log_id.index),
            "{name} is acknowledged where it was not applied"
        );
        inner.acknowledged.insert(name.to_owned());
    }

    /// A client was told that its write was certainly not proposed.
    pub(super) fn refused(&self, name: &str) {
        let mut inner = self.lock();
        assert!(
            !inner.places.contains_key(name),
            "{name} was applied, but its client was told: not proposed"
        );
        inner.refused.insert(name.to_owned());
    }

    /// Whatever else must hold; its failure fails the run, wherever it is found.
    pub(super) fn require(&self, holds: bool, what: impl FnOnce() -> String) {
        self.lock().require(holds, what);
    }

    /// The first check that failed, in whatever task.
    pub(super) fn violation(&self) -> Option<String> {
        self.lock().violation.clone()
    }

    /// The greatest index that has been acknowledged to any client so far.
    pub(super) fn acknowledged_upto(&self) -> Option<u64> {
        let inner = self.lock();
        inner.acknowledged.iter().filter_map(|name| inner.places.get(name)).max().copied()
    }

    pub(super) fn acknowledged_count(&self) -> u64 {
        self.lock().acknowledged.len() as u64
    }

    pub(super) fn applied_count(&self) -> u64 {
        self.lock().applied.len() as u64
    }

    pub(super) fn elections(&self) -> u64 {
        self.lock().elections
    }

    pub(super) fn steps(&self) -> u64 {
        self.lock().steps
    }

    pub(super) fn digest(&self) -> u64 {
        self.lock().hasher.finish()
    }

    /// The last events, oldest first.
    pub(super) fn recent(&self) -> Vec<String> {
        self.lock().recent.iter().cloned().collect()
    }
}
