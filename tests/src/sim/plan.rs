//! The faults of a run, drawn from its seed before it begins, so that one can be left out and the others stay.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// One thing that goes wrong, or right again. Whom it concerns is drawn when it is made: `pick` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Crash,
    /// After so many more steps of its tasks, in the midst of its work.
    CrashWithin(u32),
    /// And back at once: whoever forgot what it promised meets the same election again.
    CrashAndBack,
    Start,
    Isolate,
    CutOneWay,
    /// Some nodes from all others, both ways or one.
    Partition {
        both: bool,
    },
    SlowLink,
    /// Links are whole again; one message in so many is lost.
    Links {
        lose_one_in: u32,
    },
    Pause {
        millis: u64,
    },
    Suspend {
        millis: u64,
    },
    Stall {
        millis: u64,
    },
    WriteError,
    FullDisk {
        millis: u64,
    },
    ReadErrors,
    Rot,
    Wipe,
    WipeIdle,
    Change,
    Transfer,
    Snapshot,
    Elect,
    RollingRestart,
    /// The operator sees to what is broken for good.
    Operator,
}

/// A fault and when it comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Its number in the run.
    pub(super) number: u64,
    /// So long after the one before it.
    pub(super) after: Duration,
    pub(super) kind: Kind,
    /// Chooses among those whom it may concern.
    pub(super) pick: u64,
}

/// Draws what belongs to a kind.
type Draw = fn(&mut SmallRng) -> Kind;

/// How often each kind comes, among the others.
const WEIGHTS: &[(u32, Draw)] = &[
    (8, |_| Kind::Crash),
    (10, |rng| Kind::CrashWithin(rng.random_range(0..60))),
    (8, |_| Kind::CrashAndBack),
    (20, |_| Kind::Start),
    (10, |_| Kind::Isolate),
    (10, |_| Kind::CutOneWay),
    (6, |rng| Kind::Partition { both: rng.random_bool(0.6) }),
    (5, |_| Kind::SlowLink),
    (14, |rng| Kind::Links { lose_one_in: rng.random_range(4..60) }),
    (8, |rng| Kind::Pause { millis: rng.random_range(10..2_000) }),
    (3, |rng| Kind::Suspend { millis: rng.random_range(300..3_000) }),
    (5, |rng| Kind::Stall { millis: rng.random_range(500..6_000) }),
    (3, |_| Kind::WriteError),
    (3, |rng| Kind::FullDisk { millis: rng.random_range(200..4_000) }),
    (3, |_| Kind::ReadErrors),
    (4, |_| Kind::Rot),
    (3, |_| Kind::Wipe),
    (7, |_| Kind::WipeIdle),
    (22, |_| Kind::Change),
    (9, |_| Kind::Transfer),
    (7, |_| Kind::Snapshot),
    (3, |_| Kind::Elect),
    (1, |_| Kind::RollingRestart),
    (12, |_| Kind::Operator),
];

/// Faults without end.
pub(super) struct Plan {
    rng: SmallRng,
    next: u64,
    /// The kinds that this run has: few kinds together show what many hide.
    weights: Vec<u32>,
    /// Whether they come thick and fast.
    dense: bool,
}

/// Which faults of a plan are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Chosen {
    /// All of them.
    #[default]
    All,
    /// All but these.
    Without(BTreeSet<u64>),
    /// Only these.
    Only(BTreeSet<u64>),
}

impl Chosen {
    /// Whether the fault of this number is made.
    pub fn has(&self, number: u64) -> bool {
        match self {
            Chosen::All => true,
            Chosen::Without(left_out) => !left_out.contains(&number),
            Chosen::Only(made) => made.contains(&number),
        }
    }
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5eed_fa01_7000_0000);
        let all = rng.random_bool(0.4);
        let weights = WEIGHTS.iter().map(|(weight, _)| if all || rng.random_bool(0.7) { *weight } else { 0 });
        let mut weights: Vec<u32> = weights.collect();
        // Whatever else is left out, nodes come back, links are mended and somebody sees to what is broken.
        for (place, (weight, kind)) in WEIGHTS.iter().enumerate() {
            let mends = matches!(kind(&mut rng), Kind::Start | Kind::Links { .. } | Kind::Operator);
            if mends {
                weights[place] = *weight;
            }
        }
        let dense = rng.random_bool(0.5);
        Self { rng, next: 0, weights, dense }
    }
}

impl Iterator for Plan {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        // Now and then one upon the other, so that an election meets a crash.
        let close = self.rng.random_ratio(1, 3);
        let (from, to) = match (close, self.dense) {
            (true, _) => (500, 20_000),
            (false, true) => (20_000, 500_000),
            (false, false) => (20_000, 1_500_000),
        };
        let after = Duration::from_micros(self.rng.random_range(from..to));
        let mut left = self.rng.random_range(0..self.weights.iter().sum());
        let mut place = 0;
        while left >= self.weights[place] {
            left -= self.weights[place];
            place += 1;
        }
        let kind = WEIGHTS[place].1(&mut self.rng);
        let fault = Fault { number: self.next, after, kind, pick: self.rng.random() };
        self.next += 1;
        Some(fault)
    }
}
