//! The nodes of one run: they start, crash, stand still, lose their disks, and come back with what was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_adapters::Env;
use openraft_core::{Fatal, Raft, RaftParts, ServerState};
use openraft_engine::{BasicNode, InitialNodes, Replica, StoreId};
use rand::Rng;
use tokio::sync::Notify;

use super::chance::Chance;
use super::clock::{NodeClock, sleep};
use super::coverage::Reached;
use super::disk::SimDisk;
use super::invariants::Stated;
use super::machine::Machine;
use super::network::Network;
use super::observer::Observer;
use super::settings::Settings;
use super::subject::Subject;
use super::tasks::{Process, start};

/// A node that clients may talk to, and the state that they read there.
pub(super) type Door<S> = (u64, Raft<<S as Subject>::Types>, <S as Subject>::View);

/// The nodes that are up, shared with the clients.
pub(super) type Doors<S> = Arc<Mutex<Vec<Door<S>>>>;

/// A node, up or down.
struct Node<S: Subject> {
    log: SimDisk<S::Types>,
    disk: S::Disk,
    /// How often it has lost its disk.
    wipes: u64,
    /// The membership that it was last seen with.
    membership: Option<Stated>,
    life: Option<Life<S>>,
}

/// One life of a node.
struct Life<S: Subject> {
    raft: Raft<S::Types>,
    process: Process,
    clock: NodeClock,
    view: S::View,
}

pub(super) struct Cluster<S: Subject> {
    subject: Arc<S>,
    nodes: BTreeMap<u64, Node<S>>,
    pub(super) network: Network<S::Types>,
    pub(super) chance: Chance,
    pub(super) observer: Observer,
    pub(super) settings: Settings,
    pub(super) doors: Doors<S>,
    /// Told when a process dies by itself.
    pub(super) died: Arc<Notify>,
    /// How many changes of the membership have been asked for and not been answered.
    pub(super) changing: Arc<AtomicUsize>,
    /// Stores that are lost, or hold a record that is: copies destroyed. Their nodes may never come back on them.
    destroyed: BTreeSet<Replica<u64>>,
}

impl<S: Subject> Cluster<S> {
    pub(super) fn new(subject: Arc<S>, settings: Settings, chance: Chance, observer: Observer) -> Self {
        let network = Network::new(chance.clone(), observer.clone(), settings.weather);
        let ids = 1..=settings.nodes + settings.spares;
        let mut cluster = Self {
            subject,
            nodes: BTreeMap::new(),
            network,
            chance,
            observer,
            settings,
            doors: Doors::<S>::default(),
            died: Arc::default(),
            changing: Arc::default(),
            destroyed: BTreeSet::new(),
        };
        for id in ids {
            let node = cluster.empty(id, 0);
            cluster.nodes.insert(id, node);
        }
        cluster
    }

