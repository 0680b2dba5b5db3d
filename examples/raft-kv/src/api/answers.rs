//! What the node's errors are in the interface's own, for writes and for reads; and whether this node is the one to ask.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use openraft_node::{Consistency as Freshness, Node, ReadError, WriteError};

use crate::state::KvState;
use crate::wire::{Consistency, ErrorCode, NO_FORWARD_HEADER, SNAPSHOT_PATH};

use super::errors::ApiError;

/// Refuses a request that only a leader carries out, where another node leads and the asker wants to find it itself.
pub(super) fn here_only_if_leader(node: &Node<KvState>, headers: &HeaderMap) -> Result<(), ApiError> {
    let (me, leader) = {
        let metrics = node.raft().metrics();
        let metrics = metrics.borrow();
        (metrics.id, metrics.current_leader)
    };
    let node = node.raft_node();
    // One that was removed says that, and no more.
    if leader == Some(me) || !headers.contains_key(NO_FORWARD_HEADER) || node.why_no_member().is_some() {
        return Ok(());
    }
    let address = node.leader_elsewhere();
    let message = match (leader, &address) {
        (Some(id), Some(address)) => format!("this is node {me}; node {id} at {address} leads"),
        _ => node.why_no_leader(),
    };
    Err(ApiError::new(ErrorCode::NotLeader, message).with_leader(address))
}

/// The same for the admin routes that change the cluster.
pub(super) async fn orders_here_only_if_leader(
    State(node): State<Node<KvState>>,
    request: Request,
    next: Next,
) -> Response {
    let is_order = request.method() != Method::GET && !SNAPSHOT_PATH.ends_with(request.uri().path());
    match here_only_if_leader(&node, request.headers()) {
        Err(error) if is_order => error.into_response(),
        _ => next.run(request).await,
    }
}

/// Makes sure that this node's state is as fresh as was asked for. Without leases a read by lease costs a round of
/// messages.
pub(super) async fn make_fresh(node: &Node<KvState>, wanted: Consistency) -> Result<(), ApiError> {
    let wanted = match wanted {
        Consistency::Linearizable | Consistency::Follower => Freshness::Linearizable,
        Consistency::Lease => Freshness::Lease,
        Consistency::Stale => Freshness::Stale,
    };
    let confirmed = match node.raft_node().confirm_read(wanted).await {
        Err(ReadError::LeasesOff) => node.raft_node().confirm_read(Freshness::Linearizable).await,
        confirmed => confirmed,
    };
    confirmed.map_err(|error| {
        let (code, message) = match error {
            ReadError::NotConfirmed { within, reason } => (
                ErrorCode::ReadTimedOut,
                format!(
                    "this node could not make sure within {within:?} that it is up to date: {reason}; \
                     ?consistency=stale needs no leader"
                ),
            ),
            ReadError::NoMember { reason } => (ErrorCode::NotReady, reason),
            error => (ErrorCode::Stopped, error.to_string()),
        };
        ApiError::new(code, message).with_leader(node.raft_node().leader_elsewhere())
    })
}

/// A write that was not carried out, in words that say which of the two it is: not done, or not known.
pub(super) fn write_error(node: &Node<KvState>, error: WriteError) -> ApiError {
    let within = Duration::from_millis(node.raft_node().config().write_timeout_ms);
    let (code, message) = match error {
        WriteError::NotWritten { reason } => (
            ErrorCode::NotProposed,
            format!(
                "no leader took the request within {within:?}: {reason}; nothing was written, it is safe to try again"
            ),
        ),
        WriteError::OutcomeUnknown { reason } => (
            ErrorCode::OutcomeUnknown,
            format!(
                "the outcome of the write is unknown ({reason}): it may or may not have happened, or may yet happen; {}",
                node.raft_node().why_no_quorum()
            ),
        ),
        WriteError::Overloaded { reason } => (ErrorCode::Overloaded, reason),
        WriteError::Refused { reason } => (ErrorCode::BadBody, reason),
        WriteError::NoMember { reason } => (ErrorCode::NotReady, reason),
        WriteError::Stopped(fatal) => (ErrorCode::Stopped, fatal.to_string()),
    };
    ApiError::new(code, message).with_leader(node.raft_node().leader_elsewhere())
}
