//! What a node answers its peers on behalf of the application: writes that they were asked for.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::routing::post;
use openraft_core::{Raft, WriteError};

use crate::forward::{Forwarded, WITHIN_HEADER, WRITE_PATH};
use crate::{App, NodeTypes};

/// The routes, to be merged with the application's own. Commands of up to `max_bytes` are taken.
pub(crate) fn router<A: App>(raft: Raft<NodeTypes<A>>, max_bytes: usize) -> Router {
    Router::new().route(WRITE_PATH, post(write::<A>)).layer(DefaultBodyLimit::max(max_bytes)).with_state(raft)
}

async fn write<A: App>(State(raft): State<Raft<NodeTypes<A>>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let answer = match (within(&headers), postcard::from_bytes::<A::Command>(&body)) {
        (None, _) => Forwarded::Refused(format!("the header {WITHIN_HEADER} is missing or no number")),
        (_, Err(error)) => Forwarded::Refused(format!(
            "the leader does not understand the command ({error}): do all nodes run the same version of the program?"
        )),
        (Some(within), Ok(command)) => attempt::<A>(&raft, command, within).await,
    };
    postcard::to_stdvec(&answer).unwrap_or_default()
}

fn within(headers: &HeaderMap) -> Option<Duration> {
    headers.get(WITHIN_HEADER)?.to_str().ok()?.parse().ok().map(Duration::from_millis)
}

/// Writes here, if this node leads.
pub(crate) async fn attempt<A: App>(
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
