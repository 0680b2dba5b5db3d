//! Everything that can happen to a world, as data: a search takes steps, and prints them in the words of the scripts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openraft_engine::MembershipChange;

use super::World;
use super::entry::Address;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Message so-and-so of [`World::messages`] arrives.
    Deliver(usize),
    /// It is lost.
    Lose(usize),
    /// It is repeated.
    Repeat(usize),
    /// A node's log lane completes so many writes.
    Flush(u64, usize),
    /// A node's state machine does its next piece of work.
    Work(u64),
    /// A node's next deadline comes.
    Fire(u64),
    /// The next deadline of a node's engine comes, and none of its replication tasks'.
    Due(u64),
    /// A node's clock moves on while it does nothing.
    Sleep(u64, Duration),
    /// The pause after a failure ends: the first node replicates to the second again.
    Retry(u64, u64),
    /// A node goes down, and keeps so many of its unflushed writes.
    Crash(u64, usize),
    /// A node that is down starts again.
    Restart(u64),
    /// What is under way from the first node to the second counts as lost.
    GiveUp(u64, u64),
    /// A node is asked to take a write.
    Propose(u64, String),
    /// A node is asked for a read.
    Read(u64, String),
    /// A node is asked to hand leadership over.
    Transfer(u64, Option<u64>),
    /// A node is asked for a snapshot.
    Snapshot(u64),
    /// A node is asked to change the membership.
    Change(u64, MembershipChange<u64, Address>),
    /// A node is asked to seek election.
    SeekElection(u64),
}

impl World {
    /// Takes a step. One that cannot be taken changes nothing.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Deliver(at) | Step::Lose(at) | Step::Repeat(at) if *at >= self.network.len() => {}
            Step::Deliver(at) => drop(self.deliver(*at)),
            Step::Lose(at) => drop(self.lose(*at)),
            Step::Repeat(at) => drop(self.repeat(*at)),
            Step::Flush(id, count) => _ = self.flush(*id, *count),
            Step::Work(id) => _ = self.work(*id),
            Step::Fire(id) => _ = self.fire(*id),
            Step::Due(id) => _ = self.due(*id),
            Step::Sleep(id, time) => self.sleep(*id, *time),
            Step::Retry(from, to) => _ = self.retry(*from, *to),
            Step::Crash(id, kept) => self.crash(*id, *kept),
            Step::Restart(id) => _ = self.restart(*id),
            Step::GiveUp(from, to) => _ = self.give_up(*from, *to),
            Step::Propose(id, text) => _ = self.propose(*id, std::slice::from_ref(text)),
            Step::Read(id, name) => self.read(*id, name),
            Step::Transfer(id, to) => self.transfer(*id, *to),
            Step::Snapshot(id) => _ = self.snapshot(*id),
            Step::Change(id, change) => self.change(*id, change, &[]),
            Step::SeekElection(id) => _ = self.trigger_elect(*id),
        }
    }

    /// The step in the words of a script, as the world is before it.
    pub fn words(&self, step: &Step) -> String {
        let message = |at: usize| {
            let Some(envelope) = self.network.get(at) else { return format!("#{}", at + 1) };
            let same = |other: &&Arc<super::Envelope>| {
                (other.from, other.to, other.message.kind())
                    == (envelope.from, envelope.to, envelope.message.kind())
            };
            let place = self.network[..at].iter().filter(same).count() + 1;
            format!("{}->{} {} #{place}", envelope.from, envelope.to, envelope.message.kind())
        };
        match step {
            Step::Deliver(at) => format!("deliver {}", message(*at)),
            Step::Lose(at) => format!("drop {}", message(*at)),
            Step::Repeat(at) => format!("duplicate {}", message(*at)),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Deliver(at) => write!(f, "deliver #{}", at + 1),
            Step::Lose(at) => write!(f, "drop #{}", at + 1),
            Step::Repeat(at) => write!(f, "duplicate #{}", at + 1),
            Step::Flush(id, usize::MAX) => write!(f, "flush {id}"),
            Step::Flush(id, count) => write!(f, "flush {id} {count}"),
            Step::Work(id) => write!(f, "apply {id}"),
            Step::Fire(id) => write!(f, "fire {id}"),
            Step::Due(id) => write!(f, "due {id}"),
            Step::Sleep(id, time) => write!(f, "sleep {id} {}ms", time.as_millis()),
            Step::Retry(from, to) => write!(f, "retry {from}->{to}"),
            Step::Crash(id, kept) => write!(f, "crash {id} keep {kept}"),
            Step::Restart(id) => write!(f, "restart {id}"),
            Step::GiveUp(from, to) => write!(f, "give-up {from}->{to}"),
            Step::Propose(id, text) => write!(f, "propose {id} {text}"),
            Step::Read(id, name) => write!(f, "read {id} {name}"),
            Step::Transfer(id, None) => write!(f, "transfer {id}"),
            Step::Transfer(id, Some(to)) => write!(f, "transfer {id} to {to}"),
            Step::Snapshot(id) => write!(f, "snapshot {id}"),
            Step::Change(id, change) => write!(f, "member {id} {}", in_words(change)),
            Step::SeekElection(id) => write!(f, "seek-election {id}"),
        }
    }
}

/// A change as a script asks for it.
fn in_words(change: &MembershipChange<u64, Address>) -> String {
    fn list<'a>(name: &str, ids: impl Iterator<Item = &'a u64>) -> String {
        ids.fold(name.to_owned(), |line, id| format!("{line} {id}"))
    }
    match change {
        MembershipChange::AddLearners(nodes) => {
            let promote = if nodes.values().any(|node| node.promote) { " promote" } else { "" };
            list("add", nodes.keys()) + promote
        }
        MembershipChange::AddVoters(ids) => list("promote", ids.iter()),
        MembershipChange::RemoveVoters(ids) => list("demote", ids.iter()),
        MembershipChange::ReplaceVoters(ids) => list("voters", ids.iter()),
        MembershipChange::RemoveNodes(ids) => list("remove", ids.iter()),
        MembershipChange::ReplaceNodes(nodes) => list("nodes", nodes.keys()),
        MembershipChange::SetNodes(nodes) => {
            let moves: Vec<String> = nodes.iter().map(|(id, node)| format!("move {id} {node}")).collect();
            moves.join(" and ")
        }
        MembershipChange::Batch(changes) => {
            let parts: Vec<String> = changes.iter().map(in_words).collect();
            parts.join(" and ")
        }
    }
}
