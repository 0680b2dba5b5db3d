//! The simulation repeats itself, covers what it is for, finds nothing, and finds what it should.

use openraft_tests::sim::kv::Kv;
use openraft_tests::sim::{Chosen, Coverage, Options, Reached, run};

/// Few enough for every test run; `.ci/run` makes many more.
const STEPS: u64 = 4_000;

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..4 {
        let options = Options::new(seed, STEPS);
        let first = run(&options, Kv).unwrap();
        assert_eq!(first, run(&options, Kv).unwrap(), "seed {seed} did not repeat itself");
        assert_ne!(first.digest, run(&Options::new(seed + 1_000, STEPS), Kv).unwrap().digest);
    }
}

#[test]
fn safety_holds_and_healed_clusters_serve_whatever_happens_to_them() {
    let mut sum = Coverage::default();
    for seed in 100..116 {
        match run(&Options::new(seed, STEPS), Kv) {
            Ok(report) => sum += &report.coverage,
            Err(failure) => panic!("seed {seed}: {} at step {}", failure.what, failure.step),
        }
    }
    // A simulation that reaches nothing proves nothing.
    for reached in
        [Reached::Election, Reached::WriteAcknowledged, Reached::ReadIndexRead, Reached::HealedQuorum]
    {
        assert!(sum.of(reached) >= 16, "{reached}: {sum}");
    }
}

#[test]
fn a_fault_that_is_left_out_is_not_made_and_those_before_it_are() {
    let all = run(&Options::new(7, STEPS), Kv).unwrap();
    let none = Options { faults: Chosen::Only([].into()), ..Options::new(7, STEPS) };
    assert_eq!(run(&none, Kv).unwrap().faults, 0);
    let without = Options { faults: Chosen::Without([0, 1, 2].into()), ..Options::new(7, STEPS) };
    assert_ne!(run(&without, Kv).unwrap().digest, all.digest);
}
