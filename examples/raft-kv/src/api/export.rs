//! All keys and values of this node as lines.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use openraft_node::Node;

use crate::client::lines;
use crate::state::KvState;
use crate::wire::APPLIED_INDEX_HEADER;

use super::ReadQuery;
use super::answers::make_fresh;
use super::errors::ApiError;

/// About how much text is made at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The state of *this* node, unlike a get, which any node may answer: after it has applied all that the leader had
/// committed when the request came.
pub(super) async fn export(State(node): State<Node<KvState>>, uri: Uri) -> Result<Response, ApiError> {
    make_fresh(&node, ReadQuery::of(&uri)?).await?;
    let view = node.peek(KvState::clone);
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
