//! All keys and values of this node as lines, and the read index by which a follower makes that linearizable.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;

use crate::client::lines;
use crate::http::Call;
use crate::node::Node;
use crate::state::KvState;
use crate::wire::{APPLIED_INDEX_HEADER, ErrorBody, ErrorCode, READ_INDEX_PATH, ReadIndexAnswer};

use super::errors::ApiError;
use super::kv::ReadIndex;
use super::leader::{AtLeader, Local, Routed, at_leader};
use super::{Consistency, ReadQuery, no_query};

/// About how much text is made at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The state of *this* node, unlike a get, which any node may answer: after it has applied all that the leader had
/// committed when the request came.
pub(super) async fn export(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if ReadQuery::of(&uri)? == Consistency::Linearizable {
        catch_up(&node, &headers).await?;
    }
    let view = node.state.view();
    let headers = [
        (header::CONTENT_TYPE.as_str(), HeaderValue::from_static("text/plain; charset=utf-8")),
        (APPLIED_INDEX_HEADER, HeaderValue::from(view.applied_index().unwrap_or_default())),
    ];
    let chunks = stream::unfold((view, None), |(view, after)| async move {
        let (text, after) = chunk(&view, after)?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), (view, Some(after))))
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// The lines of the keys that follow `after`, up to a chunk of them, and the last of those keys.
fn chunk(view: &KvState, after: Option<Arc<str>>) -> Option<(String, Arc<str>)> {
    let mut text = String::new();
    let mut last = None;
    for (key, versioned) in view.next_after(after.as_deref()) {
        lines::write_line(&mut text, key, &versioned.value);
        last = Some(key.clone());
        if text.len() >= CHUNK_BYTES {
            break;
        }
    }
    last.map(|last| (text, last))
}

/// Waits until this node has applied what was committed when the request came.
async fn catch_up(node: &Node, headers: &HeaderMap) -> Result<(), ApiError> {
    // It is this node that must answer; only the read index may come from elsewhere, whatever the asker's header says.
    let mut headers = headers.clone();
    headers.remove(crate::wire::NO_FORWARD_HEADER);
    let call = Call::new(Method::GET, READ_INDEX_PATH);
    let routed = at_leader(node, &headers, call, &ReadIndex).await?;
    let Routed::There(answer) = routed else { return Ok(()) };
    if !answer.status.is_success() {
        let body: Result<ErrorBody, _> = serde_json::from_slice(&answer.body);
        return Err(match body {
            Ok(body) => ApiError(body),
            Err(_) => ApiError::new(ErrorCode::Other, format!("the leader answers {}", answer.status)),
        });
    }
    let ReadIndexAnswer { index } = serde_json::from_slice(&answer.body).map_err(|e| {
        ApiError::new(ErrorCode::Other, format!("the leader's answer is not understood: {e}"))
    })?;
    let Some(raft) = node.raft() else { return Ok(()) };
    raft.wait(Some(node.settings.request_timeout)).applied(index).await.map(drop).map_err(|_| {
        let applied = node.state.read().applied_index();
        let message = format!(
            "this node has applied {applied:?} and the leader {index}: it has not caught up within {:?}; try again \
             later, or ?consistency=stale",
            node.settings.request_timeout
        );
        ApiError::new(ErrorCode::ReadTimedOut, message).with_leader(node.leader_address())
    })
}

/// For followers: up to where they must have applied the log before they may read.
pub(super) async fn read_index(
    State(node): State<Arc<Node>>,
    uri: Uri,
) -> Result<Json<ReadIndexAnswer>, ApiError> {
    no_query(&uri)?;
    let raft = node.raft().ok_or_else(|| ApiError::new(ErrorCode::NotReady, node.why_not_formed()))?;
    match ReadIndex.attempt(&node, raft, node.settings.request_timeout).await? {
        Local::Done(index) => Ok(Json(ReadIndexAnswer { index })),
        // Never passed on: whoever asks was told a moment ago that this node leads, and looks again.
        Local::NotLeader(_) => {
            Err(ApiError::new(ErrorCode::NotLeader, node.why_no_leader()).with_leader(node.leader_address()))
        }
    }
}
