//! Seeded walks through worlds of engines and `Progress` values without I/O, with every step that there is: no order
//! of events breaks an invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft_engine::MembershipChange;
use openraft_tests::world::{Settings, Step, World};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How long one walk is.
const STEPS: usize = 1_500;

/// More than this is not under way at once; what comes on top is lost.
const UNDER_WAY_MAX: usize = 60;

fn settings(seed: u64) -> Settings {
    let mut settings = Settings { seed, keep: seed % 3, pin: seed % 20, ..Settings::default() };
    settings.pre_vote = !seed.is_multiple_of(4);
    settings.promises = !seed.is_multiple_of(3);
    settings.snapshot_every = if seed.is_multiple_of(2) { Some(4) } else { None };
    settings.windows.max_inflight_messages = 1 + (seed % 3) as usize;
    settings.windows.max_append_entries = 1 + seed % 4;
    settings
}

/// Any step, most often one that brings something forward.
fn any_step(world: &World, rng: &mut SmallRng, number: usize) -> Step {
    let ids: Vec<u64> = world.nodes().keys().copied().collect();
    let id = ids[rng.random_range(0..ids.len())];
    let under_way = world.messages().len();
    let message = || under_way.clamp(1, 5);
    match rng.random_range(0..100) {
        0..50 if under_way > 0 => Step::Deliver(rng.random_range(0..message())),
        50..52 if under_way > 0 => Step::Repeat(rng.random_range(0..under_way)),
        52..54 if under_way > 0 => Step::Lose(rng.random_range(0..under_way)),
        54..76 => Step::Flush(id, rng.random_range(1..4)),
        76..84 => Step::Work(id),
        84..87 => Step::Fire(id),
        87..93 => Step::Propose(id, format!("w{number}")),
        93..95 => Step::Read(id, format!("r{number}")),
        95 => Step::Transfer(id, None),
        96 => Step::GiveUp(id, ids[rng.random_range(0..ids.len())]),
        97 => Step::Crash(id, rng.random_range(0..4)),
        98 if rng.random() => Step::SeekElection(id),
        98 => Step::Snapshot(id),
        _ => Step::Restart(id),
    }
}

/// A change of the membership that somebody may ask for.
fn any_change(ids: &[u64], world: &World, rng: &mut SmallRng) -> MembershipChange<u64, String> {
    let id = ids[rng.random_range(0..ids.len())];
    let one = BTreeSet::from([id]);
    match rng.random_range(0..5) {
        0 => MembershipChange::AddLearners(BTreeMap::from([(id, world.new_node(id, true))])),
        1 => MembershipChange::AddVoters(one),
        2 => MembershipChange::RemoveVoters(one),
        3 => MembershipChange::RemoveNodes(one),
        _ => MembershipChange::ReplaceVoters(
            ids.iter().copied().filter(|_| rng.random_bool(0.6)).collect::<BTreeSet<u64>>(),
        ),
    }
}

fn walk(seed: u64) -> World {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut world = World::formed(&[1, 2, 3], settings(seed));
    world.add_empty(4);
    world.add_empty(5);
    let ids: Vec<u64> = world.nodes().keys().copied().collect();
    for number in 0..STEPS {
        let step = if rng.random_ratio(1, 60) {
            let change = any_change(&ids, &world, &mut rng);
            Step::Change(ids[rng.random_range(0..ids.len())], change)
        } else {
            any_step(&world, &mut rng, number)
        };
        let words = world.words(&step);
        world.take(&step);
        if rng.random_ratio(1, 4) {
            for id in &ids {
                world.pass(*id, Duration::from_millis(10));
            }
        }
        while world.messages().len() > UNDER_WAY_MAX {
            world.take(&Step::Lose(0));
        }
        if let Err(broken) = world.check() {
            panic!("seed {seed}, step {number}, {words}: {broken}");
        }
    }
    world
}

#[test]
fn no_order_of_events_breaks_an_invariant() {
    let seeds = 0..150;
    let count = seeds.end - seeds.start;
    let committed: u64 = seeds.map(|seed| walk(seed).history().committed_end()).sum();
    assert!(
        committed > 10 * count,
        "{committed} entries committed in {count} walks: too little was at stake"
    );
}

#[test]
fn the_same_steps_lead_to_the_same_world() {
    assert!(walk(7) == walk(7));
}

#[test]
fn worlds_that_differ_in_their_clocks_alone_are_the_same_world() {
    let world = World::formed(&[1, 2, 3], Settings::default());
    let mut later = world.clone();
    later.pass(1, Duration::from_millis(10));
    assert!(world == later);
    later.take(&Step::Fire(1));
    assert!(world != later, "a deadline that came is a difference");
}

#[test]
fn worlds_in_which_the_same_happened_in_another_order_are_the_same_world() {
    let mut one = World::formed(&[1, 2, 3], Settings::default());
    one.take(&Step::Fire(1));
    let mut other = one.clone();
    one.take(&Step::Deliver(0));
    assert!(one != other);
    one.take(&Step::Deliver(0));
    other.take(&Step::Deliver(1));
    other.take(&Step::Deliver(0));
    assert!(one == other, "the answers were sent in another order, and either may arrive first");
}

/// What a search prints is what a script takes.
#[test]
fn a_step_is_told_in_the_words_of_a_script() {
    let mut world = World::formed(&[1, 2, 3], Settings::default());
    let change = MembershipChange::Batch(vec![
        MembershipChange::AddLearners(BTreeMap::from([(4, world.new_node(4, true))])),
        MembershipChange::RemoveNodes(BTreeSet::from([2, 3])),
    ]);
    assert_eq!(world.words(&Step::Change(1, change)), "member 1 add 4 promote and remove 2 3");
    world.take(&Step::Fire(1));
    assert_eq!(world.words(&Step::Deliver(1)), "deliver 1->3 pre-vote #1");
}
