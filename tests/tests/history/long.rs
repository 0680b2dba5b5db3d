//! Long concurrent histories of a real register.

use std::collections::BTreeMap;

use openraft_tests::history::{Op, Operation, Outcome, check};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How a history is made.
struct Manner {
    operations: usize,
    clients: u64,
    keys: usize,
    /// Of a hundred operations: cas, deletes, and those of unknown outcome.
    cas: u32,
    deletes: u32,
    unknown: u32,
}

const PLAIN: Manner = Manner { operations: 30_000, clients: 30, keys: 1, cas: 10, deletes: 0, unknown: 5 };

/// What a register does at an instant.
struct Effect {
    at: u64,
    operation: usize,
}

/// Clients that each do one thing after another on registers which are as they should be.
fn history(seed: u64, manner: &Manner) -> Vec<Operation> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut free: Vec<u64> = (0..manner.clients).collect();
    let mut operations: Vec<Operation> = Vec::new();
    let mut effects: Vec<Effect> = Vec::new();
    // Calls are drawn first; what each returns is found out in the order in which they take effect.
    for index in 0..manner.operations {
        let (place, _) = free.iter().enumerate().min_by_key(|(_, at)| **at).expect("clients");
        let called = free[place] + rng.random_range(1..50);
        let returned = called + rng.random_range(1..400) * if rng.random_range(0..50) == 0 { 20 } else { 1 };
        free[place] = returned;
        let op = match rng.random_range(0..100) {
            n if n < manner.cas => Op::Cas,
            n if n < manner.cas + manner.deletes => Op::Delete,
            n if n < 55 => Op::Put,
            _ => Op::Get,
        };
        let lost = op != Op::Get && rng.random_range(0..100) < manner.unknown;
        let mut at = rng.random_range(called..=returned);
        if lost && rng.random_range(0..3) == 0 {
            // It comes late, long after its client gave it up.
            at += rng.random_range(0..1_000_000);
        }
        if !(lost && rng.random_range(0..3) == 0) {
            effects.push(Effect { at, operation: index });
        }
        operations.push(Operation {
            client: place as u64,
            op,
            key: format!("k{}", rng.random_range(0..manner.keys)),
            value: matches!(op, Op::Put | Op::Cas).then(|| format!("c{place}-{index}")),
            expect: None,
            call_ns: called,
            return_ns: (!lost).then_some(returned),
            outcome: if lost { Outcome::Unknown } else { Outcome::Ok },
            read: None,
        });
    }
    effects.sort_by_key(|effect| (effect.at, effect.operation));
    let mut registers: BTreeMap<String, Option<String>> = BTreeMap::new();
    for Effect { operation, .. } in effects {
        let operation = &mut operations[operation];
        let register = registers.entry(operation.key.clone()).or_default();
        match operation.op {
            Op::Get => operation.read.clone_from(register),
            Op::Put | Op::Delete => register.clone_from(&operation.value),
            Op::Cas if rng.random_range(0..3) > 0 => {
                operation.expect.clone_from(register);
                register.clone_from(&operation.value);
            }
            Op::Cas => {
                operation.expect = Some("what is not there".to_owned());
                if operation.outcome == Outcome::Ok {
                    operation.outcome = Outcome::Fail;
                    operation.read.clone_from(register);
                }
            }
        }
    }
    // As they are written down.
    operations.sort_by_key(|operation| operation.return_ns.unwrap_or(u64::MAX));
    operations
}

fn assert_linearizable(operations: &[Operation]) {
    match check(operations) {
        Ok(summary) => assert!(summary.is_decided(), "{summary}"),
        Err(violation) => panic!("{violation}"),
    }
}

#[test]
fn a_long_history_of_one_register_is_linearizable() {
    for seed in 0..3 {
        assert_linearizable(&history(seed, &PLAIN));
    }
}

#[test]
fn a_long_history_in_which_much_is_unknown_is_linearizable() {
    for seed in 0..3 {
        assert_linearizable(&history(seed, &Manner { unknown: 60, ..PLAIN }));
    }
}

#[test]
fn a_long_history_in_which_all_swap_is_linearizable() {
    assert_linearizable(&history(1, &Manner { cas: 90, ..PLAIN }));
}

#[test]
fn a_long_history_with_deletes_of_unknown_outcome_is_linearizable() {
    for seed in 0..3 {
        assert_linearizable(&history(seed, &Manner { deletes: 15, unknown: 20, ..PLAIN }));
    }
}

#[test]
fn a_long_history_of_many_clients_on_many_keys_is_linearizable() {
    assert_linearizable(&history(
        1,
        &Manner { operations: 100_000, clients: 200, keys: 20, deletes: 5, ..PLAIN },
    ));
}

/// What a get returns that is made wrong.
enum Wrong {
    /// What was overwritten long ago.
    Stale,
    /// What is stored long afterwards.
    Early,
}

fn spoilt(seed: u64, manner: &Manner, wrong: &Wrong) -> Vec<Operation> {
    let mut operations = history(seed, manner);
    let middle = operations.len() / 2;
    let is_put = |operation: &&Operation| {
        matches!(operation.op, Op::Put | Op::Cas) && operation.outcome == Outcome::Ok
    };
    let value = match wrong {
        Wrong::Stale => operations[..middle - 2_000].iter().rev().find(is_put),
        Wrong::Early => operations[middle + 2_000..].iter().find(is_put),
    };
    let value = value.expect("a put").value.clone();
    let get = operations[middle..].iter_mut().find(|operation| operation.op == Op::Get).expect("a get");
    get.read = value;
    operations
}

fn assert_violated(manner: &Manner, wrong: &Wrong, shown_max: usize) {
    for seed in 0..2 {
        let operations = spoilt(seed, manner, wrong);
        let violation = check(&operations).expect_err("a get is wrong");
        assert!(violation.operations.len() <= shown_max, "seed {seed}: {violation}");
        assert!(check(&violation.operations).is_err(), "seed {seed}: {violation}");
    }
}

#[test]
fn one_stale_read_in_a_long_history_is_found_and_shown_in_few_operations() {
    assert_violated(&PLAIN, &Wrong::Stale, 6);
    assert_violated(&Manner { unknown: 60, ..PLAIN }, &Wrong::Stale, 8);
    assert_violated(&Manner { cas: 60, ..PLAIN }, &Wrong::Stale, 8);
}

#[test]
fn one_read_of_the_future_in_a_long_history_is_found_and_shown_in_two_operations() {
    assert_violated(&PLAIN, &Wrong::Early, 2);
}

#[test]
fn one_stale_read_in_a_long_history_with_deletes_is_found() {
    assert_violated(&Manner { operations: 10_000, deletes: 5, unknown: 10, ..PLAIN }, &Wrong::Stale, 8);
}
