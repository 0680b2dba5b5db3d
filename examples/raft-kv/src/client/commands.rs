//! `put`, `get`, `delete`, `status` and `transfer-leader`.

use std::io::{Read, Write};

use axum::http::Method;
use bytes::Bytes;

use crate::cli::{DeleteOptions, GetOptions, PutOptions, StatusOptions, TransferOptions};
use crate::exit::{Failure, say};
use crate::http::{Answer, Call};
use crate::limits;
use crate::table;
use crate::wire::{self, ErrorBody, ErrorCode, NodeStatus, TransferAnswer, WriteAnswer};

use super::{CallError, Client, Repeat};

/// Sets a key.
pub(crate) async fn put(options: PutOptions) -> Result<(), Failure> {
    let value = if options.value == "-" { stdin_value()? } else { Bytes::from(options.value) };
    limits::check_key(&options.key).map_err(|e| Failure::error(e.to_string()))?;
    limits::check_value(value.len() as u64).map_err(|e| Failure::error(e.to_string()))?;
    let call = Call::new(Method::PUT, wire::key_path(&options.key)).body(value);
    let answer = write(&options.cluster.client(), &call).await?;
    say(&format!("ok, log index {}\n", answer.log_index))
}

/// Removes a key.
pub(crate) async fn delete(options: DeleteOptions) -> Result<(), Failure> {
    limits::check_key(&options.key).map_err(|e| Failure::error(e.to_string()))?;
    let call = Call::new(Method::DELETE, wire::key_path(&options.key));
    let answer = write(&options.cluster.client(), &call).await?;
    let what = if answer.existed { "deleted" } else { "ok, the key had no value" };
    say(&format!("{what}, log index {}\n", answer.log_index))
}

async fn write(client: &Client, call: &Call) -> Result<WriteAnswer, Failure> {
    let answered = client.call(call, Repeat::OnlyIfNotDone).await?;
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
    let path = wire::key_path(&options.key);
    let path = if options.stale { format!("{path}?consistency=stale") } else { path };
    let result = options.cluster.client().call(&Call::new(Method::GET, path), Repeat::Freely).await;
    let value = match result {
        Ok(answered) => answered.answer.body,
        Err(CallError::Refused(ErrorBody { code: ErrorCode::NotFound, .. })) => {
            return Err(Failure::error(format!("key {:?} has no value", options.key)));
        }
        Err(CallError::OutcomeUnknown { reason }) => {
            return Err(Failure::error(format!("the key could not be read: {reason}")));
        }
        Err(error) => return Err(error.into()),
    };
    let mut out = std::io::stdout().lock();
    let end: &[u8] = if options.no_newline { b"" } else { b"\n" };
    out.write_all(&value)
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
