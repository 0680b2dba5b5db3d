//! `RaftCore`: one task that takes what is ready, asks the engine, and carries out its commands.

mod execute;
mod reads;
mod respond;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use openraft_adapters::{
    EntryRange, Env, LogIdOf, RaftLogReader, RaftLogStorage, RaftNetwork, RaftNetworkFactory, RaftTypeConfig,
    ReplicaOf, StoredMembershipOf,
};
use openraft_engine::{Engine, Timestamp};
use openraft_replication::{ReplicationHandle, ReplicationUpdate, Slot};
use tokio::sync::{mpsc, watch};

use crate::budget::Budget;
use crate::leadership::{Hooks, Standing};
use crate::message::{ClientWriteRequest, Notification, RaftMsg};
use crate::pending::PendingWrites;
use crate::state_hash::StateHashes;
use crate::state_machine::StateMachineCommand;
use crate::tail::Tail;
use crate::{Config, Fatal, RaftMetrics};

use reads::FollowerReads;
use respond::Responder;

/// Everything one core works with. See `turn.rs` for what it does with it.
pub(crate) struct RaftCore<C: RaftTypeConfig> {
    pub(crate) config: Config,
    pub(crate) me: ReplicaOf<C>,
    pub(crate) env: Env,
    pub(crate) engine: Engine<C::NodeId, C::Node>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) tail: Arc<Tail<C>>,
    pub(crate) log: Arc<dyn RaftLogStorage<C>>,
    pub(crate) reader: Arc<dyn RaftLogReader<C>>,
    pub(crate) factory: Arc<dyn RaftNetworkFactory<C>>,
    pub(crate) state_machine: mpsc::UnboundedSender<StateMachineCommand<C>>,
    pub(crate) metrics: watch::Sender<RaftMetrics<C>>,
    pub(crate) hooks: Arc<Hooks<C>>,
    pub(crate) io: Inboxes<C>,
    pub(crate) work: Work<C>,
}

/// Where the core's work comes from.
///
/// None of the queues has a bound of its own, for each is bounded by what feeds it: writes and entries of peers by
/// the byte budget, messages of peers and reads by their gates, reports by one for each follower, notifications by the
/// I/O that was ordered.
pub(crate) struct Inboxes<C: RaftTypeConfig> {
    pub(crate) messages: mpsc::UnboundedReceiver<RaftMsg<C>>,
    pub(crate) messages_tx: mpsc::WeakUnboundedSender<RaftMsg<C>>,
    pub(crate) writes: mpsc::UnboundedReceiver<ClientWriteRequest<C>>,
    pub(crate) notifications: mpsc::UnboundedReceiver<Notification<C>>,
    pub(crate) notifications_tx: mpsc::UnboundedSender<Notification<C>>,
    /// Closes when the state machine's task is gone, and with it whoever built a snapshot, and every hook was told.
    pub(crate) state_machine_done: mpsc::Receiver<Infallible>,
}

/// What the core has under way.
pub(crate) struct Work<C: RaftTypeConfig> {
    /// Messages taken in an earlier turn that ended before they were handled.
    messages: VecDeque<RaftMsg<C>>,
    /// Calls that wait for the engine's answer.
    responders: BTreeMap<u64, Responder<C>>,
    next_token: u64,
    /// Proposed writes that wait to be applied.
    pending: PendingWrites<C>,
    /// No write or read has an earlier deadline than this.
    earliest_deadline: Option<Timestamp>,
    /// Reads taken in this turn: they share one position.
    reads: Vec<u64>,
    /// Reads taken in this turn that the lease may serve.
    lease_reads: Vec<u64>,
    /// Reads that another node, the leader, is asked for.
    follower_reads: FollowerReads<C::NodeId>,
    /// Appends ordered in this turn and not yet submitted.
    append: Option<(u64, EntryRange<C>)>,
    /// Applies ordered in this turn and not yet submitted.
    apply: Option<(u64, LogIdOf<C>)>,
    /// The submission that ended this turn's appends has been made.
    turn_over: bool,
    /// Writes taken in the turn in which a transfer of leadership began; their weight is held in the budget.
    held: Vec<ClientWriteRequest<C>>,
    /// What this turn tells the followers.
    replicate: Option<Replicate>,
    replications: BTreeMap<C::NodeId, Replication<C>>,
    networks: BTreeMap<C::NodeId, Peer<C>>,
    /// The membership last published.
    membership: Arc<StoredMembershipOf<C>>,
    /// What hooks were told last.
    standing: Standing<C>,
    /// What is known of state hashes.
    state_hashes: StateHashes<C>,
    /// Set when the node is to stop: no new writes, and gone by then at the latest.
    stopping: Option<Timestamp>,
}

/// What the followers are told at the end of a turn.
#[derive(Clone, Copy, Default)]
struct Replicate {
    position: u64,
    heartbeat: bool,
}

/// The network to a node, and the description it was made from.
struct Peer<C: RaftTypeConfig> {
    node: C::Node,
    network: Arc<dyn RaftNetwork<C>>,
}

struct Replication<C: RaftTypeConfig> {
    handle: ReplicationHandle<C>,
    outbox: Arc<Slot<ReplicationUpdate<C::NodeId>>>,
}

impl<C: RaftTypeConfig> Work<C> {
    /// A number for a call to the engine.
    fn new_token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    pub(crate) fn new(membership: StoredMembershipOf<C>, pending: PendingWrites<C>) -> Self {
        Self {
            messages: VecDeque::new(),
            responders: BTreeMap::new(),
            next_token: 0,
            pending,
            earliest_deadline: None,
            reads: Vec::new(),
            lease_reads: Vec::new(),
            follower_reads: FollowerReads::default(),
            append: None,
            apply: None,
            turn_over: false,
            held: Vec::new(),
            replicate: None,
            replications: BTreeMap::new(),
            networks: BTreeMap::new(),
            membership: Arc::new(membership),
            standing: Standing::default(),
            state_hashes: StateHashes::default(),
            stopping: None,
        }
    }
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// Runs until the node is shut down, its storage fails, or every handle is gone.
    pub(crate) async fn run(&mut self) -> Fatal {
        // A restart may have left something to do before the first message comes.
        if let Err(fatal) = self.finish_turn() {
            return fatal;
        }
        loop {
            match self.turn().await {
                Ok(()) => {}
                Err(fatal) => return fatal,
            }
        }
    }
}
