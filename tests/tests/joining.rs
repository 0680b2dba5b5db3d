//! Stories of nodes that join a cluster, over real cores in memory, on virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use openraft_adapters::{
    Env, Identity, IdentityStore, JoinNetwork, JoinReply, JoinRequest, JoinServer, NetworkError, StorageError,
};
use openraft_core::join::{Admission, JoinError, Joining};
use openraft_core::{Config, ServerState};
use openraft_engine::{BasicNode, ClusterId, Replica, StoreId};
use openraft_tests::cluster::{Cluster, Names, replica};

const CLUSTER: ClusterId = ClusterId(77);

/// A directory's identity, in memory.
struct Directory(Mutex<Identity<u64>>);

impl Directory {
    fn new(replica: Replica<u64>, cluster_id: Option<ClusterId>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Identity { replica, cluster_name: "shop".to_owned(), cluster_id })))
    }
}

#[async_trait]
impl IdentityStore<Names> for Directory {
    fn identity(&self) -> Identity<u64> {
        self.0.lock().unwrap().clone()
    }

    async fn record_peer(&self, peer: Replica<u64>) -> Result<Replica<u64>, StorageError> {
        Ok(peer)
    }

    async fn record_cluster(&self, cluster_id: ClusterId) -> Result<(), StorageError> {
        self.0.lock().unwrap().cluster_id = Some(cluster_id);
        Ok(())
    }
}

/// The members that answer, by address.
struct Members(BTreeMap<String, Admission<Names>>);

impl Members {
    fn of(cluster: &Cluster) -> Self {
        let member = |(id, node): (&u64, &openraft_tests::cluster::Node)| {
            let directory = Directory::new(replica(*id), Some(CLUSTER));
            (format!("node {id}"), Admission::new(directory, node.raft.clone()))
        };
        Self(cluster.nodes.iter().map(member).collect())
    }
}

#[async_trait]
impl JoinNetwork<Names> for Members {
    async fn join(
        &self,
        member: &BasicNode,
        request: JoinRequest<u64, BasicNode>,
    ) -> Result<JoinReply<BasicNode>, NetworkError> {
        match self.0.get(&member.addr) {
            Some(admission) => Ok(admission.join(request).await),
            None => Err(NetworkError::unreachable_because(&member.addr, "nobody listens")),
        }
    }
}

fn address(id: u64) -> BasicNode {
    BasicNode::new(format!("node {id}"))
}

fn joining(directory: &Arc<Directory>, asked: &[u64], promote: bool) -> Joining<Names> {
    let me = directory.identity().replica.node_id;
    Joining::new(directory.clone(), address(me), asked.iter().map(|id| address(*id)).collect(), promote)
}

async fn becomes(cluster: &Cluster, id: u64, state: ServerState) {
    let wait = cluster.raft(id).wait(Some(std::time::Duration::from_secs(60)));
    wait.metrics(|m| m.state == state && m.current_leader.is_some(), "its place").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whichever_member_is_asked_the_node_is_admitted_and_becomes_a_voter() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let leader = cluster.leader().await;
    let members = Members::of(&cluster);
    let written = cluster.raft(leader).client_write("before".into()).await.unwrap();
    cluster.start_empty(replica(4)).await;
    let directory = Directory::new(replica(4), None);
    // The first is down, the second does not lead.
    let asked = [9, cluster.others(leader)[0]];
    let joined = joining(&directory, &asked, true).join(&members, &Env::tokio()).await.unwrap();
    assert_eq!((joined, directory.identity().cluster_id), (CLUSTER, Some(CLUSTER)));
    becomes(&cluster, 4, ServerState::Follower).await;
    cluster.applied(4, written.log_id.index).await;
    // Again, as after a crash before the log came.
    let again = joining(&directory, &asked, true).join(&members, &Env::tokio()).await.unwrap();
    assert_eq!(again, CLUSTER);
    assert!(cluster.raft(leader).metrics().borrow().membership.membership.is_voter(&4));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_as_a_learner_stays_one() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let members = Members::of(&cluster);
    cluster.start_empty(replica(4)).await;
    let directory = Directory::new(replica(4), None);
    joining(&directory, &[1, 2, 3], false).join(&members, &Env::tokio()).await.unwrap();
    becomes(&cluster, 4, ServerState::Learner).await;
    Env::tokio().sleep(std::time::Duration::from_secs(10)).await;
    assert!(!cluster.raft(4).metrics().borrow().membership.membership.is_voter(&4));
}

