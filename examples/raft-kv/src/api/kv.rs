//! Put, get and delete of one key.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use openraft_node::Node;

use crate::limits::{self, LimitError, MAX_VALUE_BYTES};
use crate::state::{Command, KvState, Reply, Versioned};
use crate::wire::{self, ErrorCode, VERSION_HEADER, WriteAnswer};

use super::answers::{here_only_if_leader, make_fresh, write_error};
use super::errors::ApiError;
use super::{ReadQuery, WriteQuery};

/// How much of an oversized value is read and thrown away: a client that is still sending when it is refused may
/// never see the answer.
const MAX_DISCARDED_BYTES: u64 = 64 * MAX_VALUE_BYTES as u64;

pub(super) async fn put(
    State(node): State<Node<KvState>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<WriteAnswer>, ApiError> {
    let key = key_of(&uri)?;
    let WriteQuery { if_version } = WriteQuery::of(&uri)?;
    let value = value_of(body).await?;
    let command = match if_version {
        Some(if_version) => Command::PutIf { key: key.clone(), value, if_version },
        None => Command::Put { key: key.clone(), value },
    };
    write(&node, &headers, command, &key, if_version).await
}

pub(super) async fn delete(
    State(node): State<Node<KvState>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<WriteAnswer>, ApiError> {
    let key = key_of(&uri)?;
    let WriteQuery { if_version } = WriteQuery::of(&uri)?;
    let command = match if_version {
        Some(if_version) => Command::DeleteIf { key: key.clone(), if_version },
        None => Command::Delete { key: key.clone() },
    };
    write(&node, &headers, command, &key, if_version).await
}

async fn write(
    node: &Node<KvState>,
    headers: &HeaderMap,
    command: Command,
    key: &str,
    if_version: Option<u64>,
) -> Result<Json<WriteAnswer>, ApiError> {
    here_only_if_leader(node, headers)?;
    let written = node.raft_node().write(command).await.map_err(|error| write_error(node, error))?;
    match written.reply {
        Reply::Done { existed } => Ok(Json(WriteAnswer { log_index: written.log_id.index, existed })),
        // Only a condition is answered by another version.
        Reply::OtherVersion { current } => {
            Err(ApiError::version_mismatch(key, if_version.unwrap_or_default(), current))
        }
    }
}

pub(super) async fn get(State(node): State<Node<KvState>>, uri: Uri) -> Result<Response, ApiError> {
    let key = key_of(&uri)?;
    make_fresh(&node, ReadQuery::of(&uri)?).await?;
    let found = node.peek(|state| state.get(&key).cloned());
    found
        .map(value_response)
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("the key {key:?} has no value")))
}

/// The key in the path of a request.
pub(crate) fn key_of(uri: &Uri) -> Result<String, ApiError> {
    let key = match uri.path() {
        "/v1/kv" => String::new(),
        path => wire::key_of_path(path).ok_or_else(|| {
            ApiError::new(
                ErrorCode::BadKey,
                "the key is not UTF-8; percent-encode the bytes of its UTF-8 form",
            )
        })?,
    };
    limits::check_key(&key)?;
    Ok(key)
}

async fn value_of(mut body: Body) -> Result<Bytes, ApiError> {
    let mut value = BytesMut::new();
    let mut seen: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            ApiError::new(ErrorCode::BadBody, format!("the value could not be read to its end: {e}"))
        })?;
        let Ok(chunk) = frame.into_data() else { continue };
        seen += chunk.len() as u64;
        if seen <= MAX_VALUE_BYTES as u64 {
            value.extend_from_slice(&chunk);
        } else {
            value = BytesMut::new();
        }
        if seen > MAX_DISCARDED_BYTES {
            break;
        }
    }
    limits::check_value(seen).map_err(|error| match error {
        LimitError::ValueTooLarge(_) if seen > MAX_DISCARDED_BYTES => ApiError::new(
            ErrorCode::ValueTooLarge,
            format!("the value has more than {MAX_DISCARDED_BYTES} bytes and {MAX_VALUE_BYTES} are allowed"),
        ),
        error => error.into(),
    })?;
    Ok(value.freeze())
}

fn value_response(found: Versioned) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), HeaderValue::from_static("application/octet-stream")),
        (VERSION_HEADER, HeaderValue::from(found.version)),
    ];
    (headers, found.value).into_response()
}
