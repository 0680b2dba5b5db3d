//! Programs of two versions that do not understand each other: on one directory, and in one cluster.

use std::path::Path;

use openraft_node::{App, Consistency, LogId, Node};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::nodes::{addresses, end, lead, node, refusal, soon, why_not_written};
use crate::table::explained;

/// One version of a program: what it does and replies depends on its types alone.
trait Version: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    type Command: Serialize + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static;
    type Reply: Serialize + DeserializeOwned + std::fmt::Debug + Send + 'static;
    fn apply(&mut self, command: &Self::Command) -> Self::Reply;
    fn sum(&self) -> u64;
}

macro_rules! app {
    ($app:ident) => {
        impl App for $app {
            type Command = <$app as Version>::Command;
            type Reply = <$app as Version>::Reply;
            type Query = ();
            type Answer = u64;

            fn apply(&mut self, _: LogId<u64>, command: &Self::Command) -> Self::Reply {
                Version::apply(self, command)
            }

            fn query(&self, (): ()) -> u64 {
                self.sum()
            }
        }
    };
}

/// Adds, and no more.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Plain {
    sum: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum PlainCommand {
    Add(u64),
}

impl Version for Plain {
    type Command = PlainCommand;
    type Reply = u64;

    fn apply(&mut self, PlainCommand::Add(add): &PlainCommand) -> u64 {
        self.sum += add;
        self.sum
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}
app!(Plain);

/// Knows one command more, and keeps one thing more.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Rich {
    sum: u64,
    names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum RichCommand {
    Add(u64),
    AddNamed(u64, String),
}

impl Version for Rich {
    type Command = RichCommand;
    type Reply = u64;

    fn apply(&mut self, command: &RichCommand) -> u64 {
        let (RichCommand::Add(add) | RichCommand::AddNamed(add, _)) = command;
        if let RichCommand::AddNamed(_, name) = command {
            self.names.push(name.clone());
        }
        self.sum += add;
        self.sum
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}
app!(Rich);

/// As [`Plain`], with another reply.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Talkative {
    sum: u64,
}

impl Version for Talkative {
    type Command = PlainCommand;
    type Reply = (u64, String);

    fn apply(&mut self, PlainCommand::Add(add): &PlainCommand) -> (u64, String) {
        self.sum += add;
        (self.sum, "well".to_owned())
    }

    fn sum(&self) -> u64 {
        self.sum
    }
}
app!(Talkative);

fn named() -> RichCommand {
    RichCommand::AddNamed(4, "four".to_owned())
}

async fn alone<A: App>(dir: &Path, list: &[(u64, String)]) -> Node<A> {
    node(dir, 1).cluster(list.to_vec()).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_does_not_decode_stops_the_node_and_the_program_that_wrote_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(1);
    let rich = alone::<Rich>(dir.path(), &list).await;
    rich.write(RichCommand::Add(1)).await.unwrap();
    rich.write(named()).await.unwrap();
    end([rich]).await;
    let plain = alone::<Plain>(dir.path(), &list).await;
    let why = soon(plain.stopped()).await.to_string();
    let row = "what the entry … proposes does not decode as …: a program wrote it whose proposal type is another. Nothing is lost";
    explained(&why, row);
    assert!(why.contains("PlainCommand") && why.contains("add variants only at the end"), "{why}");
    let written = plain.write(PlainCommand::Add(1)).await.unwrap_err().to_string();
    explained(&written, row);
    assert!(plain.shutdown().await.is_err());
    drop(plain);
    let rich = alone::<Rich>(dir.path(), &list).await;
    assert_eq!(soon(rich.read((), Consistency::Linearizable)).await.unwrap(), 5);
    assert_eq!(rich.write(named()).await.unwrap(), 9);
    end([rich]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_type_is_refused_also_where_its_beginning_would_decode() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(1);
    let rich = alone::<Rich>(dir.path(), &list).await;
    rich.write(named()).await.unwrap();
    rich.raft().trigger().snapshot().await.unwrap();
    soon(rich.raft().metrics().wait_for(|m| m.snapshot.is_some())).await.unwrap();
    end([rich]).await;
    let row = "restoring snapshot …: App::restore must read what App::snapshot wrote, … run that version, or mend restore";
    let words = refusal(node::<Plain>(dir.path(), 1).cluster(list.clone()), row).await;
    assert!(words.contains("Plain") && words.contains("bytes are left over"), "{words}");
    let rich = alone::<Rich>(dir.path(), &list).await;
    assert_eq!(soon(rich.read((), Consistency::Linearizable)).await.unwrap(), 4);
    end([rich]).await;
}

/// Serde derives for its state, and postcard cannot read it back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Vague {
    Sum(u64),
}

impl Default for Vague {
    fn default() -> Self {
        Self::Sum(0)
    }
}

impl Version for Vague {
    type Command = PlainCommand;
    type Reply = u64;

