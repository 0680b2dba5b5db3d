//! `Backoff`: when to try again after a failure.

use std::time::Duration;

use openraft_adapters::engine::Timestamp;
use rand::Rng;
use rand::rngs::SmallRng;

/// Pauses that double from `min` up to `max`, each cut by a random part of up to its half so that the tasks of many
/// groups do not knock together.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    until: Option<Timestamp>,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0, until: None }
    }

    /// When the pause ends, if there is one.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        self.until
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.until.is_some()
    }

    /// A failure: begins a pause longer than the one before. Failures during a pause belong to the attempt before it.
    pub(crate) fn fail(&mut self, now: Timestamp, rng: &mut SmallRng) {
        if self.is_waiting() {
            return;
        }
        let longest = self.min.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        self.until = Some(now + Duration::from_nanos(rng.random_range(nanos / 2..=nanos)));
    }

    /// Begins the shortest pause, if none is under way.
    pub(crate) fn pause(&mut self, now: Timestamp) {
        self.until.get_or_insert(now + self.min);
    }

    /// There is reason to hope: a pause under way ends soon.
    pub(crate) fn shorten(&mut self, now: Timestamp) {
        self.until = self.until.map(|until| until.min(now + self.min));
    }

    /// Success: the next pause is the shortest again, and one under way ends.
    pub(crate) fn clear(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// Ends the pause if its time has come, and says whether it did.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const MIN: Duration = Duration::from_millis(10);
    const MAX: Duration = Duration::from_millis(65);

    #[test]
    fn pauses_double_up_to_the_longest_and_keep_at_least_half_of_it() {
        let (mut backoff, mut rng) = (Backoff::new(MIN, MAX), SmallRng::seed_from_u64(1));
        let mut now = Timestamp::ZERO;
        for longest in [10, 20, 40, 65, 65, 65].map(Duration::from_millis) {
            backoff.fail(now, &mut rng);
            let until = backoff.until().expect("a failure begins a pause");
            assert!(until >= now + longest / 2 && until <= now + longest, "{longest:?}");
            assert!(!backoff.expire(now) && backoff.is_waiting());
            assert!(backoff.expire(until) && !backoff.is_waiting());
            now = until;
        }
        backoff.clear();
        backoff.fail(now, &mut rng);
        assert!(backoff.until().expect("waiting") <= now + MIN);
    }

    #[test]
    fn a_failure_during_a_pause_changes_nothing_and_hope_shortens_it() {
        let (mut backoff, mut rng) = (Backoff::new(MIN, MAX), SmallRng::seed_from_u64(1));
        for _ in 0..3 {
            backoff.fail(Timestamp::ZERO, &mut rng);
            backoff.expire(Timestamp::ZERO + MAX);
        }
        backoff.fail(Timestamp::ZERO, &mut rng);
        let until = backoff.until();
        backoff.fail(Timestamp::ZERO, &mut rng);
        backoff.pause(Timestamp::ZERO);
        assert_eq!(backoff.until(), until);
        backoff.shorten(Timestamp::ZERO);
        assert_eq!(backoff.until(), Some(Timestamp::ZERO + MIN));
    }
}
