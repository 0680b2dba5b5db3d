//! The engine's configuration: who it is, its timeouts, its seed and its limits.

use std::time::Duration;

use crate::Replica;

/// The priority of a node that waits no longer than others before it campaigns.
const ELECTION_PRIORITY_MAX: u8 = 3;

/// What an [`Engine`](crate::Engine) is told once, at its start.
#[derive(Clone, Debug)]
pub struct EngineConfig<NID> {
    /// Who this node is, and on which store.
    pub replica: Replica<NID>,
    /// How often a leader tells its followers that it leads. Default 100 ms. Less costs messages; more than a third
    /// of `election_timeout_min` makes followers campaign for want of one lost message.
    pub heartbeat_interval: Duration,
    /// The shortest time without a leader after which a node campaigns. Default 500 ms.
    pub election_timeout_min: Duration,
    /// The longest. Default 1 s. Timeouts are drawn evenly between the two, anew for each campaign (paper, 5.2).
    pub election_timeout_max: Duration,
    /// Whether a node asks, before it campaigns, if it would win (pre-vote, thesis 9.6). Default true: a node that was
    /// cut off then comes back without costing an election. Nodes with and without it work together.
    pub pre_vote: bool,
    /// How willing this node is to lead, from 0 to 3, the default. When its leader is lost a node waits, for each step below
    /// 3, the span between the two election timeouts longer before it campaigns, so that of equally complete nodes the
    /// more willing one mostly leads. It decides nothing else: later campaigns come as on any node, whoever alone is able
    /// to lead still does, and a leader of low priority stays until leadership is handed over.
    pub election_priority: u8,
    /// How long commit, the node's own disk or its state machine may stand still with work waiting before a leader steps
    /// down, and for as long as its disk or state machine stands still a node does not campaign. Default 10 s, `None`:
    /// for ever. Must be more than `election_timeout_max`. Less than a slow disk's longest pause costs elections.
    pub stall_timeout: Option<Duration>,
    /// Whether [`read_lease`](crate::Engine::read_lease) may serve reads by the followers' promises, without a round of
    /// messages. Default false, for it trusts clocks: where a machine is suspended, or a virtual machine moved, its
    /// monotonic clock may stand still meanwhile, and a leader that wakes up would count on promises that have ended,
    /// and serve reads that miss another leader's writes.
    pub lease_reads: bool,
    /// By how much the rates of two nodes' clocks may differ, in millionths. Default 50,000, that is 5 %: far more than
    /// working clocks do. Shortens the lease.
    pub clock_drift_ppm: u32,
    /// Where the drawing of timeouts starts. Must differ between the nodes of a cluster, or they campaign in step.
    pub seed: u64,
    /// Build a snapshot after so many entries were applied since the last one. `None`, the default: not for that. The
    /// policies are independent, whichever comes first; with none of them only when asked.
    pub snapshot_every_entries: Option<u64>,
    /// Build a snapshot after entries of about so many bytes were applied since the last one. `None`, the default: not
    /// for that.
    pub snapshot_every_bytes: Option<u64>,
    /// Build a snapshot so long after the first entry that was applied since the last one: an idle node builds none.
    /// `None`, the default: not for that.
    pub snapshot_interval: Option<Duration>,
    /// How many entries behind the snapshot are kept in the log, for followers that are a little behind.
    /// Default 5,000.
    pub snapshot_keep_entries: u64,
    /// How long a node that was removed is still replicated to, so that it learns of its removal, if it does not
    /// acknowledge that before. Default 10 s.
    pub removed_node_timeout: Duration,
    /// How much of the log a follower that needs it may hold back from being purged, in bytes, about, beyond the
    /// entries kept anyway. One that needs more pins nothing: it gets the snapshot instead. Default 1 GiB.
    pub purge_pin_bytes: u64,
    /// A follower that has answered nothing for so long pins nothing any more. Default 10 min. Counts from the start of
    /// the leadership: a new leader does not know how long it has been away.
    pub purge_pin_absence: Duration,
    /// How much the state machine is ordered to apply before it has applied what came before, in bytes, about, unless it
    /// is one entry. Default 16 MiB. Less lets an order that is not to apply, such as to install a snapshot, wait for less.
    pub max_unapplied_bytes: u64,
    /// How many reads may wait for their confirmation; one more is refused. Default 65,536.
    pub max_waiting_reads: usize,
}

