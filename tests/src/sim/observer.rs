//! Sees everything that happens in a run, notes it in the trace, and checks the invariants after each step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_adapters::RaftTypeConfig;
use openraft_core::{Fatal, RaftMetrics};
use openraft_engine::{BasicNode, Replica};
use tokio::sync::watch;

use super::clock::virtual_now;
use super::coverage::{Coverage, Reached};
use super::invariants::{Invariants, Seen, Stated};
use super::trace::{Event, Trace};

/// Looks at a node: what it says of itself if that has changed, and why it has ended.
type Look = Box<dyn FnMut() -> Option<(Seen, Option<End>)> + Send>;

/// Why a node has ended, or should have.
enum End {
    /// A defect, whatever happened to the node.
    Defect(String),
    /// Its storage failed.
    Storage(String),
}

/// Shared by all parts of one run.
#[derive(Clone)]
pub(super) struct Observer {
    begin: tokio::time::Instant,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    trace: Trace,
    invariants: Invariants,
    nodes: BTreeMap<Replica<u64>, Watched>,
    /// The last instant of a client's call or return, in nanoseconds.
    instant: u64,
    /// The step at which the first violation was seen, and what it is.
    violation: Option<(u64, String)>,
}

struct Watched {
    look: Look,
    membership: Stated,
    /// Its disk was made to fail, so that its end by a storage error is expected.
    may_fail: bool,
}

fn end<C: RaftTypeConfig>(metrics: &RaftMetrics<C>) -> Option<End> {
    if let Some(mismatch) = &metrics.state_hash_mismatch {
        return Some(End::Defect(format!("it is in another state than its leader: {mismatch:?}")));
    }
    match &metrics.fatal {
        Some(Fatal::Panicked(words)) => Some(End::Defect(format!("it panicked: {words}"))),
        Some(Fatal::Storage(error)) => Some(End::Storage(error.to_string())),
        Some(Fatal::Stopped) | None => None,
    }
}

impl Observer {
    pub(super) fn new(shown: usize) -> Self {
        let inner = Inner {
            trace: Trace::new(shown),
            invariants: Invariants::default(),
            nodes: BTreeMap::new(),
            instant: 0,
            violation: None,
        };
        Self { begin: virtual_now(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this node is looked at after each step.
    pub(super) fn watch<C>(&self, replica: Replica<u64>, mut metrics: watch::Receiver<RaftMetrics<C>>)
    where
        C: RaftTypeConfig<NodeId = u64, Node = BasicNode>,
    {
        let membership = metrics.borrow().membership.clone();
        metrics.mark_changed();
        let look: Look = Box::new(move || {
            // An error: the node is gone, and may have said something before.
            if matches!(metrics.has_changed(), Ok(false)) {
                return None;
            }
            let metrics = metrics.borrow_and_update();
            if !metrics.has_changed() {
                return None;
            }
            let seen = Seen {
                state: metrics.state,
                vote: metrics.vote,
                flushed: metrics.flushed,
                committed: metrics.committed,
                applied: metrics.applied,
                membership: metrics.membership.clone(),
                held_bytes: metrics.held_bytes,
                held_bytes_limit: metrics.held_bytes_limit,
            };
            Some((seen, end(&metrics)))
        });
        self.lock().nodes.insert(replica, Watched { look, membership, may_fail: false });
    }

    /// This node is no more, after a last look. Returns the membership that was in force there.
    pub(super) fn unwatch(&self, replica: Replica<u64>) -> Option<Stated> {
        let mut inner = self.lock();
        inner.look();
        inner.nodes.remove(&replica).map(|watched| watched.membership)
    }

    /// From now on this node may end with a storage error.
    pub(super) fn expect_failure(&self, replica: Replica<u64>) {
        if let Some(watched) = self.lock().nodes.get_mut(&replica) {
            watched.may_fail = true;
        }
    }

    /// The membership in force on this node, if it runs.
    pub(super) fn membership(&self, replica: Replica<u64>) -> Option<Stated> {
        self.lock().nodes.get(&replica).map(|watched| watched.membership.clone())
    }

    /// Something happened.
    pub(super) fn step(&self, event: Event) {
        let micros = (virtual_now() - self.begin).as_micros() as u64;
        let mut inner = self.lock();
        if inner.violation.is_some() {
            return;
        }
        inner.trace.push(micros, event);
        inner.look();
    }

    /// For whoever reads the trace.
    pub(super) fn note(&self, words: String) {
        self.step(Event::Note(words));
    }

    /// Looks at the invariants, or tells them what happened.
    pub(super) fn invariants<T>(&self, tell: impl FnOnce(&mut Invariants) -> T) -> T {
        let mut inner = self.lock();
        let told = tell(&mut inner.invariants);
        inner.judge();
        told
    }

    pub(super) fn count(&self, reached: Reached) {
        self.lock().invariants.coverage.count(reached);
    }

    /// Fails the run.
    pub(super) fn fail(&self, what: String) {
        self.invariants(|invariants| invariants.require(false, || what));
    }

    /// An instant for the record of a client: virtual time, and later than every one before.
    pub(super) fn instant(&self) -> u64 {
        let now = (virtual_now() - self.begin).as_nanos() as u64;
        let mut inner = self.lock();
        inner.instant = now.max(inner.instant + 1);
        inner.instant
    }

    pub(super) fn steps(&self) -> u64 {
        self.lock().trace.steps()
    }

    pub(super) fn digest(&self) -> u64 {
        self.lock().trace.digest()
    }

    pub(super) fn recent(&self) -> Vec<String> {
        self.lock().trace.recent()
    }

    pub(super) fn coverage(&self) -> Coverage {
        self.lock().invariants.coverage.clone()
    }

    /// The step at which the first violation was seen, and what it is.
    pub(super) fn violation(&self) -> Option<(u64, String)> {
        self.lock().violation.clone()
    }
}

impl Inner {
    /// Looks at every node that has anything new to say.
    fn look(&mut self) {
        for (replica, watched) in &mut self.nodes {
            let Some((seen, ended)) = (watched.look)() else { continue };
            watched.membership = seen.membership.clone();
            self.invariants.look(*replica, seen);
            let unexpected = match ended {
                Some(End::Defect(words)) => Some(words),
                Some(End::Storage(words)) if !watched.may_fail => Some(words),
                _ => None,
            };
            if let Some(words) = unexpected {
                self.invariants.require(false, || format!("{replica} has ended: {words}"));
            }
        }
        self.judge();
    }

    fn judge(&mut self) {
        if self.violation.is_none()
            && let Some(broken) = self.invariants.broken()
        {
            self.violation = Some((self.trace.steps(), broken.to_owned()));
        }
    }
}
