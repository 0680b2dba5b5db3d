//! Checks of what truncation and purge leave behind.

use super::LogStoreHarness;
use super::scene::Scene;
use crate::{Entry, EntryPayload, EntryRange, RaftTypeConfig};

/// A log cut in the middle of a batch, at its edge or at its very beginning holds what is left and takes the entries
/// of another leader; nothing that was cut off comes back.
///
/// # Panics
/// If it is not so.
pub async fn a_truncated_log_takes_another_leaders_entries<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    // Batches begin at 1, 6 and 11; the log ends with 15.
    for since in [0, 1, 3, 6, 10, 11, 15, 16] {
        for reopen_between in [false, true] {
            let mut scene = Scene::begin(harness, "a_truncated_log_takes_another_leaders_entries").await;
            scene.place = format!("{}, cut from {since} on", scene.place);
            scene.append_initial_membership();
            for _ in 0..3 {
                scene.append_proposals(1, 5, 40);
            }
            scene.settle().await;
            scene.truncate(since);
            scene.check_reads().await;
            if reopen_between {
                scene.reopen().await;
            }
            // Shorter than what was cut off: a stale tail behind it must not show.
            scene.append_proposals(2, 2, 30);
            scene.reopen().await;
            scene.truncate(scene.model.next_index() - 1);
            scene.append_proposals(3, 20, 30);
            scene.reopen().await;
        }
    }
}

/// A purge inside a batch, at its edge, of one entry or of all drops exactly those, and reads below it say so.
///
/// # Panics
/// If it is not so.
pub async fn a_purge_drops_exactly_what_it_names<C: RaftTypeConfig, H: LogStoreHarness<C>>(harness: &mut H) {
    // Batches begin at 1, 6 and 11; the log ends with 15.
    for upto in [0, 1, 3, 5, 6, 10, 14, 15] {
        let mut scene = Scene::begin(harness, "a_purge_drops_exactly_what_it_names").await;
        scene.place = format!("{}, purged up to {upto}", scene.place);
        scene.append_initial_membership();
        for term in 1..4 {
            scene.append_proposals(term, 5, 40);
        }
        scene.settle().await;
        scene.purge_to_index(upto);
        scene.check_reads().await;
        scene.reopen().await;
        scene.append_proposals(4, 5, 40);
        scene.reopen().await;
        scene.purge_to_index(upto + 1);
        scene.truncate(upto + 2);
        scene.reopen().await;
        scene.append_proposals(5, 5, 40);
        scene.reopen().await;
    }
}

/// A purge beyond the last entry, as after an installed snapshot, leaves an empty log that begins after it.
///
/// # Panics
/// If it is not so.
pub async fn a_purge_beyond_the_last_entry_empties_the_log<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    for held in [0, 1, 8] {
        let mut scene = Scene::begin(harness, "a_purge_beyond_the_last_entry_empties_the_log").await;
        scene.place = format!("{}, {held} entries held", scene.place);
        if held > 0 {
            scene.append_initial_membership();
            scene.append_proposals(1, held - 1, 40);
        }
        scene.save_vote(scene.vote(3, 1, true));
        scene.purge(scene.log_id(3, 0, 1000));
        scene.check_reads().await;
        scene.reopen().await;
        scene.append_proposals(3, 4, 40);
        scene.check_reads().await;
        scene.reopen().await;
        scene.purge(scene.log_id(3, 0, 5000));
        scene.append_proposals(4, 1, 40);
        scene.reopen().await;
    }
}

/// [`LogState`](crate::LogState)'s leader starts and memberships are those of the entries that the log holds, after
/// any cut.
///
/// # Panics
/// If it is not so.
pub async fn leader_starts_and_memberships_follow_the_log<C: RaftTypeConfig, H: LogStoreHarness<C>>(
    harness: &mut H,
) {
    let mut scene = Scene::begin(harness, "leader_starts_and_memberships_follow_the_log").await;
    scene.append_initial_membership();
    for term in 1..9 {
        let mut payloads = vec![EntryPayload::Blank, scene.proposal(20)];
        payloads.push(scene.membership(1..1 + term));
        payloads.push(scene.proposal(20));
        let entries = scene.entries(term, payloads);
        scene.append(entries);
    }
    scene.reopen().await;

    // One batch in which the leader and the membership change, as a follower receives them.
    let first = scene.model.next_index();
    let payloads =
        [scene.membership(2..4), scene.membership(2..5), scene.membership(2..6), EntryPayload::Blank];
    let mixed = payloads.into_iter().zip(first..).map(|(payload, index)| {
        let term = if index < first + 2 { 20 } else { 21 };
        Entry::new(scene.log_id(term, 1, index), payload)
    });
    let mixed = EntryRange::from_entries(mixed.collect());
    scene.append(mixed);
    scene.reopen().await;

    // Cut off the last membership, then the leader's first entry, then several leaders at once.
    for since in [first + 2, first, first - 2, first - 4, first - 13] {
        scene.truncate(since);
        scene.reopen().await;
    }
    // Purge the first leader's first entry, the first membership, and more than a leader.
    for upto in [0, 1, 3, 5, 12] {
        scene.purge_to_index(upto);
        scene.reopen().await;
    }
    // The leader that wrote before the cut goes on; its start stays where it was.
    let term = scene.model.last_log_id().expect("not empty").leader_id.term;
    scene.append_proposals(term, 3, 20);
    scene.reopen().await;
    scene.truncate(scene.model.first_index());
    scene.reopen().await;
    scene.append_proposals(term, 3, 20);
    scene.reopen().await;
}
