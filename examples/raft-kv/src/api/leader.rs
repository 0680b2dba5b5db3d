//! How a request that needs the leader gets there: it is tried here, and where this node does not lead it is passed on
//! once; while nobody leads it waits, up to its deadline.
//!
//! What was certainly not proposed is tried again within the deadline; what may have been is answered "outcome
//! unknown" and never tried again.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use openraft_core::{ForwardToLeader, Raft};

use crate::http::{Answer, Call, HttpError};
use crate::node::Node;
use crate::state::Types;
use crate::wire::{ErrorBody, ErrorCode, NO_FORWARD_HEADER, VERSION_HEADER};

use super::errors::ApiError;

/// How long to wait before looking again who leads.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// What is added to a request's time when it is passed on, so that the leader's own answer at its deadline still comes.
const FORWARD_MARGIN: Duration = Duration::from_secs(1);

/// What a request is to the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Trying again does no harm.
    Read,
    /// Trying again may do it twice.
    Write,
    /// It changes the cluster, and trying again does no harm.
    Order,
}

/// A request that only the leader can carry out.
pub(super) trait AtLeader: Sync {
    /// What comes of it here.
    type Done: Send;

    /// Whether it may be tried again when its fate is not known.
    const KIND: Kind;

    /// Tries it on this node, which may not lead.
    fn attempt(
        &self,
        node: &Node,
        raft: &Raft<Types>,
        within: Duration,
    ) -> impl Future<Output = Result<Local<Self::Done>, ApiError>> + Send;
}

/// What this node could do itself.
pub(super) enum Local<T> {
    Done(T),
    /// Nothing was done; perhaps another leads.
    NotLeader(ForwardToLeader<Types>),
}

/// Where the answer came from.
pub(super) enum Routed<T> {
    /// From this node.
    Here(T),
    /// From the leader, another node.
    There(Answer),
}

/// Why an attempt was not taken by anybody.
struct NotTaken(String);

/// Carries out `request` at the leader; `call` is how it is passed on.
pub(super) async fn at_leader<R: AtLeader>(
    node: &Node,
    headers: &HeaderMap,
    call: Call,
    request: &R,
) -> Result<Routed<R::Done>, ApiError> {
    let may_forward = !headers.contains_key(NO_FORWARD_HEADER);
    let end = Instant::now() + node.settings.request_timeout;
    loop {
        if let Some(removed) = node.why_removed() {
            // Nobody will ever lead this node: waiting for a leader would only hold up whoever asks.
            return Err(ApiError::new(ErrorCode::NotReady, removed));
        }
        let left = end.saturating_duration_since(Instant::now());
        let NotTaken(reason) = match node.raft() {
            None => NotTaken(node.why_not_formed()),
            Some(raft) => match request.attempt(node, raft, left).await? {
                Local::Done(done) => return Ok(Routed::Here(done)),
                Local::NotLeader(ForwardToLeader { leader: None }) => NotTaken(node.why_no_leader()),
                Local::NotLeader(ForwardToLeader { leader: Some((id, leader)) }) => {
                    if !may_forward {
                        let message =
                            format!("this is node {}; node {id} at {} leads", node.settings.id, leader.addr);
                        return Err(
                            ApiError::new(ErrorCode::NotLeader, message).with_leader(Some(leader.addr))
                        );
                    }
                    match forward(node, &leader.addr, R::KIND, &call, left + FORWARD_MARGIN).await? {
                        Ok(answer) => return Ok(Routed::There(answer)),
                        Err(not_taken) => not_taken,
                    }
                }
            },
        };
        if !may_forward {
            // Whoever asked looks for the leader itself.
            return Err(ApiError::new(ErrorCode::NotLeader, reason));
        }
        if Instant::now() + PAUSE >= end {
            return Err(too_late(node, R::KIND, &reason));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Nobody took the request until its deadline.
fn too_late(node: &Node, kind: Kind, reason: &str) -> ApiError {
    let within = node.settings.request_timeout;
    let (code, what) = match kind {
        Kind::Write => (ErrorCode::NotProposed, "nothing was written, it is safe to try again"),
        Kind::Order => (ErrorCode::NotProposed, "nothing was changed, it is safe to try again"),
        Kind::Read => {
            (ErrorCode::ReadTimedOut, "the key could not be read; ?consistency=stale needs no leader")
        }
    };
    ApiError::new(code, format!("no leader took the request within {within:?}: {reason}; {what}"))
        .with_leader(node.leader_address())
}

/// Passes a request on to the leader.
async fn forward(
    node: &Node,
    leader: &str,
    kind: Kind,
    call: &Call,
    within: Duration,
) -> Result<Result<Answer, NotTaken>, ApiError> {
    let call = call.clone().header(NO_FORWARD_HEADER, "1");
    match node.http.call(leader, &call, within).await {
        Ok(answer) => Ok(match serde_json::from_slice::<ErrorBody>(&answer.body) {
            // It leads no longer, or not yet, or is stopping: another look will tell who does.
            Ok(body)
                if !answer.status.is_success()
                    && matches!(body.code, ErrorCode::NotLeader | ErrorCode::Stopped | ErrorCode::NotReady) =>
            {
                Err(NotTaken(body.message))
            }
            _ => Ok(answer),
        }),
        Err(error @ HttpError::NotSent { .. }) => Ok(Err(NotTaken(format!("the leader {error}")))),
        Err(error @ HttpError::NoAnswer { .. }) => match kind {
            Kind::Read | Kind::Order => Ok(Err(NotTaken(format!("the leader {error}")))),
            Kind::Write => Err(ApiError::new(
                ErrorCode::OutcomeUnknown,
                format!(
                    "the write was passed on to the leader, and {error}; it may or may not have happened, or may yet \
                     happen"
                ),
            )
            .with_leader(node.leader_address())),
        },
    }
}

/// The leader's answer as this node's.
pub(super) fn relay(answer: Answer) -> Response {
    let mut response = (answer.status, Body::from(answer.body)).into_response();
    for name in [header::CONTENT_TYPE.as_str(), VERSION_HEADER] {
        response.headers_mut().remove(name);
        if let Some(value) = answer.headers.get(name)
            && let Ok(name) = header::HeaderName::from_bytes(name.as_bytes())
        {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}
