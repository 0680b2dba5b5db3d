//! The watchdog: commit, the own flush and apply must move while work waits there. A leader on a sick disk answers
//! heartbeats' replies as well as any, so that check-quorum never notices; it is noticed here, and another node leads.
//!
//! There is no deadline of its own: a leader looks at every heartbeat, other nodes at every message of their leader and
//! before they campaign. So a standstill may be noticed a little late, and never early.

use super::Engine;
use super::state::Role;
use crate::{LogIdOptionExt, Node, NodeId, Timestamp};

/// Something that stands still with work waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// No entry is committed, though some wait to be.
    Commit,
    /// This node's disk completes no write.
    Flush,
    /// This node's state machine applies nothing.
    Apply,
}

/// One of the places that are watched.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    /// How far it was at the last look.
    reached: u64,
    /// Since when it has been there with work waiting; `None`: no work waits.
    since: Option<Timestamp>,
}

impl Watch {
    fn look(&mut self, now: Timestamp, reached: u64, end: u64) {
        if reached >= end {
            self.since = None;
        } else if self.since.is_none() || reached != self.reached {
            self.since = Some(now);
        }
        self.reached = reached;
    }
}

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// What has stood still for [`stall_timeout`](crate::EngineConfig::stall_timeout), as of the last look.
    pub fn stalled(&self, now: Timestamp) -> Option<Stall> {
        let timeout = self.config.stall_timeout?;
        let stands = |watch: &Watch| watch.since.is_some_and(|since| now.since(since) >= timeout);
        let watched = [
            (Stall::Flush, &self.timing.flush_watch),
            (Stall::Apply, &self.timing.apply_watch),
            (Stall::Commit, &self.timing.commit_watch),
        ];
        watched.into_iter().find(|(_, watch)| stands(watch)).map(|(stall, _)| stall)
    }

    /// Looks at everything that is watched.
    pub(super) fn look(&mut self, now: Timestamp) {
        let (state, timing) = (&self.state, &mut self.timing);
        timing.flush_watch.look(now, state.lane.flushed(), state.lane.submitted());
        timing.apply_watch.look(now, state.applied.next_index(), state.apply_ordered.next_index());
        if matches!(state.role, Role::Leader(_)) {
            timing.commit_watch.look(now, state.committed.next_index(), state.log.last().next_index());
        } else {
            // Who does not lead commits nothing of its own.
            timing.commit_watch = Watch::default();
        }
    }
}
