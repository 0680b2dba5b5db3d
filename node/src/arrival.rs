//! How a node comes into its cluster, beside everything else that it does: it forms one with the others of a list, or
//! asks the members of one that exists. Afterwards what peers that form are told follows the membership.

use std::sync::Arc;

use openraft_adapters::Env;
use openraft_core::Raft;
use openraft_core::formation::Formation;
use openraft_core::join::Joining;
use openraft_network_http::HttpNetwork;
use tokio::sync::watch;

use crate::{App, NodeTypes};

/// What an empty directory is to become part of.
pub(crate) enum Arrival<A: App> {
    Forming,
    Joining(Joining<NodeTypes<A>>),
}

/// What arriving works with.
pub(crate) struct Surroundings<A: App> {
    pub(crate) raft: Raft<NodeTypes<A>>,
    pub(crate) formation: Arc<Formation<NodeTypes<A>>>,
    pub(crate) network: HttpNetwork<NodeTypes<A>>,
    pub(crate) env: Env,
}

/// Lets the node arrive, if its directory belongs to no cluster, and keeps its peers informed until the node ends. The
/// receiver says what it waits for; nothing once it is a member.
pub(crate) fn arrive<A: App>(arrival: Arrival<A>, with: Surroundings<A>) -> watch::Receiver<String> {
    let (waiting, news) = watch::channel(String::new());
    if with.raft.is_initialized() {
        with.formation.set_formed_of(&with.raft);
    } else {
        waiting.send_replace(match &arrival {
            Arrival::Forming => "the cluster is not formed yet: every listed node must run".to_owned(),
            Arrival::Joining(_) => "the node has not joined its cluster yet: a member must run".to_owned(),
        });
    }
    tokio::spawn(async move {
        let mut metrics = with.raft.metrics();
        tokio::select! {
            biased;
            // The node has ended.
            _ = metrics.wait_for(|m| m.fatal.is_some()) => {}
            () = become_member(arrival, &with, &waiting) => {}
        }
    });
    news
}

/// Ends only where the node can never become a member.
async fn become_member<A: App>(arrival: Arrival<A>, with: &Surroundings<A>, waiting: &watch::Sender<String>) {
    if !with.raft.is_initialized() {
        let arrived = match arrival {
            Arrival::Forming => form(with).await,
            Arrival::Joining(joining) => join(&joining, with, waiting).await,
        };
        if let Err(reason) = arrived {
            tracing::error!(%reason, "the node cannot become a member of its cluster");
            waiting.send_replace(reason);
            return;
        }
        waiting.send_replace(String::new());
    }
    with.formation.follow(&with.raft).await;
}

async fn form<A: App>(with: &Surroundings<A>) -> Result<(), String> {
    let nodes = with.formation.form(&with.network, &with.env).await;
    let nodes = nodes.map_err(|error| format!("no cluster can be formed: {error}"))?;
    let initialized = with.formation.initialize(&with.raft, nodes).await;
    initialized.map_err(|error| format!("the cluster cannot be initialised: {error}"))
}

async fn join<A: App>(
    joining: &Joining<NodeTypes<A>>,
    with: &Surroundings<A>,
    waiting: &watch::Sender<String>,
) -> Result<(), String> {
    let mut news = joining.waiting();
    let tell = async {
        while news.changed().await.is_ok() {
            let reason = news.borrow_and_update().clone();
            waiting.send_replace(format!("the node has not joined its cluster yet: {reason}"));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        joined = joining.join(&with.network, &with.env) => {
            joined.map_err(|error| error.to_string())?;
        }
        () = tell => {}
    }
    // The log comes from the leader, and the membership with it. An error is the node's end.
    let mut metrics = with.raft.metrics();
    let _ = metrics.wait_for(|m| !m.membership.membership.is_empty()).await;
    Ok(())
}
