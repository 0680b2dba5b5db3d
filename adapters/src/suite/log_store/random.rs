//! Random histories: every kind of submission interleaved, compared with the model after each step.

use std::ops::Range;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::LogStoreHarness;
use super::scene::{NO_LIMIT, Scene};
use crate::{EntryPayload, RaftTypeConfig};

/// How many steps a history has.
const STEPS: u32 = 120;

/// Runs [`random_history`] once for each seed.
///
/// # Panics
/// If a promise is broken; the message names the seed and the step.
pub async fn random_histories<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H, seeds: Range<u64>) {
    for seed in seeds {
        random_history(harness, seed).await;
    }
}

/// One history of random submissions, reads and restarts, the same for the same seed.
///
/// # Panics
/// If a promise is broken; the message names the seed and the step.
pub async fn random_history<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut scene = Scene::begin(harness, "random_history").await;
    // No leader of an earlier term ever appends again.
    let mut term = 1;
    if rng.random_bool(0.8) {
        scene.append_initial_membership();
    }
    for step in 0..STEPS {
        scene.place = format!("random_history, seed {seed}, step {step}");
        let (first, next) = (scene.model.first_index(), scene.model.next_index());
        match rng.random_range(0..100) {
            0..40 => {
                term += u64::from(rng.random_bool(0.2));
                let count =
                    if rng.random_bool(0.1) { rng.random_range(50..300) } else { rng.random_range(1..9) };
                let mut payloads = Vec::new();
                for _ in 0..count {
                    payloads.push(match rng.random_range(0..20) {
                        0 => EntryPayload::Blank,
                        1 => scene.membership(1..rng.random_range(2..9)),
                        _ => scene.proposal(rng.random_range(0..300)),
                    });
                }
                let entries = scene.entries(term, payloads);
                scene.append(entries);
            }
            40..52 => {
                // Mostly the recent tail, as in life; sometimes everything that is there.
                let lowest = if rng.random_bool(0.8) { next.saturating_sub(12).max(first) } else { first };
                scene.truncate(rng.random_range(lowest..=next));
                term += 1;
            }
            52..62 if next > first => scene.purge_to_index(rng.random_range(first..next)),
            62..64 => {
                term += 1;
                scene.purge(scene.log_id(term, term % 3, next + rng.random_range(0..20)));
            }
            64..72 => scene.save_vote(scene.vote(term, rng.random_range(1..4), rng.random())),
            72..80 => {
                if let Some(last) = scene.model.last_log_id() {
                    scene.save_committed(last);
                }
            }
            80..94 => {
                let start = rng.random_range(first.saturating_sub(2)..next + 2);
                let end = start + rng.random_range(1..40);
                let limit = if rng.random() { NO_LIMIT } else { rng.random_range(0..20_000) };
                // An end beyond the log under a limit in bytes may be reached or not.
                let end = if limit == NO_LIMIT { end } else { end.min(next).max(start + 1) };
                scene.check_read(start..end, limit).await;
            }
            94..97 => scene.settle().await,
            97.. => scene.reopen().await,
            _ => scene.check_reads().await,
        }
    }
    scene.place = format!("random_history, seed {seed}, at its end");
    scene.check_reads().await;
    scene.reopen().await;
}
