//! Put, get and delete of one key.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use openraft_core::{Raft, ReadPolicy, WriteError, WriteReply};

use crate::http::Call;
use crate::limits::{self, LimitError, MAX_VALUE_BYTES};
use crate::node::Node;
use crate::state::{Command, Reply, Types, Versioned};
use crate::wire::{self, Consistency, ErrorCode, VERSION_HEADER, WriteAnswer};

use super::errors::ApiError;
use super::leader::{AtLeader, Kind, Local, Routed, at_leader, relay};
use super::reads::{ConfirmedRead, catch_up};
use super::{ReadQuery, WriteQuery};

/// How much of an oversized value is read and thrown away: a client that is still sending when it is refused may
/// never see the answer.
const MAX_DISCARDED_BYTES: u64 = 64 * MAX_VALUE_BYTES as u64;

pub(super) async fn put(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let key = key_of(&uri)?;
    let WriteQuery { if_version } = WriteQuery::of(&uri)?;
    let value = value_of(body).await?;
    let call = Call::new(Method::PUT, wire::key_path_if(&key, if_version)).body(value.clone());
    let command = match if_version {
        Some(if_version) => Command::PutIf { key, value, if_version },
        None => Command::Put { key, value },
    };
    write(&node, &headers, call, command).await
}

pub(super) async fn delete(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = key_of(&uri)?;
    let WriteQuery { if_version } = WriteQuery::of(&uri)?;
    let call = Call::new(Method::DELETE, wire::key_path_if(&key, if_version));
    let command = match if_version {
        Some(if_version) => Command::DeleteIf { key, if_version },
        None => Command::Delete { key },
    };
    write(&node, &headers, call, command).await
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let key = key_of(&uri)?;
    match ReadQuery::of(&uri)? {
        consistency @ (Consistency::Linearizable | Consistency::Lease) => {
            let leased = consistency == Consistency::Lease;
            let policy = if leased { ReadPolicy::Lease } else { ReadPolicy::ReadIndex };
            let call = Call::new(Method::GET, consistency.on(&wire::key_path(&key)));
            if let Routed::There(answer) = at_leader(&node, &headers, call, &ConfirmedRead(policy)).await? {
                return Ok(relay(answer));
            }
        }
        Consistency::Follower => catch_up(&node).await?,
        Consistency::Stale => {}
    }
    let found = node.state.read().get(&key).cloned();
    found
        .map(value_response)
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("the key {key:?} has no value")))
}

/// Proposes a command.
struct Propose(Command);

impl AtLeader for Propose {
    type Done = WriteAnswer;
    const KIND: Kind = Kind::Write;

    async fn attempt(
        &self,
        node: &Node,
        raft: &Raft<Types>,
        within: Duration,
    ) -> Result<Local<WriteAnswer>, ApiError> {
        if let Some(fatal) = raft.metrics().borrow().fatal.clone() {
            // Not proposed, as it was not even handed over.
            return Err(ApiError::new(ErrorCode::Stopped, fatal.to_string()));
        }
        match raft.client_write_within(self.0.clone(), within).await {
            Ok(WriteReply { log_id, reply: Reply::Done { existed } }) => {
                Ok(Local::Done(WriteAnswer { log_index: log_id.index, existed }))
            }
            Ok(WriteReply { reply: Reply::OtherVersion { current }, .. }) => {
                Err(other_version(&self.0, current))
            }
            Err(WriteError::NotLeader(forward)) => Ok(Local::NotLeader(forward)),
            Err(error) => Err(write_error(node, error)),
        }
    }
}

async fn write(node: &Node, headers: &HeaderMap, call: Call, command: Command) -> Result<Response, ApiError> {
    match at_leader(node, headers, call, &Propose(command)).await? {
        Routed::Here(answer) => Ok(Json(answer).into_response()),
        Routed::There(answer) => Ok(relay(answer)),
    }
}

/// A write that the core did not carry out, in words that say which of the two it is: not done, or not known.
fn write_error(node: &Node, error: WriteError<Types>) -> ApiError {
    let text = error.to_string();
    match error {
        WriteError::NotLeader(_) => ApiError::new(ErrorCode::NotLeader, text),
        WriteError::Overloaded { .. } => ApiError::new(ErrorCode::Overloaded, text),
        WriteError::TooLarge { .. } => ApiError::new(ErrorCode::ValueTooLarge, text),
        WriteError::NotProposedInTime => ApiError::new(
            ErrorCode::NotProposed,
            format!("{text}: nothing was written, it is safe to try again; {}", node.why_no_quorum()),
        ),
        WriteError::OutcomeUnknown { reason } => unknown(node, reason),
        WriteError::Fatal(fatal) => unknown(node, &fatal.to_string()),
    }
}

/// A conditional write that was applied and changed nothing.
fn other_version(command: &Command, current: u64) -> ApiError {
    match command {
        Command::PutIf { key, if_version, .. } | Command::DeleteIf { key, if_version } => {
            ApiError::version_mismatch(key, *if_version, current)
        }
        Command::Put { .. } | Command::Delete { .. } => {
            unreachable!("only a condition is answered by another version")
        }
    }
}

fn unknown(node: &Node, reason: &str) -> ApiError {
    ApiError::new(
        ErrorCode::OutcomeUnknown,
        format!(
            "the write was proposed, and its outcome is unknown ({reason}): it may or may not have happened, or may \
             yet happen; {}",
            node.why_no_quorum()
        ),
    )
    .with_leader(node.leader_address())
}

fn key_of(uri: &Uri) -> Result<String, ApiError> {
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
