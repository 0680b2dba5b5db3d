//! The built-in workload: a few keys, which clients put, compare and set, and read.

use std::collections::BTreeMap;

use openraft_adapters::memory::{MemApp, MemSnapshots, MemStateMachine, MemStateReader};
use openraft_adapters::{LogIdOf, RaftStateMachine};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use crate::history;

use super::disk::hash_of;
use super::subject::{Operation, Outcome, Request, Subject};

openraft_adapters::declare_raft_types!(
    /// The built-in workload's types.
    pub Types: D = Change, R = Reply
);

/// A change of one key. Values are unique in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which key.
    pub key: String,
    /// What is done to it.
    pub action: Action,
    /// Client and number, so that no two changes are equal.
    pub name: (u64, u64),
}

/// What is done to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Store this.
    Put(String),
    /// Store `value` if the key holds `expect`; none expects that it is absent.
    CompareAndSet {
        /// What is expected.
        expect: Option<String>,
        /// What is stored.
        value: String,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It was made.
    Done,
    /// The key held something else than expected.
    Mismatch(Option<String>),
}

/// The keys.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Keys(BTreeMap<String, String>);

impl MemApp<Types> for Keys {
    fn apply(&mut self, _: LogIdOf<Types>, change: &Change) -> Reply {
        match &change.action {
            Action::Put(value) => drop(self.0.insert(change.key.clone(), value.clone())),
            Action::CompareAndSet { expect, value } => {
                let found = self.0.get(&change.key);
                if found != expect.as_ref() {
                    return Reply::Mismatch(found.cloned());
                }
                self.0.insert(change.key.clone(), value.clone());
            }
        }
        Reply::Done
    }

    fn state_hash(&self) -> Option<u64> {
        Some(hash_of(&self.0))
    }
}

/// The built-in workload. Judged by whether the history of each key is linearizable.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

/// What a client remembers.
#[derive(Debug)]
pub struct Client {
    id: u64,
    next: u64,
    /// What it saw last of each key: what a compare-and-set expects.
    seen: BTreeMap<String, Option<String>>,
}

/// How many keys there are: few, so that clients meet.
const KEYS: u32 = 4;

impl Subject for Kv {
    type Types = Types;
    type Proposal = Change;
    type Reply = Reply;
    type Query = String;
    type Answer = Option<String>;
    type Disk = MemSnapshots<Types>;
    type View = MemStateReader<Types, Keys>;
    type Client = Client;

    fn open(&self, disk: &Self::Disk) -> (Box<dyn RaftStateMachine<Types>>, Self::View) {
        let machine = MemStateMachine::<Types, Keys>::open(disk.clone());
        let view = machine.reader();
        (Box::new(machine), view)
    }

    fn client(&self, id: u64) -> Client {
        Client { id, next: 0, seen: BTreeMap::new() }
    }

    fn next(&self, client: &mut Client, rng: &mut SmallRng) -> Request<Self> {
        let key = format!("k{}", rng.random_range(0..KEYS));
        client.next += 1;
        let value = format!("c{}-{}", client.id, client.next);
        let action = match rng.random_range(0..20) {
            0..7 => return Request::Read(key),
            7..14 => Action::Put(value),
            _ => {
                let expect = client.seen.get(&key).cloned().flatten();
                Action::CompareAndSet { expect, value }
            }
        };
        Request::Write(Change { key, action, name: (client.id, client.next) })
    }

    fn read(&self, view: &Self::View, key: &String) -> Option<String> {
        view.with(|keys| keys.0.get(key).cloned())
    }

    fn learn(&self, client: &mut Client, request: &Request<Self>, outcome: &Outcome<Self>) {
        let (key, seen) = match (request, outcome) {
            (Request::Read(key), Outcome::Read(answer)) => (key, answer.clone()),
            (Request::Write(change), Outcome::Written(reply)) => {
                let holds = match (reply, &change.action) {
                    (Reply::Mismatch(found), _) => found.clone(),
                    (Reply::Done, Action::Put(value) | Action::CompareAndSet { value, .. }) => {
                        Some(value.clone())
                    }
                };
                (&change.key, holds)
            }
            _ => return,
        };
        client.seen.insert(key.clone(), seen);
    }

    fn judge(&self, history: &[Operation<Self>]) -> Result<(), String> {
        let operations: Vec<history::Operation> = history.iter().map(recorded).collect();
        match history::check(&operations) {
            Ok(summary) if summary.is_decided() => Ok(()),
            Ok(summary) => Err(format!("whether the history is linearizable is not decided: {summary}")),
            Err(violation) => Err(format!("the history is not linearizable: {violation}")),
        }
    }
}

/// An operation as the checker takes it.
fn recorded(operation: &Operation<Kv>) -> history::Operation {
    let (op, key, value, expect) = match &operation.request {
        Request::Read(key) => (history::Op::Get, key, None, None),
        Request::Write(Change { key, action: Action::Put(value), .. }) => {
            (history::Op::Put, key, Some(value.clone()), None)
        }
        Request::Write(Change { key, action: Action::CompareAndSet { expect, value }, .. }) => {
            (history::Op::Cas, key, Some(value.clone()), expect.clone())
        }
    };
    let (outcome, read) = match &operation.outcome {
        Outcome::Written(Reply::Done) => (history::Outcome::Ok, None),
        Outcome::Written(Reply::Mismatch(found)) => (history::Outcome::Fail, found.clone()),
        Outcome::Read(found) => (history::Outcome::Ok, found.clone()),
        Outcome::Failed => (history::Outcome::Fail, None),
        Outcome::Unknown => (history::Outcome::Unknown, None),
    };
    history::Operation {
        client: operation.client,
        op,
        key: key.clone(),
        value,
        expect,
        call_ns: operation.called,
        return_ns: (outcome != history::Outcome::Unknown).then_some(operation.returned),
        outcome,
        read,
    }
}
