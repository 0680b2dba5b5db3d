//! `member add`, `remove`, `promote` and `list`.

use std::fmt::Write as _;

use axum::http::Method;

use crate::cli::{ClusterOptions, MemberCommand};
use crate::exit::{Failure, say};
use crate::http::Call;
use crate::wire::{MEMBERS_PATH, MembersAnswer, NodeStatus, STATUS_PATH};

use super::commands::node_status;
use super::{CallError, Client, Repeat};

/// Carries out one of the commands.
pub(crate) async fn member(command: MemberCommand) -> Result<(), Failure> {
    match command {
        MemberCommand::List(options) => list(&options.client()).await,
        MemberCommand::Add { cluster, address, learner } => add(&cluster, &address, learner).await,
        MemberCommand::Remove { cluster, id } => {
            let answer = change(&cluster.client(), Method::DELETE, format!("{MEMBERS_PATH}{id}")).await?;
            say(&match answer.log_index {
                Some(index) => format!("ok, node {id} is removed, log index {index}\n"),
                None => format!("ok, node {id} is no member\n"),
            })
        }
        MemberCommand::Promote { cluster, id } => {
            change(&cluster.client(), Method::POST, format!("{MEMBERS_PATH}{id}/promote")).await?;
            say(&format!("ok, node {id} votes\n"))
        }
    }
}

async fn change(client: &Client, method: Method, path: String) -> Result<MembersAnswer, Failure> {
    let result = client.call(&Call::new(method, path), Repeat::Freely).await;
    let answered = result.map_err(|error| match error {
        CallError::OutcomeUnknown { reason } => {
            Failure::OutcomeUnknown(format!("outcome unknown: {reason}; `member list` shows what is"))
        }
        error => error.into(),
    })?;
    serde_json::from_slice(&answered.answer.body)
        .map_err(|e| Failure::error(format!("the change is done, but its answer is not understood: {e}")))
}

/// The status of the node that leads.
async fn leader_status(client: &Client) -> Result<NodeStatus, Failure> {
    let answered = client.call(&Call::new(Method::GET, STATUS_PATH), Repeat::Freely).await?;
    let status: NodeStatus = serde_json::from_slice(&answered.answer.body)
        .map_err(|e| Failure::error(format!("the answer is not understood: {e}")))?;
    if status.leader == Some(status.id) {
        return Ok(status);
    }
    Err(Failure::error(format!(
        "no leader is known; node {} waits {}",
        status.id,
        status.waiting_for.join("; ")
    )))
}

/// Asks the node who it is, and has that admitted.
async fn add(cluster: &ClusterOptions, address: &str, learner: bool) -> Result<(), Failure> {
    let client = cluster.client();
    let ours = leader_status(&client).await?;
    let (_, found) = node_status(&client, address).await;
    let new = found.map_err(Failure::Error)?;
    if new.cluster_id.is_none() {
        return Err(Failure::error(format!(
            "node {} at {address} is in no cluster; start it with --join {} instead of --cluster: it is added by itself",
            new.id, ours.address
        )));
    }
    if new.cluster_id != ours.cluster_id {
        return Err(Failure::error(format!(
            "node {} at {address} belongs to another cluster, {:?}; give it an empty directory and --join {}",
            new.id, new.cluster, ours.address
        )));
    }
    let (id, store_id) = (new.id, &new.store_id);
    let path = format!("{MEMBERS_PATH}{id}?address={address}&store_id={store_id}&learner={learner}");
    change(&client, Method::PUT, path).await?;
    let what = if learner { "as a learner" } else { "and becomes a voter when it has caught up" };
    say(&format!("ok, node {id} is a member {what}\n"))
}

/// Who is in the cluster, as the leader sees it.
async fn list(client: &Client) -> Result<(), Failure> {
    let status = leader_status(client).await?;
    let mut out = format!(
        "{:<4}  {:<22}  {:<20}  {:<8}  {:<9}  store\n",
        "id", "role", "address", "matched", "reachable"
    );
    for member in &status.members {
        let role = match (member.id == status.id, member.voter, member.promote) {
            (true, ..) => "leader",
            (_, true, _) => "voter",
            (_, _, true) => "learner, to be a voter",
            _ => "learner",
        };
        let matched = match member.id == status.id {
            true => status.flushed_index,
            false => member.matched_index,
        };
        let _ = writeln!(
            out,
            "{:<4}  {:<22}  {:<20}  {:<8}  {:<9}  {}",
            member.id,
            role,
            member.address,
            matched.map_or("-".to_owned(), |index| index.to_string()),
            if member.reachable.unwrap_or(true) { "yes" } else { "no" },
            member.store_id.as_deref().unwrap_or("-"),
        );
    }
    say(&out)
}
