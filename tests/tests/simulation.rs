//! The simulation repeats itself, covers what it is for, and finds nothing.

use openraft_tests::sim::{Options, Report, run};

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for seed in 0..6 {
        let options = Options::new(seed);
        let first = run(&options);
        assert_eq!(first, run(&options), "seed {seed} did not repeat itself");
        assert_ne!(first.digest, run(&Options::new(seed + 1_000)).digest);
    }
}

#[test]
fn safety_holds_and_healed_clusters_recover_under_crashes_loss_and_cuts() {
    let mut sum = Report::default();
    for seed in 100..140 {
        let report = run(&Options { nodes: 3 + 2 * (seed % 2), ..Options::new(seed) });
        sum.elections += report.elections;
        sum.commits += report.commits;
        sum.acknowledged += report.acknowledged;
        sum.reads += report.reads;
        sum.changes += report.changes;
        sum.wipes += report.wipes;
    }
    // A simulation that reaches nothing proves nothing.
    assert!(sum.elections > 80, "{sum:?}");
    assert!(sum.commits > 2_000, "{sum:?}");
    assert!(sum.acknowledged > 1_000, "{sum:?}");
    assert!(sum.reads > 200, "{sum:?}");
    assert!(sum.changes > 40, "{sum:?}");
    assert!(sum.wipes > 4, "{sum:?}");
}
