//! Histories of operations on a key-value store, and whether each is linearizable.
//!
//! A history says for each operation when it was called, when it returned and what became of it. It is linearizable if
//! every operation can be given an instant between its call and its return at which it takes effect at once, such that
//! each returns what a single register would return then. Keys are registers of their own. An operation of unknown
//! outcome may take effect at any time after its call, or never; one that failed never does, but a cas that failed
//! because of its condition, and told what it found, found that at some instant.
//!
//! - [`operation`]: one operation, and histories as lines of JSON.
//! - `register`: the operations on one key, with what follows from who saw which value.
//! - `search`: the search for an order.
//! - `shrink`: what of a history that has no order is enough to see it; [`violation`] shows it.
//!
//! `check-history FILE…` checks files.

pub mod operation;
mod register;
mod search;
mod shrink;
pub mod violation;

use std::collections::BTreeMap;
use std::fmt;

pub use self::operation::{Op, Operation, Outcome, ReadError, read_lines, write_lines};
use self::register::{Register, Start};
use self::search::{Verdict, search_how_far};
pub use self::violation::Violation;

/// What a history without a violation came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many operations it has.
    pub operations: usize,
    /// How many of them took effect.
    pub ok: usize,
    /// How many certainly never do.
    pub failed: usize,
    /// Of how many neither is known.
    pub unknown: usize,
    /// How many keys they are on.
    pub keys: usize,
    /// The keys of which it could not be decided: the search was given up. Never because of a put, a get or a cas: only
    /// deletes can make a search long.
    pub undecided: Vec<String>,
}

impl Summary {
    /// Whether the history is linearizable: no key is undecided.
    pub fn is_decided(&self) -> bool {
        self.undecided.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, ok, failed, unknown, keys, undecided } = self;
        let verdict = if self.is_decided() { "linearizable" } else { "undecided" };
        write!(f, "operations={operations} ok={ok} failed={failed} unknown={unknown} keys={keys} ")?;
        write!(f, "undecided={} verdict={verdict}", undecided.len())
    }
}

/// How many operations that may be next a search looks at before it is given up, and how many more for each operation
/// on the key. A history of ordinary clients needs about as many for each operation as there are clients.
const EFFORT: u64 = 50_000_000;
const EFFORT_PER_OPERATION: u64 = 500;

/// Checks a history. The operations may stand in any order.
///
/// A [`Summary`] may name keys that are undecided: where that matters, look at [`Summary::is_decided`].
///
/// # Errors
/// If the operations on some key cannot be put in an order: with a small part of them that cannot.
pub fn check(operations: &[Operation]) -> Result<Summary, Violation> {
    let count = |outcome| operations.iter().filter(|operation| operation.outcome == outcome).count();
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut summary = Summary {
        operations: operations.len(),
        ok: count(Outcome::Ok),
        failed: count(Outcome::Fail),
        unknown: count(Outcome::Unknown),
        keys: keys.len(),
        undecided: Vec::new(),
    };
    for (key, operations) in keys {
        let effort = EFFORT + EFFORT_PER_OPERATION * operations.len() as u64;
        let (verdict, at) = search_how_far(&Register::new(&operations, Start::Absent), effort);
        if verdict == Verdict::Possible {
            continue;
        }
        let known = verdict == Verdict::Impossible;
        match Violation::find(key, &operations, at, known) {
            Some(violation) => return Err(violation),
            None => summary.undecided.push(key.to_owned()),
        }
    }
    Ok(summary)
}
