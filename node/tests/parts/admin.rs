//! The admin routes, over HTTP as an operator uses them.

use crate::common::{Words, end, listeners, request, three, tokio_listener};
use openraft_node::serde_json::{Map, json};
use openraft_node::{Consistency, Node, NodeStatus};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_every_node_names_role_leader_indexes_and_members() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    nodes[0].write("word".to_owned()).await.unwrap();
    for (node, id) in nodes.iter().zip(1_u64..) {
        node.read(0, Consistency::Linearizable).await.unwrap();
        let answer = request(node.address(), "GET", "/node/v1/status", b"").await;
        let status: NodeStatus = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, status.id, status.address.as_str()), (200, id, node.address()));
        let role = if status.leader == Some(id) { "leader" } else { "follower" };
        assert_eq!((status.role.as_str(), status.members.len()), (role, 3));
        assert!(status.term > 0 && status.applied_index.is_some() && status.cluster_id.is_some());
        let members = request(node.address(), "GET", "/node/v1/members", b"").await.json();
        assert_eq!(members.as_array().unwrap().len(), 3);
        assert_eq!(request(node.address(), "GET", "/node/v1/health", b"").await.status, 200);
        assert_eq!(request(node.address(), "GET", "/node/v1/ready", b"").await.status, 200);
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_is_asked_to_move_leadership_to_take_a_snapshot_and_to_remove_a_member() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    nodes[0].write("word".to_owned()).await.unwrap();
    let led = nodes[0].raft().metrics().borrow().current_leader.unwrap();
    let (target, other) = (led % 3 + 1, (led + 1) % 3 + 1);
    let asked = nodes[other as usize - 1].address();
    let moved = request(asked, "POST", &format!("/node/v1/transfer-leader?to={target}"), b"").await;
    assert_eq!((moved.status, moved.json()), (200, json!({ "from": led })));
    nodes[target as usize - 1].raft().metrics().wait_for(|m| m.current_leader == Some(target)).await.unwrap();

    nodes[other as usize - 1].read(0, Consistency::Linearizable).await.unwrap();
    let snapshot = request(asked, "POST", "/node/v1/snapshot", b"").await;
    assert_eq!((snapshot.status, &snapshot.json()["ordered"]), (200, &true.into()));

    let removed = request(asked, "DELETE", &format!("/node/v1/members/{led}"), b"").await;
    assert!(removed.status == 200 && removed.json()["log_index"].is_u64(), "{removed:?}");
    let again = request(asked, "DELETE", &format!("/node/v1/members/{led}"), b"").await;
    assert_eq!((again.status, &again.json()["log_index"]), (200, &().into()));

    // It runs on, and can be added again as it is.
    let store = nodes[led as usize - 1].raft().replica().store_id;
    let address = nodes[led as usize - 1].address();
    let path = format!("/node/v1/members/{led}?address={address}&store_id={store}");
    let added = request(asked, "PUT", &path, b"").await;
    assert!(added.status == 200 && added.json()["log_index"].is_u64(), "{added:?}");
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_gets_wrong_is_answered_with_a_code_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let nodes = three(dir.path()).await;
    nodes[0].write("word".to_owned()).await.unwrap();
    for (method, path, status, code, word) in [
        ("GET", "nothing", 404, "unknown_route", "transfer-leader"),
        ("GET", "snapshot", 405, "method_not_allowed", "POST"),
        ("DELETE", "members/x", 400, "bad_query", "members/4"),
        ("DELETE", "members/0", 400, "bad_query", "members/4"),
        ("PUT", "members/4?address=a:1", 400, "bad_query", "store_id=STORE"),
        ("PUT", "members/4?address=nowhere&store_id=1", 400, "bad_query", "host:port"),
        ("POST", "members/4/promote", 409, "change_refused", "node 4 is not a member"),
        ("POST", "transfer-leader?to=9", 409, "transfer_failed", "no such voter"),
        ("POST", "transfer-leader?too=1", 400, "bad_query", "?to=ID"),
    ] {
        let answer = request(nodes[1].address(), method, &format!("/node/v1/{path}"), b"").await;
        let json = answer.json();
        assert_eq!((answer.status, &json["code"]), (status, &code.into()), "{method} {path}: {json}");
        assert!(json["message"].as_str().unwrap().contains(word), "{method} {path}: {json}");
    }
    end(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_the_largest_order_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let (_, address, listener) = listeners(1).remove(0);
    let node = Node::<Words>::builder(1, dir.path()).cluster([(1, address)]);
    let node = node.listener(tokio_listener(listener)).config(|config| config.max_proposal_bytes = 100_000);
    let node = node.start().await.unwrap();
    let answer = request(node.address(), "POST", "/node/v1/order", &[0; 200_000]).await;
    assert_eq!(answer.status, 413);
    end(vec![node]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_holds_what_the_application_adds() {
    let dir = tempfile::tempdir().unwrap();
    let (_, address, listener) = listeners(1).remove(0);
    let node = Node::<Words>::builder(1, dir.path())
        .cluster([(1, address)])
        .listener(tokio_listener(listener))
        .status_details(|words| Map::from_iter([("words".to_owned(), words.0.len().into())]));
    let node = node.start().await.unwrap();
    node.write("word".to_owned()).await.unwrap();
    let status = request(node.address(), "GET", "/node/v1/status", b"").await.json();
    assert_eq!((&status["words"], &status["id"]), (&1.into(), &1.into()));
    end(vec![node]).await;
}
