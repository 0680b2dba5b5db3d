//! How an engine comes to be: from a store, and from an initial list.

use std::time::Duration;

use super::state::{Role, State, Timing, WaitingKind};
use super::{Engine, RestartState};
use crate::log_ids::LogIds;
use crate::log_lane::LogLane;
use crate::log_sizes::LogSizes;
use crate::{
    Command, ConfigError, EngineConfig, InitialNodes, InitializeError, LogId, LogIdOptionExt, Membership,
    Node, NodeId, OwnPayload, Reply, StoredMembership, Timestamp,
};

/// What an entry of the engine's own making counts for where the log is weighed: next to nothing.
const OWN_ENTRY_BYTES: u64 = 128;

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// An engine over what the store holds; an empty [`RestartState`] is a node that is in no cluster yet.
    ///
    /// Everything in `found` counts as durable. The node follows nobody and leads nothing, whatever its vote says: a
    /// node never leads again under a vote that it held before a restart. For as long as it may have promised it before, it
    /// votes for nobody. A log that does not hold the snapshot's last
    /// entry is ordered to be dropped before anything else.
    ///
    /// # Errors
    /// If the configuration breaks a rule of [`EngineConfig::validate`].
    pub fn new(
        config: EngineConfig<NID>,
        now: Timestamp,
        found: RestartState<NID, N>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let log = LogIds::new(found.purged, found.leader_starts, found.last_log_id);
        let end = log.last().next_index();
        let sizes = LogSizes::new(log.purged().next_index()..end, found.log_bytes);
        let lane = LogLane::new(end);
        let mut memberships = found.memberships;
        if memberships.is_empty() {
            // A node that is in no cluster.
            memberships.push(StoredMembership::default());
        }
        let mut engine = Self {
            timing: Timing::new(&config),
            state: State {
                vote: found.vote,
                vote_io: 0,
                promise_cap: found.promise_cap,
                leader_forgotten: false,
                promised: false,
                seen_term: found.vote.term,
                role: Role::Follower,
                removed: false,
                was_member: false,
                log,
                lane,
                memberships,
                committed: found.applied,
                apply_ordered: found.applied,
                applied: found.applied,
                snapshot: None,
                building_snapshot: false,
                snapshot_failed_at: 0,
                installing: None,
                waiting_replies: Default::default(),
                confirmed_reads: Default::default(),
                position: 0,
                session: 0,
            },
            sizes,
            config,
            commands: Vec::new(),
            checker: Default::default(),
        };
        if let Some(snapshot) = found.snapshot {
            engine.restore_snapshot(&snapshot);
        }
        // Before the commit index settles them: what an earlier one of the last memberships says of this node counts no
        // more if the last is committed, but that it was a member stays true.
        engine.note_membership();
        if let Some(hint) = found.committed_hint.filter(|hint| engine.state.log.holds(hint)) {
            engine.advance_commit(Some(hint));
        }
        engine.settle_memberships();
        engine.begin_quietly(now);
        engine.arm_election_at_start(now);
        engine.arm_snapshot(now);
        Ok(engine)
    }

    /// Takes over the durable snapshot that a restart finds.
    fn restore_snapshot(&mut self, snapshot: &crate::SnapshotMeta<NID, N>) {
        let Some(last) = snapshot.last_log_id else { return };
        self.state.snapshot = Some(last);
        if last.index >= self.state.log.purged().next_index() && !self.state.log.holds(&last) {
            self.drop_log_for(last);
        }
        self.state.lane.cover(last.index + 1);
        self.state.committed = self.state.committed.max(Some(last));
        self.state.apply_ordered = self.state.apply_ordered.max(Some(last));
        self.state.applied = self.state.applied.max(Some(last));
        self.take_snapshot_membership(&snapshot.membership);
    }

    /// A lone voter has nobody to wait for; others draw a timeout.
    fn arm_election_at_start(&mut self, now: Timestamp) {
        if !self.is_voter() {
            return;
        }
        if self.is_lone_voter() {
            self.timing.election = Some(now);
        } else {
            // Not before a quiet period longer than the shortest timeout ends, and then not all at once.
            let quiet = self.timing.promise_end.map_or(Duration::ZERO, |end| end.since(now));
            let begin = now + quiet.saturating_sub(self.config.election_timeout_min);
            self.timing.arm_first_election(&self.config, begin);
        }
    }

    /// Writes the initial membership, in which every listed node votes, at index 0 under the leader id
    /// `(0, NodeId::default())`. Every node of the list does so with the same list, and then one is elected.
    ///
    /// Answers [`Reply::Initialize`] once the entry is durable. If the log's membership is this very one, from
    /// index 0, the answer is `Ok` at once, so that forming can be repeated.
    pub fn initialize(&mut self, now: Timestamp, token: u64, nodes: InitialNodes<NID, N>) {
        self.enter("initialize");
        let membership =
            Membership::new_initial(nodes.into_iter().map(|(id, (store_id, node))| (id, store_id, node)));
        let origin = LogId { leader_id: Default::default(), index: 0 };
        let stored = StoredMembership::new(origin, membership);
        if let Err(error) = stored.membership.validate() {
            return self.respond(token, Reply::Initialize(Err(InitializeError::Invalid(error.to_string()))));
        }
        if *self.membership() == stored {
            return self.respond_when_durable(self.state.lane.submitted(), token, WaitingKind::Initialize);
        }
        // A vote alone is no history: a leader that the others elected meanwhile may have spoken to this node already.
        if self.state.log.last().is_some() {
            let error =
                InitializeError::NotAllowed { last_log_id: self.state.log.last(), vote: self.state.vote };
            return self.respond(token, Reply::Initialize(Err(error)));
        }
        if !stored.membership.knows(&self.config.replica) {
            let error = InitializeError::NotInList { me: self.config.replica };
            return self.respond(token, Reply::Initialize(Err(error)));
        }
        let membership = stored.membership;
        let io = self.append_own(origin, OwnPayload::Membership(membership));
        self.respond_when_durable(io, token, WaitingKind::Initialize);
        self.arm_election_at_start(now);
    }

    /// Adds an entry of the engine's own making to the log.
    pub(super) fn append_own(&mut self, log_id: LogId<NID>, payload: OwnPayload<NID, N>) -> u64 {
        self.state.log.append(log_id);
        self.sizes.append(1, OWN_ENTRY_BYTES);
        if let OwnPayload::Membership(membership) = &payload {
            self.state.memberships.push(StoredMembership::new(log_id, membership.clone()));
            self.note_membership();
        }
        let io = self.state.lane.submit(log_id.index + 1);
        self.push(Command::AppendOwnEntry { io, log_id, payload });
        io
    }
}
