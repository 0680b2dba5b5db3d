//! One node of a [`World`](super::World): an engine and everything around it. `arrivals` holds what comes from others,
//! `execute` what the engine orders, `machine` the state machine's lane.

mod arrivals;
mod execute;
mod machine;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use openraft_engine::{
    ChangePrecondition, Engine, EngineConfig, LogId, LogIdOptionExt, MembershipChange, ReadIndexRequest,
    Replica, RestartState, ServerState, SnapshotMeta, StoreId, Timestamp, Vote,
};

use super::canon::fingerprint;
use super::disk::{Disk, Image};
use super::entry::{Address, Entry, Members, Payload};
use super::message::{Envelope, Message, Stamp, place};
use super::settings::Settings;
use super::task::Task;

/// A snapshot: everything applied up to its last entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// What it is.
    pub meta: SnapshotMeta<u64, Address>,
    /// The state.
    pub content: Vec<Arc<Entry>>,
}

/// A piece of work on the state machine's lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Apply(Vec<Arc<Entry>>),
    Build,
    Install(Snapshot),
}

/// Whom a token's answer goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Peer(u64, Stamp),
    Candidate(u64, Vote<u64>),
    Leader(u64),
    /// A read, and how many leading entries were known to be committed when it came.
    Read(String, u64),
    /// A follower's question, by its number.
    Reader(u64, u64),
    Transfer,
    Change,
    Initialize,
}

/// What is lost with a crash.
#[derive(Clone, Debug)]
struct Running {
    engine: Engine<u64, Address>,
    tasks: BTreeMap<u64, Task>,
    work: VecDeque<Work>,
    callers: BTreeMap<u64, Caller>,
    /// The writes proposed here that were not answered yet.
    writes: BTreeMap<u64, Arc<Entry>>,
    /// Of each leader, the last append that came in its stream's order.
    streams: BTreeMap<u64, Stamp>,
    /// The reads that wait for the leader's answer, by the question's number.
    questions: BTreeMap<u64, (String, u64)>,
    /// How many questions were asked.
    asked: u64,
    /// The position of the engine's latest heartbeat, and what it last told the tasks to be committed.
    position: u64,
    committed: Option<LogId<u64>>,
    /// What the engine says was seen last, to tell what changed.
    seen: Seen,
    /// The membership in force, and the one before if it changed in the last step.
    in_force: Arc<Members>,
    was_in_force: Option<Arc<Members>>,
}

/// More questions than these no node asks in one life.
const ASKED_MAX: u64 = 1_000_000;

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub id: u64,
    pub(super) store_id: StoreId,
    settings: Settings,
    pub(super) disk: Disk,
    /// The current snapshot; durable.
    pub(super) snapshot: Option<Snapshot>,
    /// In memory: everything applied, from index 0.
    pub(super) machine: Vec<Arc<Entry>>,
    /// Counts the starts.
    pub(super) life: u64,
    /// Its clock, which runs apart from the others'.
    pub(super) now: Timestamp,
    running: Option<Running>,
    /// The entries and the snapshot that came with the call at hand.
    hand: Vec<Arc<Entry>>,
    content: Vec<Arc<Entry>>,
    pub(super) out: Vec<Envelope>,
    /// Of what a search compares, if it was asked for since the last change.
    fingerprint: OnceLock<u64>,
}

/// What is worth a note when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    role: Option<ServerState>,
    vote: Vote<u64>,
    leader: Option<u64>,
    committed: Option<LogId<u64>>,
}

impl Running {
    /// What the engine last told the tasks, if there are any to be told.
    fn told(&self) -> Option<(u64, Option<LogId<u64>>)> {
        (!self.tasks.is_empty()).then_some((self.position, self.committed))
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        let running = match (&self.running, &other.running) {
            (Some(a), Some(b)) => {
                a.engine.protocol_state() == b.engine.protocol_state()
                    && (&a.tasks, &a.work, &a.callers, &a.writes, &a.streams)
                        == (&b.tasks, &b.work, &b.callers, &b.writes, &b.streams)
                    && (&a.questions, a.asked, a.told()) == (&b.questions, b.asked, b.told())
            }
            (a, b) => a.is_none() && b.is_none(),
        };
        running
            && (self.id, self.store_id, self.life) == (other.id, other.store_id, other.life)
            && (&self.disk, &self.snapshot, &self.machine) == (&other.disk, &other.snapshot, &other.machine)
    }
}

impl Eq for Node {}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id, self.store_id, self.life, &self.disk, &self.snapshot, &self.machine).hash(state);
        if let Some(running) = &self.running {
            running.engine.protocol_state().hash(state);
            let Running { tasks, work, callers, writes, streams, questions, asked, .. } = running;
            (tasks, work, callers, writes, streams, questions, asked, running.told()).hash(state);
        }
    }
}

