//! A part of a history that has no order, and how it is shown.

use std::fmt;

use super::operation::Operation;
use super::shrink::{Part, shrink};

/// Operations on one key that cannot be put in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// The operations, in the order of their calls: few, and where it was feasible none can be left out.
    pub operations: Vec<Operation>,
    /// Whether they have no order whatever the register held before the first of them; else the key was absent.
    pub anything_before: bool,
    /// How many operations on the key there were in all.
    pub of: usize,
}

impl Violation {
    /// That of operations on `key` that are `known` to have no order, or that perhaps have one, because of something near
    /// the instant `at`. `None`: they perhaps have one, and none was found that has not.
    pub(super) fn find(key: &str, operations: &[&Operation], at: u64, known: bool) -> Option<Self> {
        let Part { operations: few, anything_before } = shrink(operations, at, known)?;
        let few = few.into_iter().cloned().collect();
        Some(Self { key: key.to_owned(), operations: few, anything_before, of: operations.len() })
    }
}

impl std::error::Error for Violation {}

/// The widest that the picture of an operation's time becomes, in characters.
const WIDTH_MAX: usize = 60;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operations, anything_before, of } = self;
        writeln!(
            f,
            "not linearizable: key {key:?}. No order of these {} of its {of} operations",
            operations.len()
        )?;
        writeln!(
            f,
            "explains what they returned, {}.",
            match anything_before {
                true => "whatever the register held before them",
                false => "the key being absent at first",
            }
        )?;
        let picture = Picture::new(operations);
        for operation in operations {
            let (call, until) = (picture.since(operation.call_ns), operation.return_ns);
            let until = until.map_or("never".to_owned(), |until| picture.since(until));
            let client = operation.client;
            writeln!(
                f,
                "  {}  {call:>13} {until:>13}  client {client:<4} {operation}",
                picture.bar(operation)
            )?;
        }
        write!(
            f,
            "  (call and return in microseconds after the first call; the picture keeps order, not distance)"
        )
    }
}

/// Calls and returns side by side, in their order.
struct Picture {
    instants: Vec<u64>,
}

impl Picture {
    fn new(operations: &[Operation]) -> Self {
        let both = |operation: &Operation| [Some(operation.call_ns), operation.return_ns];
        let mut instants: Vec<u64> = operations.iter().flat_map(both).flatten().collect();
        instants.sort_unstable();
        instants.dedup();
        Self { instants }
    }

    /// Microseconds since the first of them, to the nanosecond.
    fn since(&self, instant: u64) -> String {
        let nanoseconds = instant - self.instants[0];
        format!("{}.{:03}", nanoseconds / 1_000, nanoseconds % 1_000)
    }

    fn width(&self) -> usize {
        (3 * self.instants.len()).min(WIDTH_MAX)
    }

    fn column(&self, instant: u64) -> usize {
        let place = self.instants.partition_point(|other| *other < instant);
        place * self.width() / self.instants.len()
    }

    fn bar(&self, operation: &Operation) -> String {
        let from = self.column(operation.call_ns);
        let (until, end) = match operation.return_ns {
            Some(returned) => (self.column(returned).max(from + 1), ']'),
            None => (self.width(), '>'),
        };
        let line = format!("{}[{}{end}", " ".repeat(from), "=".repeat(until - from - 1));
        format!("{line:<width$}", width = self.width() + 1)
    }
}
