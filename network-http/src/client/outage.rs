//! When a peer that cannot be reached is tried again, and what is logged of it: one line when it goes, one when it is
//! back.

use std::sync::Mutex;
use std::time::Duration;

use openraft_adapters::NetworkError;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::handshake::Refusal;
use crate::lock;
use crate::options::HttpOptions;

/// The state of the way to one peer, shared by its connections.
pub(crate) struct Outage {
    target: String,
    min: Duration,
    max: Duration,
    refused: Duration,
    state: Mutex<State>,
}

struct State {
    failures: u32,
    /// Until when nothing is tried, and the error that is answered meanwhile.
    pause: Option<(Instant, NetworkError)>,
    /// What was logged last of an outage that has not ended.
    reported: Option<String>,
    /// Spreads the attempts of many nodes to reach one that returns.
    chance: SmallRng,
}

impl Outage {
    pub(crate) fn new(target: String, seed: u64, options: &HttpOptions) -> Self {
        Self {
            target,
            min: options.backoff_min,
            max: options.backoff_max.max(options.backoff_min),
            refused: options.refused_backoff,
            state: Mutex::new(State {
                failures: 0,
                pause: None,
                reported: None,
                chance: SmallRng::seed_from_u64(seed),
            }),
        }
    }

    /// Whether an attempt may be made now.
    ///
    /// # Errors
    /// The error of the last attempt, if it is too soon for another.
    pub(crate) fn gate(&self, now: Instant) -> Result<(), NetworkError> {
        match &lock(&self.state).pause {
            Some((until, error)) if now < *until => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// A connection was made and the peer accepted us.
    pub(crate) fn up(&self) {
        let mut state = lock(&self.state);
        state.failures = 0;
        state.pause = None;
        if state.reported.take().is_some() {
            tracing::info!(target = self.target, "the peer is back");
        } else {
            tracing::debug!(target = self.target, "connected to the peer");
        }
    }

    /// An attempt to connect failed.
    pub(crate) fn failed(&self, now: Instant, error: &NetworkError) {
        let mut state = lock(&self.state);
        let longest = self.min.saturating_mul(1 << state.failures.min(16)).min(self.max);
        state.failures = state.failures.saturating_add(1);
        let pause = longest.mul_f64(state.chance.random_range(0.5..=1.0));
        state.pause = Some((now + pause, error.clone()));
        if state.reported.is_none() {
            state.reported = Some(String::new());
            tracing::warn!(target = self.target, %error, "a peer cannot be reached; trying again until it can");
        } else {
            tracing::debug!(target = self.target, %error, "the peer still cannot be reached");
        }
    }

    /// The peer turned us away. Returns the error for whoever wanted it.
    pub(crate) fn refused(&self, now: Instant, refusal: Refusal) -> NetworkError {
        let error = NetworkError::Refused { target: self.target.clone(), reason: refusal.reason.clone() };
        let mut state = lock(&self.state);
        let shortest = if refusal.lasting { self.refused } else { self.min };
        let pause = shortest.mul_f64(state.chance.random_range(1.0..=2.0));
        state.pause = Some((now + pause, error.clone()));
        if state.reported.as_deref() != Some(&*refusal.reason) {
            tracing::warn!(target = self.target, reason = refusal.reason, "a peer refuses this node");
            state.reported = Some(refusal.reason);
        }
        error
    }

    /// A connection that was up broke. A new one may be tried after the shortest pause, so that a peer which accepts
    /// and breaks every connection is not asked in a tight loop.
    pub(crate) fn broke(&self, now: Instant, error: &NetworkError) {
        let mut state = lock(&self.state);
        let pause = self.min.mul_f64(state.chance.random_range(0.5..=1.0));
        state.pause = Some((now + pause, error.clone()));
        tracing::debug!(target = self.target, %error, "a connection to the peer broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> (Outage, Instant, NetworkError) {
        let options = HttpOptions::default();
        let error = NetworkError::unreachable_because("node 2", "no route");
        (Outage::new("node 2".to_owned(), 1, &options), Instant::now(), error)
    }

    /// The pause in force, found by asking.
    fn pause(outage: &Outage, now: Instant) -> Duration {
        (0..5000)
            .map(Duration::from_millis)
            .find(|after| outage.gate(now + *after).is_ok())
            .expect("a pause of less than five seconds")
    }

    #[test]
    fn pauses_grow_with_failures_up_to_a_bound_and_end_with_success() {
        let (outage, now, error) = outage();
        assert_eq!(pause(&outage, now), Duration::ZERO);
        let pauses: Vec<Duration> = (0..8)
            .map(|_| {
                outage.failed(now, &error);
                assert_eq!(outage.gate(now), Err(error.clone()));
                pause(&outage, now)
            })
            .collect();
        assert!(pauses[0] <= Duration::from_millis(51), "{pauses:?}");
        assert!(pauses[7] >= Duration::from_millis(250), "{pauses:?}");
        assert!(pauses.iter().all(|p| *p <= Duration::from_millis(501)), "{pauses:?}");
        outage.up();
        assert_eq!(pause(&outage, now), Duration::ZERO);
    }

    #[test]
    fn a_lasting_refusal_pauses_longer_than_one_that_will_pass() {
        let (outage, now, _) = outage();
        outage.refused(now, Refusal { reason: "starting".to_owned(), lasting: false });
        assert!(pause(&outage, now) <= Duration::from_millis(101));
        let error = outage.refused(now, Refusal { reason: "another cluster".to_owned(), lasting: true });
        assert!(pause(&outage, now) >= Duration::from_secs(1));
        assert_eq!(outage.gate(now), Err(error));
    }
}