impl Node {
    /// A node that is down, on a store which holds `image`.
    pub(super) fn holding(
        id: u64,
        store_id: StoreId,
        now: Timestamp,
        settings: Settings,
        image: Image,
    ) -> Self {
        Self {
            id,
            store_id,
            settings,
            disk: Disk::holding(image),
            snapshot: None,
            machine: Vec::new(),
            life: 0,
            now,
            running: None,
            hand: Vec::new(),
            content: Vec::new(),
            out: Vec::new(),
            fingerprint: OnceLock::new(),
        }
    }

    /// It is about to change.
    pub(super) fn touch(&mut self) {
        self.fingerprint.take();
    }

    /// A number that nodes which are equal have in common, and others have not.
    pub fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| fingerprint(self))
    }

    /// The memberships by which it may have decided in the last step: the one in force, and the one before if it
    /// changed.
    pub(super) fn decided_by(&self) -> impl Iterator<Item = &Members> {
        let running = self.running.iter();
        running.flat_map(|running| [Some(&*running.in_force), running.was_in_force.as_deref()]).flatten()
    }

    /// Who it is.
    pub fn replica(&self) -> Replica<u64> {
        Replica { node_id: self.id, store_id: self.store_id }
    }

    /// Its engine, unless it is down.
    pub fn engine(&self) -> Option<&Engine<u64, Address>> {
        self.running.as_ref().map(|running| &running.engine)
    }

    /// Its replication tasks, by follower.
    pub fn tasks(&self) -> impl Iterator<Item = (u64, &Task)> {
        self.running.iter().flat_map(|running| running.tasks.iter().map(|(id, task)| (*id, task)))
    }

    /// The numbers of the questions that wait for a leader's answer.
    pub(super) fn questions(&self) -> impl Iterator<Item = u64> {
        self.running.iter().flat_map(|running| running.questions.keys().copied())
    }

    /// What its clock says.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Its log store.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Everything applied here, from index 0.
    pub fn machine(&self) -> &[Arc<Entry>] {
        &self.machine
    }

    /// Its snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// What its state machine has yet to do, in words.
    pub fn work(&self) -> Vec<String> {
        let work = self.running.iter().flat_map(|running| &running.work);
        work.map(|work| match work {
            Work::Apply(entries) => {
                format!("apply up to {}", place(entries.last().map(|entry| entry.log_id)))
            }
            Work::Build => "build a snapshot".to_owned(),
            Work::Install(snapshot) => {
                format!("install the snapshot up to {}", place(snapshot.meta.last_log_id))
            }
        })
        .collect()
    }

    /// Whether a crash now would leave this entry.
    pub fn is_durable(&self, log_id: LogId<u64>) -> bool {
        let covered = self.snapshot.as_ref().map(|snapshot| snapshot.meta.last_log_id.next_index());
        covered.is_some_and(|end| log_id.index < end)
            || self.disk.durable.entries.get(&log_id.index).is_some_and(|entry| entry.log_id == log_id)
    }

    /// Starts the engine over what the store holds.
    pub(super) fn start(&mut self) {
        self.life += 1;
        self.machine = self.snapshot.as_ref().map(|snapshot| snapshot.content.clone()).unwrap_or_default();
        let meta = self.snapshot.as_ref().map(|snapshot| snapshot.meta.clone());
        let found = RestartState {
            applied: meta.as_ref().and_then(|meta| meta.last_log_id),
            snapshot: meta,
            ..self.disk.durable.found()
        };
        let config: EngineConfig<u64> = self.settings.engine(self.replica(), self.life);
        let engine = Engine::new(config, self.now, found).expect("a sound configuration");
        let seen = seen(&engine);
        let in_force = Arc::new(engine.membership().membership.clone());
        self.running = Some(Running {
            engine,
            tasks: BTreeMap::new(),
            work: VecDeque::new(),
            callers: BTreeMap::new(),
            writes: BTreeMap::new(),
            streams: BTreeMap::new(),
            questions: BTreeMap::new(),
            asked: self.life * ASKED_MAX,
            was_in_force: None,
            in_force,
            position: 0,
            committed: None,
            seen,
        });
    }

    /// Everything that was only in memory is gone, and of the unflushed writes all but the `kept` oldest.
    pub(super) fn crash(&mut self, kept: usize) {
        self.disk.crash(kept);
        if self.settings.forgetful {
            self.disk.forget_vote();
        }
        self.running = None;
        self.machine.clear();
    }

    fn caller(&mut self, caller: Caller) -> u64 {
        // The least number that is free: how many callers there were before is no part of what a search compares.
        let callers = &mut self.running().callers;
        let token = (1..).find(|token| !callers.contains_key(token)).expect("there are enough numbers");
        callers.insert(token, caller);
        token
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a node that runs")
    }

    /// Calls the engine, which runs.
    pub(super) fn with<T>(&mut self, call: impl FnOnce(&mut Engine<u64, Address>, Timestamp) -> T) -> T {
        let now = self.now;
        call(&mut self.running().engine, now)
    }

    pub(super) fn initialize(&mut self, nodes: &BTreeMap<u64, (StoreId, Address)>) {
        let token = self.caller(Caller::Initialize);
        self.with(|engine, now| engine.initialize(now, token, nodes.clone()));
    }

    /// Proposes writes. Returns whether they were taken.
    pub(super) fn propose(&mut self, texts: &[String]) -> Result<LogId<u64>, String> {
        let bytes = texts.iter().map(|text| text.len().max(1) as u64).sum();
        let proposed = match self.with(|engine, _| engine.propose(texts.len() as u64, bytes)) {
            Ok(proposed) => proposed,
            Err(refused) => return Err(format!("{refused:?}")),
        };
        let entries = texts.iter().zip(proposed.first_index..).map(|(text, index)| {
            let log_id = LogId { leader_id: proposed.leader_id, index };
            Arc::new(Entry { log_id, payload: Payload::Write(text.clone()) })
        });
        self.hand = entries.collect();
        let hand = self.hand.clone();
        self.running().writes.extend(hand.into_iter().map(|entry| (entry.log_id.index, entry)));
        Ok(self.hand.last().expect("at least one").log_id)
    }

    /// Reads; `floor` leading entries are known to be committed somewhere. A follower asks its leader.
    pub(super) fn read(&mut self, name: String, floor: u64) {
        let id = self.id;
        let running = self.running();
        if let Some(leader) = running.engine.leader().filter(|leader| *leader != id) {
            running.asked += 1;
            let number = running.asked;
            running.questions.insert(number, (name, floor));
            let message = Message::ReadIndex(number, ReadIndexRequest { from: self.replica() });
            return self.out.push(Envelope::new(id, leader, message));
        }
        let token = self.caller(Caller::Read(name, floor));
        self.with(|engine, now| engine.read_index(now, vec![token]));
    }

    /// Reads by the lease, if there is one.
    pub(super) fn read_lease(&mut self, name: String, floor: u64) {
        let token = self.caller(Caller::Read(name, floor));
        self.with(|engine, now| engine.read_lease(now, vec![token]));
    }

    pub(super) fn transfer(&mut self, to: Option<u64>) {
        let token = self.caller(Caller::Transfer);
        self.with(|engine, now| engine.transfer_leader(now, token, to));
    }

    pub(super) fn change(
        &mut self,
        change: &MembershipChange<u64, Address>,
        preconditions: &[ChangePrecondition<u64>],
    ) {
        let token = self.caller(Caller::Change);
        self.with(|engine, now| engine.change_membership(now, token, change, preconditions));
    }

    pub(super) fn flush(&mut self, count: usize) {
        let io = self.disk.flush(count);
        self.with(|engine, now| engine.handle_log_flushed(now, io));
    }

    /// The next instant at which the engine or a task wants to act.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let running = self.running.as_ref()?;
        let tasks = running.tasks.values().filter_map(Task::next_deadline);
        tasks.chain(running.engine.next_deadline()).min()
    }

    /// Sees which deadlines have passed.
    pub(super) fn expire(&mut self) {
        let now = self.now;
        let running = self.running();
        let mut reports = Vec::new();
        for task in running.tasks.values_mut() {
            task.expire(now);
            reports.push(task.report());
        }
        for report in reports {
            running.engine.handle_replication_report(now, report);
        }
        running.engine.handle_deadline(now);
    }

    /// The pause of the task to `to` ends. Returns whether it was paused.
    pub(super) fn end_pause(&mut self, to: u64) -> bool {
        let task = self.running().tasks.get_mut(&to).filter(|task| task.is_paused());
        task.map(Task::resume).is_some()
    }

    /// Whether its state machine has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(|running| running.work.is_empty())
    }

    /// Everything under way to `to` counts as lost.
    pub(super) fn lose_everything(&mut self, to: u64) -> bool {
        let now = self.now;
        let running = self.running();
        let Some(task) = running.tasks.get_mut(&to) else { return false };
        task.lose_everything(now);
        let report = task.report();
        running.engine.handle_replication_report(now, report);
        true
    }
}

fn seen(engine: &Engine<u64, Address>) -> Seen {
    Seen {
        role: Some(engine.role()),
        vote: engine.vote(),
        leader: engine.leader(),
        committed: engine.committed(),
    }
}
