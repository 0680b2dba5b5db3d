//! What is counted while the load runs, and what is made of it at the end.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::mix::Op;
use super::options::BenchOptions;
use super::outcome::Outcome;

/// Counts and times, for each kind of operation.
pub(super) struct Stats {
    kinds: [Kind; Op::ALL.len()],
    started: Instant,
    /// Until when operations count for the rate.
    end: Instant,
    /// Answered before the end.
    in_time: u64,
    last_answer: Instant,
    longest_gap: Duration,
    last_error: Option<String>,
    last_unknown: Option<String>,
}

struct Kind {
    /// Of what was answered, in microseconds.
    latency_us: Histogram<u64>,
    ok: u64,
    conflicts: u64,
    errors: u64,
    unknown: u64,
}

impl Kind {
    fn new() -> Self {
        // An hour, to three digits.
        let latency_us = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these bounds are in order");
        Self { latency_us, ok: 0, conflicts: 0, errors: 0, unknown: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.latency_us.add(&other.latency_us).expect("all have the same bounds");
        self.ok += other.ok;
        self.conflicts += other.conflicts;
        self.errors += other.errors;
        self.unknown += other.unknown;
    }
}

impl Stats {
    /// Counts from `started` on; what is answered before `end` makes the rate.
    pub(super) fn new(started: Instant, end: Instant) -> Self {
        Self {
            kinds: Op::ALL.map(|_| Kind::new()),
            started,
            end,
            in_time: 0,
            last_answer: started,
            longest_gap: Duration::ZERO,
            last_error: None,
            last_unknown: None,
        }
    }

    /// An operation that took `latency` has ended at `now`.
    pub(super) fn add(&mut self, op: Op, outcome: Outcome, latency: Duration, now: Instant) {
        let kind = &mut self.kinds[op as usize];
        match outcome {
            Outcome::Written { .. } | Outcome::Found { .. } | Outcome::Absent => kind.ok += 1,
            Outcome::OtherVersion { .. } => kind.conflicts += 1,
            Outcome::Failed { reason } => {
                kind.errors += 1;
                self.last_error = Some(reason);
                return;
            }
            Outcome::Unknown { reason } => {
                kind.unknown += 1;
                self.last_unknown = Some(reason);
                return;
            }
        }
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        kind.latency_us.saturating_record(latency_us.max(1));
        self.longest_gap = self.longest_gap.max(now.saturating_duration_since(self.last_answer));
        self.last_answer = now;
        self.in_time += u64::from(now <= self.end);
    }

    /// What is known at `now`.
    pub(super) fn report(&self, options: &BenchOptions, seed: u64, now: Instant) -> Report {
        let mut all = Kind::new();
        self.kinds.iter().for_each(|kind| all.add(kind));
        let begun = self.end.min(now).saturating_duration_since(self.started);
        let by_op = Op::ALL.map(|op| Named { op: op.name(), figures: Figures::of(&self.kinds[op as usize]) });
        Report {
            seconds: begun.as_secs_f64(),
            clients: options.clients,
            value_size: options.value_size,
            keys: options.keys,
            mix: options.mix.to_string(),
            seed,
            ops_per_s: (self.in_time as f64 / begun.as_secs_f64().max(0.001)).round(),
            total: Figures::of(&all),
            longest_gap_ms: u64::try_from(self.longest_gap.as_millis()).unwrap_or(u64::MAX),
            by_op: by_op.into_iter().filter(|named| options.mix.percent_of(named.op) > 0).collect(),
            last_error: self.last_error.clone(),
            last_unknown: self.last_unknown.clone(),
        }
    }

    /// How many operations were answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.ok + kind.conflicts).sum()
    }

    /// How many were refused for certain, and how many have an unknown outcome.
    pub(super) fn troubles(&self) -> (u64, u64) {
        self.kinds
            .iter()
            .fold((0, 0), |(errors, unknown), kind| (errors + kind.errors, unknown + kind.unknown))
    }
}

/// The result of a run.
#[derive(Serialize)]
pub(super) struct Report {
    /// How long operations were begun.
    seconds: f64,
    clients: usize,
    value_size: usize,
    keys: usize,
    mix: String,
    seed: u64,
    /// Operations answered within `seconds`, per second.
    ops_per_s: f64,
    #[serde(flatten)]
    total: Figures,
    /// The longest time between two answers.
    longest_gap_ms: u64,
    by_op: Vec<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_unknown: Option<String>,
}

