//! What is simulated: an application's state machine, and clients that use it.

use std::fmt;

use openraft_adapters::{AppData, AppReply, RaftStateMachine, RaftTypeConfig};
use openraft_engine::BasicNode;
use rand::rngs::SmallRng;

/// An application under simulation. The simulator makes the nodes, the network, the disks of the logs, the clocks and the
/// faults; the subject brings its state machine, what its clients ask for, and a judgement of what they were told.
///
/// Everything must follow from the arguments and the given source of chance alone: the same seed must give the same run.
pub trait Subject: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its types.
    type Types: RaftTypeConfig<NodeId = u64, Node = BasicNode, D = Self::Proposal, R = Self::Reply>;
    /// What clients propose. No two that [`next`](Subject::next) returns in one run may be equal: put the client and a
    /// number of its own into each, so that the simulator can tell whether one was applied that should not have been, or
    /// twice.
    type Proposal: AppData + Clone;
    /// What the state machine replies.
    type Reply: AppReply + Clone + Sync;
    /// What clients ask of the state without changing it.
    type Query: Clone + fmt::Debug + Send + Sync + 'static;
    /// What the state answers.
    type Answer: Clone + fmt::Debug + Send + Sync + 'static;
    /// What of the state machine outlives a crash of its node: its snapshots, and whatever else it holds to be durable. The
    /// default is an empty directory; a clone is the same one.
    type Disk: Clone + Default + Send + Sync + 'static;
    /// Reads the state of one life of a node; a clone reads the same state.
    type View: Clone + Send + Sync + 'static;
    /// What one client remembers.
    type Client: Send + Sync + 'static;

    /// Opens the state machine of one life of a node.
    fn open(&self, disk: &Self::Disk) -> (Box<dyn RaftStateMachine<Self::Types>>, Self::View);

    /// A client; `id` counts from 0.
    fn client(&self, id: u64) -> Self::Client;

    /// What the client does next.
    fn next(&self, client: &mut Self::Client, rng: &mut SmallRng) -> Request<Self>;

    /// Reads. Called once a linearizable read has been granted on the node whose state this is.
    fn read(&self, view: &Self::View, query: &Self::Query) -> Self::Answer;

    /// The client learns what became of its request. Does nothing by default.
    fn learn(&self, client: &mut Self::Client, request: &Request<Self>, outcome: &Outcome<Self>) {
        let _ = (client, request, outcome);
    }

    /// Judges what the clients of one run were told: whether it can have happened on one copy of the state.
    ///
    /// # Errors
    /// In words, what cannot be.
    fn judge(&self, history: &[Operation<Self>]) -> Result<(), String>;
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub enum Request<S: Subject> {
    /// To change the state.
    Write(S::Proposal),
    /// To read it, linearizably.
    Read(S::Query),
}

/// What a client was told.
#[derive(Clone, Debug)]
pub enum Outcome<S: Subject> {
    /// Its write took effect, once, between call and return.
    Written(S::Reply),
    /// Its read saw this.
    Read(S::Answer),
    /// Its request certainly had no effect and never will.
    Failed,
    /// Its write may take effect once at any time after the call, or never.
    Unknown,
}

/// One operation of a client.
#[derive(Clone, Debug)]
pub struct Operation<S: Subject> {
    /// Whose.
    pub client: u64,
    /// What was asked for.
    pub request: Request<S>,
    /// When, in nanoseconds of virtual time; no two calls or returns of a run have the same instant.
    pub called: u64,
    /// When the client was told, or gave up.
    pub returned: u64,
    /// What it was told.
    pub outcome: Outcome<S>,
}
