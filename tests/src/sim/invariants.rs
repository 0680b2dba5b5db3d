//! What may never happen, in any order of events (paper, figure 3), checked after every step.
//!
//! What is looked at: each write to a log, when it is submitted and when it is durable; each message, when it leaves;
//! each entry that is applied; and what a node says of itself once a turn. Every check looks only at what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft_engine::{
    AppendReply, AppendResult, BasicNode, HeartbeatReply, LogId, LogIdOptionExt, Replica, ServerState,
    StoredMembership, Vote, VoteReply, VoteRequest, quorum,
};

use super::coverage::{Coverage, Reached};
use super::image::{Held, Image, Write};

/// A membership and the entry that states it.
pub(super) type Stated = Arc<StoredMembership<u64, BasicNode>>;

/// Bytes that a node may hold beyond its budget: entries that the engine makes itself, and one message that came when
/// nothing was held.
const BUDGET_SLACK: u64 = 64 << 10;

/// What a node says of itself at the end of a turn.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) state: ServerState,
    pub(super) vote: Vote<u64>,
    pub(super) flushed: Option<LogId<u64>>,
    pub(super) committed: Option<LogId<u64>>,
    pub(super) applied: Option<LogId<u64>>,
    pub(super) membership: Stated,
    pub(super) held_bytes: u64,
    pub(super) held_bytes_limit: u64,
}

/// One store of a node: its log, and how far its snapshot reaches.
#[derive(Default)]
struct Store {
    submitted: Image,
    durable: Image,
    snapshot: Option<LogId<u64>>,
    /// What the node on it said last in this life.
    seen: Option<Seen>,
    /// It has promised not to vote for another, since it last voted.
    promised: bool,
}

impl Store {
    fn is_durable(&self, log_id: LogId<u64>) -> bool {
        log_id.index < self.snapshot.next_index() || self.durable.holds(log_id)
    }

    fn is_accepted(&self, log_id: LogId<u64>) -> bool {
        log_id.index < self.snapshot.next_index() || self.submitted.holds(log_id)
    }
}

/// What was applied at an index, by whomever first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Applied {
    log_id: LogId<u64>,
    payload: u64,
}

/// What happened so far, as far as the invariants need it.
#[derive(Default)]
pub(super) struct Invariants {
    stores: BTreeMap<Replica<u64>, Store>,
    /// Who led each term.
    leaders: BTreeMap<u64, u64>,
    /// Of each store and term, who got its vote.
    grants: BTreeMap<(Replica<u64>, u64), u64>,
    /// Each entry that was ever in a log: its payload, and the entry before it.
    entries: BTreeMap<LogId<u64>, (u64, Option<LogId<u64>>)>,
    /// Everything that is known to be committed, with the term in which that was first known.
    committed: Vec<(LogId<u64>, u64)>,
    /// What states the last committed membership.
    membership: Option<LogId<u64>>,
    /// The same, if it is a joint one.
    joint: Option<LogId<u64>>,
    applied: Vec<Applied>,
    /// Where each proposal was applied.
    places: BTreeMap<u64, u64>,
    /// Proposals of which a client was told that they are in no log and never will be.
    refused: BTreeSet<u64>,
    pub(super) coverage: Coverage,
    broken: Option<String>,
}

