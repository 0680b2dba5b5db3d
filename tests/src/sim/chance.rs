//! Where everything that is left to chance comes from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

    /// True once in `n` times, never if `n` is zero.
    pub(super) fn one_in(&self, n: u32) -> bool {
        n > 0 && self.draw(|rng| rng.random_ratio(1, n))
    }

    /// A time between `from` and `to` microseconds.
    pub(super) fn micros(&self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.draw(|rng| rng.random_range(from..to)))
    }
}
