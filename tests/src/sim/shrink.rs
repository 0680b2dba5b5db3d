//! Makes a failure small: faults are left out as long as the run still fails.

use std::collections::BTreeSet;

use super::plan::Chosen;
use super::run::{Failure, Options, run};
use super::subject::Subject;

/// So many runs at most are made to make one failure small.
const RUNS_MAX: usize = 300;

/// Leaves out faults, many at a time and then fewer, as long as the run still fails in some way. Returns the options of
/// the smallest run that does, and how it fails.
pub fn shrink<S: Subject>(
    options: &Options,
    failure: Box<Failure>,
    subject: impl Fn() -> S,
) -> (Options, Box<Failure>) {
    let mut best = failure;
    let mut runs = 0;
    let mut chunk = best.faults.len().div_ceil(2);
    while chunk > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut smaller = false;
        while at < best.faults.len() && runs < RUNS_MAX {
            let kept = best.faults.iter().enumerate().filter(|(i, _)| !(at..at + chunk).contains(i));
            let kept: BTreeSet<u64> = kept.map(|(_, number)| *number).collect();
            runs += 1;
            match run(&Options { faults: Chosen::Only(kept), ..options.clone() }, subject()) {
                Err(failure) if failure.faults.len() < best.faults.len() => {
                    best = failure;
                    smaller = true;
                }
                _ => at += chunk,
            }
        }
        chunk = if smaller { chunk.min(best.faults.len()) } else { chunk / 2 };
    }
    let faults = Chosen::Only(best.faults.iter().copied().collect());
    (Options { faults, ..options.clone() }, best)
}

/// The shortest words that choose the same faults as `only`, of those numbered up to `end`: ranges, and what is left out
/// where that is less.
pub fn in_words(only: &BTreeSet<u64>, end: u64) -> String {
    let left_out: BTreeSet<u64> = (0..end).filter(|number| !only.contains(number)).collect();
    let (kept, without) = (ranges(only), ranges(&left_out));
    match (left_out.is_empty(), only.is_empty()) {
        (true, _) => String::new(),
        (_, true) => " --only none".to_owned(),
        _ if without.len() < kept.len() => format!(" --without {without}"),
        _ => format!(" --only {kept}"),
    }
}

/// Numbers as ranges: `1-4,7`.
fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut all: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => all.push((*number, *number)),
        }
    }
    let words = all
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    words.collect::<Vec<_>>().join(",")
}

/// Numbers from ranges: the inverse of what a failure prints.
///
/// # Errors
/// What cannot be read.
pub fn from_ranges(words: &str) -> Result<BTreeSet<u64>, String> {
    let mut numbers = BTreeSet::new();
    if words == "none" {
        return Ok(numbers);
    }
    for part in words.split(',') {
        let wrong = || format!("{part:?} is no number and no range; write for example 3,7-9");
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) =
            (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failure_prints_can_be_read_again_and_is_the_shorter_of_two_ways() {
        let some = BTreeSet::from([3, 7, 8, 9]);
        assert_eq!(in_words(&some, 100), " --only 3,7-9");
        assert_eq!(from_ranges("3,7-9"), Ok(some.clone()));
        let most: BTreeSet<u64> = (0..100).filter(|number| !some.contains(number)).collect();
        assert_eq!(in_words(&most, 100), " --without 3,7-9");
        assert_eq!(in_words(&(0..5).collect(), 5), "");
        assert_eq!(
            from_ranges(" 3"),
            Err("\" 3\" is no number and no range; write for example 3,7-9".to_owned())
        );
        assert_eq!(from_ranges("none"), Ok(BTreeSet::new()));
    }
}
