//! What the nodes of a world are configured with.

use std::time::Duration;

use openraft_engine::{EngineConfig, ProgressWindows, Replica};

/// One configuration for all nodes; small windows, so that a few messages fill them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Whether nodes ask before they campaign.
    pub pre_vote: bool,
    /// Whether leaders ask for promises.
    pub promises: bool,
    /// Whether reads may be served by the lease.
    pub lease: bool,
    /// A node that would rather not lead: its election priority is the lowest.
    pub unwilling: Option<u64>,
    /// Build a snapshot after so many entries; `None`: when asked.
    pub snapshot_every: Option<u64>,
    /// How many entries behind a snapshot stay in the log.
    pub keep: u64,
    /// How much of the log, in bytes, a follower may hold back from being purged.
    pub pin: u64,
    /// Whether disks forget their vote when a crash comes: a flaw, to see that it is found.
    pub forgetful: bool,
    /// How many reads may wait.
    pub reads: usize,
    /// Where the drawing of election timeouts starts, with the node's id added.
    pub seed: u64,
    /// What may be under way to one follower.
    pub windows: ProgressWindows,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pre_vote: true,
            promises: true,
            lease: false,
            unwilling: None,
            snapshot_every: None,
            keep: 0,
            pin: 1_000,
            forgetful: false,
            reads: 100,
            seed: 1,
            windows: ProgressWindows {
                max_inflight_bytes: 1_000,
                max_inflight_messages: 4,
                max_append_bytes: 100,
                max_append_entries: 100,
            },
        }
    }
}

impl Settings {
    /// Sets `name` to `value`, as a script says it.
    ///
    /// # Errors
    /// If there is no such setting, or the value is none for it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| format!("{name} takes a number, not {value}"));
        let switch = || match value {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(format!("{name} is on or off, not {value}")),
        };
        match name {
            "pre-vote" => self.pre_vote = switch()?,
            "lease" => self.lease = switch()?,
            "forgetful" => self.forgetful = switch()?,
            "unwilling" => self.unwilling = Some(number()?),
            "snapshot-every" => self.snapshot_every = Some(number()?),
            "keep" => self.keep = number()?,
            "pin" => self.pin = number()?,
            "reads" => self.reads = number()? as usize,
            "seed" => self.seed = number()?,
            "window" => self.windows.max_inflight_messages = number()? as usize,
            "window-bytes" => self.windows.max_inflight_bytes = number()?,
            "append-bytes" => self.windows.max_append_bytes = number()?,
            "append-entries" => self.windows.max_append_entries = number()?,
            _ => return Err(format!("there is no setting {name}")),
        }
        Ok(())
    }

    pub(super) fn engine(&self, replica: Replica<u64>, life: u64) -> EngineConfig<u64> {
        let config = EngineConfig::new(replica, self.seed * 1_000 + replica.node_id * 10 + life);
        let unwilling = self.unwilling == Some(replica.node_id);
        EngineConfig {
            election_priority: if unwilling { 0 } else { config.election_priority },
            lease_reads: self.lease,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_secs(1),
            pre_vote: self.pre_vote,
            snapshot_every_entries: self.snapshot_every,
            snapshot_keep_entries: self.keep,
            purge_pin_bytes: self.pin,
            max_waiting_reads: self.reads,
            ..config
        }
    }
}
