//! Searches one scope, and says what came of it.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "how long a search takes is measured on the real clock"
)]

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::model::Search;
use super::scope::Scope;
use crate::world::{Broken, Goal};

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_secs(2);

/// What came of a search.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The scope's name.
    pub scope: &'static str,
    /// How many situations there are.
    pub states: usize,
    /// The most moves that were made in a row: by breadth, on the shortest way to any of them.
    pub depth: usize,
    /// Whether every one of them was visited.
    pub complete: bool,
    /// What the search should have come upon, and did not.
    pub missing: Vec<Goal>,
    /// The first violation found.
    pub violation: Option<Violation>,
    /// How long it took.
    pub time: Duration,
}

/// An invariant that was broken, and how it came to that.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was broken.
    pub broken: Broken,
    /// The shortest sequence of steps, as a scenario.
    pub scenario: String,
}

impl Outcome {
    /// Whether everything was visited, nothing is broken, and what had to be come upon was.
    pub fn is_good(&self) -> bool {
        self.complete && self.violation.is_none() && self.missing.is_empty()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, states, depth, complete, .. } = self;
        let violations = usize::from(self.violation.is_some());
        write!(f, "scope={scope} states={states} depth={depth} violations={violations} complete={complete}")?;
        write!(f, " seconds={:.1}", self.time.as_secs_f64())?;
        if let Some(violation) = &self.violation {
            write!(f, " broken={:?}", violation.broken.invariant.to_string())?;
        }
        for goal in &self.missing {
            write!(f, " missing={:?}", goal.to_string())?;
        }
        Ok(())
    }
}

/// In which order a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The nearest first. Takes memory for every situation that waits for its turn, some kilobytes each.
    Breadth,
    /// The last found first, which takes next to no memory. What is broken is then searched for once more by breadth,
    /// for the shortest way to it.
    Depth,
}

/// Searches a scope to its end, or until an invariant is broken or `limit` has passed. `progress` is told now and then
/// how many states were found, at which depth.
///
/// # Errors
/// If the scope is none.
///
/// # Panics
/// If the search itself does.
pub fn run(
    scope: &Scope,
    order: Order,
    limit: Duration,
    mut progress: impl FnMut(usize, usize),
) -> Result<Outcome, String> {
    let search = Search::new(scope)?;
    let stop = search.stop();
    // One thread: only so does a search by breadth go strictly by breadth, and what it finds first is nearest.
    let checker = search.checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
    match order {
        Order::Breadth => Ok(finish(scope, checker.spawn_bfs(), &stop, limit, &mut progress)),
        Order::Depth => {
            let outcome = finish(scope, checker.spawn_dfs(), &stop, limit, &mut progress);
            if outcome.violation.is_none() {
                return Ok(outcome);
            }
            let nearest = run(scope, Order::Breadth, limit, progress)?;
            Ok(if nearest.violation.is_some() { nearest } else { outcome })
        }
    }
}

/// Waits for a search to end.
fn finish(
    scope: &Scope,
    mut checker: impl Checker<Search>,
    stop: &AtomicBool,
    limit: Duration,
    progress: &mut impl FnMut(usize, usize),
) -> Outcome {
    let began = Instant::now();
    let handles = checker.handles();
    let mut shown = Instant::now();
    while !handles.iter().all(std::thread::JoinHandle::is_finished) {
        std::thread::sleep(Duration::from_millis(2));
        if began.elapsed() >= limit {
            stop.store(true, Ordering::Relaxed);
        }
        if shown.elapsed() >= SHOW_EVERY {
            shown = Instant::now();
            progress(checker.unique_state_count(), checker.max_depth());
        }
    }
    for handle in handles {
        handle.join().expect("the search does not panic");
    }
    let time = began.elapsed();
    let violation = checker.discoveries().into_values().next().and_then(|path| {
        let broken = path.last_state().world.check().err()?;
        let scenario = checker.model().scenario(&path.into_actions(), &broken);
        Some(Violation { broken, scenario })
    });
    Outcome {
        scope: scope.name,
        states: checker.unique_state_count(),
        depth: checker.max_depth().saturating_sub(1),
        complete: violation.is_none() && !stop.load(Ordering::Relaxed),
        missing: checker.model().missing(),
        violation,
        time,
    }
}
