//! One client of the load: an operation after the other, never two at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Method;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::client::{Answered, CallError, Client, Repeat};
use crate::http::Call;
use crate::state::NO_VERSION;
use crate::wire::{self, Consistency};

use super::history::{self, Begun, Clock, History};
use super::mix::{Mix, Op};
use super::outcome::{self, Outcome};
use super::stats::Stats;

/// What all clients of a run share.
pub(super) struct Load {
    /// Follows the leader.
    pub(super) client: Client,
    /// Ask one endpoint each, as long as it answers: for reads that any node serves.
    pub(super) readers: Vec<Client>,
    pub(super) consistency: Consistency,
    pub(super) mix: Mix,
    pub(super) keys: Keys,
    pub(super) value_size: usize,
    /// Between two operations of a client.
    pub(super) rest: Duration,
    pub(super) end: Instant,
    /// Set when the run is to end early.
    pub(super) stopping: AtomicBool,
    pub(super) clock: Clock,
    pub(super) stats: Mutex<Stats>,
    pub(super) history: Option<History>,
}

/// The keys, and of each what was last seen in it.
pub(super) struct Keys {
    prefix: String,
    count: usize,
    /// Empty if nobody compares and sets.
    seen: Mutex<Vec<Option<Seen>>>,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    version: u64,
    name: Arc<str>,
}

impl Keys {
    /// `count` keys, whose names begin with `prefix`. Whoever uses `cas` wants `versions`.
    pub(super) fn new(prefix: String, count: usize, versions: bool) -> Self {
        Self { prefix, count, seen: Mutex::new(vec![None; if versions { count } else { 0 }]) }
    }

    fn name(&self, index: usize) -> String {
        format!("{}{index}", self.prefix)
    }

    fn seen(&self, index: usize) -> Option<Seen> {
        self.lock().get(index).cloned().flatten()
    }

    /// The key had this value and version at some time. Answers may come in another order than the writes did.
    fn note(&self, index: usize, version: u64, name: &str) {
        if let Some(slot) = self.lock().get_mut(index)
            && slot.as_ref().is_none_or(|seen| seen.version < version)
        {
            *slot = Some(Seen { version, name: name.into() });
        }
    }

    /// The key had no value.
    fn note_absent(&self, index: usize) {
        if let Some(slot) = self.lock().get_mut(index) {
            *slot = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Seen>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works until the end of the run. `id` tells the clients apart, and with `seed` decides what this one draws.
pub(super) async fn work(load: Arc<Load>, id: usize, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed.wrapping_add(id as u64));
    let mut written = 0;
    while Instant::now() < load.end && !load.stopping.load(Ordering::Relaxed) {
        let op = load.mix.draw(&mut rng);
        let index = rng.random_range(0..load.keys.count);
        let value = matches!(op, Op::Put | Op::Cas).then(|| {
            written += 1;
            format!("c{id}-{written}")
        });
        load.carry_out(id, op, index, value).await;
        if !load.rest.is_zero() {
            tokio::time::sleep(load.rest).await;
        }
    }
}

impl Load {
    async fn carry_out(&self, client: usize, op: Op, index: usize, value: Option<String>) {
        let key = self.keys.name(index);
        let expected = if op == Op::Cas { self.keys.seen(index) } else { None };
        let call = self.call_for(op, &key, value.as_deref(), expected.as_ref());
        let expect = expected.map(|seen| seen.name.as_ref().to_owned());
        let begun = Begun { client, op, key, value, expect, call_ns: self.clock.now_ns() };
        let result = self.send(op, client, &call).await;
        let return_ns = self.clock.now_ns();
        let outcome = outcome::judge(op, result);
        let read = self.learn(index, &begun, &outcome);
        if let Some(history) = &self.history {
            history.add(&begun, &outcome, return_ns, read.as_deref());
        }
        let latency = Duration::from_nanos(return_ns - begun.call_ns);
        self.stats().add(op, outcome, latency, Instant::now());
    }

    fn call_for(&self, op: Op, key: &str, value: Option<&str>, expected: Option<&Seen>) -> Call {
        let body = value.map(|name| history::value_bytes(name, self.value_size)).unwrap_or_default();
        match op {
            Op::Put => Call::new(Method::PUT, wire::key_path(key)).body(body),
            Op::Cas => {
                let version = expected.map_or(NO_VERSION, |seen| seen.version);
                Call::new(Method::PUT, wire::key_path_if(key, Some(version))).body(body)
            }
            Op::Get if self.consistency == Consistency::Linearizable => {
                Call::new(Method::GET, wire::key_path(key))
            }
            Op::Get => Call::new(Method::GET, self.consistency.on(&wire::key_path(key))),
            Op::Delete => Call::new(Method::DELETE, wire::key_path(key)),
        }
    }

    /// A write is sent again only if it was certainly not done: each is to take effect once at most.
    async fn send(&self, op: Op, client: usize, call: &Call) -> Result<Answered, CallError> {
        match (op, self.consistency) {
            (Op::Get, Consistency::Follower | Consistency::Stale) => {
                self.readers[client % self.readers.len()].call_anyone(call).await
            }
            (Op::Get, _) => self.client.call(call, Repeat::Freely).await,
            _ => self.client.call(call, Repeat::OnlyIfNotDone).await,
        }
    }

    /// Notes what the key holds now; returns the name of what was read.
    fn learn(&self, index: usize, begun: &Begun, outcome: &Outcome) -> Option<String> {
        match outcome {
            Outcome::Written { version } => {
                match (&begun.value, version) {
                    (Some(name), Some(version)) => self.keys.note(index, *version, name),
                    (Some(_), None) => {}
                    (None, _) => self.keys.note_absent(index),
                }
                None
            }
            Outcome::Found { value, version } => {
                let name = history::value_name(value, self.value_size);
                if let Some(version) = version {
                    self.keys.note(index, *version, &name);
                }
                Some(name)
            }
            Outcome::Absent => {
                self.keys.note_absent(index);
                None
            }
            Outcome::OtherVersion { current } => {
                let seen = self.keys.seen(index)?;
                (Some(seen.version) == *current).then(|| seen.name.as_ref().to_owned())
            }
            Outcome::Failed { .. } | Outcome::Unknown { .. } => None,
        }
    }

    /// The counters.
    pub(super) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_of_a_key_never_goes_back_to_an_older_version() {
        let keys = Keys::new("k".to_owned(), 2, true);
        assert_eq!(keys.seen(0), None);
        keys.note(0, 5, "five");
        keys.note(0, 4, "four");
        assert_eq!(keys.seen(0), Some(Seen { version: 5, name: "five".into() }));
        assert_eq!(keys.seen(1), None);
        keys.note_absent(0);
        assert_eq!(keys.seen(0), None);
    }

    #[test]
    fn without_cas_nothing_is_kept_of_the_keys() {
        let keys = Keys::new("k".to_owned(), 2, false);
        keys.note(0, 5, "five");
        assert_eq!((keys.seen(0), keys.name(1).as_str()), (None, "k1"));
    }
}