impl Invariants {
    /// The first that was broken.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    pub(super) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    pub(super) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    pub(super) fn committed_end(&self) -> u64 {
        self.committed.len() as u64
    }

    fn store(&mut self, replica: Replica<u64>) -> &mut Store {
        self.stores.entry(replica).or_default()
    }

    /// What states the last membership that is known to be committed.
    pub(super) fn committed_membership(&self) -> Option<LogId<u64>> {
        self.membership
    }

    /// Whether some log holds a membership that is not known to be committed.
    pub(super) fn change_is_open(&self) -> bool {
        let end = self.committed_end();
        self.stores.values().any(|s| s.submitted.memberships_from(end) + s.durable.memberships_from(end) > 0)
    }

    /// The indexes of the entries that are durable in this log.
    pub(super) fn durable_indexes(&self, replica: Replica<u64>) -> std::ops::Range<u64> {
        self.stores.get(&replica).map_or(0..0, |store| store.durable.indexes())
    }

    /// A node starts on this store with what is durable there.
    pub(super) fn started(&mut self, replica: Replica<u64>, vote: Vote<u64>, last: Option<LogId<u64>>) {
        let store = self.store(replica);
        store.submitted = store.durable.clone();
        store.seen = None;
        // Not every promise is durable, but it is kept.
        let (kept, held) = (store.durable.vote, store.durable.last());
        self.require(kept == vote && held == last, || {
            format!("{replica} starts with {vote} and a log to {last:?}; {kept} and {held:?} were durable")
        });
    }

    /// A write was handed to the store.
    pub(super) fn submitted(&mut self, replica: Replica<u64>, write: &Write) {
        let store = self.stores.entry(replica).or_default();
        match write {
            Write::Vote(vote) => {
                let before = store.submitted.vote;
                self.require(*vote >= before, || format!("{replica} saves {vote} after {before}"));
            }
            Write::Append(entries) => {
                let mut before = store.submitted.last();
                for entry in entries {
                    self.appended(replica, before, entry);
                    before = Some(entry.log_id);
                }
            }
            Write::Truncate(since) => {
                // What the snapshot covers may go: a log that does not hold its last entry is dropped whole.
                let first = (*since).max(store.snapshot.next_index());
                let lost = store.submitted.at(first).map(|entry| entry.log_id);
                if first == *since {
                    self.coverage.count(Reached::ConflictRepaired);
                }
                let known = self.committed.get(first as usize).map(|(id, _)| *id);
                self.require(lost.is_none() || lost != known, || {
                    format!("{replica} drops {lost:?}, which is committed")
                });
            }
            Write::Purge(upto) => {
                let snapshot = store.snapshot;
                self.coverage.count(Reached::Purged);
                self.require(upto.index < snapshot.next_index(), || {
                    format!("{replica} purges up to {upto}, and its snapshot reaches to {snapshot:?}")
                });
            }
        }
        self.store(replica).submitted.carry_out(write);
    }

    /// Log matching, by induction: one log id is one entry after one entry.
    fn appended(&mut self, replica: Replica<u64>, before: Option<LogId<u64>>, entry: &Held) {
        let id = entry.log_id;
        self.require(before.next_index() == id.index && before <= Some(id), || {
            format!("{replica} appends {id} after {before:?}")
        });
        let known = *self.entries.entry(id).or_insert((entry.payload, before));
        self.require(known == (entry.payload, before), || {
            format!(
                "{replica} holds {id} after {before:?}; elsewhere it is another entry, or after {:?}",
                known.1
            )
        });
    }

    /// A write is durable.
    pub(super) fn durable(&mut self, replica: Replica<u64>, write: &Write) {
        self.store(replica).durable.carry_out(write);
    }

    /// A snapshot is durable.
    pub(super) fn snapshot(&mut self, replica: Replica<u64>, upto: Option<LogId<u64>>) {
        let store = self.store(replica);
        store.snapshot = store.snapshot.max(upto);
        let known = self.applied.len() as u64;
        self.require(upto.next_index() <= known, || {
            format!("{replica} holds a snapshot up to {upto:?}, which nobody has applied")
        });
    }

    /// A candidate asks for a vote.
    pub(super) fn asks_for_vote(&mut self, request: &VoteRequest<u64>) {
        if request.pre_vote {
            return;
        }
        let (from, vote) = (request.from, request.vote);
        let store = self.store(from);
        let (saved, last) = (store.durable.vote, store.durable.last());
        let holds = saved.term > vote.term || saved.same_candidate(&vote) && last >= request.last_log_id;
        self.require(holds, || {
            format!(
                "{from} asks for {vote} with a log to {:?}; durable are {saved} and {last:?}",
                request.last_log_id
            )
        });
        self.granted(from, vote);
    }

    /// A voter answers.
    pub(super) fn votes(&mut self, asked: &VoteRequest<u64>, reply: &VoteReply<u64>) {
        let (from, vote) = (reply.from, asked.vote);
        match (reply.pre_vote, reply.granted) {
            (true, true) => {}
            (true, false) => return self.coverage.count(Reached::PreVoteRefused),
            (false, false) => return self.coverage.count(Reached::VoteRefused),
            (false, true) => {
                let saved = self.store(from).durable.vote;
                self.require(saved.term > vote.term || saved.same_candidate(&vote), || {
                    format!("{from} grants {vote}, and its disk says {saved}")
                });
                self.granted(from, vote);
            }
        }
        if asked.deposes.is_none() && std::mem::take(&mut self.store(from).promised) {
            self.coverage.count(Reached::PromiseExpired);
        }
    }

    fn granted(&mut self, voter: Replica<u64>, vote: Vote<u64>) {
        let first = *self.grants.entry((voter, vote.term)).or_insert(vote.node_id);
        self.require(first == vote.node_id, || {
            format!("{voter} votes for {first} and for {} in term {}", vote.node_id, vote.term)
        });
    }

    /// A follower answers a heartbeat.
    pub(super) fn answers_heartbeat(&mut self, asked: openraft_engine::StoreId, reply: &HeartbeatReply<u64>) {
        if !reply.accepted {
            return self.refused_store(asked, reply.from);
        }
        let store = self.store(reply.from);
        store.promised |= !reply.promised.is_zero();
        let saved = store.durable.vote;
        self.require(saved >= reply.vote || saved.term > reply.vote.term, || {
            format!("{} follows {}, and its disk says {saved}", reply.from, reply.vote)
        });
    }

    /// A follower answers an append.
    pub(super) fn answers_append(&mut self, asked: openraft_engine::StoreId, reply: &AppendReply<u64>) {
        if reply.result == AppendResult::Refused {
            return self.refused_store(asked, reply.from);
        }
        let AppendResult::Matched(Some(matched)) = reply.result else { return };
        let store = self.store(reply.from);
        let (saved, durable) = (store.durable.vote, store.is_durable(matched));
        // Under a later vote it may have been truncated since.
        let holds = saved.term > reply.vote.term || saved >= reply.vote && durable;
        self.require(holds, || {
            format!(
                "{} acknowledges {matched} under {}; durable: {durable}, vote {saved}",
                reply.from, reply.vote
            )
        });
    }

    fn refused_store(&mut self, asked: openraft_engine::StoreId, from: Replica<u64>) {
        if asked != from.store_id {
            self.coverage.count(Reached::WipedDiskRefused);
        }
    }

    /// A message of a leader leaves: election safety.
    pub(super) fn leads(&mut self, vote: Vote<u64>) {
        let first = match self.leaders.get(&vote.term) {
            Some(first) => *first,
            None => {
                self.coverage.count(Reached::Election);
                self.leaders.insert(vote.term, vote.node_id);
                vote.node_id
            }
        };
        self.require(first == vote.node_id, || {
            format!("{first} and {} lead in term {}", vote.node_id, vote.term)
        });
    }

    /// What a node says of itself at the end of a turn.
    pub(super) fn look(&mut self, replica: Replica<u64>, now: Seen) {
        let store = self.stores.entry(replica).or_default();
        let before = store.seen.replace(now.clone());
        let flushed = now.flushed.is_none_or(|flushed| store.is_durable(flushed));
        let (saved, open) =
            (store.durable.vote, store.submitted.memberships_from(self.committed.len() as u64));
        self.require(flushed, || format!("{replica} holds {:?} to be durable", now.flushed));
        self.require(now.vote >= saved, || format!("{replica} goes from {saved} to {}", now.vote));
        if let Some(before) = &before {
            self.require(now.vote >= before.vote, || {
                format!("{replica} goes from {} to {}", before.vote, now.vote)
            });
            self.require(now.committed >= before.committed, || {
                format!("{replica} held {:?} to be committed, and then {:?}", before.committed, now.committed)
            });
            self.require(now.applied >= before.applied, || {
                format!("{replica} had applied {:?}, and then {:?}", before.applied, now.applied)
            });
            if before.state == ServerState::Leader
                && now.state != ServerState::Leader
                && now.vote == before.vote
            {
                self.coverage.count(Reached::CheckQuorum);
            }
            self.look_at_promotion(&before.membership, &now);
        }
        self.require(now.applied <= now.committed, || {
            format!("{replica} has applied {:?}, and committed is {:?}", now.applied, now.committed)
        });
        self.require(now.held_bytes <= now.held_bytes_limit + BUDGET_SLACK, || {
            format!("{replica} holds {} bytes, and its limit is {}", now.held_bytes, now.held_bytes_limit)
        });
        self.look_at_committed(replica, before.as_ref(), &now);
        if open > 1 {
            let open = self.stores[&replica].submitted.memberships_from(self.committed_end());
            self.require(open <= 1, || format!("{replica} holds {open} memberships that are not committed"));
        }
        if now.state == ServerState::Leader {
            self.look_at_leader(replica, before.as_ref(), &now);
        }
    }

    /// What a node holds to be committed is what all others do, and is durable on a quorum when it is first known.
    fn look_at_committed(&mut self, replica: Replica<u64>, before: Option<&Seen>, now: &Seen) {
        let Some(last) = now.committed else { return };
        if let Some((first, _)) = self.committed.get(last.index as usize) {
            let first = *first;
            return self.require(first == last, || {
                format!("{replica} holds {last} to be committed, where {first} was")
            });
        }
        for index in self.committed_end()..=last.index {
            let store = &self.stores[&replica];
            let Some(entry) = store.submitted.at(index).copied() else { return };
            // In one turn a node may commit under one membership and append the next.
            let memberships = [Some(&now.membership), before.map(|before| &before.membership)];
            let on_quorum = memberships.into_iter().flatten().any(|stated| {
                let membership = &stated.membership;
                let holds = |id: &u64| {
                    let member = membership.nodes().get(id)?;
                    let store = self.stores.get(&Replica { node_id: *id, store_id: member.store_id })?;
                    Some(u64::from(store.is_durable(entry.log_id)))
                };
                quorum::committed(membership.voters(), 1, holds) == Some(1)
            });
            let id = entry.log_id;
            self.require(on_quorum, || {
                format!("{replica} holds {id} to be committed, and no quorum has it durably")
            });
            self.commits(entry, now.vote.term);
        }
    }

    fn commits(&mut self, entry: Held, term: u64) {
        self.committed.push((entry.log_id, term));
        if !entry.is_membership {
            return;
        }
        self.membership = Some(entry.log_id);
        if entry.is_joint {
            self.joint = Some(entry.log_id);
            return;
        }
        self.coverage.count(Reached::ChangeFinished);
        if self.joint.take().is_some_and(|joint| joint.leader_id != entry.log_id.leader_id) {
            self.coverage.count(Reached::JointByAnother);
        }
    }

    /// A leader makes learners voters that were to become so by themselves.
    fn look_at_promotion(&mut self, before: &Stated, now: &Seen) {
        if now.state != ServerState::Leader || before.log_id == now.membership.log_id {
            return;
        }
        let (old, new) = (&before.membership, &now.membership.membership);
        let promoted =
            |id: &u64| !old.is_voter(id) && old.nodes().get(id).is_some_and(|member| member.promote);
        if new.voter_ids().iter().any(promoted) {
            self.coverage.count(Reached::LearnerPromoted);
        }
    }

    /// Leader completeness: a new leader's log holds everything that is known to have been committed in an earlier term.
    fn look_at_leader(&mut self, replica: Replica<u64>, before: Option<&Seen>, now: &Seen) {
        self.leads(now.vote);
        if before.is_some_and(|before| before.state == ServerState::Leader && before.vote == now.vote) {
            return;
        }
        let (store, term) = (&self.stores[&replica], now.vote.term);
        // Whoever wins an election late, in a term that is over, may lack what was committed since (paper, 5.4.3).
        let known = self.committed.iter().filter(|(_, by)| *by < term);
        let lacking = known.map(|(id, _)| *id).find(|id| !store.is_accepted(*id));
        self.require(lacking.is_none(), || {
            format!("{replica} leads term {term} without {lacking:?}, which is committed")
        });
    }

    /// A node applies an entry: state machine safety.
    pub(super) fn applies(
        &mut self,
        replica: Replica<u64>,
        log_id: LogId<u64>,
        payload: u64,
        is_write: bool,
    ) {
        let durable = self.store(replica).is_durable(log_id);
        self.require(durable, || format!("{replica} applies {log_id}, which is not durable there"));
        let index = log_id.index as usize;
        let applied = Applied { log_id, payload };
        if let Some(first) = self.applied.get(index).copied() {
            return self.require(first == applied, || {
                format!("{replica} applies {log_id} where another entry, or {}, was applied", first.log_id)
            });
        }
        let follows = self.applied.len() == index;
        self.require(follows, || {
            format!("{replica} applies {log_id} before anybody applied what is before it")
        });
        if is_write {
            let refused = self.refused.contains(&payload);
            self.require(!refused, || format!("{log_id} is applied, and its client was told: not proposed"));
            let earlier = self.places.insert(payload, log_id.index);
            self.require(earlier.is_none(), || {
                format!("{log_id} is applied a second time, first at {earlier:?}")
            });
        }
        self.applied.push(applied);
    }

    /// A client was told that its write is applied.
    pub(super) fn acknowledged(&mut self, payload: u64, log_id: LogId<u64>) {
        let place = self.places.get(&payload).copied();
        self.coverage.count(Reached::WriteAcknowledged);
        self.require(place == Some(log_id.index), || {
            format!("a write is acknowledged at {log_id}, and was applied at {place:?}")
        });
    }

    /// A client was told for the last time that its write was certainly not proposed.
    pub(super) fn refused(&mut self, payload: u64) {
        let place = self.places.get(&payload).copied();
        self.coverage.count(Reached::WriteRefused);
        self.require(place.is_none(), || {
            format!("a write was applied at {place:?}, and its client was told: not proposed")
        });
        self.refused.insert(payload);
    }
}
