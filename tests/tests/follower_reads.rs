//! Stories of reads on nodes that do not lead, on virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openraft_adapters::Env;
use openraft_adapters::memory::{Fate, MessageKind, RandomFaults, Transit};
use openraft_core::{Config, ForwardToLeader, ReadIndexError, ReadPolicy};
use openraft_tests::cluster::Cluster;

fn config() -> Config {
    Config { snapshot_every_entries: None, ..Config::default() }
}

/// What becomes of each message about a read index; all others arrive at once. Counts the questions.
fn fate_of_questions(cluster: &Cluster, fate: impl Fn(bool) -> Fate + Send + 'static) -> Arc<AtomicUsize> {
    let questions = Arc::new(AtomicUsize::new(0));
    let counted = questions.clone();
    cluster.router.set_faults(move |message: &Transit<u64>| {
        if message.kind != MessageKind::ReadIndex {
            return Fate::Deliver;
        }
        counted.fetch_add(usize::from(!message.reply), Ordering::Relaxed);
        fate(message.reply)
    });
    questions
}

#[tokio::test(start_paused = true)]
async fn a_follower_reads_what_was_written_through_the_leader_before() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let delay = Duration::from_millis(1)..Duration::from_millis(50);
    cluster.router.set_faults(RandomFaults::new(7, 0.0, delay));
    let mut behind = 0;
    for i in 0..50 {
        let name = format!("w{i}");
        let written = cluster.raft(leader).client_write(name.clone()).await.unwrap();
        for follower in cluster.others(leader) {
            behind += usize::from(!cluster.names(follower).contains(&name));
            let upto = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
            assert!(upto >= written.log_id);
            assert_eq!(cluster.names(follower).last(), Some(&name));
        }
    }
    assert!(behind > 0, "no read ever had to wait");
}

#[tokio::test(start_paused = true)]
async fn on_the_leader_a_follower_read_is_an_ordinary_one() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let questions = fate_of_questions(&cluster, |_| Fate::Deliver);
    let written = cluster.raft(leader).client_write("x".into()).await.unwrap();
    let upto = cluster.raft(leader).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
    assert!(upto >= written.log_id);
    assert_eq!(questions.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn reads_that_come_together_share_one_question() {
    let cluster = Cluster::start(3, config()).await;
    let follower = cluster.others(cluster.leader().await)[0];
    let questions = fate_of_questions(&cluster, |_| Fate::Deliver);
    let reads = (0..1_000).map(|_| cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower));
    futures::future::try_join_all(reads).await.unwrap();
    assert_eq!(questions.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_read_never_shares_a_question_that_was_asked_before_it_came() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    // The leader answers at once, and the answer is long on its way.
    let slow_answer = |reply| if reply { Fate::Delay(Duration::from_millis(80)) } else { Fate::Deliver };
    let questions = fate_of_questions(&cluster, slow_answer);
    let early = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower);
    let later = async {
        let written = cluster.raft(leader).client_write("x".into()).await.unwrap();
        assert_eq!(questions.load(Ordering::Relaxed), 1, "the early read has asked");
        let upto = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
        (written.log_id, upto)
    };
    let (early, (written, upto)) = tokio::join!(early, later);
    assert!(early.unwrap() < written && written <= upto);
    assert_eq!(questions.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_follower_without_a_leader_refuses_at_once() {
    let cluster = Cluster::start(3, config()).await;
    let follower = cluster.others(cluster.leader().await)[0];
    cluster.router.isolate(follower);
    let wait = cluster.raft(follower).wait(None);
    wait.metrics(|m| m.current_leader.is_none(), "the leader to be missed").await.unwrap();
    let read = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await;
    assert_eq!(read, Err(ReadIndexError::NotLeader(ForwardToLeader { leader: None })));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_replaced_confirms_no_read_of_those_who_still_follow_it() {
    let cluster = Cluster::start(5, config()).await;
    let old = cluster.leader().await;
    let loyal = cluster.others(old)[0];
    let others = cluster.others(old)[1..].to_vec();
    cluster.router.partition(&[old, loyal], &others);
    let env = Env::tokio();
    let began = env.now();
    let read = cluster.raft(loyal).ensure_linearizable(ReadPolicy::Follower);
    let write = async {
        let new = cluster.leader_among(&others).await;
        cluster.raft(new).client_write("unseen".into()).await.unwrap()
    };
    let (read, written) = tokio::join!(read, write);
    assert!(read.is_err(), "{read:?}");
    assert!(env.now().since(began) < Duration::from_secs(4), "it was told before its deadline");
    assert!(!cluster.names(loyal).contains(&"unseen".to_owned()));
    cluster.router.heal();
    cluster.applied(loyal, written.log_id.index).await;
    cluster.raft(loyal).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn reads_that_wait_for_a_silent_leader_ask_the_next_one() {
    let cluster = Cluster::start(3, config()).await;
    let old = cluster.leader().await;
    let rest = cluster.others(old);
    cluster.raft(old).client_write("x".into()).await.unwrap();
    // Questions to the old leader vanish; it is heard of no less.
    cluster.router.set_faults(move |message: &Transit<u64>| match message.kind {
        MessageKind::ReadIndex if message.to == old => Fate::Drop,
        _ => Fate::Deliver,
    });
    let read = cluster.raft(rest[0]).ensure_linearizable(ReadPolicy::Follower);
    let transfer = cluster.raft(old).transfer_leader(Some(rest[1]));
    let (read, transfer) = tokio::join!(read, transfer);
    transfer.unwrap();
    let (Ok(_) | Err(ReadIndexError::NotLeader(_))) = read else { panic!("{read:?}") };
    cluster.raft(rest[0]).wait(None).leader().await.unwrap();
    cluster.raft(rest[0]).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_lost_is_an_error_and_the_next_one_is_asked() {
    let cluster = Cluster::start(3, config()).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    fate_of_questions(&cluster, |_| Fate::Drop);
    let read = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await;
    assert!(matches!(read, Err(ReadIndexError::Unanswered { leader: l, .. }) if l == leader), "{read:?}");
    cluster.router.clear_faults();
    cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_follower_whose_state_machine_stands_still_tells_its_reads_at_their_deadline() {
    let cluster = Cluster::start(3, Config { read_timeout_ms: 2_000, ..config() }).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.nodes[&follower].brake.pull();
    cluster.raft(leader).client_write("x".into()).await.unwrap();
    let env = Env::tokio();
    let began = env.now();
    let read = cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await;
    assert_eq!(read, Err(ReadIndexError::TimedOut));
    let took = env.now().since(began);
    assert!((2_000..2_100).contains(&took.as_millis()), "{took:?}");
    cluster.nodes[&follower].brake.release();
    cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn more_reads_than_may_wait_for_the_leaders_answer_are_refused() {
    let cluster = Cluster::start(3, Config { max_waiting_reads: 10, ..config() }).await;
    let follower = cluster.others(cluster.leader().await)[0];
    let reads = (0..15).map(|_| cluster.raft(follower).ensure_linearizable(ReadPolicy::Follower));
    let results = futures::future::join_all(reads).await;
    let refused = results.iter().filter(|read| **read == Err(ReadIndexError::Overloaded)).count();
    assert_eq!((refused, results.iter().filter(|read| read.is_ok()).count()), (5, 10));
}
