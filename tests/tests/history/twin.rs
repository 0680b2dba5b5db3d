//! Random small histories, compared with a slow obvious twin.

use openraft_tests::history::{Op, Operation, Outcome, Violation, check};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::make::{cas, delete, failed, found, get, put, unknown};

/// Whether every operation can be given a place in an order, by trying all orders.
fn has_an_order(left: &[&Operation], register: Option<&str>) -> bool {
    let must = |operation: &&&Operation| match operation.outcome {
        Outcome::Ok => true,
        // It found something, if it says so.
        Outcome::Fail => operation.op == Op::Cas && operation.read.is_some(),
        Outcome::Unknown => false,
    };
    let Some(first_return) = left.iter().filter(must).map(|operation| operation.return_ns).min() else {
        return true;
    };
    let before = |operation: &Operation| first_return.is_none_or(|returned| operation.call_ns <= returned);
    (0..left.len()).any(|index| {
        let operation = left[index];
        let Some(register) = after(operation, register).filter(|_| before(operation)) else { return false };
        let others: Vec<&Operation> = left
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, operation)| *operation)
            .collect();
        has_an_order(&others, register)
    })
}

/// What the register holds after an operation took effect; `None`: it does not return then what it returned.
fn after<'a>(operation: &'a Operation, register: Option<&'a str>) -> Option<Option<&'a str>> {
    let finds = |value: &Option<String>| register == value.as_deref();
    match (operation.op, operation.outcome) {
        (Op::Get, Outcome::Ok) => finds(&operation.read).then_some(register),
        (Op::Cas, Outcome::Fail) => (finds(&operation.read) && !finds(&operation.expect)).then_some(register),
        (_, Outcome::Fail) | (Op::Get, Outcome::Unknown) => None,
        (Op::Put, _) => Some(operation.value.as_deref()),
        (Op::Delete, _) => Some(None),
        (Op::Cas, _) => finds(&operation.expect).then_some(operation.value.as_deref()),
    }
}

/// How random histories are made.
struct Manner {
    /// Whether two writes may store the same.
    same_values: bool,
    /// Of sixteen operations, how many are deletes, and how many have an unknown outcome.
    deletes: u32,
    unknown: u32,
}

fn history(rng: &mut SmallRng, manner: &Manner) -> Vec<Operation> {
    let operations = rng.random_range(2..=7);
    let long = rng.random_range(2..12);
    let values = ["", "a", "b", "c", "d"];
    let read = |rng: &mut SmallRng| values[rng.random_range(0..values.len())];
    let mut fresh = values[1..].to_vec();
    let mut made = Vec::new();
    for client in 0..operations {
        let called = rng.random_range(0..14);
        let returned = called + rng.random_range(1..long);
        let mut value = |rng: &mut SmallRng| match fresh.is_empty() || manner.same_values {
            true if manner.same_values => values[rng.random_range(1..4)],
            true => "z",
            false => fresh.remove(rng.random_range(0..fresh.len())),
        };
        let operation = match rng.random_range(0..16) {
            n if n < manner.deletes => delete(client, called, returned),
            n if n < 8 => get(client, read(rng), called, returned),
            n if n < 12 => put(client, value(rng), called, returned),
            13 => {
                found(["a", "b", "c"][rng.random_range(0..3)], cas(client, read(rng), "y", called, returned))
            }
            14 => failed(put(client, "w", called, returned)),
            _ => cas(client, read(rng), value(rng), called, returned),
        };
        let may = operation.outcome == Outcome::Ok && operation.op != Op::Get;
        made.push(if may && rng.random_range(0..16) < manner.unknown {
            unknown(operation)
        } else {
            operation
        });
    }
    made
}

/// The twin's verdict of what a violation shows.
fn is_one(violation: &Violation, manner: &Manner) -> bool {
    let operations: Vec<&Operation> = violation.operations.iter().collect();
    let starts = [None, Some("a"), Some("b"), Some("c"), Some("d"), Some("something else")];
    let starts = if violation.anything_before { &starts[..] } else { &starts[..1] };
    // What one of them stores was not there before, unless another one stored it too.
    let stored = |start: &str| operations.iter().any(|operation| operation.value.as_deref() == Some(start));
    let possible = |start: &&Option<&str>| manner.same_values || !start.is_some_and(stored);
    starts.iter().filter(possible).all(|start| !has_an_order(&operations, *start))
}

fn compare(manner: &Manner, seeds: std::ops::Range<u64>) {
    let (mut good, mut bad) = (0, 0);
    for seed in seeds {
        let operations = history(&mut SmallRng::seed_from_u64(seed), manner);
        let expected = has_an_order(&operations.iter().collect::<Vec<_>>(), None);
        match check(&operations) {
            Ok(summary) => {
                good += 1;
                assert!(summary.is_decided(), "seed {seed}");
                assert!(expected, "seed {seed}: {operations:#?}");
            }
            Err(violation) => {
                bad += 1;
                assert!(!expected, "seed {seed}: {violation}");
                assert!(is_one(&violation, manner), "seed {seed}: what is shown has an order: {violation}");
            }
        }
    }
    assert!(good > 100 && bad > 100, "the histories are all of one kind: {good} good, {bad} bad");
}

#[test]
fn of_unique_values_it_says_what_trying_all_orders_says() {
    compare(&Manner { same_values: false, deletes: 0, unknown: 4 }, 0..10_000);
}

#[test]
fn with_deletes_it_says_what_trying_all_orders_says() {
    compare(&Manner { same_values: false, deletes: 5, unknown: 0 }, 0..10_000);
}

#[test]
fn with_deletes_and_unknown_outcomes_it_says_what_trying_all_orders_says() {
    compare(&Manner { same_values: false, deletes: 5, unknown: 8 }, 0..10_000);
}

/// Histories should have unique values; what has not is judged all the same.
#[test]
fn of_values_that_are_not_unique_it_says_what_trying_all_orders_says() {
    compare(&Manner { same_values: true, deletes: 2, unknown: 5 }, 0..10_000);
}