    fn empty(&self, id: u64, wipes: u64) -> Node<S> {
        let replica = replica(id, wipes);
        let log = SimDisk::new(replica, self.chance.clone(), self.observer.clone());
        Node { log, disk: S::Disk::default(), wipes, membership: None, life: None }
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// A node on the store that it has now.
    pub(super) fn replica(&self, id: u64) -> Replica<u64> {
        replica(id, self.nodes[&id].wipes)
    }

    pub(super) fn disk(&self, id: u64) -> &SimDisk<S::Types> {
        &self.nodes[&id].log
    }

    /// The handle of a node that is up.
    pub(super) fn raft(&self, id: u64) -> Option<Raft<S::Types>> {
        self.nodes[&id].life.as_ref().map(|life| life.raft.clone())
    }

    pub(super) fn process(&self, id: u64) -> Option<&Process> {
        self.nodes[&id].life.as_ref().map(|life| &life.process)
    }

    pub(super) fn is_up(&self, id: u64) -> bool {
        self.nodes[&id].life.is_some()
    }

    pub(super) fn up(&self) -> Vec<u64> {
        self.ids().into_iter().filter(|id| self.is_up(*id)).collect()
    }

    pub(super) fn down(&self) -> Vec<u64> {
        self.ids().into_iter().filter(|id| !self.is_up(*id)).collect()
    }

    /// The node that leads the latest term, if any says so.
    pub(super) fn leader(&self) -> Option<u64> {
        let metrics =
            self.up().into_iter().filter_map(|id| Some((id, self.raft(id)?.metrics().borrow().clone())));
        let leaders = metrics.filter(|(_, metrics)| metrics.state == ServerState::Leader);
        leaders.max_by_key(|(_, metrics)| metrics.vote.term).map(|(id, _)| id)
    }

    /// Whether a node's store is lost, or as good as that.
    pub(super) fn is_destroyed(&self, id: u64) -> bool {
        self.destroyed.contains(&self.replica(id))
    }

    /// The stores that are lost.
    pub(super) fn destroyed(&self) -> &BTreeSet<Replica<u64>> {
        &self.destroyed
    }

    /// The membership in force on each node, up or down.
    pub(super) fn memberships(&mut self) -> Vec<Stated> {
        for (id, node) in &mut self.nodes {
            if node.life.is_some() {
                node.membership =
                    self.observer.membership(replica(*id, node.wipes)).or(node.membership.take());
            }
        }
        self.nodes
            .values()
            .filter_map(|node| node.membership.clone())
            .filter(|m| m.log_id.is_some())
            .collect()
    }

    /// Of the memberships in force anywhere the one stated last.
    pub(super) fn newest_membership(&mut self) -> Option<Stated> {
        self.memberships().into_iter().max_by_key(|stated| stated.log_id)
    }

    /// Whether the cluster survives the loss of this node's store.
    ///
    /// What is promised: every committed entry is on a quorum of every voter set in force, so that the loss of less than a
    /// majority of the stores of a set's voters leaves at least one copy, which the next leader must have, for it needs the
    /// votes of all that are left of a quorum. So a store may be lost while it, and those lost before it that are still
    /// named, are a minority of each voter set of each membership that is in force anywhere, and no change is under way.
    pub(super) fn may_destroy(&mut self, id: u64) -> bool {
        let open = self.observer.invariants(|invariants| invariants.change_is_open());
        if open || self.changing.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let mut lost = self.destroyed.clone();
        lost.insert(self.replica(id));
        let memberships = self.memberships();
        let survives = |stated: &Stated| {
            let membership = &stated.membership;
            membership.voters().iter().all(|set| {
                let gone = set.iter().filter(|voter| {
                    let member = &membership.nodes()[voter];
                    lost.contains(&Replica { node_id: **voter, store_id: member.store_id })
                });
                gone.count() <= (set.len() - 1) / 2
            })
        };
        memberships.iter().all(survives)
    }

    /// This node's store is lost, though the node may not know it yet.
    pub(super) fn mark_destroyed(&mut self, id: u64) {
        let replica = self.replica(id);
        self.destroyed.insert(replica);
    }

    /// What clients may talk to from now on.
    fn publish(&self) {
        let up = self.nodes.iter().filter_map(|(id, node)| {
            let life = node.life.as_ref()?;
            Some((*id, life.raft.clone(), life.view.clone()))
        });
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = up.collect();
    }

    /// The initial list, the same for all.
    fn initial(&self) -> InitialNodes<u64, BasicNode> {
        let first = |id: u64| StoreId(u128::from(id));
        (1..=self.settings.nodes).map(|id| (id, (first(id), BasicNode::new(format!("n{id}"))))).collect()
    }

    /// Starts a node on what its disk holds, and forms the cluster if it holds nothing. Leaves it down if its disk cannot
    /// be read.
    pub(super) async fn start(&mut self, id: u64) {
        let replica = self.replica(id);
        let process = Process::new(self.chance.clone(), self.settings.yield_one_in, self.died.clone());
        let (offset, rate, config) = self.chance.draw(|rng| {
            let offset = rng.random_range(0..3_600_000_000_000);
            (offset, self.settings.clock_rate(rng), self.settings.config(rng))
        });
        let clock = NodeClock::new(id, self.observer.clone(), offset, rate);
        let env = Env { clock: Arc::new(clock.clone()), spawner: Arc::new(process.clone()) };
        let node = &self.nodes[&id];
        let log = node.log.open(&env);
        let (machine, view) = self.subject.open(&node.disk);
        let machine =
            Machine::new(machine, replica, self.observer.clone(), self.chance.clone(), node.log.clone());
        self.observer.note(format!("n{id} starts as {replica}, its clock at {rate} millionths"));
        let network = self.network.of(id, env.clone());
        let parts = RaftParts { config, replica, env, network, log, state_machine: Box::new(machine) };
        let raft = match Raft::start(parts).await {
            Ok(raft) => raft,
            Err(error) => {
                process.kill();
                let expected = self.destroyed.contains(&replica);
                self.observer.note(format!("n{id} does not start: {error}"));
                if !expected {
                    self.observer.fail(format!("{replica} does not start: {error}"));
                }
                return;
            }
        };
        self.observer.watch(replica, raft.metrics());
        let log = self.disk(id);
        if log.is_full() || log.is_rotten() {
            self.observer.expect_failure(replica);
        }
        self.network.register(id, Arc::new(raft.clone()));
        let forms = !raft.is_initialized() && id <= self.settings.nodes && self.nodes[&id].wipes == 0;
        let nodes = self.initial();
        let forming = raft.clone();
        if forms {
            // A crash before it is durable is tried again in the next life.
            start(async move { drop(forming.initialize(nodes).await) });
        }
        let life = Life { raft, process, clock, view };
        self.nodes.get_mut(&id).expect("a node of the cluster").life = Some(life);
        self.publish();
    }

    /// A node loses power: some first part of what it had not flushed survives.
    pub(super) async fn crash(&mut self, id: u64) {
        let replica = self.replica(id);
        let node = self.nodes.get_mut(&id).expect("a node of the cluster");
        let Some(life) = node.life.take() else { return };
        self.network.unregister(id);
        life.process.kill();
        node.membership = self.observer.unwatch(replica).or(node.membership.take());
        let (kept, of) = node.log.crash();
        self.observer.note(format!("n{id} is down; of {of} unflushed writes it keeps {kept}"));
        drop(life);
        self.publish();
        // Tasks that were ended are dropped when the runtime comes by.
        tokio::task::yield_now().await;
    }

    /// A node loses its disk and comes back on an empty one.
    pub(super) async fn wipe(&mut self, id: u64) {
        self.crash(id).await;
        self.mark_destroyed(id);
        let wipes = self.nodes[&id].wipes + 1;
        self.observer.note(format!("n{id} has lost its disk"));
        let node = self.empty(id, wipes);
        self.nodes.insert(id, node);
        self.start(id).await;
    }

    /// Buries the nodes that have ended by themselves, and starts those anew whose disks work again.
    pub(super) async fn tend(&mut self) {
        for id in self.up() {
            let dead = self.process(id).is_some_and(Process::is_dead);
            let fatal = self.raft(id).is_some_and(|raft| {
                matches!(raft.metrics().borrow().fatal, Some(Fatal::Storage(_) | Fatal::Panicked(_)))
            });
            let met_rot = self.disk(id).met_rot();
            if !dead && !fatal && !met_rot {
                continue;
            }
            if dead {
                self.observer.count(Reached::CrashAnywhere);
            }
            self.crash(id).await;
            // What its reader reported of a rotten record an operator has read: the node stays down until its disk is
            // replaced. Others come back, now or later.
            if !met_rot && self.chance.one_in(2) {
                self.start(id).await;
            }
        }
    }

    /// Suspends or pauses a node for a while.
    pub(super) fn pause(&self, id: u64, duration: Duration, clock_too: bool) {
        let Some(life) = &self.nodes[&id].life else { return };
        if life.process.is_paused() {
            return;
        }
        life.process.pause();
        let (process, clock) = (life.process.clone(), life.clock.clone());
        start(async move {
            sleep(duration).await;
            if clock_too {
                clock.stand_still(duration);
            }
            process.resume();
        });
    }
}

fn replica(id: u64, wipes: u64) -> Replica<u64> {
    Replica { node_id: id, store_id: StoreId(u128::from(wipes) << 64 | u128::from(id)) }
}
