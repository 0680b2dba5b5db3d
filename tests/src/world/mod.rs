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
use std::time::Duration;

use openraft_engine::{
    ChangePrecondition, LeaderId, LogId, MembershipChange, NewNode, StoreId, Timestamp, Vote,
};

pub use disk::{Disk, Image, Write};
pub use entry::{Address, Entry, Members, Payload};
pub use invariants::{Broken, History, Invariant};
pub use message::{Envelope, KINDS, Message, Stamp, place};
pub use node::{Node, Snapshot};
pub use settings::Settings;
pub use step::Step;
pub use task::{RETRY_AFTER, RPC_TIMEOUT, SNAPSHOT_TIMEOUT, Task};

/// The nodes, the messages under way, and what happened so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    settings: Settings,
    nodes: BTreeMap<u64, Node>,
    network: Vec<Envelope>,
    history: History,
}

/// More deadlines of one node than these do not come in one passing of time.
const DEADLINES_MAX: usize = 10_000;

/// When every node's clock begins.
const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

/// The store of a node in its `count`th life of disks, from 0.
fn store(id: u64, count: u64) -> StoreId {
    StoreId(u128::from(id) * 100 + u128::from(count))
}

impl World {
    /// A cluster in which every one of `voters` has written the initial membership durably, and nobody leads yet.
    pub fn formed(voters: &[u64], settings: Settings) -> Self {
        let mut world =
            Self { settings, nodes: BTreeMap::new(), network: Vec::new(), history: History::default() };
        let list = voters.iter().map(|id| (*id, (store(*id, 0), Self::address(*id)))).collect();
        for id in voters {
            world.add_empty(*id);
            let node = world.nodes.get_mut(id).expect("just added");
            node.initialize(&list);
            world.settle(*id);
            world.flush(*id, usize::MAX);
            while world.work(*id) {}
        }
        world
    }

    /// From now on what happens is told in words.
    pub fn tell(&mut self) {
        self.history.tell();
    }

    /// What happened since this was asked last, in words, if [`tell`](Self::tell) asked for it.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.history.take_notes()
    }

    /// The nodes, by name.
    pub fn nodes(&self) -> &BTreeMap<u64, Node> {
        &self.nodes
    }

    /// The messages under way, in the order of their sending.
    pub fn messages(&self) -> &[Envelope] {
        &self.network
    }

    /// What happened so far.
    pub fn history(&self) -> &History {
        &self.history
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
        self.nodes.insert(id, node);
        self.settle(id);
    }

    /// Gives a member of a formed cluster a log of entries of these terms behind the initial membership, and the vote
    /// of the last one, or for the leader of `term`, and starts it on that.
    pub fn plant(&mut self, id: u64, terms: &[u64], term: Option<u64>) {
        let voters: Vec<u64> = self.nodes.keys().copied().collect();
        let leader = |term: u64| voters[(term as usize - 1) % voters.len()];
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let mut image = node.disk.durable.clone();
        for (index, term) in (1..).zip(terms) {
            let log_id = LogId { leader_id: LeaderId { term: *term, node_id: leader(*term) }, index };
            let entry = Entry { log_id, payload: Payload::Write(format!("{term}.{index}")) };
            self.history.led(*term, leader(*term));
            image.carry_out(Write::Append(vec![entry]));
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
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.engine().is_some() {
            node.turn(&mut self.history);
        }
        self.network.append(&mut node.out);
        self.history.look(&self.nodes);
    }

    fn running(&mut self, id: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&id).filter(|node| node.engine().is_some())
    }

    /// Takes message `at` of [`messages`](Self::messages) off the network and hands it over. One to a node that is
    /// down is lost. Returns the message.
    ///
    /// # Panics
    /// If there is none.
    pub fn deliver(&mut self, at: usize) -> Envelope {
        let envelope = self.network.remove(at);
        let (from, to) = (envelope.from, envelope.to);
        if let Some(node) = self.nodes.get_mut(&to).filter(|node| node.engine().is_some()) {
            node.receive(from, envelope.message.clone(), &mut self.history);
            self.settle(to);
        }
        envelope
    }

    /// Loses message `at`.
    ///
    /// # Panics
    /// If there is none.
    pub fn lose(&mut self, at: usize) -> Envelope {
        self.network.remove(at)
    }

    /// Repeats message `at`: the copy is under way behind all others.
    ///
    /// # Panics
    /// If there is none.
    pub fn repeat(&mut self, at: usize) -> Envelope {
        let envelope = self.network[at].clone();
        self.network.push(envelope.clone());
        envelope
    }

    /// Completes the `count` oldest writes of a node's log lane, or all. Returns whether there was one.
    pub fn flush(&mut self, id: u64, count: usize) -> bool {
        let Some(node) = self.running(id) else { return false };
        let count = count.min(node.disk.pending().len());
        if count > 0 {
            node.flush(count);
            self.settle(id);
        }
        count > 0
    }

    /// A node's state machine does its next piece of work. Returns whether there was one.
    pub fn work(&mut self, id: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.engine().is_some()) else { return false };
        let worked = node.do_work(&mut self.history);
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
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.engine().is_none()) else { return false };
        node.start();
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
        self.nodes.insert(id, node);
        self.history.wiped(id);
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
