//! One engine on a bench: the test plays its disk, its state machine, its peers and its clock.

use std::time::Duration;

use crate::{
    AppendHeader, AppendReply, AppendResult, Command, Engine, EngineConfig, HeartbeatReply, HeartbeatRequest,
    LogId, LogIdOptionExt, Membership, RaftEntry, Replica, ReplicationReport, Reply, RestartState,
    ServerState, SnapshotHeader, SnapshotMeta, SnapshotReply, StoreId, StoredMembership, Timestamp, Vote,
    VoteReply, VoteRequest,
};

pub(super) type Cmd = Command<u64, ()>;
pub(super) type Members = Membership<u64, ()>;

/// An entry as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) log_id: LogId<u64>,
    pub(super) membership: Option<Members>,
    pub(super) value: u64,
}

impl RaftEntry<u64, ()> for Entry {
    fn log_id(&self) -> LogId<u64> {
        self.log_id
    }

    fn size(&self) -> u64 {
        1
    }

    fn membership(&self) -> Option<&Members> {
        self.membership.as_ref()
    }
}

pub(super) fn replica(id: u64) -> Replica<u64> {
    Replica { node_id: id, store_id: StoreId(u128::from(id) * 100) }
}

/// The log id of `index` in `term`, whose leader is node `term % 10`: terms such as 12 and 22 are node 2's.
pub(super) fn at(term: u64, index: u64) -> LogId<u64> {
    LogId::new(term, term % 10, index)
}

/// The log id at index 0 of every cluster.
pub(super) fn origin() -> LogId<u64> {
    LogId::default()
}

/// The leader's vote of `term`, under the same convention as [`at`].
pub(super) fn title(term: u64) -> Vote<u64> {
    Vote::new_committed(term, term % 10)
}

pub(super) fn voters(ids: &[u64]) -> Members {
    Membership::new_initial(ids.iter().map(|id| (*id, replica(*id).store_id, ())))
}

/// Entries at `first` and after, of the given terms.
pub(super) fn entries(first: u64, terms: &[u64]) -> Vec<Entry> {
    let indexes = first..;
    indexes
        .zip(terms)
        .map(|(index, term)| Entry { log_id: at(*term, index), membership: None, value: index })
        .collect()
}

pub(super) fn membership_entry(term: u64, index: u64, membership: Members) -> Entry {
    Entry { log_id: at(term, index), membership: Some(membership), value: index }
}

/// What the store of a member holds whose log is the initial membership and entries of these terms after it.
pub(super) fn found(ids: &[u64], terms: &[u64]) -> RestartState<u64, ()> {
    let mut leader_starts = vec![origin()];
    let mut last = origin();
    for entry in entries(1, terms) {
        if entry.log_id.leader_id != last.leader_id {
            leader_starts.push(entry.log_id);
        }
        last = entry.log_id;
    }
    RestartState {
        last_log_id: Some(last),
        leader_starts,
        memberships: vec![StoredMembership::new(origin(), voters(ids))],
        ..RestartState::default()
    }
}

/// Most stories begin with the campaign itself; `pre_votes` tells what comes before it.
pub(super) fn config(id: u64) -> EngineConfig<u64> {
    EngineConfig {
        snapshot_keep_entries: 0,
        pre_vote: false,
        stall_timeout: None,
        ..EngineConfig::new(replica(id), id)
    }
}

/// An engine, and everything it ever ordered.
pub(super) struct Bench {
    pub(super) engine: Engine<u64, ()>,
    pub(super) now: Timestamp,
    pub(super) orders: Vec<Cmd>,
    ordered_io: u64,
    token: u64,
}

impl Bench {
    pub(super) fn with(config: EngineConfig<u64>, found: RestartState<u64, ()>) -> Self {
        let now = Timestamp::from_nanos(1_000_000_000);
        let engine = Engine::new(config, now, found).expect("a sound configuration");
        let mut bench = Self { engine, now, orders: Vec::new(), ordered_io: 0, token: 0 };
        bench.run();
        bench
    }

    /// Node `id` of a cluster of `ids` whose log is the initial membership and entries of these terms after it.
    pub(super) fn node(id: u64, ids: &[u64], terms: &[u64]) -> Self {
        Self::with(config(id), found(ids, terms))
    }

