//! `put`, `cas`, `get`, `delete`, `status`, `snapshot` and `transfer-leader`.

use std::io::{Read, Write};

use axum::http::Method;
use bytes::Bytes;

use crate::cli::{
    CasOptions, DeleteOptions, GetOptions, PutOptions, SnapshotOptions, StatusOptions, TransferOptions,
};
use crate::exit::{Failure, say};
use crate::http::{Answer, Call};
use crate::limits;
use crate::state::NO_VERSION;
use crate::table;
use crate::wire::{
    self, Consistency, ErrorBody, ErrorCode, NodeStatus, SnapshotAnswer, TransferAnswer, WriteAnswer,
};

use super::{CallError, Client, Repeat};

/// Sets a key.
pub(crate) async fn put(options: PutOptions) -> Result<(), Failure> {
    let call = put_call(&options.key, options.value, None)?;
    let answer = write(&options.cluster.client(), &call, None).await?;
    say(&format!("ok, log index {}\n", answer.log_index))
}

/// Sets a key if it has the version that the caller saw.
pub(crate) async fn cas(options: CasOptions) -> Result<(), Failure> {
    let if_version = Some(options.version);
    let call = put_call(&options.key, options.value, if_version)?;
    let answer = write(&options.cluster.client(), &call, if_version).await?;
    say(&format!("ok, version {}\n", answer.log_index))
}

fn put_call(key: &str, value: String, if_version: Option<u64>) -> Result<Call, Failure> {
    let value = if value == "-" { stdin_value()? } else { Bytes::from(value) };
    limits::check_key(key).map_err(|e| Failure::error(e.to_string()))?;
    limits::check_value(value.len() as u64).map_err(|e| Failure::error(e.to_string()))?;
    Ok(Call::new(Method::PUT, wire::key_path_if(key, if_version)).body(value))
}

/// Removes a key.
pub(crate) async fn delete(options: DeleteOptions) -> Result<(), Failure> {
    limits::check_key(&options.key).map_err(|e| Failure::error(e.to_string()))?;
    let call = Call::new(Method::DELETE, wire::key_path_if(&options.key, options.if_version));
    let answer = write(&options.cluster.client(), &call, options.if_version).await?;
    let what = if answer.existed { "deleted" } else { "ok, the key had no value" };
    say(&format!("{what}, log index {}\n", answer.log_index))
}

async fn write(client: &Client, call: &Call, if_version: Option<u64>) -> Result<WriteAnswer, Failure> {
    let repeat = match if_version {
        // "No value" may come back, when somebody deletes the key: two attempts could both have their effect.
        None | Some(NO_VERSION) => Repeat::OnlyIfNotDone,
        Some(_) => Repeat::WhileVersionStands,
    };
    let answered = client.call(call, repeat).await.map_err(|error| match error {
        CallError::Refused(ErrorBody { code: ErrorCode::VersionMismatch, message, .. }) => {
            Failure::Refused(message)
        }
        error => error.into(),
    })?;
    serde_json::from_slice(&answered.answer.body)
        .map_err(|e| Failure::error(format!("the write is done, but its answer is not understood: {e}")))
}

/// One byte more than is allowed is enough to refuse.
fn stdin_value() -> Result<Bytes, Failure> {
    let mut value = Vec::new();
    std::io::stdin()
        .take(limits::MAX_VALUE_BYTES as u64 + 1)
        .read_to_end(&mut value)
        .map_err(|e| Failure::error(format!("standard input cannot be read: {e}")))?;
    Ok(Bytes::from(value))
}

/// Prints the value of a key.
pub(crate) async fn get(options: GetOptions) -> Result<(), Failure> {
    limits::check_key(&options.key).map_err(|e| Failure::error(e.to_string()))?;
    let call = Call::new(Method::GET, options.consistency.on(&wire::key_path(&options.key)));
    let client = options.cluster.client();
    let result = match options.consistency {
        Consistency::Linearizable | Consistency::Lease => client.call(&call, Repeat::Freely).await,
        Consistency::Follower | Consistency::Stale => client.call_anyone(&call).await,
    };
    let Answer { headers, body: value, .. } = match result {
        Ok(answered) => answered.answer,
        Err(CallError::Refused(ErrorBody { code: ErrorCode::NotFound, .. })) => {
            return Err(Failure::error(format!("key {:?} has no value", options.key)));
        }
        Err(CallError::OutcomeUnknown { reason }) => {
            return Err(Failure::error(format!("the key could not be read: {reason}")));
        }
        Err(error) => return Err(error.into()),
    };
    let version = match headers.get(wire::VERSION_HEADER).map(|version| version.to_str()) {
        _ if !options.with_version => String::new(),
        Some(Ok(version)) => format!("{version}\t"),
        _ => return Err(Failure::error("the answer does not state the value's version")),
    };
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if options.no_newline { b"" } else { b"\n" };
    out.write_all(version.as_bytes())
        .and_then(|()| out.write_all(&value))
        .and_then(|()| out.write_all(end))
        .and_then(|()| out.flush())
        .map_err(|e| Failure::error(format!("standard output cannot be written: {e}")))
}

