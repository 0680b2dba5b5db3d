//! Checks of what a store takes and gives back: votes, entries, hints, completions.

use std::sync::Arc;

use super::LogStoreHarness;
use super::scene::{NO_LIMIT, Scene};
use crate::{EntryBatch, EntryPayload, EntryRange, RaftTypeConfig};

/// A store in a new place has no vote, no entry and no hint, and stays so when it is opened anew.
///
/// # Panics
/// If it is not so.
pub async fn a_new_store_is_empty<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "a_new_store_is_empty").await;
    scene.check_reads().await;
    scene.reopen().await;
}

/// The last vote saved is there after a restart, whatever came before and after it.
///
/// # Panics
/// If it is not so.
pub async fn a_vote_survives<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "a_vote_survives").await;
    scene.save_vote(scene.vote(1, 1, false));
    scene.reopen().await;
    scene.save_vote(scene.vote(1, 1, true));
    scene.reopen().await;
    scene.save_vote(scene.vote(u64::MAX, 2, false));
    scene.save_vote(scene.vote(7, 3, false));
    scene.append_initial_membership();
    scene.reopen().await;
    scene.reopen().await;
}

/// Entries appended in several batches can be read from any index to any other under any limit in bytes.
///
/// # Panics
/// If it is not so.
pub async fn an_append_reads_back_in_any_range<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "an_append_reads_back_in_any_range").await;
    scene.append_initial_membership();
    for (count, bytes) in [(1, 10), (4, 100), (2, 3000), (3, 0), (1, 50)] {
        scene.append_proposals(1, count, bytes);
    }
    scene.settle().await;
    for round in 0..2 {
        let next = scene.model.next_index();
        for start in 0..next {
            for end in start + 1..=next {
                let weight: u64 =
                    scene.model.entries[start as usize..end as usize].iter().map(|kept| kept.weight).sum();
                for limit in [0, weight / 2, weight - 1, weight, NO_LIMIT] {
                    scene.check_read(start..end, limit).await;
                }
            }
        }
        if round == 0 {
            scene.reopen().await;
        }
    }
}

/// Every kind of payload, with and without a session, comes back as it was, from a run cut out of several batches too.
///
/// # Panics
/// If it is not so.
pub async fn payloads_come_back_as_they_were<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "payloads_come_back_as_they_were").await;
    scene.append_initial_membership();
    let mut payloads = Vec::new();
    for bytes in [0, 1, 127, 128, 4095, 4096, 70_000] {
        payloads.push(EntryPayload::Blank);
        payloads.push(scene.proposal(bytes));
        payloads.push(scene.proposal(bytes));
        payloads.push(scene.membership(1..2 + bytes as u64 % 5));
    }
    let entries = scene.entries(1, payloads);
    scene.append(entries);
    scene.reopen().await;

    // One submission made of parts of two batches, as a follower's or a merged one is.
    let begin = scene.model.next_index();
    let run = scene.proposals(2, 6, 20);
    let mut parts = run.slice(begin..begin + 3);
    parts.push(EntryRange::from_batch(reencoded(&run.slice(begin + 3..begin + 6))));
    scene.append(parts);
    scene.check_reads().await;
    scene.reopen().await;
}

/// The same entries as they come off the wire: already encoded.
fn reencoded<C: RaftTypeConfig>(run: &EntryRange<C>) -> Arc<EntryBatch<C>> {
    EntryBatch::decode(run.encoded().concat().into()).expect("what was encoded decodes")
}

/// A read sees every submission made before it, durable or not.
///
/// # Panics
/// If it is not so.
pub async fn reads_see_every_submission_made_before<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    let mut scene = Scene::begin(harness, "reads_see_every_submission_made_before").await;
    scene.append_initial_membership();
    scene.check_reads().await;
    for term in 1..20 {
        scene.append_proposals(term, 10, 200);
        scene.check_reads().await;
        scene.truncate(scene.model.next_index() - 3);
        scene.check_reads().await;
        scene.append_proposals(term + 1, 1, 30);
        scene.save_vote(scene.vote(term, 1, true));
        scene.check_reads().await;
        scene.purge_to_index(scene.model.first_index() + 4);
        scene.check_reads().await;
    }
    scene.reopen().await;
}

