//! How an author simulates a state machine of his own: a counter that many clients increase, under every fault that the
//! library is tested with.

use openraft_adapters::memory::{MemApp, MemSnapshots, MemStateMachine, MemStateReader};
use openraft_adapters::{LogIdOf, RaftStateMachine, declare_raft_types};
use openraft_tests::testkit::{Operation, Options, Outcome, Request, Subject, run, shrink};
use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

declare_raft_types!(Types: D = Add, R = u64);

/// Adds `amount`. Client and number make no two of them equal.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Add {
    amount: u64,
    client: u64,
    number: u64,
}

/// The state machine: a sum, which it replies with. `forgets` plants a defect: some additions are lost.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Sum<const FORGETS: bool>(u64);

impl<const FORGETS: bool> MemApp<Types> for Sum<FORGETS> {
    fn apply(&mut self, log_id: LogIdOf<Types>, add: &Add) -> u64 {
        if !FORGETS || !log_id.index.is_multiple_of(16) {
            self.0 += add.amount;
        }
        self.0
    }
}

/// What is simulated.
#[derive(Clone, Debug)]
struct Counter<const FORGETS: bool>;

impl<const FORGETS: bool> Subject for Counter<FORGETS> {
    type Types = Types;
    type Proposal = Add;
    type Reply = u64;
    type Query = ();
    type Answer = u64;
    type Disk = MemSnapshots<Types>;
    type View = MemStateReader<Types, Sum<FORGETS>>;
    /// Who it is, and how many additions it has made.
    type Client = (u64, u64);

    fn open(&self, disk: &Self::Disk) -> (Box<dyn RaftStateMachine<Types>>, Self::View) {
        let machine = MemStateMachine::<Types, Sum<FORGETS>>::open(disk.clone());
        let view = machine.reader();
        (Box::new(machine), view)
    }

    fn client(&self, id: u64) -> (u64, u64) {
        (id, 0)
    }

    fn next(&self, (client, number): &mut (u64, u64), rng: &mut SmallRng) -> Request<Self> {
        if rng.random_bool(0.3) {
            return Request::Read(());
        }
        *number += 1;
        Request::Write(Add { amount: rng.random_range(1..100), client: *client, number: *number })
    }

    fn read(&self, view: &Self::View, (): &()) -> u64 {
        view.with(|sum| sum.0)
    }

    /// Whatever is read holds at least what was certainly added before, and at most what may have been added until then.
    fn judge(&self, history: &[Operation<Self>]) -> Result<(), String> {
        for operation in history {
            let (Outcome::Read(seen) | Outcome::Written(seen)) = operation.outcome else { continue };
            let sum = |counts: &dyn Fn(&Operation<Self>) -> bool| -> u64 {
                let amounts =
                    history.iter().filter(|other| counts(other)).map(|other| match &other.request {
                        Request::Write(add) => add.amount,
                        Request::Read(()) => 0,
                    });
                amounts.sum()
            };
            let least = sum(&|other| {
                matches!(other.outcome, Outcome::Written(_)) && other.returned < operation.called
            });
            let most =
                sum(&|other| !matches!(other.outcome, Outcome::Failed) && other.called < operation.returned);
            if !(least..=most).contains(&seen) {
                return Err(format!("{operation:?} saw {seen}, which is not from {least} to {most}"));
            }
        }
        Ok(())
    }
}

#[test]
fn a_counter_counts_right_whatever_happens_to_its_cluster() {
    for seed in 0..4 {
        let report = run(&Options::new(seed, 3_000), Counter::<false>);
        let report = report.unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.what));
        assert!(report.commits > 0);
    }
}

#[test]
fn a_counter_that_forgets_is_found_out_and_the_failure_made_small() {
    let options = Options::new(1, 3_000);
    let failure = run(&options, Counter::<true>).expect_err("additions are lost");
    assert!(failure.what.contains("which is not from"), "{}", failure.what);
    let (small, again) = shrink(&options, failure, || Counter::<true>);
    assert_eq!(again.faults, [0_u64; 0], "it needs no fault at all");
    let repeated = run(&small, Counter::<true>).expect_err("it repeats itself");
    assert_eq!(repeated, again);
}
