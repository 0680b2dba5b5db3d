//! One node of a [`World`](super::World): an engine and everything that carries its commands out.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use openraft_engine::{
    ChangePrecondition, Command, Engine, EngineConfig, LogId, LogIdOptionExt, Membership, MembershipChange,
    OwnPayload, ReadIndexRequest, Replica, Reply, RestartState, SavedVote, ServerState, SnapshotMeta,
    StoreId, StoredMembership, Timestamp, Vote,
};

use super::disk::{Disk, Image, Write};
use super::entry::{Address, Entry, Payload};
use super::invariants::History;
use super::message::{Envelope, Message, Stamp, place};
use super::settings::Settings;
use super::task::{Leadership, Task};

/// A snapshot: everything applied up to its last entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// What it is.
    pub meta: SnapshotMeta<u64, Address>,
    /// The state.
    pub content: Vec<Entry>,
}

/// A piece of work on the state machine's lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Work {
    Apply(Vec<Entry>),
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
    writes: BTreeMap<u64, Entry>,
    /// Of each leader, the last append that came in its stream's order.
    streams: BTreeMap<u64, Stamp>,
    /// The reads that wait for the leader's answer, by the question's number.
    questions: BTreeMap<u64, (String, u64)>,
    token: u64,
    /// The position of the engine's latest heartbeat, and what it last told the tasks to be committed.
    position: u64,
    committed: Option<LogId<u64>>,
    /// What the engine says was seen last, to tell what changed.
    seen: Seen,
}

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
    pub(super) machine: Vec<Entry>,
    /// Counts the starts.
    pub(super) life: u64,
    /// Its clock, which runs apart from the others'.
    pub(super) now: Timestamp,
    running: Option<Running>,
    /// The entries and the snapshot that came with the call at hand.
    hand: Vec<Entry>,
    content: Vec<Entry>,
    pub(super) out: Vec<Envelope>,
}

