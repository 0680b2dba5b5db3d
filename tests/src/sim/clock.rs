//! A simulated node's clock: virtual time at a rate of its own, from a beginning of its own, that may stand still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use openraft_adapters::Clock;
use openraft_engine::Timestamp;

use super::observer::Observer;
use super::trace::Event;

/// A node's clock.
#[derive(Clone)]
pub(super) struct NodeClock {
    node: u64,
    observer: Observer,
    origin: tokio::time::Instant,
    offset_nanos: u64,
    /// How many nanoseconds this clock counts in a million true ones.
    rate: u64,
    /// For how many true nanoseconds it has stood still.
    stood_still: Arc<AtomicU64>,
}

#[allow(clippy::disallowed_methods)] // This is a clock.
pub(super) fn virtual_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Sleeps in virtual time that no node's clock bends.
#[allow(clippy::disallowed_methods)] // The simulator's own time.
pub(super) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Sleeps until `instant` of virtual time.
pub(super) async fn sleep_until(instant: tokio::time::Instant) {
    tokio::time::sleep_until(instant).await;
}

impl NodeClock {
    pub(super) fn new(node: u64, observer: Observer, offset_nanos: u64, rate: u64) -> Self {
        Self { node, observer, origin: virtual_now(), offset_nanos, rate, stood_still: Arc::default() }
    }

    /// The clock stood still for `duration`, as that of a suspended machine does.
    pub(super) fn stand_still(&self, duration: Duration) {
        self.stood_still.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// When this clock will show `deadline`, unless it stands still before.
    fn truth(&self, deadline: Timestamp) -> tokio::time::Instant {
        let counted = deadline.as_nanos().saturating_sub(self.offset_nanos);
        // Rounded up: a sleep ends when the node's own clock has reached the deadline, not before.
        let truth = (u128::from(counted) * 1_000_000).div_ceil(u128::from(self.rate)) as u64;
        self.origin + Duration::from_nanos(truth + self.stood_still.load(Ordering::Relaxed))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = (virtual_now() - self.origin).as_nanos() as u64;
        let truth = passed.saturating_sub(self.stood_still.load(Ordering::Relaxed));
        Timestamp::from_nanos(
            self.offset_nanos + (u128::from(truth) * u128::from(self.rate) / 1_000_000) as u64,
        )
    }

    fn sleep_until(&self, deadline: Timestamp) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            if clock.now() >= deadline {
                return;
            }
            loop {
                sleep_until(clock.truth(deadline)).await;
                // It may have stood still meanwhile.
                if clock.now() >= deadline {
                    break;
                }
            }
            clock.observer.step(Event::Timer { node: clock.node });
        })
    }
}
