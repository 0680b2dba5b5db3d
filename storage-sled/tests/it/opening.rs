//! Which directories are opened, and what is said of those that are not.

use std::fs;

use openraft_adapters::IdentityStore;
use openraft_adapters::engine::Vote;
use openraft_adapters::suite::flushed;
use openraft_storage_sled::{OpenError, SledOptions, SledStore};

use crate::support::{SEGMENT, T, append, id, open, options, read_all, run};

fn refusal(dir: &std::path::Path, options: SledOptions<u64>) -> (OpenError, String) {
    let error = SledStore::<T>::open(dir, options).err().expect("the directory is refused");
    let words = error.to_string();
    assert!(words.contains(&dir.display().to_string()), "the directory is named: {words}");
    (error, words)
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let identity = store.identity();
    store.put_app("port", b"4711").await.unwrap();
    append(&store.log(1), run(1, 0..100, 50)).await;
    append(&store.log(2), run(2, 0..3, 50_000)).await;
    let before = (read_all(&store.log(1), 0).await, read_all(&store.log(2), 0).await);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.identity(), identity);
    assert_eq!(store.get_app("port").unwrap().as_deref(), Some(&b"4711"[..]));
    assert_eq!(store.get_app("other").unwrap(), None);
    assert_eq!((read_all(&store.log(1), 0).await, read_all(&store.log(2), 0).await), before);
    assert!(read_all(&store.log(3), 0).await.is_empty());
}

#[tokio::test]
async fn what_happens_to_one_group_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let groups = [0, 1, 2, u64::MAX];
    for group in groups {
        append(&store.log(group), run(1, 0..20, 30)).await;
    }
    let log = store.log(1);
    flushed(|io| log.truncate(15, io)).await.unwrap();
    flushed(|io| log.purge(id(1, 7), io)).await.unwrap();
    flushed(|io| log.save_vote(Vote::new(5, 1).into(), io)).await.unwrap();
    drop((store, log));
    let store = open(dir.path());
    for group in groups {
        let log = store.log(group);
        let state = log.log_state().await.unwrap();
        let (vote, first, count) =
            if group == 1 { (Vote::new(5, 1), 8, 7) } else { (Vote::default(), 0, 20) };
        assert_eq!((state.vote.vote, read_all(&log, first).await.len()), (vote, count), "group {group}");
    }
}

#[test]
fn two_new_directories_draw_different_store_ids() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(open(a.path()).identity().replica.store_id, open(b.path()).identity().replica.store_id);
}

#[test]
fn a_missing_directory_is_created_with_its_parents_or_refused_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    let (error, _) = refusal(&deep, SledOptions { create_if_missing: false, ..options() });
    assert!(matches!(error, OpenError::Missing { .. }));
    assert!(!deep.exists());
    open(&deep);
    assert!(deep.join("openraft-store").exists());
}

#[test]
fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let (error, words) = refusal(dir.path(), SledOptions { node_id: 2, ..options() });
    assert!(matches!(error, OpenError::OtherNode { .. }));
    assert!(words.contains("belongs to node 1") && words.contains("node 2"), "{words}");
    open(dir.path());
}

#[test]
fn a_directory_of_another_cluster_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let (error, words) = refusal(dir.path(), SledOptions { cluster_name: "prod\n".to_owned(), ..options() });
    assert!(matches!(error, OpenError::OtherCluster { .. }));
    assert!(words.contains("\"test\"") && words.contains("\"prod\\n\""), "{words}");
}

#[test]
fn a_directory_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("openraft-store");
    let text = fs::read_to_string(&marker).unwrap();
    assert!(text.contains("format: 3"));
    fs::write(&marker, text.replace("format: 3", "format: 4")).unwrap();
    let (error, _) = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::Newer { found: 4, known: 3, .. }));
    fs::write(&marker, text.replace("format: 3", "format: 2")).unwrap();
    let (error, _) = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::Older { found: 2, known: 3, .. }));
}

#[test]
fn a_directory_with_other_files_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letter.txt"), "dear").unwrap();
    let (error, words) = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::Foreign { .. }));
    assert!(words.contains("letter.txt"), "{words}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_plain_sled_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    sled::open(dir.path()).unwrap().insert(b"k", b"v").unwrap();
    assert!(matches!(refusal(dir.path(), options()).0, OpenError::Foreign { .. }));
}

#[test]
fn a_file_in_the_directorys_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, "x").unwrap();
    assert!(matches!(refusal(&file, options()).0, OpenError::Io { .. }));
    assert!(matches!(refusal(&file.join("below"), options()).0, OpenError::Io { .. }));
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1);
    drop(store);
    let (error, words) = refusal(dir.path(), options());
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(words.contains("this very process"), "{words}");
    drop(log);
    open(dir.path());
}

#[test]
fn a_segment_size_out_of_bounds_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1 << 19, (1 << 20) + 1, 1 << 25] {
        let options = SledOptions { segment_size_bytes: size, ..options() };
        assert!(
            matches!(SledStore::<T>::open(dir.path(), options).err(), Some(OpenError::Options { .. })),
            "{size}"
        );
    }
}

#[test]
fn a_directory_keeps_its_segment_size() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let options = SledOptions { segment_size_bytes: 2 * SEGMENT, ..options() };
    SledStore::<T>::open(dir.path(), options).unwrap();
}

#[test]
fn a_creation_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("openraft-store");
    let half = fs::read_to_string(&marker).unwrap().replace("state: complete", "state: creating");
    let (content, _) = half.rsplit_once("checksum: ").unwrap();
    let half = format!("{content}checksum: {:08x}\n", crc32fast::hash(content.as_bytes()));
    fs::write(&marker, &half).unwrap();
    fs::write(dir.path().join("db"), "torn").unwrap();
    drop(open(dir.path()));
    let whole = fs::read_to_string(&marker).unwrap();
    assert!(whole.contains("state: complete") && !whole.contains(half.lines().nth(5).unwrap()), "{whole}");
    open(dir.path());
}

/// What is not `complete` was cut short, and is removed: a single changed letter must not read so.
#[tokio::test]
async fn a_damaged_marker_is_refused_and_costs_no_data() {
    let dir = tempfile::tempdir().unwrap();
    append(&open(dir.path()).log(1), run(1, 0..5, 10)).await;
    let marker = dir.path().join("openraft-store");
    let text = fs::read_to_string(&marker).unwrap();
    for (from, to) in [
        ("state: complete", "state: completf"),
        ("state: complete", "state: creating"),
        ("segment-size: 1", "segment-size: 2"),
        ("\nchecksum", "\n"),
    ] {
        assert!(text.contains(from));
        fs::write(&marker, text.replace(from, to)).unwrap();
        let (error, words) = refusal(dir.path(), options());
        assert!(matches!(error, OpenError::Damaged { .. }) && words.contains("checksum"), "{words}");
    }
    fs::write(&marker, text).unwrap();
    assert_eq!(read_all(&open(dir.path()).log(1), 0).await.len(), 5);
}

#[test]
fn a_database_that_lost_its_identity_is_damage_and_no_new_beginning() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "db" || name.starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
    assert!(matches!(refusal(dir.path(), options()).0, OpenError::Damaged { .. }));
}

#[test]
fn a_page_table_that_a_crash_left_half_written_does_not_hinder_opening() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("snap.FFFFFFFFFFFFFFF0.generating"), "half").unwrap();
    open(dir.path());
}
