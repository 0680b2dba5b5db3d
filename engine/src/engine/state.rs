//! The engine's state: the protocol's part, which a search may hash and compare, apart from timing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::watchdog::Watch;
use crate::log_ids::LogIds;
use crate::log_lane::LogLane;
use crate::{EngineConfig, LogId, Node, NodeId, SnapshotMeta, StoreId, StoredMembership, Timestamp, Vote};

/// Everything the protocol decides by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State<NID: NodeId, N: Node> {
    /// The vote in force here, durable or under way.
    pub(crate) vote: Vote<NID>,
    /// The write that makes `vote` and `promise_cap` durable.
    pub(crate) vote_io: u64,
    /// The longest promise that may be given under `vote`; saved with it.
    pub(crate) promise_cap: Duration,
    /// Whether the leader of `vote` is to be forgotten: this node follows it, and says of nobody that it leads, until
    /// it hears of one again.
    pub(crate) leader_forgotten: bool,
    /// Whether a promise to a leader, or the quiet period of a restart, may still stand: then this node votes for
    /// nobody. `Timing` knows until when.
    pub(crate) promised: bool,
    /// The greatest term heard of; the next campaign goes beyond it.
    pub(crate) seen_term: u64,
    pub(crate) role: Role<NID>,
    /// A node whose committed membership does not hold this one has said so: this node campaigns no more, until a
    /// leader speaks to it.
    pub(crate) removed: bool,
    /// Some membership that this node has held since it started named it.
    pub(crate) was_member: bool,
    pub(crate) log: LogIds<NID>,
    pub(crate) lane: LogLane,
    /// The committed membership, if it is known, and those stated after it; the last one is in force.
    pub(crate) memberships: Vec<StoredMembership<NID, N>>,
    pub(crate) committed: Option<LogId<NID>>,
    /// The last entry ordered to be applied: `applied <= apply_ordered <= min(committed, durable)`.
    pub(crate) apply_ordered: Option<LogId<NID>>,
    pub(crate) applied: Option<LogId<NID>>,
    /// The last entry that the current durable snapshot covers.
    pub(crate) snapshot: Option<LogId<NID>>,
    pub(crate) building_snapshot: bool,
    /// How many entries were applied when the last attempt to build one failed; the next waits for as many more.
    pub(crate) snapshot_failed_at: u64,
    pub(crate) installing: Option<Installing<NID, N>>,
    /// Answers that claim durability, and the write each waits for; ascending.
    pub(crate) waiting_replies: VecDeque<WaitingReply<NID>>,
    /// Reads confirmed by a quorum, here or at the leader that this node asked, that wait for the state machine;
    /// ascending in index.
    pub(crate) confirmed_reads: VecDeque<ConfirmedRead<NID>>,
    /// The last position drawn; grows over the whole life of the process.
    pub(crate) position: u64,
    /// The last replication session given out.
    pub(crate) session: u64,
}

/// What this node does in the term of its vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role<NID: NodeId> {
    /// Follows the leader of a committed vote for another node, or nobody. A learner is a follower that is no voter.
    Follower,
    /// Asks whether it would get votes.
    PreCandidate(PreCandidate<NID>),
    /// Asks for votes for itself.
    Candidate(Candidate<NID>),
    /// Leads.
    Leader(Leader<NID>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PreCandidate<NID: NodeId> {
    /// The vote it would ask for; greater than the one in force, which stays.
    pub(crate) vote: Vote<NID>,
    /// The answers so far.
    pub(crate) answers: BTreeMap<NID, bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Candidate<NID: NodeId> {
    /// Whether the requests have left; they wait for the own vote to be durable.
    pub(crate) asked: bool,
    /// The leader's vote that ordered this campaign, see [`VoteRequest::deposes`](crate::VoteRequest::deposes).
    pub(crate) deposes: Option<Vote<NID>>,
    /// The answers so far.
    pub(crate) answers: BTreeMap<NID, bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader<NID: NodeId> {
    /// The first entry of this leadership; nothing is committed and no read served before it is.
    pub(crate) first_own: LogId<NID>,
    pub(crate) followers: BTreeMap<NID, Follower<NID>>,
    /// The caller that waits for the membership change under way.
    pub(crate) change: Option<u64>,
    /// The leadership is being handed over.
    pub(crate) transfer: Option<Transfer<NID>>,
    /// Whether anybody was ever told to campaign: from then on, to the end of the term, followers may be released from
    /// their promises without this leader's knowledge.
    pub(crate) released: bool,
    /// Reads that wait for a quorum to confirm their position and for their entry to be committed; ascending in both.
    pub(crate) reads: VecDeque<WaitingRead<NID>>,
}

/// A handing-over of leadership (thesis 3.10): no proposals meanwhile, until it succeeds or its deadline comes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transfer<NID> {
    pub(crate) to: NID,
    pub(crate) token: u64,
    /// Whether the target has been told; it was caught up then.
    pub(crate) told: bool,
}

/// What the leader decides by of one follower. Its `Progress` belongs to the replication task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Follower<NID> {
    /// On which store.
    pub(crate) store_id: StoreId,
    pub(crate) session: u64,
    /// The last entry known to be durable there.
    pub(crate) matched: Option<LogId<NID>>,
    /// The greatest position confirmed.
    pub(crate) confirmed: u64,
    /// The lowest index that its replication still needs from the log.
    pub(crate) needed: u64,
    pub(crate) reachable: bool,
    /// Its last catch-up round took no longer than an election timeout (thesis 4.2.1).
    pub(crate) caught_up: bool,
    /// It is removed, and told so before its task ends.
    pub(crate) leaving: Option<Leaving<NID>>,
}

/// A node that is no member any more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leaving<NID> {
    /// The entry by which it left.
    pub(crate) stated: LogId<NID>,
    /// Once that is committed and the node holds it: the position whose confirmation says that the node knows.
    pub(crate) position: Option<u64>,
}

