//! One node of a test cluster: an engine and what carries its commands out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::super::bench::{Entry, config, replica};
use super::disk::{Disk, Write};
use super::network::{Envelope, Message, Stamp};
use super::oracle::Oracle;
use super::task::{PROMISE, Task};
use crate::{
    Command, Engine, EngineConfig, HeartbeatRequest, LogId, LogIdOptionExt, MembershipChange, OwnPayload,
    Replica, Reply, RestartState, SavedVote, SnapshotMeta, StoredMembership, Timestamp,
};

/// What a node holds outside its engine. A snapshot is all entries up to its last.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) disk: Disk,
    /// Durable.
    pub(super) snapshot: Option<(SnapshotMeta<u64, ()>, Vec<Entry>)>,
    /// In memory: everything applied, from index 0.
    pub(super) machine: Vec<Entry>,
    pub(super) committed: Option<LogId<u64>>,
    /// How many snapshots were installed, and how often the log was truncated, over all lives.
    pub(super) installs: u64,
    pub(super) truncations: u64,
}

#[derive(Debug)]
enum Work {
    Apply(Vec<Entry>),
    Build,
    Install(SnapshotMeta<u64, ()>, Vec<Entry>),
}

/// Whom a token's answer goes to.
#[derive(Debug)]
enum Caller {
    Peer(u64, Stamp, bool),
    /// A candidate, and the vote that it asked for.
    Candidate(u64, crate::Vote<u64>),
    Read(u64),
    Initialize,
    Change,
    /// Somebody to whom only that there is an answer matters.
    Anybody,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u64,
    /// On which store it runs now.
    pub(super) replica: Replica<u64>,
    pub(super) engine: Engine<u64, ()>,
    pub(super) store: Store,
    pub(super) life: u64,
    pub(super) tasks: BTreeMap<u64, Task>,
    work: VecDeque<Work>,
    callers: BTreeMap<u64, Caller>,
    /// Of each leader, the last message that came in its stream's order.
    streams: BTreeMap<u64, Stamp>,
    token: u64,
    position: u64,
    /// The snapshot content that came with the message at hand.
    content: Vec<Entry>,
    /// The entries at hand.
    hand: Vec<Entry>,
    pub(super) out: Vec<Envelope>,
}

fn engine(
    replica: Replica<u64>,
    seed: u64,
    life: u64,
    now: Timestamp,
    found: RestartState<u64, ()>,
) -> Engine<u64, ()> {
    let id = replica.node_id;
    let config = EngineConfig {
        replica,
        seed: seed * 1_000 + id * 100 + life,
        snapshot_every_entries: if seed.is_multiple_of(3) { None } else { Some(5) },
        snapshot_every_bytes: if seed.is_multiple_of(7) { Some(3) } else { None },
        snapshot_interval: if seed.is_multiple_of(4) { Some(Duration::from_secs(1)) } else { None },
        snapshot_keep_entries: seed % 4,
        stall_timeout: if seed.is_multiple_of(2) { Some(Duration::from_secs(3)) } else { None },
        lease_reads: !seed.is_multiple_of(4),
        election_priority: ((id + seed) % 4) as u8,
        purge_pin_bytes: 4,
        purge_pin_absence: Duration::from_secs(if seed.is_multiple_of(2) { 600 } else { 1 }),
        pre_vote: !seed.is_multiple_of(5),
        ..config(id)
    };
    Engine::new(config, now, found).expect("a sound configuration")
}

