//! A world: N real engines with their real `Progress` values, each with a store, a state machine and a clock, and the
//! messages under way between them. Pure: nothing happens but by a [`Step`], and no step waits for anything.
//!
//! Scripts drive a world by hand ([`crate::script`]); a search may drive it through all its steps. Two worlds compare
//! and hash by the protocol's state alone: clocks and deadlines are left out, since any armed deadline may fire
//! ([`Step::Fire`]).
//!
//! # Layout
//!
//! - [`Node`]: an engine and what carries its commands out; [`Task`]: one follower's `Progress`; [`Disk`]: the log
//!   lane, whose unflushed writes a crash loses.
//! - [`Message`], [`Envelope`]: what is under way. [`Entry`]: what logs hold.
//! - [`History`], [`Invariant`]: what may never happen, checked after every step.

mod canon;
mod disk;
mod entry;
mod invariants;
mod message;
mod node;
mod settings;
mod step;
mod task;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft_engine::{
    ChangePrecondition, LeaderId, LogId, MembershipChange, NewNode, StoreId, Timestamp, Vote,
};

pub use canon::Live;
pub use disk::{Disk, Image, Write};
pub use entry::{Address, Entry, Members, Payload};
pub use invariants::{Broken, Goal, History, Invariant};
pub use message::{Envelope, KINDS, Message, Stamp, place};
pub use node::{Node, Snapshot};
pub use settings::Settings;
pub use step::Step;
pub use task::{RETRY_AFTER, RPC_TIMEOUT, SNAPSHOT_TIMEOUT, Task};

/// The nodes, the messages under way, and what happened so far.
///
/// A clone shares everything that is not changed afterwards: a search keeps millions.
#[derive(Clone, Debug)]
pub struct World {
    settings: Settings,
    nodes: BTreeMap<u64, Arc<Node>>,
    network: Vec<Arc<Envelope>>,
    /// How many messages were ever sent.
    sent: u64,
    /// Of each link, the number of the last sent of the messages that arrived.
    arrived: BTreeMap<(u64, u64), u64>,
    history: Arc<History>,
}

/// More deadlines of one node than these do not come in one passing of time.
const DEADLINES_MAX: usize = 10_000;

/// When every node's clock begins.
const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// A node to be changed.
fn open(nodes: &mut BTreeMap<u64, Arc<Node>>, id: u64) -> Option<&mut Node> {
    let node = Arc::make_mut(nodes.get_mut(&id)?);
    node.touch();
    Some(node)
}

/// The store of a node in its `count`th life of disks, from 0.
fn store(id: u64, count: u64) -> StoreId {
    StoreId(u128::from(id) * 100 + u128::from(count))
}

impl World {
    /// A cluster in which every one of `voters` has written the initial membership durably, and nobody leads yet.
    pub fn formed(voters: &[u64], settings: Settings) -> Self {
        let mut world = Self {
            settings,
            nodes: BTreeMap::new(),
            network: Vec::new(),
            sent: 0,
            arrived: BTreeMap::new(),
            history: Arc::default(),
        };
        let list = voters.iter().map(|id| (*id, (store(*id, 0), Self::address(*id)))).collect();
        for id in voters {
            world.add_empty(*id);
            open(&mut world.nodes, *id).expect("just added").initialize(&list);
            world.settle(*id);
            world.flush(*id, usize::MAX);
            while world.work(*id) {}
        }
        world
    }

    /// From now on what happens is told in words.
    pub fn tell(&mut self) {
        Arc::make_mut(&mut self.history).tell();
    }

    /// From now on nothing is told, and what is yet to be taken of it is forgotten.
    pub fn hush(&mut self) {
        Arc::make_mut(&mut self.history).hush();
    }

