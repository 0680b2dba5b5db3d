//! When a peer that cannot be reached is tried again, and what is logged of it: one line when it goes, one when it is
//! back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// How much of the log the peer has taken, and whether it rejects what comes then.
    taken: AtomicU64,
    rejecting: AtomicBool,
}

struct State {
    failures: u32,
    /// Until when nothing is tried, and the error that is answered meanwhile.
    pause: Option<(Instant, NetworkError)>,
    /// What was logged last of an outage that has not ended.
    reported: Option<String>,
    /// Why the last attempt to connect failed; nothing once one succeeded.
    trouble: Option<NetworkError>,
    /// Why the peer does not take what is sent, although it is connected.
    rejected: Option<NetworkError>,
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
                trouble: None,
                rejected: None,
                chance: SmallRng::seed_from_u64(seed),
            }),
            taken: AtomicU64::new(0),
            rejecting: AtomicBool::new(false),
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
        state.trouble = None;
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
        state.trouble = Some(error.clone());
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
        state.trouble = Some(error.clone());
        if state.reported.as_deref() != Some(&*refusal.reason) {
            tracing::warn!(target = self.target, reason = refusal.reason, "a peer refuses this node");
            state.reported = Some(refusal.reason);
        }
        error
    }

    /// What stands in the way of talking to the peer, if something does.
    pub(crate) fn trouble(&self) -> Option<NetworkError> {
        let state = lock(&self.state);
        state.trouble.clone().or_else(|| state.rejected.clone())
    }

    /// The peer is connected and does not take what is sent to it.
    pub(crate) fn rejected(&self, error: &NetworkError) {
        let mut state = lock(&self.state);
        if state.rejected.as_ref() != Some(error) {
            tracing::warn!(target = self.target, %error, "a peer does not take what is sent to it");
        }
        state.rejected = Some(error.clone());
        self.rejecting.store(true, Ordering::Relaxed);
    }

    /// The peer has taken the log up to `index`. Only progress ends what was [rejected](Self::rejected): after a
    /// rejection the log is probed anew, and what the peer took before it takes again.
    pub(crate) fn taken(&self, index: u64) {
        if self.taken.fetch_max(index, Ordering::Relaxed) < index
            && self.rejecting.swap(false, Ordering::Relaxed)
        {
            lock(&self.state).rejected = None;
            tracing::info!(target = self.target, "the peer takes what is sent to it again");
        }
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
    fn a_peer_that_rejects_what_is_sent_is_in_trouble_until_it_takes_more_than_before() {
        let (outage, _, error) = outage();
        outage.taken(7);
        outage.rejected(&error);
        outage.up();
        outage.taken(7);
        assert_eq!(outage.trouble(), Some(error));
        outage.taken(8);
        assert_eq!(outage.trouble(), None);
    }

    #[test]
    fn a_peer_that_is_back_is_in_no_trouble() {
        let (outage, now, error) = outage();
        outage.failed(now, &error);
        assert_eq!(outage.trouble(), Some(error));
        outage.up();
        assert_eq!(outage.trouble(), None);
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
