//! What a follower's task is told once, when it starts: its limits, its surroundings, its handle.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::engine::ProgressWindows;
use openraft_adapters::{
    Env, LogIdOf, RaftLogReader, RaftNetwork, RaftTypeConfig, ReplicaOf, TaskHandle, VoteOf,
};

use crate::{LeaderUpdate, ReplicationUpdate, Slot, SnapshotProvider, TailReader};

/// Limits of one follower's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// Entries sent and not yet answered weigh at most this, in bytes; see [`ProgressWindows`]. More keeps a long link
    /// busy and holds more memory per follower. 4 MiB by default.
    pub max_inflight_bytes: u64,
    /// At most this many appends are sent and not yet answered. 64 by default.
    pub max_inflight_messages: usize,
    /// Entries of one append weigh at most this, in bytes, unless it is a single entry. 512 KiB by default.
    pub max_append_bytes: u64,
    /// One append carries at most this many entries. 4,096 by default.
    pub max_append_entries: u64,
    /// An append counts as lost this long after it was sent or, if that is later, after the last reply on its stream;
    /// a heartbeat this long after it was sent. 1 s by default.
    pub rpc_timeout: Duration,
    /// The first pause after a failure, and the pause after a follower answered that it is busy. 20 ms by default.
    pub backoff_min: Duration,
    /// The longest pause between two attempts to reach a follower that is down; pauses double up to it. Longer than
    /// the election timeout, it lets a follower that returns campaign before its leader finds it. 500 ms by default.
    pub backoff_max: Duration,
    /// How long a snapshot transfer may stand still: for each chunk, and for the answer after the last one. 10 s by
    /// default.
    pub snapshot_timeout: Duration,
}

impl Default for ReplicationConfig {
    fn default() -> Self {
        Self {
            max_inflight_bytes: 4 << 20,
            max_inflight_messages: 64,
            max_append_bytes: 512 << 10,
            max_append_entries: 4096,
            rpc_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            snapshot_timeout: Duration::from_secs(10),
        }
    }
}

impl ReplicationConfig {
    pub(crate) fn windows(&self) -> ProgressWindows {
        ProgressWindows {
            max_inflight_bytes: self.max_inflight_bytes,
            max_inflight_messages: self.max_inflight_messages,
            max_append_bytes: self.max_append_bytes,
            max_append_entries: self.max_append_entries,
        }
    }
}

/// Called when a report was put into an empty outbox: the core has something to take.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// All that one follower's task works with.
pub struct ReplicationContext<C: RaftTypeConfig> {
    /// The follower.
    pub target: ReplicaOf<C>,
    /// Names this task; every report carries it. Never used twice for one follower while a core lives.
    pub session: u64,
    /// The leader itself.
    pub me: ReplicaOf<C>,
    /// The entry that admitted the leader's store, as its log says.
    pub admitted: Option<LogIdOf<C>>,
    /// The promise that every message asks for.
    pub promise: Duration,
    /// The leader's committed vote, under which everything is sent.
    pub vote: VoteOf<C>,
    /// The last entry of the leader's log when it was elected, before any of its own: where the task begins to probe,
    /// because most followers hold it.
    pub last: Option<LogIdOf<C>>,
    /// Clock and spawner.
    pub env: Env,
    /// The network to the follower.
    pub network: Arc<dyn RaftNetwork<C>>,
    /// Reads what has left the tail.
    pub log: Arc<dyn RaftLogReader<C>>,
    /// Reads the recent end of the log.
    pub tail: Arc<dyn TailReader<C>>,
    /// Gives the snapshot to send when the log does not reach back far enough.
    pub snapshots: Arc<dyn SnapshotProvider<C>>,
    /// Limits.
    pub config: ReplicationConfig,
    /// Where pauses between attempts get their jitter from.
    pub seed: u64,
    /// From the core. The task sends nothing before the first update that it finds here.
    pub inbox: Arc<Slot<LeaderUpdate<C>>>,
    /// To the core.
    pub outbox: Arc<Slot<ReplicationUpdate<C::NodeId>>>,
    /// Wakes the core.
    pub wake: Wake,
}

/// A follower's running task. Dropping the handle stops it.
#[derive(Debug)]
pub struct ReplicationHandle<C: RaftTypeConfig> {
    session: u64,
    inbox: Arc<Slot<LeaderUpdate<C>>>,
    task: TaskHandle,
}

impl<C: RaftTypeConfig> ReplicationHandle<C> {
    pub(crate) fn new(session: u64, inbox: Arc<Slot<LeaderUpdate<C>>>, task: TaskHandle) -> Self {
        Self { session, inbox, task }
    }

    /// The task's session.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Tells the task what there is to replicate.
    pub fn update(&self, update: LeaderUpdate<C>) {
        self.inbox.put(update);
    }

    /// Tells the task to end; it sends nothing more once it has read this. Returns at once.
    pub fn stop(&self) {
        self.inbox.put(LeaderUpdate::stop(self.session));
    }

    /// Ends the task at its next await point.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl<C: RaftTypeConfig> Drop for ReplicationHandle<C> {
    fn drop(&mut self) {
        self.stop();
    }
}