impl<NID> EngineConfig<NID> {
    /// The defaults for the node `replica`.
    pub fn new(replica: Replica<NID>, seed: u64) -> Self {
        Self {
            replica,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_secs(1),
            pre_vote: true,
            election_priority: ELECTION_PRIORITY_MAX,
            stall_timeout: Some(Duration::from_secs(10)),
            lease_reads: false,
            clock_drift_ppm: 50_000,
            seed,
            snapshot_every_entries: None,
            snapshot_every_bytes: None,
            snapshot_interval: None,
            snapshot_keep_entries: 5_000,
            removed_node_timeout: Duration::from_secs(10),
            purge_pin_bytes: 1 << 30,
            purge_pin_absence: Duration::from_secs(600),
            max_unapplied_bytes: 16 << 20,
            max_waiting_reads: 65_536,
        }
    }

    /// How much longer than its timeout a node of this priority waits before it campaigns.
    pub(crate) fn reluctance(&self) -> Duration {
        let window = self.election_timeout_max.saturating_sub(self.election_timeout_min);
        window.saturating_mul(u32::from(ELECTION_PRIORITY_MAX.saturating_sub(self.election_priority)))
    }

    /// Checks what the engine relies on.
    ///
    /// # Errors
    /// The first rule broken, in words that say what to change.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.heartbeat_interval.is_zero() {
            return Err(ConfigError::ZeroHeartbeat);
        }
        if self.heartbeat_interval.saturating_mul(2) > self.election_timeout_min {
            return Err(ConfigError::HeartbeatTooSlow {
                heartbeat: self.heartbeat_interval,
                election_min: self.election_timeout_min,
            });
        }
        if self.election_timeout_min >= self.election_timeout_max {
            return Err(ConfigError::NoRange {
                min: self.election_timeout_min,
                max: self.election_timeout_max,
            });
        }
        if self.election_priority > ELECTION_PRIORITY_MAX {
            return Err(ConfigError::NoSuchPriority { priority: self.election_priority });
        }
        if let Some(stall) = self.stall_timeout.filter(|stall| *stall <= self.election_timeout_max) {
            return Err(ConfigError::StallTooShort { stall, election_max: self.election_timeout_max });
        }
        if self.clock_drift_ppm >= 1_000_000 {
            return Err(ConfigError::NoLeaseLeft { ppm: self.clock_drift_ppm });
        }
        Ok(())
    }
}

/// A configuration with which a cluster would not hold together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Heartbeats without a pause.
    #[error("the heartbeat interval is zero: choose some tens of milliseconds")]
    ZeroHeartbeat,
    /// Followers would campaign although the leader is well.
    #[error(
        "the heartbeat interval {heartbeat:?} is more than half of the shortest election timeout {election_min:?}: \
         followers would campaign although the leader is well; make it a third or less"
    )]
    HeartbeatTooSlow {
        /// The interval given.
        heartbeat: Duration,
        /// The timeout given.
        election_min: Duration,
    },
    /// There are four priorities.
    #[error("an election priority of {priority}: it is 0, 1, 2 or 3, and 3 is who leads rather than others")]
    NoSuchPriority {
        /// The priority given.
        priority: u8,
    },
    /// Leaders would step down for pauses shorter than an election.
    #[error(
        "a stall timeout of {stall:?} is no more than the longest election timeout {election_max:?}: make it several \
         times as long, or none"
    )]
    StallTooShort {
        /// The timeout given.
        stall: Duration,
        /// The longest election timeout.
        election_max: Duration,
    },
    /// Promises would count for nothing.
    #[error(
        "clocks whose rates differ by {ppm} millionths leave nothing of a lease: it must be less than 1,000,000"
    )]
    NoLeaseLeft {
        /// The drift given.
        ppm: u32,
    },
    /// All nodes would campaign at once.
    #[error(
        "election timeouts run from {min:?} to {max:?}: the upper bound must be greater, twice the lower is usual"
    )]
    NoRange {
        /// The lower bound given.
        min: Duration,
        /// The upper bound given.
        max: Duration,
    },
}