/// A round of catching up: how long a follower takes for what the log held when the round began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) began: Timestamp,
    /// Over when the follower holds as many leading entries.
    pub(crate) end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WaitingRead<NID> {
    pub(crate) position: u64,
    /// The entry that must be committed here, and applied where the read is served.
    pub(crate) log_id: LogId<NID>,
    pub(crate) readers: Readers<NID>,
}

/// Where a read that waits on the leader will be served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Readers<NID> {
    /// Here.
    Here(Vec<u64>),
    /// On a follower, which asked for the read index.
    Peer(u64),
    /// By a caller whose change of the membership would change nothing: a read of the membership, stated by this entry.
    Unchanged(u64, LogId<NID>),
}

/// Reads that may be served here as soon as `log_id`, which is committed, is applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConfirmedRead<NID> {
    pub(crate) log_id: LogId<NID>,
    pub(crate) tokens: Vec<u64>,
}

/// A snapshot on its way into the state machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Installing<NID: NodeId, N: Node> {
    pub(crate) meta: SnapshotMeta<NID, N>,
    pub(crate) token: u64,
    pub(crate) position: u64,
    pub(crate) vote: Vote<NID>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WaitingReply<NID> {
    /// The write that must be durable.
    pub(crate) io: u64,
    pub(crate) token: u64,
    /// The vote under which the answer holds.
    pub(crate) vote: Vote<NID>,
    pub(crate) kind: WaitingKind<NID>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum WaitingKind<NID> {
    Vote,
    Heartbeat { position: u64, promised: Duration },
    Append { position: u64, matched: Option<LogId<NID>>, promised: Duration },
    Snapshot { position: u64, matched: LogId<NID> },
    Conflict { position: u64, hint: Option<LogId<NID>>, promised: Duration },
    Initialize,
}

impl<NID: NodeId, N: Node> State<NID, N> {
    /// The same with numbers counted anew of which only the order, or the distance, matters.
    pub(crate) fn counted_anew(&self) -> Self {
        let mut state = self.clone();
        let flushed = state.lane.count_anew();
        state.vote_io = state.vote_io.saturating_sub(flushed);
        state.waiting_replies.iter_mut().for_each(|waiting| waiting.io -= flushed);
        if !matches!(state.role, Role::Leader(_)) {
            state.position = 0;
        }
        state
    }

    /// The membership in force: the last one stated, committed or not (thesis 4.1).
    pub(crate) fn membership(&self) -> &StoredMembership<NID, N> {
        self.memberships.last().expect("there is always one, if only the empty one of a node in no cluster")
    }
}

/// Deadlines and chance. Never part of what a search compares.
#[derive(Clone, Debug)]
pub(crate) struct Timing<NID> {
    pub(crate) rng: SmallRng,
    /// When to campaign.
    pub(crate) election: Option<Timestamp>,
    /// When to send the next heartbeat.
    pub(crate) heartbeat: Option<Timestamp>,
    /// When a snapshot is due because entries were applied so long ago.
    pub(crate) snapshot: Option<Timestamp>,
    /// When a transfer of leadership is given up.
    pub(crate) transfer: Option<Timestamp>,
    /// When a node that was removed is replicated to no longer.
    pub(crate) leaving: BTreeMap<NID, Timestamp>,
    /// Of each follower, the round of catching up that it is in.
    pub(crate) rounds: BTreeMap<NID, Round>,
    /// When positions were drawn; thinned, so that an old position is taken for a somewhat older one.
    pub(crate) drawn: VecDeque<(u64, Timestamp)>,
    /// When the latest position that a follower confirmed was drawn.
    pub(crate) confirmed_at: BTreeMap<NID, Timestamp>,
    /// Until when, by this node's clock, each follower has promised to vote for nobody.
    pub(crate) promised_until: BTreeMap<NID, Timestamp>,
    /// What must not stand still.
    pub(crate) commit_watch: Watch,
    pub(crate) flush_watch: Watch,
    pub(crate) apply_watch: Watch,
    /// When this leadership began.
    pub(crate) led_since: Timestamp,
    /// When a leader's message came last.
    pub(crate) heard: Option<Timestamp>,
    /// When the promise given, or the quiet period of a restart, ends. Nothing happens then by itself: it is looked at
    /// when somebody, perhaps this node, wants a vote.
    pub(crate) promise_end: Option<Timestamp>,
}

/// How many drawing times are kept.
const DRAWN_MAX: usize = 1024;

impl<NID: NodeId> Timing<NID> {
    pub(crate) fn new(config: &EngineConfig<NID>) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(config.seed),
            election: None,
            heartbeat: None,
            snapshot: None,
            transfer: None,
            leaving: BTreeMap::new(),
            rounds: BTreeMap::new(),
            drawn: VecDeque::new(),
            confirmed_at: BTreeMap::new(),
            promised_until: BTreeMap::new(),
            commit_watch: Watch::default(),
            flush_watch: Watch::default(),
            apply_watch: Watch::default(),
            led_since: Timestamp::ZERO,
            heard: None,
            promise_end: None,
        }
    }

    /// Draws the next election timeout.
    pub(crate) fn arm_election(&mut self, config: &EngineConfig<NID>, now: Timestamp) {
        let timeout = self.rng.random_range(config.election_timeout_min..config.election_timeout_max);
        self.election = Some(now + timeout);
    }

    /// Draws the election timeout behind a leader, or a start: priority delays the first campaign after it. Later ones it
    /// does not, or a willing node that cannot win would keep a reluctant one from its turn for ever.
    pub(crate) fn arm_first_election(&mut self, config: &EngineConfig<NID>, now: Timestamp) {
        self.arm_election(config, now + config.reluctance());
    }

    /// Notes when `position` was drawn. When there are too many notes, every second one of the older half goes.
    pub(crate) fn note_drawn(&mut self, position: u64, now: Timestamp) {
        if self.drawn.len() == DRAWN_MAX {
            let mut i = 0;
            self.drawn.retain(|_| {
                i += 1;
                i > DRAWN_MAX / 2 || i % 2 == 1
            });
        }
        self.drawn.push_back((position, now));
    }

    /// When `position` was drawn, or an earlier instant if that was forgotten.
    pub(crate) fn drawn_at(&self, position: u64) -> Option<Timestamp> {
        let after = self.drawn.partition_point(|(drawn, _)| *drawn <= position);
        after.checked_sub(1).map(|i| self.drawn[i].1)
    }
}

