//! `Config`: what a node's author may set, with defaults that suit three nodes on one network.

use std::time::Duration;

use openraft_adapters::engine::{ConfigError, EngineConfig, NodeId, Replica};
use openraft_replication::ReplicationConfig;

/// The configuration of one node. The nodes of a cluster should agree on it, but need not.
#[derive(Clone, Debug)]
pub struct Config {
    /// How often a leader tells its followers that it leads, in milliseconds. Default 100.
    pub heartbeat_interval_ms: u64,
    /// The shortest time without a leader after which a node campaigns, in milliseconds. Default 500. A leader's
    /// failure is noticed no sooner; a pause of the network or the disk longer than this costs an election.
    pub election_timeout_min_ms: u64,
    /// The longest, in milliseconds. Default 1,000.
    pub election_timeout_max_ms: u64,
    /// Whether a node asks before it campaigns if it would win (pre-vote). Default true: a node that was cut off or
    /// paused comes back without costing an election.
    pub pre_vote: bool,
    /// How willing this node is to lead, from 0 to 3, the default. When its leader is lost a node waits, for each step below
    /// 3, the span between the two election timeouts longer before it campaigns. It decides nothing else, and moves no
    /// leadership.
    pub election_priority: u8,
    /// How long commit, the node's own disk or its state machine may stand still with work waiting before a leader steps
    /// down, in milliseconds; for as long as its own disk or state machine stands still, a node does not campaign.
    /// Default 10,000; `None`: for ever. Must be more than `election_timeout_max_ms`.
    pub stall_timeout_ms: Option<u64>,
    /// Whether [`ReadPolicy::Lease`](crate::ReadPolicy::Lease) reads are served without a round of messages while the
    /// followers' promises stand. Default false, because it trusts clocks: where a machine is suspended, or a virtual
    /// machine moved, its monotonic clock may stand still meanwhile; a leader that wakes up would count on promises that
    /// have long ended, and serve reads that miss another leader's writes.
    pub lease_reads: bool,
    /// By how much the rates of two nodes' clocks may differ, in millionths. Default 50,000, that is 5 %. Shortens the
    /// lease by as much.
    pub clock_drift_ppm: u32,
    /// The one budget of bytes in memory: entries waiting to be proposed, written, sent or applied, and the tail kept
    /// for followers. Default 64 MiB. When it is spent, writes are refused as overloaded and a follower answers
    /// "busy". Half of it is for windows to followers.
    pub memory_budget_bytes: u64,
    /// The largest proposal, in bytes of its stored form. Default 8 MiB. A larger one is refused before it is queued.
    pub max_proposal_bytes: u64,
    /// How many bytes of proposals may wait for their commit, on the leader; a proposal of any permitted size is taken
    /// when none does. Default 32 MiB. Beyond it, writes are refused as overloaded: a leader without a quorum fills no
    /// log that a successor will have to cut.
    pub max_uncommitted_bytes: u64,
    /// How many committed bytes may wait to be applied before the leader takes no more writes, and how much the state
    /// machine is given ahead. Default 16 MiB. Less keeps reads, snapshots and the end of a node from waiting behind a
    /// slow state machine; more evens out its pauses.
    pub max_unapplied_bytes: u64,
    /// How much a batch weighs at most that the state machine is given to apply, unless it is one entry. Default 1 MiB.
    /// Less answers callers sooner and holds the state machine's locks for a shorter time; more saves it work.
    pub max_apply_bytes: u64,
    /// After each so many entries, all nodes hash their state, if it
    /// [provides](openraft_adapters::RaftStateMachine::state_hash) for it, and followers compare. Default `None`: off.
    /// Must be the same on all nodes, for what to compare; costs a hash, and ends the batch there.
    pub state_hash_every: Option<u64>,
    /// How long a write may take, in milliseconds. Default 5,000. After that it was not proposed in time, or its
    /// outcome is unknown.
    pub write_timeout_ms: u64,
    /// How long a linearizable read may wait, in milliseconds. Default 5,000.
    pub read_timeout_ms: u64,
    /// Build a snapshot after so many entries were applied since the last one. Default 50,000. The log is purged behind
    /// it. Of this and the two policies after it, whichever comes first; with none of them, snapshots are built only by
    /// [`Trigger::snapshot`](crate::Trigger::snapshot).
    pub snapshot_every_entries: Option<u64>,
    /// Build a snapshot after entries of about so many bytes were applied since the last one. Default 256 MiB.
    pub snapshot_every_bytes: Option<u64>,
    /// Build a snapshot so many milliseconds after the first entry that was applied since the last one; an idle node
    /// builds none. Default `None`: not for that.
    pub snapshot_interval_ms: Option<u64>,
    /// How many entries behind the snapshot stay in the log. Default 5,000.
    pub snapshot_keep_entries: u64,
    /// How much of the log a follower that needs it may hold back from being purged, in bytes, about. One that needs
    /// more gets the snapshot. Default 1 GiB. This much disk beyond snapshot policy and kept tail is to be had.
    pub purge_pin_bytes: u64,
    /// A follower that has answered nothing for so many milliseconds holds back nothing any more. Default 600,000.
    pub purge_pin_absence_ms: u64,
    /// How many messages of peers may wait for the core; one more is refused. Default 4,096.
    pub max_peer_messages: usize,
    /// How many linearizable reads may wait; one more is refused. Default 65,536.
    pub max_waiting_reads: usize,
    /// At most so many messages are handled in one turn. Default 1,024. Fewer give I/O a chance sooner; more make
    /// larger batches.
    pub turn_messages: usize,
    /// At most so many bytes of proposals are taken in one turn, but at least one proposal. Default 1 MiB.
    pub turn_bytes: u64,
    /// Limits and pauses of the replication to each follower.
    pub replication: ReplicationConfig,
    /// Where chance comes from: mixed with the store id, so that nodes may share one. Default 0.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 100,
            election_timeout_min_ms: 500,
            election_timeout_max_ms: 1_000,
            pre_vote: true,
            election_priority: 3,
            stall_timeout_ms: Some(10_000),
            lease_reads: false,
            clock_drift_ppm: 50_000,
            memory_budget_bytes: 64 << 20,
            max_proposal_bytes: 8 << 20,
            max_uncommitted_bytes: 32 << 20,
            max_unapplied_bytes: 16 << 20,
            max_apply_bytes: 1 << 20,
            state_hash_every: None,
            write_timeout_ms: 5_000,
            read_timeout_ms: 5_000,
            snapshot_every_entries: Some(50_000),
            snapshot_every_bytes: Some(256 << 20),
            snapshot_interval_ms: None,
            snapshot_keep_entries: 5_000,
            purge_pin_bytes: 1 << 30,
            purge_pin_absence_ms: 600_000,
            max_peer_messages: 4_096,
            max_waiting_reads: 65_536,
            turn_messages: 1_024,
            turn_bytes: 1 << 20,
            replication: ReplicationConfig::default(),
            seed: 0,
        }
    }
}

