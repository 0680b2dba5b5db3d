//! When two worlds are the same world: for a search, which must not go twice where it has been.
//!
//! Left out of the comparison is what can make no difference any more:
//!
//! - clocks and deadlines, since any armed deadline may come ([`super::Step::Due`]);
//! - the order in which messages were sent, since any of them may arrive next;
//! - messages that are *spent*: whatever happens, their arrival changes nothing, nor is it answered by anything that
//!   does ([`World::is_spent`]).

use std::hash::{Hash, Hasher};

use openraft_engine::Vote;

use super::message::{Envelope, Message, Stamp};
use super::node::Node;
use super::{World, task};

/// A number that equal values have in common; the same in every run.
pub(super) fn fingerprint(value: &impl Hash) -> u64 {
    let seeds = (0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89);
    ahash::RandomState::with_seeds(seeds.0, seeds.1, seeds.2, seeds.3).hash_one(value)
}

/// A message that may yet matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Live {
    /// Whether it was overtaken.
    pub late: bool,
    link: (u64, u64),
    fingerprint: u64,
}

impl World {
    /// The messages that may yet matter, in no order of their own; if `ordered`, those which were not overtaken stand in
    /// the order of each link.
    pub fn live_messages(&self, ordered: bool) -> Vec<Live> {
        let live = self.messages().iter().filter(|envelope| !self.is_spent(envelope));
        let mut live: Vec<(Live, u64)> = live
            .map(|envelope| {
                let late = ordered && self.is_late(envelope);
                let order = if ordered && !late { envelope.number } else { 0 };
                let live =
                    Live { late, link: (envelope.from, envelope.to), fingerprint: envelope.fingerprint() };
                (live, order)
            })
            .collect();
        live.sort_unstable_by_key(|(live, order)| (live.late, live.link, *order, live.fingerprint));
        live.into_iter().map(|(live, _)| live).collect()
    }

    /// Whether another message overtook this one: one that was sent later, on the same link, has arrived.
    pub fn is_late(&self, envelope: &Envelope) -> bool {
        self.arrived.get(&(envelope.from, envelope.to)).is_some_and(|arrived| envelope.number < *arrived)
    }

    /// Whether the arrival of this message, now or later, can change nothing but that it is no longer under way.
    ///
    /// - A reply to a replication task's message finds its way by the sender's life, session and the message's number,
    ///   none of which comes twice: where no message waits for it now, none ever will.
    /// - A request of a task whose reply would be spent, and which the receiver refuses because of a greater vote *on
    ///   its disk*: votes on disks never go back.
    /// - A reply to a request for a vote, where the disk's vote says that this campaign is over for good, and no term is
    ///   news.
    /// - An order to campaign which the receiver's disk has outlived; the answer to one, which nobody reads; an answer
    ///   to a question that nobody asks any more.
    pub fn is_spent(&self, envelope: &Envelope) -> bool {
        let Some(to) = self.nodes.get(&envelope.to) else { return true };
        let disk = to.disk().durable.vote;
        let refused = |vote: Vote<u64>| disk > vote;
        let unread = |leader: u64, follower: u64, stamp: &Stamp, kind| {
            self.nodes.get(&leader).is_none_or(|leader| !leader.awaits(follower, stamp, kind))
        };
        let (from, to_id) = (envelope.from, envelope.to);
        match &envelope.message {
            Message::Heartbeat(stamp, request) => {
                refused(request.vote) && unread(from, to_id, stamp, task::Kind::Heartbeat)
            }
            Message::Append(stamp, header, _) => {
                refused(header.vote) && unread(from, to_id, stamp, task::Kind::Append)
            }
            Message::Snapshot(stamp, header, _) => {
                refused(header.vote) && unread(from, to_id, stamp, task::Kind::Snapshot)
            }
            Message::HeartbeatReply(stamp, _) => unread(to_id, from, stamp, task::Kind::Heartbeat),
            Message::AppendReply(stamp, _) => unread(to_id, from, stamp, task::Kind::Append),
            Message::SnapshotReply(stamp, _) => unread(to_id, from, stamp, task::Kind::Snapshot),
            Message::VoteReply(asked, reply) => {
                let over = disk.term > asked.term || (disk.term == asked.term && disk != *asked);
                over && reply.vote.term <= disk.term
            }
            Message::TimeoutNow(request) => refused(request.vote),
            Message::TimeoutNowReply(_) => true,
            Message::ReadIndexReply(number, _) => !to.asks(*number),
            Message::VoteRequest(_) | Message::ReadIndex(..) => false,
        }
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.is_same_but_for_messages(other) && self.live_messages(false) == other.live_messages(false)
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.live_messages(false).hash(state);
        self.hash_all_but_messages(state);
    }
}

impl World {
    /// Whether the worlds are equal, but for what is under way.
    pub fn is_same_but_for_messages(&self, other: &World) -> bool {
        (&self.settings, &self.nodes, &self.history) == (&other.settings, &other.nodes, &other.history)
    }

    /// Hashes all but the messages.
    pub fn hash_all_but_messages<H: Hasher>(&self, state: &mut H) {
        self.nodes.values().map(|node| node.fingerprint()).for_each(|node| state.write_u64(node));
        self.history.hash(state);
    }
}

impl Node {
    /// Whether a question of this number waits for its answer.
    fn asks(&self, number: u64) -> bool {
        self.questions().any(|asked| asked == number)
    }

    /// Whether the task to `follower` still waits for the reply to this message.
    fn awaits(&self, follower: u64, stamp: &Stamp, kind: task::Kind) -> bool {
        self.life == stamp.life && self.tasks().any(|(id, task)| id == follower && task.awaits(stamp, kind))
    }
}