    fn apply(&mut self, PlainCommand::Add(add): &PlainCommand) -> u64 {
        let Self::Sum(sum) = self;
        *sum += add;
        *sum
    }

    fn sum(&self) -> u64 {
        let Self::Sum(sum) = self;
        *sum
    }
}
app!(Vague);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_would_not_restore_is_not_kept_and_the_log_stays() {
    let dir = tempfile::tempdir().unwrap();
    let list = addresses(1);
    let vague = alone::<Vague>(dir.path(), &list).await;
    vague.write(PlainCommand::Add(3)).await.unwrap();
    assert!(vague.raft().trigger().snapshot().await.unwrap());
    // Another one is taken only when the first has come to its end.
    soon(async {
        while !vague.raft().trigger().snapshot().await.unwrap() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(vague.raft().metrics().borrow().snapshot, None);
    end([vague]).await;
    let vague = alone::<Vague>(dir.path(), &list).await;
    assert_eq!(soon(vague.read((), Consistency::Linearizable)).await.unwrap(), 3);
    end([vague]).await;
}

/// A node of one version that leads, and one of another that follows.
async fn leader_and_follower<L: App, F: App>(dir: &Path) -> (Vec<(u64, String)>, Node<L>, Node<F>) {
    let list = addresses(2);
    let leader: Node<L> = node(dir, 1).cluster(list.clone()).start().await.unwrap();
    let follower: Node<F> = node(dir, 2).cluster(list.clone()).start().await.unwrap();
    soon(leader.ready()).await.unwrap();
    soon(follower.ready()).await.unwrap();
    lead(&leader, &follower).await;
    (list, leader, follower)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_the_leaders_program_does_not_know_is_refused_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_, leader, follower) = leader_and_follower::<Plain, Rich>(dir.path()).await;
    let row = "the leader does not understand the command as …: its program is of another version. Upgrade all nodes";
    why_not_written(&follower, named, row).await;
    assert_eq!(follower.write(RichCommand::Add(1)).await.unwrap(), 1);
    end([leader]).await;
    end([follower]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_does_not_decode_says_that_the_write_took_effect() {
    let dir = tempfile::tempdir().unwrap();
    let (_, leader, follower) = leader_and_follower::<Talkative, Plain>(dir.path()).await;
    let row = "the write took effect, but its reply does not decode as …: the leader's program is of another version";
    why_not_written(&follower, || PlainCommand::Add(1), row).await;
    assert_eq!(soon(leader.read((), Consistency::Linearizable)).await.unwrap(), 1);
    end([leader]).await;
    end([follower]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_a_followers_program_does_not_know_is_refused_by_it_and_taken_by_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let (list, leader, follower) = leader_and_follower::<Rich, Plain>(dir.path()).await;
    let words = leader.write(named()).await.unwrap_err().to_string();
    explained(
        &words,
        "what the entry … proposes does not decode as …: a program wrote it whose proposal type is another. Nothing is lost",
    );
    assert!(words.contains(&format!("node 2 at {} refuses", list[1].1)), "{words}");
    end([follower]).await;
    let follower: Node<Rich> = node(dir.path(), 2).cluster(list).start().await.unwrap();
    // What may yet take effect does, once a quorum holds it.
    let last = leader.raft().metrics().borrow().last_log;
    soon(follower.raft().metrics().wait_for(|m| m.applied >= last)).await.unwrap();
    assert_eq!(follower.read((), Consistency::Stale).await.unwrap(), 4);
    end([leader, follower]).await;
}