impl Config {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The first rule broken, in words that say what to change.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        self.engine_config(Replica::<u64>::default()).validate()?;
        if self.max_proposal_bytes.saturating_mul(2) > self.memory_budget_bytes {
            return Err(InvalidConfig::ProposalBeyondBudget {
                proposal: self.max_proposal_bytes,
                budget: self.memory_budget_bytes,
            });
        }
        if self.turn_messages == 0 || self.max_peer_messages == 0 || self.max_waiting_reads == 0 {
            return Err(InvalidConfig::Zero);
        }
        if self.state_hash_every == Some(0) {
            return Err(InvalidConfig::ZeroHashInterval);
        }
        if self.write_timeout_ms == 0 || self.read_timeout_ms == 0 {
            return Err(InvalidConfig::NoTime);
        }
        Ok(())
    }

    pub(crate) fn engine_config<NID: NodeId>(&self, replica: Replica<NID>) -> EngineConfig<NID> {
        let store = replica.store_id.0;
        EngineConfig {
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval_ms),
            election_timeout_min: Duration::from_millis(self.election_timeout_min_ms),
            election_timeout_max: Duration::from_millis(self.election_timeout_max_ms),
            pre_vote: self.pre_vote,
            election_priority: self.election_priority,
            stall_timeout: self.stall_timeout_ms.map(Duration::from_millis),
            lease_reads: self.lease_reads,
            clock_drift_ppm: self.clock_drift_ppm,
            snapshot_every_entries: self.snapshot_every_entries,
            snapshot_every_bytes: self.snapshot_every_bytes,
            snapshot_interval: self.snapshot_interval_ms.map(Duration::from_millis),
            snapshot_keep_entries: self.snapshot_keep_entries,
            purge_pin_bytes: self.purge_pin_bytes,
            purge_pin_absence: Duration::from_millis(self.purge_pin_absence_ms),
            max_unapplied_bytes: self.max_unapplied_bytes,
            max_waiting_reads: self.max_waiting_reads,
            ..EngineConfig::new(replica, self.seed ^ store as u64 ^ (store >> 64) as u64)
        }
    }

    pub(crate) fn election_timeout_max(&self) -> Duration {
        Duration::from_millis(self.election_timeout_max_ms)
    }
}

/// A configuration that cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// The engine's part is wrong.
    #[error(transparent)]
    Engine(#[from] ConfigError),
    /// One proposal could exceed its half of the memory budget.
    #[error(
        "a proposal may have {proposal} bytes, more than half of the memory budget of {budget}: \
         raise memory_budget_bytes or lower max_proposal_bytes"
    )]
    ProposalBeyondBudget {
        /// The largest proposal.
        proposal: u64,
        /// The budget.
        budget: u64,
    },
    /// A queue without places.
    #[error("turn_messages, max_peer_messages and max_waiting_reads must be at least 1")]
    Zero,
    /// No index is a multiple of zero.
    #[error("state_hash_every is zero: choose a number of entries, or None")]
    ZeroHashInterval,
    /// No time to answer.
    #[error("write_timeout_ms and read_timeout_ms must be at least 1")]
    NoTime,
}
