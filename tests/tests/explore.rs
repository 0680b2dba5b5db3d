//! The exhaustive search finds what is broken, by a shortest way that a script replays, and says what it did not reach.

use std::time::Duration;

use openraft_tests::explore::{Order, Outcome, Scope, Size, run, scopes};
use openraft_tests::script::Scenario;

/// The scope of elections with other budgets.
fn election(begin: &'static [&'static str], budgets: &[(&str, u8)]) -> Scope {
    let scope = scopes(Size::Ci).iter().find(|scope| scope.name == "election").expect("there is one");
    let budgets: Vec<(String, u8)> =
        budgets.iter().map(|(name, times)| ((*name).to_owned(), *times)).collect();
    Scope { begin, ..scope.with(&budgets).expect("budgets that exist") }
}

fn search(scope: &Scope) -> Outcome {
    run(scope, Order::Breadth, Duration::from_secs(600), |_, _| {}).expect("a sound scope")
}

#[test]
fn elections_of_one_term_with_a_crash_are_searched_to_the_end_and_nothing_is_broken() {
    let scope = election(&["cluster 1 2 3 bare"], &[("timeouts", 1), ("crashes", 1)]);
    let outcome = search(&scope);
    assert!(outcome.is_good(), "{outcome}");
    assert!(outcome.states > 1_000, "{outcome}: too little happened");
    let again = run(&scope, Order::Depth, Duration::from_secs(600), |_, _| {}).expect("a sound scope");
    assert!(again.is_good() && again.states == outcome.states, "{again}, and by breadth {outcome}");
}

#[test]
fn a_disk_that_forgets_its_vote_is_found_and_a_script_replays_how_it_came_to_that() {
    let scope = election(&["cluster 1 2 3 bare forgetful=on"], &[("timeouts", 2), ("crashes", 1)]);
    let outcome = search(&scope);
    assert!(!outcome.is_good());
    let violation = outcome.violation.expect("a voter that forgets votes twice");
    assert_eq!(violation.broken.invariant.to_string(), "one vote a term");
    // A vote, asked for and granted; a crash and a start; then the voter asks for its own vote of the same term.
    let moves = ["due", "deliver", "crash", "restart", "due"];
    let steps: Vec<&str> = violation.scenario.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let made = steps.iter().filter(|step| moves.iter().any(|name| step.starts_with(name))).count();
    assert_eq!(made, moves.len(), "{}", violation.scenario);
    let replayed =
        Scenario::new("found", violation.scenario).run().expect_err("it ends in the same violation");
    assert!(replayed.contains(&violation.broken.to_string()), "{replayed}");
}

#[test]
fn a_search_that_comes_upon_nothing_fails() {
    let outcome = search(&election(&["cluster 1 2 3 bare"], &[("timeouts", 0), ("crashes", 0)]));
    assert!(outcome.complete && outcome.violation.is_none());
    assert!(!outcome.is_good());
    assert!(outcome.to_string().ends_with("missing=\"a leader is elected\""), "{outcome}");
}

#[test]
fn a_search_that_is_cut_short_is_not_complete() {
    let scope = election(&["cluster 1 2 3 bare"], &[("timeouts", 3), ("crashes", 3)]);
    let outcome = run(&scope, Order::Breadth, Duration::from_millis(50), |_, _| {}).expect("a sound scope");
    assert!(!outcome.complete && !outcome.is_good());
}