/// Of hundreds of submissions of all kinds, made without waiting, each is completed once, in their order.
///
/// # Panics
/// If it is not so.
pub async fn completions_come_once_each_in_order<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "completions_come_once_each_in_order").await;
    scene.append_initial_membership();
    for term in 1..60 {
        scene.save_vote(scene.vote(term, term % 3, term % 2 == 0));
        scene.append_proposals(term, 5, 50);
        scene.append_proposals(term, 1, 5);
        scene.truncate(scene.model.next_index() - 2);
        scene.truncate(scene.model.next_index());
        scene.append(EntryRange::empty());
        scene.save_committed(scene.model.last_log_id().expect("not empty"));
        scene.append_proposals(term, 3, 500);
        if term % 7 == 0 {
            scene.purge_to_index(scene.model.next_index() - 10);
        }
    }
    scene.settle().await;
    scene.reopen().await;
}

/// A read that asks for an index beyond the last is an error, never fewer entries in silence.
///
/// # Panics
/// If it is not so.
pub async fn what_the_log_does_not_hold_is_an_error<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    let mut scene = Scene::begin(harness, "what_the_log_does_not_hold_is_an_error").await;
    scene.check_read(0..1, NO_LIMIT).await;
    scene.append_initial_membership();
    scene.append_proposals(1, 4, 10);
    for indexes in [5..6, 3..6, 0..6, 100..200] {
        scene.check_read(indexes, NO_LIMIT).await;
    }
    scene.truncate(3);
    scene.check_read(2..4, NO_LIMIT).await;
    scene.reopen().await;
    scene.check_read(2..4, NO_LIMIT).await;
}

/// The committed hint saved before a write is there after a restart, or a later one; a hint alone promises nothing.
///
/// # Panics
/// If it is not so.
pub async fn a_committed_hint_comes_along_with_a_later_write<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    let mut scene = Scene::begin(harness, "a_committed_hint_comes_along_with_a_later_write").await;
    scene.append_initial_membership();
    scene.append_proposals(1, 9, 20);
    scene.reopen().await;
    scene.save_committed(scene.model.entries[2].log_id);
    scene.save_committed(scene.model.entries[4].log_id);
    scene.append_proposals(1, 1, 20);
    scene.reopen().await;
    scene.save_committed(scene.model.entries[6].log_id);
    scene.reopen().await;
    scene.save_committed(scene.model.entries[7].log_id);
    scene.save_vote(scene.vote(2, 1, false));
    scene.reopen().await;
    // What the hint names may be cut off or purged; the hint stays what it is: only a hint.
    scene.truncate(6);
    scene.reopen().await;
    scene.purge_to_index(5);
    scene.reopen().await;
}

/// A batch of thousands of entries is stored, read in pieces, cut at both ends and found again.
///
/// # Panics
/// If it is not so.
pub async fn thousands_in_one_batch_survive<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "thousands_in_one_batch_survive").await;
    scene.append_initial_membership();
    scene.append_proposals(1, 6000, 16);
    scene.reopen().await;
    for start in (0..6000).step_by(611) {
        scene.check_read(start..6001, 40_000).await;
    }
    scene.truncate(5500);
    scene.purge_to_index(700);
    scene.reopen().await;
    scene.append_proposals(2, 6000, 16);
    scene.reopen().await;
}

/// Entries of several MiB are stored and read, one at a time if the limit says so.
///
/// # Panics
/// If it is not so.
pub async fn entries_of_megabytes_survive<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    let mut scene = Scene::begin(harness, "entries_of_megabytes_survive").await;
    scene.append_initial_membership();
    scene.append_proposals(1, 1, 5 << 20);
    scene.append_proposals(1, 3, 3 << 20);
    scene.append_proposals(1, 2, 10);
    scene.check_reads().await;
    scene.reopen().await;
    for start in 0..scene.model.next_index() {
        scene.check_read(start..scene.model.next_index(), 1 << 20).await;
        scene.check_read(start..scene.model.next_index(), 7 << 20).await;
    }
    scene.truncate(3);
    scene.reopen().await;
    scene.purge_to_index(1);
    scene.append_proposals(2, 1, 4 << 20);
    scene.reopen().await;
}