/// What is worth a note when it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    role: Option<ServerState>,
    vote: Vote<u64>,
    leader: Option<u64>,
    committed: Option<LogId<u64>>,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        let running = match (&self.running, &other.running) {
            (Some(a), Some(b)) => {
                a.engine.protocol_state() == b.engine.protocol_state()
                    && (&a.tasks, &a.work, &a.callers, &a.writes, &a.streams)
                        == (&b.tasks, &b.work, &b.callers, &b.writes, &b.streams)
                    && (&a.questions, a.position, a.committed) == (&b.questions, b.position, b.committed)
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
            let Running { tasks, work, callers, writes, streams, questions, .. } = running;
            (tasks, work, callers, writes, streams, questions, running.position, running.committed)
                .hash(state);
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
        }
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

    /// What its clock says.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Its log store.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Everything applied here, from index 0.
    pub fn machine(&self) -> &[Entry] {
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
        self.running = Some(Running {
            engine,
            tasks: BTreeMap::new(),
            work: VecDeque::new(),
            callers: BTreeMap::new(),
            writes: BTreeMap::new(),
            streams: BTreeMap::new(),
            questions: BTreeMap::new(),
            token: 0,
            position: 0,
            committed: None,
            seen,
        });
    }

    /// Everything that was only in memory is gone, and of the unflushed writes all but the `kept` oldest.
    pub(super) fn crash(&mut self, kept: usize) {
        self.disk.crash(kept);
        self.running = None;
        self.machine.clear();
    }

    fn caller(&mut self, caller: Caller) -> u64 {
        let running = self.running.as_mut().expect("a node that runs");
        running.token += 1;
        running.callers.insert(running.token, caller);
        running.token
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
        let entries = texts.iter().zip(proposed.first_index..).map(|(text, index)| Entry {
            log_id: LogId { leader_id: proposed.leader_id, index },
            payload: Payload::Write(text.clone()),
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
            running.token += 1;
            let number = running.token;
            running.questions.insert(number, (name, floor));
            let message = Message::ReadIndex(number, ReadIndexRequest { from: self.replica() });
            return self.out.push(Envelope { from: id, to: leader, message });
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

    /// The state machine does its next piece of work.
    pub(super) fn do_work(&mut self, history: &mut History) -> bool {
        let id = self.id;
        let Some(work) = self.running().work.pop_front() else { return false };
        match work {
            Work::Apply(entries) => self.apply(entries, history),
            Work::Build => {
                let snapshot = self.build();
                let last = snapshot.meta.last_log_id;
                history.note(|| format!("{id} has built a snapshot up to {}", place(last)));
                self.snapshot = Some(snapshot);
                self.with(|engine, now| engine.handle_snapshot_built(now, last));
            }
            Work::Install(snapshot) => {
                let last = snapshot.meta.last_log_id;
                history.note(|| format!("{id} has installed the snapshot up to {}", place(last)));
                history.installed(id, &snapshot.content);
                self.machine = snapshot.content.clone();
                self.snapshot = Some(snapshot);
                self.with(|engine, _| engine.handle_snapshot_installed(true));
            }
        }
        true
    }

    fn apply(&mut self, entries: Vec<Entry>, history: &mut History) {
        let id = self.id;
        let last = entries.last().expect("an apply has entries").log_id;
        let mut texts = Vec::new();
        for entry in entries {
            history.applied(id, self.machine.len() as u64, &entry);
            if let Payload::Write(text) = &entry.payload {
                texts.push(text.clone());
            }
            if let Some(written) = self.running().writes.remove(&entry.log_id.index) {
                let Payload::Write(text) = &written.payload else { continue };
                if written == entry {
                    history.note(|| format!("{id} answers {text}: applied"));
                } else {
                    history.note(|| format!("{id} answers {text}: lost to another leader"));
                }
            }
            self.machine.push(entry);
        }
        if !texts.is_empty() {
            history.note(|| format!("{id} applies {}", texts.join(" ")));
        }
        self.with(|engine, now| engine.handle_applied(now, last));
    }

    fn build(&self) -> Snapshot {
        let stated = self.machine.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(StoredMembership::new(entry.log_id, members.clone())),
            Payload::Blank | Payload::Write(_) => None,
        });
        let last = self.machine.last().map(|entry| entry.log_id);
        let meta = SnapshotMeta {
            last_log_id: last,
            membership: stated
                .unwrap_or(StoredMembership { log_id: None, membership: Membership::default() }),
            snapshot_id: format!("{}-{}", self.id, place(last)),
        };
        Snapshot { meta, content: self.machine.clone() }
    }

    /// Appends come on a stream. One that is out of its order reaches the engine all the same, but its answer belongs
    /// to no stream.
    fn in_order(&mut self, from: u64, stamp: Stamp) -> Stamp {
        let streams = &mut self.running().streams;
        let last = streams.get(&from).filter(|last| {
            (last.life, last.session, last.stream) == (stamp.life, stamp.session, stamp.stream)
        });
        if last.is_some_and(|last| stamp.number <= last.number) {
            return Stamp { number: 0, ..stamp };
        }
        streams.insert(from, stamp);
        stamp
    }

    pub(super) fn receive(&mut self, from: u64, message: Message, history: &mut History) {
        match message {
            Message::VoteRequest(request) => {
                let token = self.caller(Caller::Candidate(from, request.vote));
                self.with(|engine, now| engine.handle_vote_request(now, token, request));
            }
            Message::VoteReply(asked, reply) => {
                self.with(|engine, now| engine.handle_vote_reply(now, asked, reply));
            }
            Message::TimeoutNow(request) => {
                let token = self.caller(Caller::Leader(from));
                self.with(|engine, now| engine.handle_timeout_now(now, token, request));
            }
            Message::TimeoutNowReply(_) => {}
            Message::ReadIndex(number, request) => {
                let token = self.caller(Caller::Reader(from, number));
                self.with(|engine, now| engine.handle_read_index(now, token, request));
            }
            Message::ReadIndexReply(number, reply) => {
                let Some((name, floor)) = self.running().questions.remove(&number) else { return };
                match reply.result {
                    Ok(log_id) => {
                        let token = self.caller(Caller::Read(name, floor));
                        self.with(|engine, _| engine.await_applied(vec![token], log_id));
                    }
                    Err(refused) => history.note(|| format!("{} refuses {name}: {refused:?}", self.id)),
                }
            }
            Message::Heartbeat(stamp, request) => {
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| engine.handle_heartbeat(now, token, request));
            }
            Message::Append(stamp, header, entries) => {
                let stamp = self.in_order(from, stamp);
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| engine.handle_append(now, token, header, entries.iter()));
                self.hand = entries;
            }
            Message::Snapshot(stamp, header, content) => {
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| engine.handle_install_snapshot(now, token, header));
                self.content = content;
            }
            Message::HeartbeatReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, _| {
                    task.on_heartbeat_reply(stamp, &reply, leader);
                });
            }
            Message::AppendReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, log| {
                    task.on_append_reply(stamp, &reply, leader, log);
                });
            }
            Message::SnapshotReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, _| {
                    task.on_snapshot_reply(stamp, &reply, leader);
                });
            }
        }
    }

    fn reply_to_task(&mut self, from: u64, stamp: Stamp, call: impl FnOnce(&mut Task, &Leadership, &Image)) {
        let leader = self.leadership();
        let (now, life) = (self.now, self.life);
        let running = self.running.as_mut().expect("a node that runs");
        let of_session =
            running.tasks.get_mut(&from).filter(|task| task.session == stamp.session && stamp.life == life);
        let Some(task) = of_session else { return };
        call(task, &leader, &self.disk.submitted);
        let report = task.report();
        running.engine.handle_replication_report(now, report);
    }

    fn leadership(&self) -> Leadership {
        let running = self.running.as_ref().expect("a node that runs");
        Leadership {
            me: self.replica(),
            admitted: running.engine.admitted(),
            vote: running.engine.vote(),
            life: self.life,
            promise: if self.settings.promises { running.engine.promise_asked() } else { Duration::ZERO },
            committed: running.committed,
            position: running.position,
            now: self.now,
        }
    }

    /// Carries out what the engine ordered, and sends what the tasks have to send.
    pub(super) fn turn(&mut self, history: &mut History) {
        for command in self.running().engine.take_commands() {
            self.carry_out(command, history);
        }
        self.hand.clear();
        self.content.clear();
        let leader = self.leadership();
        let running = self.running.as_mut().expect("a node that runs");
        for (to, task) in &mut running.tasks {
            for message in task.send(&self.disk.submitted, self.snapshot.as_ref(), &leader) {
                self.out.push(Envelope { from: self.id, to: *to, message });
            }
        }
        self.note_changes(history);
    }

    fn carry_out(&mut self, command: Command<u64, Address>, history: &mut History) {
        let id = self.id;
        match command {
            Command::SaveVote { io, vote, promise_cap } => {
                // Where nobody asks for a promise none is given, and a restart has nothing to wait for.
                let promise_cap = if self.settings.promises { promise_cap } else { Duration::ZERO };
                self.disk.submit(Some(io), Write::Vote(SavedVote { vote, promise_cap }));
            }
            Command::AppendInputEntries { io, first, last } => {
                let range = first..=last.index;
                let taken: Vec<Entry> =
                    self.hand.iter().filter(|entry| range.contains(&entry.log_id.index)).cloned().collect();
                assert_eq!(taken.last().map(|entry| entry.log_id), Some(last));
                self.disk.submit(Some(io), Write::Append(taken));
            }
            Command::AppendOwnEntry { io, log_id, payload } => {
                let payload = match payload {
                    OwnPayload::Blank => Payload::Blank,
                    OwnPayload::Membership(members) => {
                        history.note(|| format!("{id} appends {log_id}: membership {members}"));
                        Payload::Membership(members)
                    }
                };
                self.disk.submit(Some(io), Write::Append(vec![Entry { log_id, payload }]));
            }
            Command::TruncateLog { io, since } => {
                history.note(|| format!("{id} truncates its log from index {since}"));
                self.disk.submit(Some(io), Write::Truncate(since));
            }
            Command::PurgeLog { io, upto } => {
                history.note(|| format!("{id} purges its log up to {upto}"));
                self.disk.submit(Some(io), Write::Purge(upto));
            }
            Command::SaveCommitted { committed } => self.disk.submit(None, Write::Committed(committed)),
            Command::LeaderCommit { since, upto } | Command::FollowerCommit { since, upto } => {
                let held = &self.disk.durable.entries;
                let entries: Vec<Entry> =
                    (since..=upto.index).filter_map(|index| held.get(&index).cloned()).collect();
                history.apply_ordered(id, since, upto, &entries);
                self.running().work.push_back(Work::Apply(entries));
            }
            Command::BuildSnapshot => self.running().work.push_back(Work::Build),
            Command::InstallSnapshot { meta } => {
                let snapshot = Snapshot { meta, content: std::mem::take(&mut self.content) };
                self.running().work.push_back(Work::Install(snapshot));
            }
            Command::RebuildReplications { start, stop } => {
                let windows = self.settings.windows;
                let tasks = &mut self.running().tasks;
                tasks.retain(|_, task| !stop.contains(&task.session));
                for target in start {
                    let task = Task::new(target.replica, target.session, target.last, windows);
                    tasks.insert(target.replica.node_id, task);
                }
            }
            Command::SendHeartbeat { position } => {
                let running = self.running();
                running.position = position;
                running.tasks.values_mut().for_each(Task::beat);
            }
            Command::SendVote { to, request, .. } => {
                history.asked_for_vote(id, &self.disk.durable, &request);
                self.out.push(Envelope { from: id, to, message: Message::VoteRequest(request) });
            }
            Command::SendTimeoutNow { to, request, .. } => {
                self.out.push(Envelope { from: id, to, message: Message::TimeoutNow(request) });
            }
            Command::ReplicateCommitted { committed } => self.running().committed = Some(committed),
            Command::ReplicateInputEntries { .. } => {}
            Command::AbandonWrites { since } => {
                for (_, entry) in self.running().writes.split_off(&since) {
                    let Payload::Write(text) = entry.payload else { continue };
                    history.note(|| format!("{id} answers {text}: outcome unknown"));
                }
            }
            Command::Respond { token, reply } => self.answer(token, reply, history),
        }
    }

    fn answer(&mut self, token: u64, reply: Reply<u64>, history: &mut History) {
        let id = self.id;
        let caller = self.running().callers.remove(&token).expect("a token is answered once");
        let (to, message) = match (caller, reply) {
            (Caller::Initialize, Reply::Initialize(result)) => {
                return result.expect("formed once");
            }
            (Caller::Read(name, floor), Reply::Read(result)) => {
                return match result {
                    Ok(read) => {
                        history.read(id, read, floor, self.machine.len() as u64);
                        history.note(|| format!("{id} serves {name} at {read}"));
                    }
                    Err(refused) => history.note(|| format!("{id} refuses {name}: {refused:?}")),
                };
            }
            (Caller::Transfer, Reply::Transfer(result)) => {
                return history.note(|| match result {
                    Ok(()) => format!("{id} has handed leadership over"),
                    Err(refused) => format!("{id} did not hand over: {refused}"),
                });
            }
            (Caller::Change, Reply::Membership(result)) => {
                return history.note(|| match result {
                    Ok(log_id) => format!("{id} answers the change: in force by {log_id}"),
                    Err(refused) => format!("{id} answers the change: {refused}"),
                });
            }
            (Caller::Reader(to, number), Reply::ReadIndex(reply)) => {
                (to, Message::ReadIndexReply(number, reply))
            }
            (Caller::Leader(to), Reply::TimeoutNow(reply)) => (to, Message::TimeoutNowReply(reply)),
            (Caller::Candidate(to, asked), Reply::Vote(reply)) => {
                history.voted(id, &self.disk.durable, asked, &reply);
                (to, Message::VoteReply(asked, reply))
            }
            (Caller::Peer(to, stamp), Reply::Heartbeat(reply)) => {
                history.heartbeat_answered(id, &self.disk.durable, &reply);
                (to, Message::HeartbeatReply(stamp, reply))
            }
            (Caller::Peer(to, stamp), Reply::Append(reply)) => {
                history.acknowledged(self, &reply);
                (to, Message::AppendReply(stamp, reply))
            }
            (Caller::Peer(to, stamp), Reply::Snapshot(reply)) => (to, Message::SnapshotReply(stamp, reply)),
            (caller, reply) => panic!("{reply:?} to {caller:?}"),
        };
        self.out.push(Envelope { from: id, to, message });
    }

    /// Tells in words what became of the node.
    fn note_changes(&mut self, history: &mut History) {
        let id = self.id;
        let running = self.running();
        let (before, now) = (running.seen, seen(&running.engine));
        if before == now {
            return;
        }
        running.seen = now;
        let is_follower =
            |seen: Seen| matches!(seen.role, Some(ServerState::Follower | ServerState::Learner));
        let same_side = is_follower(before) && is_follower(now);
        if same_side && (before.leader, before.vote) == (now.leader, now.vote) {
            if before.role != now.role {
                let what = if now.role == Some(ServerState::Follower) { "a voter" } else { "no voter" };
                history.note(|| format!("{id} is {what} now"));
            }
        } else if (before.role, before.leader, before.vote) != (now.role, now.leader, now.vote) {
            let vote = now.vote;
            let what = match (now.role.expect("it runs"), now.leader) {
                (ServerState::Leader, _) => format!("{id} leads, {vote}"),
                (ServerState::PreCandidate, _) => format!("{id} asks whether it would be elected"),
                (ServerState::Candidate, _) => format!("{id} campaigns, {vote}"),
                (_, Some(leader)) => format!("{id} follows {leader}, {vote}"),
                (_, None) if vote == before.vote && before.role == Some(ServerState::Leader) => {
                    format!("{id} leads no more")
                }
                (_, None) if vote == before.vote => format!("{id} knows of no leader now"),
                (_, None) => format!("{id} votes for {vote}"),
            };
            history.note(|| what);
        }
        if before.committed != now.committed {
            history.note(|| format!("{id} knows {} to be committed", place(now.committed)));
        }
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