/// A member that has not heard that the asker leads no more, for some answers; and the asker at its own address.
struct Outdated {
    answers: Mutex<u32>,
}

#[async_trait]
impl JoinNetwork<Names> for Outdated {
    async fn join(
        &self,
        member: &BasicNode,
        request: JoinRequest<u64, BasicNode>,
    ) -> Result<JoinReply<BasicNode>, NetworkError> {
        if *member == request.node {
            return Ok(JoinReply::Refused { reason: "asked itself".to_owned() });
        }
        let mut left = self.answers.lock().unwrap();
        if *left == 0 {
            return Ok(JoinReply::Admitted { cluster_id: CLUSTER });
        }
        *left -= 1;
        Ok(JoinReply::AskLeader { node: request.node })
    }
}

#[tokio::test(start_paused = true)]
async fn a_joiner_that_is_still_taken_for_the_leader_does_not_ask_itself() {
    let directory = Directory::new(replica(4), None);
    let members = Outdated { answers: Mutex::new(3) };
    let joining = joining(&directory, &[1], true);
    let waiting = joining.waiting();
    assert_eq!(joining.join(&members, &Env::tokio()).await.unwrap(), CLUSTER);
    assert_eq!(*members.answers.lock().unwrap(), 0);
    assert!(waiting.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_waits_while_nobody_leads_and_is_admitted_when_somebody_does() {
    let mut cluster = Cluster::start(3, Config::default()).await;
    let members = Members::of(&cluster);
    for id in 1..=3 {
        cluster.router.isolate(id);
    }
    for id in 1..=3 {
        let wait = cluster.raft(id).wait(None);
        wait.metrics(|m| m.current_leader.is_none(), "no leader").await.unwrap();
    }
    cluster.start_empty(replica(4)).await;
    let directory = Directory::new(replica(4), None);
    let joining = joining(&directory, &[1, 2, 3], true);
    let mut waiting = joining.waiting();
    let env = Env::tokio();
    let joined = joining.join(&members, &env);
    let mend = async {
        waiting.wait_for(|reason| reason.contains("no leader")).await.unwrap();
        cluster.router.heal();
    };
    let (joined, ()) = tokio::join!(joined, mend);
    joined.unwrap();
    becomes(&cluster, 4, ServerState::Follower).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_join_is_told_why_and_what_to_do() {
    let cluster = Cluster::start(3, Config::default()).await;
    let members = Members::of(&cluster);
    let refusal = async |replica: Replica<u64>, change: fn(&mut Identity<u64>)| {
        let directory = Directory::new(replica, None);
        change(&mut directory.0.lock().unwrap());
        let others: Vec<u64> = (1..=3).filter(|id| *id != replica.node_id).collect();
        match joining(&directory, &others, true).join(&members, &Env::tokio()).await {
            Err(JoinError::Refused { reason }) => reason,
            other => panic!("{other:?}"),
        }
    };
    let follower = cluster.others(cluster.leader().await)[0];
    let wiped = Replica { node_id: follower, store_id: StoreId(99) };
    let reason = refusal(wiped, |_| {}).await;
    assert!(reason.contains("remove the node"), "{reason}");
    let reason = refusal(replica(4), |me| me.cluster_name = "bank".to_owned()).await;
    assert!(reason.contains("this is the cluster \"shop\", not \"bank\""), "{reason}");
    let reason = refusal(replica(4), |me| me.cluster_id = Some(ClusterId(78))).await;
    assert!(reason.contains("your directory belongs to the cluster"), "{reason}");
    let directory = Directory::new(replica(4), None);
    let same_address = Joining::new(directory, address(2), vec![address(1)], true);
    let refused = same_address.join(&members, &Env::tokio()).await.unwrap_err().to_string();
    assert!(refused.contains("node 2 of this cluster has the address"), "{refused}");
    assert_eq!(cluster.raft(1).metrics().borrow().membership.membership.nodes().len(), 3);
}