/// What a node finds in its store when it starts.
#[derive(Clone, Debug)]
pub struct RestartState<NID: NodeId, N: Node> {
    /// The vote saved last, or the default.
    pub vote: Vote<NID>,
    /// What was saved with the vote: how long a promise under it may still bind this node.
    pub promise_cap: Duration,
    /// The last entry purged from the log.
    pub purged: Option<LogId<NID>>,
    /// The last entry of the log, or `purged`.
    pub last_log_id: Option<LogId<NID>>,
    /// The first log id of each leader after `purged`.
    pub leader_starts: Vec<LogId<NID>>,
    /// The last memberships in the log, older first.
    pub memberships: Vec<StoredMembership<NID, N>>,
    /// The committed hint; used only if the log holds exactly this entry.
    pub committed_hint: Option<LogId<NID>>,
    /// About what the entries of the log weigh together, in bytes; 0 if the store cannot tell.
    pub log_bytes: u64,
    /// The last entry whose effect is in the state machine.
    pub applied: Option<LogId<NID>>,
    /// The current durable snapshot.
    pub snapshot: Option<SnapshotMeta<NID, N>>,
}

impl<NID: NodeId, N: Node> Default for RestartState<NID, N> {
    fn default() -> Self {
        Self {
            vote: Vote::default(),
            promise_cap: Duration::ZERO,
            purged: None,
            last_log_id: None,
            leader_starts: Vec::new(),
            memberships: Vec::new(),
            committed_hint: None,
            log_bytes: 0,
            applied: None,
            snapshot: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replica;

    /// Every position is drawn a nanosecond after the one before, the first at 1.
    fn drawn(positions: u64) -> Timing<u64> {
        let mut timing = Timing::new(&EngineConfig::new(Replica { node_id: 1, store_id: StoreId(1) }, 1));
        for position in 1..=positions {
            timing.note_drawn(position, Timestamp::from_nanos(position));
        }
        timing
    }

    #[test]
    fn of_too_many_positions_every_second_of_the_older_half_is_taken_for_the_one_before() {
        let full = DRAWN_MAX as u64;
        for (positions, thinned) in [(full, false), (full + 1, true)] {
            let timing = drawn(positions);
            for position in 1..=positions {
                let forgotten = thinned && position <= full / 2 && position % 2 == 0;
                let known = position - u64::from(forgotten);
                assert_eq!(timing.drawn_at(position), Some(Timestamp::from_nanos(known)), "{position}");
            }
            assert_eq!(timing.drawn_at(0), None);
        }
    }

    #[test]
    fn however_many_positions_are_drawn_few_are_remembered_and_none_as_later_than_it_was() {
        let timing = drawn(10 * DRAWN_MAX as u64);
        assert!(timing.drawn.len() <= DRAWN_MAX);
        for position in 1..=10 * DRAWN_MAX as u64 {
            let known = timing.drawn_at(position).expect("an earlier one at least");
            assert!(known <= Timestamp::from_nanos(position), "{position}");
        }
    }
}