    /// Takes the engine's commands; returns the new ones.
    pub(super) fn run(&mut self) -> Vec<Cmd> {
        let new = self.engine.take_commands();
        for command in &new {
            if let Some(io) = command.io() {
                assert_eq!(io, self.ordered_io + 1, "writes are numbered without a gap, in order");
                self.ordered_io = io;
            }
        }
        self.orders.extend(new.clone());
        new
    }

    /// The number of the last write ordered.
    pub(super) fn io(&mut self) -> u64 {
        self.run();
        self.ordered_io
    }

    /// The disk completes everything through `io`.
    pub(super) fn flush_through(&mut self, io: u64) -> Vec<Cmd> {
        self.run();
        self.engine.handle_log_flushed(self.now, io);
        self.run()
    }

    /// The disk completes what is ordered now, but nothing that is ordered in consequence.
    pub(super) fn flush(&mut self) -> Vec<Cmd> {
        let io = self.io();
        self.flush_through(io)
    }

    /// The disk completes everything, whatever follows from it included.
    pub(super) fn flush_all(&mut self) {
        loop {
            let io = self.io();
            if self.flush_through(io).is_empty() && self.ordered_io == io {
                return;
            }
        }
    }

    /// The state machine applies what it was ordered to.
    pub(super) fn apply(&mut self) {
        self.run();
        let upto = self.orders.iter().rev().find_map(|command| match command {
            Command::LeaderCommit { upto, .. } | Command::FollowerCommit { upto, .. } => Some(*upto),
            _ => None,
        });
        self.engine.handle_applied(self.now, upto.expect("something was ordered to be applied"));
        self.run();
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// Lets the armed deadline pass.
    pub(super) fn deadline(&mut self) -> Vec<Cmd> {
        self.run();
        self.now = self.engine.next_deadline().expect("a deadline is armed").max(self.now);
        self.engine.handle_deadline(self.now);
        self.run()
    }

    pub(super) fn token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// The answer to `token`, if there is one by now.
    pub(super) fn answer(&mut self, token: u64) -> Option<Reply<u64>> {
        self.run();
        let mut answers = self.orders.iter().filter_map(|command| match command {
            Command::Respond { token: to, reply } if *to == token => Some(reply.clone()),
            _ => None,
        });
        let first = answers.next();
        assert_eq!(answers.next(), None, "a token is answered once");
        first
    }

    /// The log ids that the last order to apply goes up to.
    pub(super) fn applied_orders(&self) -> Vec<LogId<u64>> {
        self.orders
            .iter()
            .filter_map(|command| match command {
                Command::LeaderCommit { upto, .. } | Command::FollowerCommit { upto, .. } => Some(*upto),
                _ => None,
            })
            .collect()
    }

    pub(super) fn vote_request(&mut self, term: u64, last: Option<LogId<u64>>) -> u64 {
        let candidate = term % 10;
        let request = VoteRequest {
            pre_vote: false,
            from: replica(candidate),
            vote: Vote::new(term, candidate),
            last_log_id: last,
            ..Default::default()
        };
        self.vote_request_of(request)
    }

    pub(super) fn vote_request_of(&mut self, request: VoteRequest<u64>) -> u64 {
        let token = self.token();
        self.engine.handle_vote_request(self.now, token, request);
        self.run();
        token
    }

    pub(super) fn vote_answer(&mut self, token: u64) -> Option<VoteReply<u64>> {
        self.answer(token).map(|reply| match reply {
            Reply::Vote(reply) => reply,
            other => panic!("{other:?} to a vote request"),
        })
    }

    /// Node `from` grants the vote that is asked for now.
    pub(super) fn grant(&mut self, from: u64) -> Vec<Cmd> {
        self.grant_from(replica(from))
    }

    pub(super) fn grant_from(&mut self, from: Replica<u64>) -> Vec<Cmd> {
        let vote = self.engine.vote();
        let reply =
            VoteReply { pre_vote: false, from, vote, granted: true, last_log_id: None, ..Default::default() };
        self.engine.handle_vote_reply(self.now, vote, reply);
        self.run()
    }

    /// Campaigns until it leads by the grants of `grants`.
    pub(super) fn lead(&mut self, grants: &[u64]) {
        self.deadline();
        self.flush();
        for from in grants {
            self.grant(*from);
        }
        assert_eq!(self.engine.role(), ServerState::Leader);
    }

    /// The leader of `term` sends the entries after `prev`.
    pub(super) fn append(
        &mut self,
        term: u64,
        prev: Option<LogId<u64>>,
        entries: &[Entry],
        committed: Option<LogId<u64>>,
    ) -> u64 {
        let header = AppendHeader {
            from: replica(term % 10),
            vote: title(term),
            prev_log_id: prev,
            committed,
            position: 7,
            promise: self.engine.config.election_timeout_min,
            to: self.engine.config.replica.store_id,
            ..Default::default()
        };
        self.append_of(header, entries)
    }

    pub(super) fn append_of(&mut self, header: AppendHeader<u64>, entries: &[Entry]) -> u64 {
        let token = self.token();
        self.engine.handle_append(self.now, token, header, entries.iter());
        self.run();
        token
    }

    pub(super) fn append_answer(&mut self, token: u64) -> Option<AppendResult<u64>> {
        self.answer(token).map(|reply| match reply {
            Reply::Append(AppendReply { result, .. }) => result,
            other => panic!("{other:?} to an append"),
        })
    }

    pub(super) fn heartbeat(&mut self, term: u64, committed: Option<LogId<u64>>) -> u64 {
        let request = HeartbeatRequest {
            from: replica(term % 10),
            vote: title(term),
            committed,
            position: 7,
            promise: self.engine.config.election_timeout_min,
            to: self.engine.config.replica.store_id,
            ..Default::default()
        };
        let token = self.token();
        self.engine.handle_heartbeat(self.now, token, request);
        self.run();
        token
    }

    pub(super) fn heartbeat_answer(&mut self, token: u64) -> Option<HeartbeatReply<u64>> {
        self.answer(token).map(|reply| match reply {
            Reply::Heartbeat(reply) => reply,
            other => panic!("{other:?} to a heartbeat"),
        })
    }

    /// The leader of `term` has sent, whole, a snapshot of `last` that states `membership`.
    pub(super) fn snapshot(
        &mut self,
        term: u64,
        last: LogId<u64>,
        membership: StoredMembership<u64, ()>,
    ) -> u64 {
        let header = SnapshotHeader {
            from: replica(term % 10),
            admitted: None,
            to: self.engine.config.replica.store_id,
            vote: title(term),
            position: 7,
            meta: SnapshotMeta { last_log_id: Some(last), membership, snapshot_id: "s".to_owned() },
        };
        let token = self.token();
        self.engine.handle_install_snapshot(self.now, token, header);
        self.run();
        token
    }

    pub(super) fn snapshot_answer(&mut self, token: u64) -> Option<AppendResult<u64>> {
        self.answer(token).map(|reply| match reply {
            Reply::Snapshot(SnapshotReply { result, .. }) => result,
            other => panic!("{other:?} to a snapshot"),
        })
    }

    /// The session of the present replication task to `target`.
    pub(super) fn session(&self, target: u64) -> u64 {
        let started = self.orders.iter().rev().find_map(|command| match command {
            Command::RebuildReplications { start, .. } => {
                start.iter().find(|task| task.replica.node_id == target).map(|task| task.session)
            }
            _ => None,
        });
        started.expect("a task was started")
    }

    /// What a task that is well reports.
    pub(super) fn report_of(
        &self,
        target: u64,
        matched: Option<LogId<u64>>,
        confirmed: u64,
    ) -> ReplicationReport<u64> {
        ReplicationReport {
            session: self.session(target),
            target: replica(target),
            matched,
            confirmed,
            needed: matched.next_index(),
            reachable: true,
            promised: None,
            higher_vote: None,
        }
    }

    pub(super) fn report(&mut self, target: u64, matched: Option<LogId<u64>>, confirmed: u64) -> Vec<Cmd> {
        let report = self.report_of(target, matched, confirmed);
        self.engine.handle_replication_report(self.now, report);
        self.run()
    }

    pub(super) fn read(&mut self, tokens: Vec<u64>) {
        self.engine.read_index(self.now, tokens);
        self.run();
    }

    /// The last position that a heartbeat was ordered with.
    pub(super) fn position(&self) -> u64 {
        let last = self.orders.iter().rev().find_map(|command| match command {
            Command::SendHeartbeat { position } => Some(*position),
            _ => None,
        });
        last.expect("a heartbeat was ordered")
    }
}

/// Whether any of the commands asks for a vote.
pub(super) fn asks(commands: &[Cmd]) -> bool {
    commands.iter().any(|command| matches!(command, Command::SendVote { .. }))
}
