//! The engine's own instant: a number that only grows, handed in by whoever owns a clock.

use std::fmt;
use std::time::Duration;

/// A monotonic instant: nanoseconds since an origin that the node's clock chose when it started.
///
/// Instants of two processes, or of two lives of one process, have nothing to do with one another and are never
/// sent or stored.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ZERO: Timestamp = Timestamp(0);

    /// The instant `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long before `self` was `earlier`; zero where it was not before.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    /// Saturates at the end of time, some 580 years after the origin.
    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from_nanos(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_its_distance_from_the_beginning_and_no_distance_is_below_nothing() {
        let (early, late) = (Timestamp::from_nanos(7), Timestamp::from_nanos(10));
        assert_eq!((early.as_nanos(), early + Duration::from_nanos(3)), (7, late));
        assert_eq!((late.since(early), early.since(late)), (Duration::from_nanos(3), Duration::ZERO));
    }
}
