//! Nodes that do not get into a cluster, or are no longer in it.

use openraft_node::Node;

use crate::nodes::{Words, addresses, cluster, end, lead, node, soon, why_not_written};

fn word() -> String {
    "word".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_cannot_be_reached_are_all_named() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere: Vec<String> = addresses(2).into_iter().map(|(_, address)| address).collect();
    let joiner =
        node::<Words>(dir.path(), 1).join(nowhere.clone()).listen("127.0.0.1:0").start().await.unwrap();
    let row = "the node has not joined its cluster yet: … nobody listens at …. One of the members given to join() must run";
    let said = async {
        loop {
            let words = why_not_written(&joiner, word, row).await;
            if nowhere.iter().all(|address| words.contains(address)) {
                break;
            }
        }
    };
    soon(said).await;
    end([joiner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_in_no_cluster_itself_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let own = addresses(1).remove(0).1;
    let other = node::<Words>(dir.path(), 1).join(["127.0.0.1:1"]).listen(own.clone()).start().await.unwrap();
    let joiner = node::<Words>(dir.path(), 2).join([own]).listen("127.0.0.1:0").start().await.unwrap();
    let row = "it is in no cluster itself yet; somebody must form one, and only later nodes join";
    why_not_written(&joiner, word, row).await;
    end([other, joiner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_that_finds_itself_behind_another_name_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let by_name = own.replace("127.0.0.1", "localhost");
    let joiner = node::<Words>(dir.path(), 1).join([by_name]).listen(own).start().await.unwrap();
    let row = "node … asked itself: give it the address of a node that is a member already";
    why_not_written(&joiner, word, row).await;
    end([joiner]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_with_the_id_of_a_member_is_refused_by_that_one_and_by_others() {
    let dir = tempfile::tempdir().unwrap();
    let (list, nodes) = cluster::<Words>(dir.path(), 2).await;
    lead(&nodes[1], &nodes[0]).await;
    let row = "node … is a member on the store …: if its directory was replaced, remove the node first";
    for (asked, row) in [(0, "this is node … itself: give the new node another id"), (1, row)] {
        let data = dir.path().join(format!("double-{asked}"));
        let double = Node::<Words>::builder(1, data).join([list[asked].1.clone()]).listen("127.0.0.1:0");
        let double = double.config(|config| config.write_timeout_ms = 2_000).start().await.unwrap();
        why_not_written(&double, word, row).await;
        end([double]).await;
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_with_the_address_of_a_member_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (list, nodes) = cluster::<Words>(dir.path(), 2).await;
    let joiner = node::<Words>(dir.path(), 3).join([list[0].1.clone()]).listen("127.0.0.1:0");
    let joiner = joiner.advertise(list[1].1.clone()).start().await.unwrap();
    why_not_written(&joiner, word, "of this cluster has the address that you give as yours").await;
    end(nodes.into_iter().chain([joiner])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_removed_and_is_started_again_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (list, mut nodes) = cluster::<Words>(dir.path(), 3).await;
    soon(nodes[0].remove_member(3)).await.unwrap();
    end(nodes.pop()).await;
    let removed = node::<Words>(dir.path(), 3).cluster(list).start().await.unwrap();
    // Until the others tell it, it is a member for all it knows, and passes writes on.
    soon(removed.raft().metrics().wait_for(|metrics| metrics.removed)).await.unwrap();
    let row = "was removed from its cluster; ask one of …. To have it back, start it with an empty directory and join()";
    why_not_written(&removed, word, row).await;
    end(nodes.into_iter().chain([removed])).await;
}
