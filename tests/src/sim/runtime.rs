//! A simulated node's clock and tasks.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use openraft_adapters::{Clock, Env, Spawn, TaskHandle};
use openraft_engine::Timestamp;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A source of chance that several parts of one run share. The order of their draws is fixed, since one thread runs
/// them all.
#[derive(Clone)]
pub(super) struct Chance(Arc<Mutex<SmallRng>>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// True once in `n` times.
    pub(super) fn one_in(&self, n: u32) -> bool {
        self.draw(|rng| rng.random_ratio(1, n))
    }

    /// A time between `from` and `to` microseconds.
    pub(super) fn micros(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.draw(|rng| rng.random_range(from..to)))
    }
}

/// A node's clock: virtual time with an offset and a rate of its own.
struct NodeClock {
    origin: tokio::time::Instant,
    offset_nanos: u64,
    /// How many nanoseconds this clock counts in a million true ones.
    rate: u64,
}

#[allow(clippy::disallowed_methods)] // This is a clock.
fn virtual_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let truth = (virtual_now() - self.origin).as_nanos() as u64;
        Timestamp::from_nanos(
            self.offset_nanos + (u128::from(truth) * u128::from(self.rate) / 1_000_000) as u64,
        )
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let counted = deadline.as_nanos().saturating_sub(self.offset_nanos);
        // Rounded up: a sleep ends when the node's own clock has reached the deadline, not before.
        let truth = (u128::from(counted) * 1_000_000).div_ceil(u128::from(self.rate)) as u64;
        Box::pin(tokio::time::sleep_until(self.origin + Duration::from_nanos(truth)))
    }
}

/// Starts a node's tasks, each of which yields at random points, and ends them all when the node crashes.
#[derive(Clone)]
pub(super) struct NodeTasks {
    chance: Chance,
    tasks: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl NodeTasks {
    /// Ends every task of the node where it stands.
    pub(super) fn kill(&self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

#[allow(clippy::disallowed_methods)] // This is the spawn that others go through.
fn start(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    tokio::spawn(task).abort_handle()
}

impl Spawn for NodeTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let abort = start(Yielding { task, chance: self.chance.clone() });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(abort.clone());
        TaskHandle::new(abort)
    }
}

/// A runtime of one thread polls tasks in the order in which they were woken and would never show a race between
/// them. This one lets others go first, now and then.
struct Yielding {
    task: BoxFuture<'static, ()>,
    chance: Chance,
}

impl Future for Yielding {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.chance.one_in(4) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}

/// A node's surroundings, with a clock that differs from the others' by up to an hour and one part in a hundred.
pub(super) fn node_env(chance: &Chance) -> (Env, NodeTasks) {
    let tasks = NodeTasks { chance: chance.clone(), tasks: Arc::default() };
    let (offset_nanos, rate) =
        chance.draw(|rng| (rng.random_range(0..3_600_000_000_000), rng.random_range(990_000..1_010_000)));
    let clock = NodeClock { origin: virtual_now(), offset_nanos, rate };
    (Env { clock: Arc::new(clock), spawner: Arc::new(tasks.clone()) }, tasks)
}

/// Sleeps in virtual time that no node's clock bends.
#[allow(clippy::disallowed_methods)] // The simulator's own time.
pub(super) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}
