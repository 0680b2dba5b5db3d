//! Time and tasks, injected: a node's clock and the one way in which its tasks are started.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use openraft_engine::Timestamp;

/// A node's clock.
pub trait Clock: Send + Sync + 'static {
    /// Now, on a clock that never goes back.
    fn now(&self) -> Timestamp;

    /// Completes at `deadline` or soon after it; at once if it has passed.
    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()>;
}

/// Starts tasks.
pub trait Spawn: Send + Sync + 'static {
    /// Starts `task`; `name` says what it is in logs and traces.
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle;
}

/// A started task. Dropping the handle leaves the task running.
#[derive(Debug)]
pub struct TaskHandle {
    abort: tokio::task::AbortHandle,
}

impl TaskHandle {
    /// The handle of a tokio task.
    pub fn new(abort: tokio::task::AbortHandle) -> Self {
        Self { abort }
    }

    /// Ends the task at its next await point.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether it has ended, by itself or otherwise.
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }
}

/// Where a node runs: its clock and its way of starting tasks.
#[derive(Clone)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Starts tasks.
    pub spawner: Arc<dyn Spawn>,
}

/// The time allowed has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

impl Env {
    /// The tokio runtime of the calling task, and its clock. With tokio's time paused, time is virtual here too.
    ///
    /// # Panics
    /// If it is not called within a tokio runtime.
    pub fn tokio() -> Self {
        let tokio = Arc::new(Tokio { origin: tokio_now(), runtime: tokio::runtime::Handle::current() });
        Self { clock: tokio.clone(), spawner: tokio }
    }

    /// Now, on the node's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Completes at `deadline`.
    pub fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(deadline)
    }

    /// Completes after `duration`.
    pub fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep_until(self.clock.now() + duration)
    }

    /// Starts `task`.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        self.spawner.spawn(name, Box::pin(task))
    }

    /// The result of `future`, if it comes within `duration`.
    ///
    /// # Errors
    /// [`Elapsed`] if it does not; the future is dropped.
    pub async fn timeout<T>(
        &self,
        duration: Duration,
        future: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let sleep = self.sleep(duration);
        tokio::select! {
            biased;
            result = future => Ok(result),
            () = sleep => Err(Elapsed),
        }
    }
}

/// Production: tokio's timer and tasks.
struct Tokio {
    origin: tokio::time::Instant,
    runtime: tokio::runtime::Handle,
}

#[allow(clippy::disallowed_methods)] // This is the clock.
fn tokio_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Clock for Tokio {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from((tokio_now() - self.origin).as_nanos()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let at = self.origin + Duration::from_nanos(deadline.as_nanos());
        Box::pin(tokio::time::sleep_until(at))
    }
}

impl Spawn for Tokio {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        TaskHandle::new(self.runtime.spawn(task).abort_handle())
    }
}
