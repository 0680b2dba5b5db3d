//! Directories that are another's, no store, or cannot be used.

use openraft_node::Node;

use crate::nodes::{Words, addresses, end, node, refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (addresses(1), addresses(1));
    let running = node::<Words>(dir.path(), 1).cluster(first).start().await.unwrap();
    let words = refusal(node::<Words>(dir.path(), 1).cluster(second), "… uses …: stop it first").await;
    assert!(words.contains("this very process") && words.contains("node-1"), "{words}");
    end([running]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(2);
    let data = dir.path().join("data");
    let first = Node::<Words>::builder(1, &data).cluster(list.clone()).start().await.unwrap();
    end([first]).await;
    let second = Node::<Words>::builder(2, &data).cluster(list);
    refusal(second, "belongs to node …, and this is node …: start node … on it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_cluster_of_another_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(1);
    let first = node::<Words>(dir.path(), 1).cluster(list.clone()).start().await.unwrap();
    end([first]).await;
    let renamed = node::<Words>(dir.path(), 1).name("shop").cluster(list);
    refusal(renamed, "belongs to cluster …, and this node is of cluster …: give the name").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_the_files_of_another_is_refused_and_they_stay() {
    let dir = tempfile::tempdir().unwrap();
    let thesis = dir.path().join("thesis.txt");
    std::fs::write(&thesis, "precious").unwrap();
    let here = Node::<Words>::builder(1, dir.path()).cluster(addresses(1));
    refusal(here, "is not empty and holds no store (found …): give an empty or a new directory").await;
    assert_eq!(std::fs::read_to_string(thesis).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_a_file_and_what_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    std::fs::write(&file, "x").unwrap();
    for place in [file.clone(), file.join("below")] {
        let here = Node::<Words>::builder(1, place).cluster(addresses(1));
        refusal(here, "cannot be used as a data directory (…): check that it is a directory").await;
    }
}