impl Node {
    pub(super) fn new(id: u64, seed: u64, now: Timestamp) -> Self {
        let replica = replica(id);
        Self {
            id,
            replica,
            engine: engine(replica, seed, 0, now, RestartState::default()),
            store: Store::default(),
            life: 0,
            tasks: BTreeMap::new(),
            work: VecDeque::new(),
            callers: BTreeMap::new(),
            streams: BTreeMap::new(),
            token: 0,
            position: 0,
            content: Vec::new(),
            hand: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(super) fn initialize(&mut self, now: Timestamp, size: u64) {
        let nodes = (1..=size).map(|id| (id, (replica(id).store_id, ()))).collect();
        let token = self.caller(Caller::Initialize);
        self.engine.initialize(now, token, nodes);
    }

    /// The directory is lost: the node comes back empty, on another store.
    pub(super) fn wipe(&mut self, now: Timestamp, seed: u64) {
        self.store =
            Store { installs: self.store.installs, truncations: self.store.truncations, ..Store::default() };
        self.replica.store_id.0 += 1;
        self.restart(now, seed, 0);
    }

    /// Everything that was only in memory is gone, and of the unflushed writes all but the `kept` oldest.
    pub(super) fn restart(&mut self, now: Timestamp, seed: u64, kept: usize) {
        self.store.disk.crash(kept);
        self.life += 1;
        self.tasks.clear();
        self.work.clear();
        self.callers.clear();
        self.streams.clear();
        self.store.committed = None;
        self.store.machine = self.store.snapshot.as_ref().map(|(_, all)| all.clone()).unwrap_or_default();
        let meta = self.store.snapshot.as_ref().map(|(meta, _)| meta.clone());
        let found = RestartState {
            applied: meta.as_ref().and_then(|meta| meta.last_log_id),
            snapshot: meta,
            ..self.store.disk.durable.found()
        };
        self.engine = engine(self.replica, seed, self.life, now, found);
    }

    pub(super) fn waiting_callers(&self) -> usize {
        self.callers.len()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    fn caller(&mut self, caller: Caller) -> u64 {
        self.token += 1;
        self.callers.insert(self.token, caller);
        self.token
    }

    pub(super) fn propose(&mut self, values: &[u64]) {
        let Ok(proposed) = self.engine.propose(values.len() as u64, values.len() as u64) else { return };
        let entries = values.iter().zip(proposed.first_index..).map(|(value, index)| Entry {
            log_id: LogId { leader_id: proposed.leader_id, index },
            membership: None,
            value: *value,
        });
        self.hand = entries.collect();
    }

    /// Reads; `floor` leading entries are known to be committed somewhere.
    pub(super) fn transfer(&mut self, now: Timestamp) {
        let token = self.caller(Caller::Anybody);
        self.engine.transfer_leader(now, token, None);
    }

    pub(super) fn change(&mut self, now: Timestamp, change: &MembershipChange<u64, ()>) {
        let token = self.caller(Caller::Change);
        self.engine.change_membership(now, token, change, &[]);
    }

    pub(super) fn read(&mut self, now: Timestamp, floor: u64) {
        let token = self.caller(Caller::Read(floor));
        self.engine.read_lease(now, vec![token]);
    }

    pub(super) fn flush(&mut self, now: Timestamp, count: usize) {
        let io = self.store.disk.flush(count);
        self.engine.handle_log_flushed(now, io);
    }

    /// The state machine does its next piece of work.
    pub(super) fn work(&mut self, now: Timestamp, oracle: &mut Oracle) {
        match self.work.pop_front() {
            None => {}
            Some(Work::Apply(entries)) => {
                let last = entries.last().expect("an apply has entries").log_id;
                for entry in entries {
                    assert_eq!(entry.log_id.index, self.store.machine.len() as u64, "applied in order, once");
                    oracle.applied(self.id, &entry);
                    self.store.machine.push(entry);
                }
                self.engine.handle_applied(now, last);
            }
            Some(Work::Build) => {
                let all = self.store.machine.clone();
                let membership = all.iter().rev().find_map(|entry| {
                    entry
                        .membership
                        .as_ref()
                        .map(|stated| StoredMembership::new(entry.log_id, stated.clone()))
                });
                let last = all.last().map(|entry| entry.log_id);
                let meta = SnapshotMeta {
                    last_log_id: last,
                    membership: membership.expect("index 0 states one"),
                    snapshot_id: String::new(),
                };
                self.store.snapshot = Some((meta, all));
                self.engine.handle_snapshot_built(now, last);
            }
            Some(Work::Install(meta, content)) => {
                self.store.installs += 1;
                self.store.machine = content.clone();
                self.store.snapshot = Some((meta, content));
                self.engine.handle_snapshot_installed(true);
            }
        }
    }

    /// Appends come on a stream. One that is out of its order reaches the engine all the same, to see what it makes of
    /// it, but its answer belongs to no stream.
    fn in_order(&mut self, from: u64, stamp: Stamp) -> Stamp {
        let expected = match self.streams.get(&from) {
            Some(last)
                if (last.life, last.session, last.stream) == (stamp.life, stamp.session, stamp.stream) =>
            {
                last.number + 1
            }
            _ => 1,
        };
        if stamp.number != expected {
            return Stamp { number: 0, ..stamp };
        }
        self.streams.insert(from, stamp);
        stamp
    }

    pub(super) fn receive(&mut self, now: Timestamp, from: u64, message: Message) {
        match message {
            Message::VoteRequest(request) => {
                let token = self.caller(Caller::Candidate(from, request.vote));
                self.engine.handle_vote_request(now, token, request);
            }
            Message::TimeoutNow(request) => {
                let token = self.caller(Caller::Anybody);
                self.engine.handle_timeout_now(now, token, request);
            }
            Message::VoteReply(asked, reply) => self.engine.handle_vote_reply(now, asked, reply),
            Message::Heartbeat(stamp, request) => {
                let token = self.caller(Caller::Peer(from, stamp, false));
                self.engine.handle_heartbeat(now, token, request);
            }
            Message::Append(stamp, header, entries) => {
                let stamp = self.in_order(from, stamp);
                let token = self.caller(Caller::Peer(from, stamp, false));
                self.engine.handle_append(now, token, header, entries.iter());
                self.hand = entries;
            }
            Message::Snapshot(stamp, header, content) => {
                let token = self.caller(Caller::Peer(from, stamp, true));
                self.engine.handle_install_snapshot(now, token, header);
                self.content = content;
            }
            Message::HeartbeatReply(stamp, reply) => {
                if let Some(task) = self.tasks.get_mut(&from).filter(|task| task.session == stamp.session)
                    && stamp.life == self.life
                {
                    task.confirm(
                        self.engine.vote(),
                        reply.vote,
                        if reply.accepted { reply.position } else { 0 },
                    );
                    task.hear_promise(reply.position, reply.promised);
                    let report = task.report();
                    self.engine.handle_replication_report(now, report);
                }
            }
            Message::Replicated(stamp, vote, position, result, promised) => {
                if let Some(task) = self.tasks.get_mut(&from).filter(|task| task.session == stamp.session)
                    && stamp.life == self.life
                {
                    task.confirm(self.engine.vote(), vote, position);
                    // Snapshots are numbered beside the appends; their replies carry the flag.
                    let snapshot = stamp.number == SNAPSHOT;
                    task.hear_promise(position, promised);
                    task.on_replicated(stamp, result, snapshot);
                    let report = task.report();
                    self.engine.handle_replication_report(now, report);
                }
            }
        }
    }

    /// Carries out what the engine ordered, and sends what the tasks have to send.
    pub(super) fn turn(&mut self, oracle: &mut Oracle) {
        for command in self.engine.take_commands() {
            self.carry_out(command, oracle);
        }
        self.hand.clear();
        let (vote, admitted) = (self.engine.vote(), self.engine.admitted());
        for (to, task) in &mut self.tasks {
            for message in task.pump(&self.store, self.replica, admitted, vote, self.life, self.position) {
                self.out.push(Envelope { from: self.id, to: *to, message });
            }
        }
    }

    fn carry_out(&mut self, command: Command<u64, ()>, oracle: &mut Oracle) {
        match command {
            Command::SaveVote { io, vote, promise_cap } => {
                self.store.disk.submit(Some(io), Write::Vote(SavedVote { vote, promise_cap }));
            }
            Command::AppendInputEntries { io, first, last } => {
                let taken: Vec<Entry> = self
                    .hand
                    .iter()
                    .filter(|entry| (first..=last.index).contains(&entry.log_id.index))
                    .cloned()
                    .collect();
                assert_eq!(taken.last().map(|entry| entry.log_id), Some(last));
                self.store.disk.submit(Some(io), Write::Append(taken));
            }
            Command::AppendOwnEntry { io, log_id, payload } => {
                let membership = match payload {
                    OwnPayload::Blank => None,
                    OwnPayload::Membership(membership) => Some(membership),
                };
                let entry = Entry { log_id, membership, value: 0 };
                self.store.disk.submit(Some(io), Write::Append(vec![entry]));
            }
            Command::TruncateLog { io, since } => {
                self.store.truncations += 1;
                self.store.disk.submit(Some(io), Write::Truncate(since));
            }
            Command::PurgeLog { io, upto } => self.store.disk.submit(Some(io), Write::Purge(upto)),
            Command::SaveCommitted { committed } => {
                self.store.disk.submit(None, Write::Committed(committed));
            }
            Command::LeaderCommit { since, upto } | Command::FollowerCommit { since, upto } => {
                let durable = &self.store.disk.durable;
                let entries: Vec<Entry> = (since..=upto.index)
                    .map(|index| durable.entries.get(&index).expect("applied is durable here").clone())
                    .collect();
                assert_eq!(entries.last().map(|entry| entry.log_id), Some(upto));
                self.work.push_back(Work::Apply(entries));
            }
            Command::BuildSnapshot => self.work.push_back(Work::Build),
            Command::InstallSnapshot { meta } => {
                let content = std::mem::take(&mut self.content);
                self.work.push_back(Work::Install(meta, content));
            }
            Command::RebuildReplications { start, stop } => {
                self.tasks.retain(|_, task| !stop.contains(&task.session));
                for target in start {
                    let task = Task::new(target.replica, target.session, target.last);
                    self.tasks.insert(target.replica.node_id, task);
                }
            }
            Command::SendHeartbeat { position } => self.send_heartbeats(position),
            Command::SendVote { to, node: (), request } => {
                let durable = &self.store.disk.durable;
                if request.pre_vote {
                    assert!(self.engine.vote() < request.vote, "a pre-vote promises nothing");
                } else {
                    assert!(durable.vote.vote >= request.vote, "a vote is durable before it is asked for");
                    assert!(durable.last() >= request.last_log_id, "what is advertised is durable");
                }
                let message = Message::VoteRequest(request);
                self.out.push(Envelope { from: self.id, to, message });
            }
            Command::Respond { token, reply } => self.answer(token, reply, oracle),
            Command::ReplicateCommitted { committed } => self.store.committed = Some(committed),
            Command::SendTimeoutNow { to, node: (), request } => {
                self.out.push(Envelope { from: self.id, to, message: Message::TimeoutNow(request) });
            }
            Command::ReplicateInputEntries { .. } | Command::AbandonWrites { .. } => {}
        }
    }

    fn send_heartbeats(&mut self, position: u64) {
        self.position = position;
        for (to, task) in &mut self.tasks {
            task.beat();
            let request = HeartbeatRequest {
                from: self.replica,
                vote: self.engine.vote(),
                committed: self.engine.committed().min(task.matched()),
                position,
                to: task.target.store_id,
                admitted: self.engine.admitted(),
                promise: PROMISE,
                ..Default::default()
            };
            let message = Message::Heartbeat(task.stamp(self.life), request);
            self.out.push(Envelope { from: self.id, to: *to, message });
        }
    }

    fn answer(&mut self, token: u64, reply: Reply<u64>, oracle: &mut Oracle) {
        let caller = self.callers.remove(&token).expect("a token is answered once");
        let durable = &self.store.disk.durable;
        match (caller, reply) {
            (Caller::Initialize, Reply::Initialize(result)) => result.expect("formed once"),
            (Caller::Read(floor), Reply::Read(result)) => {
                if let Ok(read) = result {
                    assert!(read.index + 1 >= floor, "a read of {read} missed what {floor} entries say");
                    assert!(self.store.machine.len() as u64 > read.index, "and is of what is applied");
                }
            }
            (Caller::Change, Reply::Membership(result)) => {
                if let Ok(stated) = result {
                    assert!(self.engine.committed() >= Some(stated), "a change is answered at its commit");
                    oracle.changed(stated);
                }
            }
            (Caller::Anybody, Reply::TimeoutNow(_) | Reply::Transfer(_)) => {}
            (Caller::Candidate(to, asked), Reply::Vote(reply)) => {
                // Meanwhile the candidate may have become the leader, under a title that is still on its way to the disk.
                if reply.granted && !reply.pre_vote {
                    assert!(durable.vote.vote >= asked, "a grant is durable before it leaves");
                    oracle.granted(self.id, asked);
                }
                self.out.push(Envelope { from: self.id, to, message: Message::VoteReply(asked, reply) });
            }
            (Caller::Peer(to, stamp, _), Reply::Heartbeat(reply)) => {
                assert!(
                    !reply.accepted || durable.vote.vote >= reply.vote,
                    "a vote is durable before it is followed"
                );
                self.out.push(Envelope { from: self.id, to, message: Message::HeartbeatReply(stamp, reply) });
            }
            (Caller::Peer(to, stamp, false), Reply::Append(reply)) => {
                if let crate::AppendResult::Matched(Some(matched)) = reply.result {
                    assert!(durable.vote.vote >= reply.vote, "a vote is durable before entries under it are");
                    assert!(self.is_durable(matched), "{matched} is acknowledged and not durable");
                }
                let message =
                    Message::Replicated(stamp, reply.vote, reply.position, reply.result, reply.promised);
                self.out.push(Envelope { from: self.id, to, message });
            }
            (Caller::Peer(to, stamp, true), Reply::Snapshot(reply)) => {
                let stamp = Stamp { number: SNAPSHOT, ..stamp };
                let message =
                    Message::Replicated(stamp, reply.vote, reply.position, reply.result, Duration::ZERO);
                self.out.push(Envelope { from: self.id, to, message });
            }
            (caller, reply) => panic!("{reply:?} to {caller:?}"),
        }
    }

    /// Whether a crash now would leave this entry.
    pub(super) fn is_durable(&self, log_id: LogId<u64>) -> bool {
        let covered = self.store.snapshot.as_ref().map(|(meta, _)| meta.last_log_id.next_index());
        covered.is_some_and(|end| log_id.index < end)
            || self.store.disk.durable.entries.get(&log_id.index).is_some_and(|entry| entry.log_id == log_id)
    }
}

/// The number in the stamp of a reply to a snapshot.
const SNAPSHOT: u64 = u64::MAX;