    /// What happened since this was asked last, in words, if [`tell`](Self::tell) asked for it.
    pub fn take_notes(&mut self) -> Vec<String> {
        Arc::make_mut(&mut self.history).take_notes()
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> &BTreeMap<u64, Arc<Node>> {
        &self.nodes
    }

    /// The messages under way, in the order of their sending.
    pub fn messages(&self) -> &[Arc<Envelope>] {
        &self.network
    }

    /// What happened so far.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Notes that a step panicked: what the engine, or this world around it, asserts of itself does not hold.
    pub fn panicked(&mut self, detail: String) {
        Arc::make_mut(&mut self.history).panicked(detail);
    }

    /// The first invariant broken, if one was.
    ///
    /// # Errors
    /// That one.
    pub fn check(&self) -> Result<(), Broken> {
        self.history.broken().cloned().map_or(Ok(()), Err)
    }

    /// Starts a node on an empty store, which is in no cluster.
    pub fn add_empty(&mut self, id: u64) {
        let mut node = Node::holding(id, store(id, 0), START, self.settings, Image::default());
        node.start();
        self.nodes.insert(id, Arc::new(node));
        self.settle(id);
    }

    /// Gives a member of a formed cluster a log of entries of these terms behind the initial membership, and the vote
    /// of the last one, or for the leader of `term`, and starts it on that.
    pub fn plant(&mut self, id: u64, terms: &[u64], term: Option<u64>) {
        let voters: Vec<u64> = self.nodes.keys().copied().collect();
        let leader = |term: u64| voters[(term as usize - 1) % voters.len()];
        let node = open(&mut self.nodes, id).expect("a node of the cluster");
        let mut image = node.disk.durable.clone();
        for (index, term) in (1..).zip(terms) {
            let log_id = LogId { leader_id: LeaderId { term: *term, node_id: leader(*term) }, index };
            let entry = Entry { log_id, payload: Payload::Write(format!("{term}.{index}")) };
            Arc::make_mut(&mut self.history).led(*term, leader(*term));
            image.carry_out(Write::Append(vec![Arc::new(entry)]));
        }
        if let Some(last) = terms.last() {
            image.carry_out(Write::Vote(Vote::new_committed(*last, leader(*last)).into()));
        }
        if let Some(term) = term {
            image.carry_out(Write::Vote(Vote::new_committed(term, leader(term)).into()));
        }
        *node = Node::holding(id, node.store_id, START, self.settings, image);
        node.start();
        self.settle(id);
    }

    /// Carries out what a node ordered, and looks.
    fn settle(&mut self, id: u64) {
        let Some(node) = open(&mut self.nodes, id) else { return };
        let history = Arc::make_mut(&mut self.history);
        if node.engine().is_some() {
            node.turn(history);
        }
        for mut envelope in node.out.drain(..) {
            self.sent += 1;
            envelope.number = self.sent;
            self.network.push(Arc::new(envelope));
        }
        history.look(&self.nodes, id);
    }

    fn running(&mut self, id: u64) -> Option<&mut Node> {
        self.nodes.get(&id)?.engine()?;
        open(&mut self.nodes, id)
    }

    /// Takes message `at` of [`messages`](Self::messages) off the network and hands it over. One to a node that is
    /// down is lost. Returns the message.
    ///
    /// # Panics
    /// If there is none.
    pub fn deliver(&mut self, at: usize) -> Arc<Envelope> {
        let envelope = self.network.remove(at);
        let (from, to) = (envelope.from, envelope.to);
        let arrived = self.arrived.entry((from, to)).or_default();
        *arrived = envelope.number.max(*arrived);
        if self.nodes.get(&to).is_some_and(|node| node.engine().is_some()) {
            let node = open(&mut self.nodes, to).expect("just seen");
            node.receive(from, envelope.message.clone(), Arc::make_mut(&mut self.history));
            self.settle(to);
        }
        envelope
    }

    /// Loses message `at`.
    ///
    /// # Panics
    /// If there is none.
    pub fn lose(&mut self, at: usize) -> Arc<Envelope> {
        self.network.remove(at)
    }

    /// Repeats message `at`: the copy is under way behind all others.
    ///
    /// # Panics
    /// If there is none.
    pub fn repeat(&mut self, at: usize) -> Arc<Envelope> {
        self.sent += 1;
        self.network.push(Arc::new(self.network[at].numbered(self.sent)));
        Arc::clone(&self.network[at])
    }

    /// Completes the `count` oldest writes of a node's log lane, or all. Returns whether there was one.
    pub fn flush(&mut self, id: u64, count: usize) -> bool {
        let Some(pending) = self.nodes.get(&id).filter(|node| node.engine().is_some()) else { return false };
        let count = count.min(pending.disk.pending().len());
        if count > 0 {
            open(&mut self.nodes, id).expect("just seen").flush(count);
            self.settle(id);
        }
        count > 0
    }

    /// A node's state machine does its next piece of work. Returns whether there was one.
    pub fn work(&mut self, id: u64) -> bool {
        if self.nodes.get(&id).is_none_or(|node| node.engine().is_none() || node.is_idle()) {
            return false;
        }
        let node = open(&mut self.nodes, id).expect("just seen");
        let worked = node.do_work(Arc::make_mut(&mut self.history));
        if worked {
            self.settle(id);
        }
        worked
    }

    /// A node's next deadline comes: its clock moves there. Returns whether it had one.
    pub fn fire(&mut self, id: u64) -> bool {
        let Some(node) = self.running(id) else { return false };
        let Some(deadline) = node.next_deadline() else { return false };
        node.now = node.now.max(deadline);
        node.expire();
        self.settle(id);
        true
    }

    /// The next deadline of a node's engine comes, and none of its replication tasks'. Returns whether there was one.
    pub fn due(&mut self, id: u64) -> bool {
        let Some(node) = self.running(id) else { return false };
        let Some(deadline) = node.engine().and_then(|engine| engine.next_deadline()) else { return false };
        node.now = node.now.max(deadline);
        node.with(|engine, now| engine.handle_deadline(now));
        self.settle(id);
        true
    }

    /// A node's clock moves on while it does nothing, as a suspended machine's: no deadline of its is seen yet.
    pub fn sleep(&mut self, id: u64, time: Duration) {
        if let Some(node) = self.running(id) {
            node.now = node.now + time;
        }
    }

    /// The pause after a failure ends: `from` replicates to `to` again. Returns whether there was one.
    pub fn retry(&mut self, from: u64, to: u64) -> bool {
        let ended = self.running(from).is_some_and(|node| node.end_pause(to));
        self.settle(from);
        ended
    }

    /// A node's clock moves on; its deadlines come as it passes them.
    ///
    /// # Panics
    /// If a deadline does not go away when it comes.
    pub fn pass(&mut self, id: u64, time: Duration) {
        let Some(node) = self.running(id) else { return };
        let until = node.now + time;
        let mut fired = 0;
        while self.nodes[&id].next_deadline().is_some_and(|deadline| deadline <= until) {
            self.fire(id);
            fired += 1;
            assert!(fired < DEADLINES_MAX, "{id} has a deadline that does not go away when it comes");
        }
        if let Some(node) = self.running(id) {
            node.now = until;
        }
    }

    /// What is under way from `from` to `to` counts as lost at `from`. Returns whether it replicates there.
    pub fn give_up(&mut self, from: u64, to: u64) -> bool {
        let given_up = self.running(from).is_some_and(|node| node.lose_everything(to));
        self.settle(from);
        given_up
    }

    /// A node goes down with the `kept` oldest of its unflushed writes on the disk.
    pub fn crash(&mut self, id: u64, kept: usize) {
        if let Some(node) = self.running(id) {
            let kept = kept.min(node.disk.pending().len());
            node.crash(kept);
        }
    }

    /// A node that is down starts again. Returns whether it was down.
    pub fn restart(&mut self, id: u64) -> bool {
        if self.nodes.get(&id).is_none_or(|node| node.engine().is_some()) {
            return false;
        }
        open(&mut self.nodes, id).expect("just seen").start();
        self.settle(id);
        true
    }

    /// A node's disk is replaced by an empty one: it comes back with another store id.
    pub fn wipe(&mut self, id: u64) {
        let Some(node) = self.nodes.get(&id) else { return };
        let next = StoreId(node.store_id.0 + 1);
        let (now, life) = (node.now, node.life);
        let mut node = Node::holding(id, next, now, self.settings, Image::default());
        node.life = life;
        node.start();
        self.nodes.insert(id, Arc::new(node));
        Arc::make_mut(&mut self.history).wiped(id);
        self.settle(id);
    }

    /// Proposes writes on a node. Returns the last one's place.
    ///
    /// # Errors
    /// Why they were not taken.
    pub fn propose(&mut self, id: u64, texts: &[String]) -> Result<LogId<u64>, String> {
        let Some(node) = self.running(id) else { return Err(format!("{id} is down")) };
        let proposed = node.propose(texts);
        self.settle(id);
        proposed
    }

    /// Asks a node for a linearizable read.
    pub fn read(&mut self, id: u64, name: &str) {
        let floor = self.history.committed_end();
        if let Some(node) = self.running(id) {
            node.read(name.to_owned(), floor);
            self.settle(id);
        }
    }

    /// Asks a node for a read by its lease; without one it is a read as any.
    pub fn read_lease(&mut self, id: u64, name: &str) {
        let floor = self.history.committed_end();
        if let Some(node) = self.running(id) {
            node.read_lease(name.to_owned(), floor);
            self.settle(id);
        }
    }

    /// Asks a node to seek election now. Returns whether it may campaign at all.
    pub fn trigger_elect(&mut self, id: u64) -> bool {
        let may = self.running(id).is_some_and(|node| node.with(|engine, now| engine.trigger_elect(now)));
        self.settle(id);
        may
    }

    /// Tells a node to forget who leads. Returns whether there was somebody to forget.
    pub fn forget_leader(&mut self, id: u64) -> bool {
        let forgot = self.running(id).is_some_and(|node| node.with(|engine, _| engine.forget_leader()));
        self.settle(id);
        forgot
    }

    /// Asks a node to hand leadership over.
    pub fn transfer(&mut self, id: u64, to: Option<u64>) {
        if let Some(node) = self.running(id) {
            node.transfer(to);
            self.settle(id);
        }
    }

    /// Asks a node to change the membership, if the preconditions hold.
    pub fn change(
        &mut self,
        id: u64,
        change: &MembershipChange<u64, Address>,
        preconditions: &[ChangePrecondition<u64>],
    ) {
        if let Some(node) = self.running(id) {
            node.change(change, preconditions);
            self.settle(id);
        }
    }

    /// The node `id` as a change admits it: at the address that it would have, on the store it runs on.
    pub fn new_node(&self, id: u64, promote: bool) -> NewNode<Address> {
        let store_id = self.nodes.get(&id).map_or(store(id, 0), |node| node.store_id);
        NewNode { store_id, node: Self::address(id), promote }
    }

    /// Asks a node for a snapshot. Returns whether one was ordered.
    pub fn snapshot(&mut self, id: u64) -> bool {
        let ordered = self.running(id).is_some_and(|node| node.with(|engine, _| engine.trigger_snapshot()));
        self.settle(id);
        ordered
    }

    /// Where the node `id` is found unless a change says otherwise.
    pub fn address(id: u64) -> Address {
        format!("host-{id}")
    }
}
