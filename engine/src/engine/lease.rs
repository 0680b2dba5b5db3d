//! The leader's lease: what the followers' promises add up to, and reads without a round of messages (thesis 6.4.1).
//!
//! A follower's promise began no earlier than the message that it acknowledged was sent, so the leader counts it from
//! when that message's position was drawn, less what clocks may differ in rate. While the promises of a quorum of every
//! voter set in force stand, nobody else can be elected, and what this leader has committed is all that is committed.
//! The leader needs no promise of its own: it votes for nobody while it counts on this, and for nobody else before it
//! has stepped down.
//!
//! From the first order to campaign, to the end of the term, there is no lease: whoever is told may release the others
//! from their promises, at once or much later.

use std::time::Duration;

use super::state::Role;
use super::{Engine, Promised};
use crate::{Node, NodeId, Timestamp, quorum};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Whether this node leads and, as its followers have promised, nobody else can at `now`. Always false unless
    /// [`lease_reads`](crate::EngineConfig::lease_reads) is set.
    pub fn has_lease(&self, now: Timestamp) -> bool {
        let Role::Leader(leader) = &self.state.role else { return false };
        if !self.config.lease_reads || leader.released {
            return false;
        }
        let me = self.id();
        let forever = Timestamp::from_nanos(u64::MAX);
        let until = quorum::committed(self.membership().membership.voters(), forever, |id| {
            if *id == me { Some(forever) } else { self.timing.promised_until.get(id).copied() }
        });
        until.is_some_and(|until| now < until)
    }

    /// As [`read_index`](Self::read_index), but while the lease stands no round of messages is waited for: what is
    /// committed now, and at least this leadership's first entry, need only be applied. Without a lease it is
    /// [`read_index`](Self::read_index).
    pub fn read_lease(&mut self, now: Timestamp, tokens: Vec<u64>) {
        self.enter("read_lease");
        let Role::Leader(leader) = &self.state.role else { return self.read_index(now, tokens) };
        let first_own = leader.first_own;
        if !self.has_lease(now) {
            return self.read_index(now, tokens);
        }
        self.await_applied(
            tokens,
            self.state.committed.map_or(first_own, |committed| committed.max(first_own)),
        );
    }

    /// Notes until when a follower has promised to vote for nobody. A promise is never shortened by a later one.
    pub(super) fn note_promise(&mut self, from: NID, promised: Promised) {
        // No more is asked for, and no position beyond the last was sent.
        let within = promised.within.min(self.promise_asked());
        if promised.position > self.state.position {
            return;
        }
        let Some(drawn) = self.timing.drawn_at(promised.position) else { return };
        let until = drawn + less_drift(within, self.config.clock_drift_ppm);
        let known = self.timing.promised_until.entry(from).or_insert(until);
        *known = until.max(*known);
    }
}

/// What of a span on another node's clock has certainly not passed there while the rest passes here.
fn less_drift(within: Duration, ppm: u32) -> Duration {
    let nanos = within.as_nanos() * u128::from(1_000_000_u32.saturating_sub(ppm)) / 1_000_000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_counts_less_by_what_clocks_may_differ() {
        let second = Duration::from_secs(1);
        assert_eq!(less_drift(second, 0), second);
        assert_eq!(less_drift(second, 50_000), Duration::from_millis(950));
        assert_eq!(less_drift(second, 1_000_000), Duration::ZERO);
    }
}
