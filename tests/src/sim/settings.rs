//! What is drawn once for each run, and once for each node: configuration, clocks, weather, which faults there are.

use std::time::Duration;

use openraft_core::{Config, ReplicationConfig};
use rand::Rng;
use rand::rngs::SmallRng;

/// How much longer or shorter than its cluster's a node's own times are, in percent.
const NODE_SPREAD_PERCENT: u64 = 20;

/// How far clocks go apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// Within the bound that every node's configuration states, in millionths: lease reads must be right.
    Within(u32),
    /// Beyond it, and machines are suspended: everything but lease reads must be right.
    Beyond(u32),
}

/// How the network is when nothing in particular is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Messages take about this long one way, in microseconds.
    pub(super) latency_micros: u64,
    /// One message in so many is late, some very late.
    pub(super) late_one_in: u32,
    /// One message in so many is lost; none if zero.
    pub(super) lose_one_in: u32,
    /// One message in so many that are calls arrives a second time, later.
    pub(super) twice_one_in: u32,
}

/// What one run is like.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Nodes that form the cluster.
    pub(super) nodes: u64,
    /// Nodes that wait to be admitted.
    pub(super) spares: u64,
    pub(super) clients: u64,
    pub(super) drift: Drift,
    pub(super) weather: Weather,
    /// A task that could run lets others go first once in so many times; never if zero.
    pub(super) yield_one_in: u32,
    base: Config,
}

impl Settings {
    pub(super) fn draw(rng: &mut SmallRng) -> Self {
        let bound = rng.random_range(10_000..200_000);
        let drift = if rng.random_bool(0.75) { Drift::Within(bound) } else { Drift::Beyond(bound) };
        let nodes = [3, 3, 3, 4, 5, 5][rng.random_range(0..6)];
        let small = rng.random_bool(0.3);
        let base = Config {
            heartbeat_interval_ms: 50,
            election_timeout_min_ms: 300,
            election_timeout_max_ms: 600,
            stall_timeout_ms: rng.random_bool(0.5).then_some(2_000),
            clock_drift_ppm: bound,
            write_timeout_ms: 2_000,
            read_timeout_ms: 2_000,
            memory_budget_bytes: if small { rng.random_range(8_000..80_000) } else { 64 << 20 },
            max_proposal_bytes: if small { 2_000 } else { 8 << 20 },
            max_uncommitted_bytes: if small { rng.random_range(500..20_000) } else { 32 << 20 },
            snapshot_every_entries: rng.random_bool(0.5).then_some(40),
            snapshot_every_bytes: Some(rng.random_range(2_000..20_000)),
            snapshot_interval_ms: rng.random_bool(0.3).then_some(1_500),
            purge_pin_absence_ms: if rng.random_bool(0.5) { 1_000 } else { 600_000 },
            max_apply_bytes: rng.random_range(1..3_000),
            max_unapplied_bytes: rng.random_range(1..20_000),
            // The same on all nodes, for what to compare.
            state_hash_every: Some(5),
            snapshot_keep_entries: rng.random_range(0..20),
            purge_pin_bytes: rng.random_range(0..60) * 150,
            replication: ReplicationConfig::default(),
            ..Config::default()
        };
        let weather = Weather {
            latency_micros: rng.random_range(200..4_000),
            late_one_in: rng.random_range(20..100),
            lose_one_in: rng.random_range(10..60),
            twice_one_in: rng.random_range(10..60),
        };
        let yield_one_in = [0, 2, 4, 4, 8][rng.random_range(0..5)];
        let clients = rng.random_range(3..8);
        Self { nodes, spares: 7 - nodes.max(5), clients, drift, weather, yield_one_in, base }
    }

    /// The configuration of one life of a node: nodes of a cluster need not agree.
    pub(super) fn config(&self, rng: &mut SmallRng) -> Config {
        let base = &self.base;
        let mut about = |ms: u64| {
            rng.random_range(ms * (100 - NODE_SPREAD_PERCENT) / 100..=ms * (100 + NODE_SPREAD_PERCENT) / 100)
        };
        let (heartbeat_interval_ms, election_timeout_min_ms, election_timeout_max_ms) = (
            about(base.heartbeat_interval_ms),
            about(base.election_timeout_min_ms),
            about(base.election_timeout_max_ms),
        );
        let small = rng.random_bool(0.3);
        let replication = ReplicationConfig {
            max_inflight_messages: if small { rng.random_range(1..8) } else { 64 },
            max_inflight_bytes: if small { rng.random_range(200..4_000) } else { 4 << 20 },
            max_append_bytes: if small { rng.random_range(100..2_000) } else { 512 << 10 },
            max_append_entries: if small { rng.random_range(1..20) } else { 4_096 },
            rpc_timeout: Duration::from_millis(rng.random_range(300..1_500)),
            backoff_max: Duration::from_millis(rng.random_range(100..500)),
            snapshot_timeout: Duration::from_millis(rng.random_range(2_000..10_000)),
            ..base.replication
        };
        Config {
            heartbeat_interval_ms,
            election_timeout_min_ms,
            election_timeout_max_ms,
            election_priority: if rng.random_bool(0.8) { 3 } else { rng.random_range(0..3) },
            pre_vote: rng.random_bool(0.75),
            lease_reads: rng.random_bool(0.8),
            max_peer_messages: if rng.random_bool(0.9) { 4_096 } else { rng.random_range(8..64) },
            turn_messages: if rng.random_bool(0.8) { 1_024 } else { rng.random_range(1..8) },
            replication,
            seed: rng.random(),
            ..base.clone()
        }
    }

    /// At which rate a clock goes, in nanoseconds counted in a million true ones.
    pub(super) fn clock_rate(&self, rng: &mut SmallRng) -> u64 {
        match self.drift {
            // Of two clocks one may go half the bound too fast and the other as much too slowly.
            Drift::Within(ppm) => {
                let half = u64::from(ppm) / 2;
                let extreme = [1_000_000 - half, 1_000_000 + half];
                if rng.random_bool(0.5) {
                    extreme[rng.random_range(0..2)]
                } else {
                    rng.random_range(extreme[0]..=extreme[1])
                }
            }
            Drift::Beyond(_) => rng.random_range(700_000..1_400_000),
        }
    }
}