#[derive(Serialize)]
struct Named {
    op: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

/// Times are of what was answered: `ok` and `conflicts`.
#[derive(Serialize)]
struct Figures {
    ok: u64,
    /// Compared and not set, for the key had another version.
    conflicts: u64,
    /// Certainly not done.
    errors: u64,
    /// Perhaps done.
    unknown: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Figures {
    fn of(kind: &Kind) -> Self {
        let at = |quantile| kind.latency_us.value_at_quantile(quantile).min(kind.latency_us.max());
        Self {
            ok: kind.ok,
            conflicts: kind.conflicts,
            errors: kind.errors,
            unknown: kind.unknown,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: kind.latency_us.max(),
        }
    }

    fn line(&self) -> String {
        format!(
            "{} ok, {} conflicts, {} errors, {} unknown; p50 {}, p99 {}, longest {}",
            self.ok,
            self.conflicts,
            self.errors,
            self.unknown,
            millis(self.p50_us),
            millis(self.p99_us),
            millis(self.max_us)
        )
    }
}

fn millis(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

impl Report {
    /// Whether nothing at all was answered.
    pub(super) fn is_empty(&self) -> bool {
        self.total.ok + self.total.conflicts == 0
    }

    /// For people.
    pub(super) fn lines(&self) -> String {
        let mut out = format!(
            "{:.0} operations/s over {:.1} s by {} clients, values of {} bytes, {} keys, {}, seed {}\n",
            self.ops_per_s, self.seconds, self.clients, self.value_size, self.keys, self.mix, self.seed
        );
        let _ = writeln!(out, "{:<7} {}", "all", self.total.line());
        for Named { op, figures } in &self.by_op {
            let _ = writeln!(out, "{op:<7} {}", figures.line());
        }
        let _ = writeln!(out, "longest time without an answer: {} ms", self.longest_gap_ms);
        for (what, reason) in [("error", &self.last_error), ("unknown outcome", &self.last_unknown)] {
            if let Some(reason) = reason {
                let _ = writeln!(out, "the last {what}: {reason}");
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        options: BenchOptions,
    }

    #[test]
    fn only_what_was_answered_in_time_makes_the_rate_and_only_answers_have_times() {
        let options = Alone::parse_from(["bench", "--mix", "put=60,cas=40"]).options;
        let started = Instant::now();
        let at = |ms| started + Duration::from_millis(ms);
        let mut stats = Stats::new(started, at(2_000));
        let ms = Duration::from_millis;
        let written = Outcome::Written { version: Some(1) };
        stats.add(Op::Put, written.clone(), ms(10), at(100));
        stats.add(Op::Cas, Outcome::OtherVersion { current: None }, ms(20), at(1_900));
        stats.add(Op::Put, Outcome::Failed { reason: "no leader".to_owned() }, ms(900), at(1_950));
        stats.add(Op::Put, Outcome::Unknown { reason: "went away".to_owned() }, ms(900), at(1_960));
        stats.add(Op::Put, written, ms(30), at(2_100));
        assert_eq!((stats.answered(), stats.troubles()), (3, (1, 1)));

        let report = stats.report(&options, 7, at(3_000));
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "seconds": 2.0, "ops_per_s": 1.0, "ok": 2, "conflicts": 1, "errors": 1, "unknown": 1, "longest_gap_ms": 1800,
            "last_error": "no leader", "last_unknown": "went away", "seed": 7, "mix": "put=60,cas=40",
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&json[name], value, "{name}");
        }
        // Three digits.
        assert!(json["max_us"].as_u64().unwrap().abs_diff(30_000) <= 30, "{json}");
        assert!(json["p50_us"].as_u64().unwrap().abs_diff(20_000) <= 20, "{json}");
        let ops: Vec<_> = json["by_op"].as_array().unwrap().iter().map(|named| named["op"].clone()).collect();
        assert_eq!(ops, ["put", "cas"]);
        assert!(report.lines().contains("2 ok, 1 conflicts, 1 errors, 1 unknown"), "{}", report.lines());
    }
}