/// Hands leadership over.
pub(crate) async fn transfer_leader(options: TransferOptions) -> Result<(), Failure> {
    let path =
        options.to.map_or(wire::TRANSFER_PATH.to_owned(), |to| format!("{}?to={to}", wire::TRANSFER_PATH));
    let call = Call::new(Method::POST, path);
    let answered = options.cluster.client().call(&call, Repeat::Freely).await?;
    let answer: TransferAnswer = serde_json::from_slice(&answered.answer.body).map_err(|e| {
        Failure::error(format!("leadership is handed over, but the answer is not understood: {e}"))
    })?;
    match options.to {
        Some(to) if to == answer.from => say(&format!("ok, node {to} leads already\n")),
        _ => say(&format!("ok, node {} leads no more\n", answer.from)),
    }
}

/// Tells every endpoint to take a snapshot.
pub(crate) async fn snapshot(options: SnapshotOptions) -> Result<(), Failure> {
    let client = options.cluster.client();
    let call = Call::new(Method::POST, wire::SNAPSHOT_PATH);
    let calls = client.endpoints().iter().map(|endpoint| order_snapshot(&client, endpoint, &call));
    let (mut said, mut failed) = (String::new(), Vec::new());
    for answer in futures::future::join_all(calls).await {
        match answer {
            Ok(SnapshotAnswer { node, message, .. }) => said += &format!("node {node}: {message}\n"),
            Err(reason) => failed.push(reason),
        }
    }
    say(&said)?;
    if failed.is_empty() { Ok(()) } else { Err(Failure::error(failed.join("; "))) }
}

/// What the node answers, or why it takes none.
async fn order_snapshot(client: &Client, endpoint: &str, call: &Call) -> Result<SnapshotAnswer, String> {
    let answer = client.ask(endpoint, call).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        let message = serde_json::from_slice::<ErrorBody>(&answer.body).map(|body| body.message);
        return Err(format!("{endpoint}: {}", message.unwrap_or_else(|_| answer.status.to_string())));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|e| format!("{endpoint} has the order, but its answer is not understood: {e}"))
}

/// Prints what every endpoint says of itself.
pub(crate) async fn status(options: StatusOptions) -> Result<(), Failure> {
    let client = options.cluster.client();
    let calls = client.endpoints().iter().map(|endpoint| node_status(&client, endpoint));
    let found = futures::future::join_all(calls).await;
    if options.json {
        let all: Vec<_> = found.iter().map(|(endpoint, status)| json_of(endpoint, status)).collect();
        let text = serde_json::to_string_pretty(&all).map_err(|e| Failure::error(e.to_string()))?;
        say(&(text + "\n"))?;
    } else {
        say(&table::render(&found))?;
    }
    if found.iter().all(|(_, status)| status.is_err()) {
        return Err(Failure::error("no endpoint answers; are the nodes running, and is --endpoints right?"));
    }
    Ok(())
}

/// The status of one endpoint, or why there is none.
pub(crate) async fn node_status(client: &Client, endpoint: &str) -> (String, Result<NodeStatus, String>) {
    let call = Call::new(Method::GET, wire::STATUS_PATH);
    let status = match client.ask(endpoint, &call).await {
        Ok(Answer { status, body, .. }) if status.is_success() => {
            serde_json::from_slice(&body).map_err(|e| format!("its answer is not understood: {e}"))
        }
        Ok(answer) => Err(format!("it answers {}", answer.status)),
        Err(error) => Err(error.to_string()),
    };
    (endpoint.to_owned(), status)
}

fn json_of(endpoint: &str, status: &Result<NodeStatus, String>) -> serde_json::Value {
    match status {
        Ok(status) => serde_json::json!({ "endpoint": endpoint, "status": status }),
        Err(error) => serde_json::json!({ "endpoint": endpoint, "error": error }),
    }
}
