//! What a leader carries out for its own application and for its peers: writes, and removals of members.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::routing::post;
use openraft_core::{ChangeMembershipError, Raft, WriteError};
use openraft_engine::{ChangeRefused, InvalidChange, MembershipChange};

use crate::forward::{Forwarded, Order, WITHIN_HEADER};
use crate::{App, NodeTypes};

/// The routes, to be merged with the application's own. Commands of up to `max_bytes` are taken.
pub(crate) fn router<A: App>(raft: Raft<NodeTypes<A>>, max_bytes: usize) -> Router {
    Router::new()
        .route(Order::Write.path(), post(write::<A>))
        .route(Order::Remove.path(), post(remove::<A>))
        .layer(DefaultBodyLimit::max(max_bytes))
        .with_state(raft)
}

async fn write<A: App>(State(raft): State<Raft<NodeTypes<A>>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    answer::<A>(&raft, Order::Write, &headers, &body).await
}

async fn remove<A: App>(State(raft): State<Raft<NodeTypes<A>>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    answer::<A>(&raft, Order::Remove, &headers, &body).await
}

async fn answer<A: App>(
    raft: &Raft<NodeTypes<A>>,
    order: Order,
    headers: &HeaderMap,
    body: &[u8],
) -> Vec<u8> {
    let answer = match within(headers) {
        None => Forwarded::Refused(format!("the header {WITHIN_HEADER} is missing or no number")),
        Some(within) => attempt::<A>(raft, order, body, within).await,
    };
    postcard::to_stdvec(&answer).unwrap_or_default()
}

fn within(headers: &HeaderMap) -> Option<Duration> {
    headers.get(WITHIN_HEADER)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// Carries the order out here, if this node leads.
pub(crate) async fn attempt<A: App>(
    raft: &Raft<NodeTypes<A>>,
    order: Order,
    body: &[u8],
    within: Duration,
) -> Forwarded {
    let not_understood = |error: postcard::Error| {
        Forwarded::Refused(format!(
            "the leader does not understand the command ({error}): do all nodes run the same version of the program?"
        ))
    };
    match order {
        Order::Write => match postcard::from_bytes::<A::Command>(body) {
            Ok(command) => attempt_write::<A>(raft, command, within).await,
            Err(error) => not_understood(error),
        },
        Order::Remove => match postcard::from_bytes::<u64>(body) {
            Ok(id) => attempt_removal::<A>(raft, id, within).await,
            Err(error) => not_understood(error),
        },
    }
}

async fn attempt_write<A: App>(
    raft: &Raft<NodeTypes<A>>,
    command: A::Command,
    within: Duration,
) -> Forwarded {
    match raft.client_write_within(command, within).await {
        Ok(done) => match postcard::to_stdvec(&done.reply) {
            Ok(reply) => Forwarded::Done(reply),
            Err(error) => {
                Forwarded::Unknown(format!("the write took effect, but its reply does not encode: {error}"))
            }
        },
        Err(
            error
            @ (WriteError::NotLeader(_) | WriteError::NotProposedInTime | WriteError::Overloaded { .. }),
        ) => Forwarded::NotTaken(error.to_string()),
        Err(error @ WriteError::TooLarge { .. }) => Forwarded::Refused(error.to_string()),
        Err(error) => Forwarded::Unknown(error.to_string()),
    }
}

async fn attempt_removal<A: App>(raft: &Raft<NodeTypes<A>>, id: u64, within: Duration) -> Forwarded {
    let change = MembershipChange::RemoveNodes(BTreeSet::from([id]));
    let begun = Instant::now();
    let Ok(changed) = tokio::time::timeout(within, raft.change_membership(change)).await else {
        let waited = begun.elapsed();
        return Forwarded::Unknown(format!("the removal of node {id} is not finished after {waited:?}"));
    };
    match changed {
        // It is no member: removed already, perhaps by an earlier attempt.
        Ok(_)
        | Err(ChangeMembershipError::Refused(ChangeRefused::Invalid(InvalidChange::UnknownNode {
            ..
        }))) => Forwarded::Done(Vec::new()),
        Err(error @ ChangeMembershipError::Refused(ChangeRefused::LeadershipLost)) => {
            Forwarded::Unknown(error.to_string())
        }
        Err(
            error @ (ChangeMembershipError::NotLeader(_)
            | ChangeMembershipError::Refused(
                ChangeRefused::InProgress { .. } | ChangeRefused::Transferring { .. },
            )),
        ) => Forwarded::NotTaken(error.to_string()),
        Err(error @ ChangeMembershipError::Refused(_)) => Forwarded::Refused(error.to_string()),
        Err(error @ ChangeMembershipError::Fatal(_)) => Forwarded::Unknown(error.to_string()),
    }
}
