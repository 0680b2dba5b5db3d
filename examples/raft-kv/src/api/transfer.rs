//! Handing leadership over: `POST /v1/transfer-leader`, to the best voter or, with `?to=ID`, to that one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use openraft_core::{Raft, TransferError};
use serde::Deserialize;

use crate::http::Call;
use crate::node::Node;
use crate::state::Types;
use crate::wire::{ErrorCode, TRANSFER_PATH, TransferAnswer};

use super::errors::ApiError;
use super::leader::{AtLeader, Kind, Local, Routed, at_leader, relay};

/// The query string of a transfer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferQuery {
    to: Option<u64>,
}

pub(super) async fn transfer(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = axum::extract::Query::<TransferQuery>::try_from_uri(&uri).map_err(|_| {
        let query = uri.query().unwrap_or_default();
        ApiError::new(ErrorCode::BadQuery, format!("the query `{query}` is not understood; there is ?to=ID"))
    })?;
    let path = query.to.map_or(TRANSFER_PATH.to_owned(), |to| format!("{TRANSFER_PATH}?to={to}"));
    match at_leader(&node, &headers, Call::new(Method::POST, path), &query.0).await? {
        Routed::Here(answer) => Ok(Json(answer).into_response()),
        Routed::There(answer) => Ok(relay(answer)),
    }
}

impl AtLeader for TransferQuery {
    type Done = TransferAnswer;
    // A second attempt may change the leader once more, which harms nobody.
    const KIND: Kind = Kind::Order;

    async fn attempt(
        &self,
        node: &Node,
        raft: &Raft<Types>,
        _: Duration,
    ) -> Result<Local<TransferAnswer>, ApiError> {
        let me = node.settings.id;
        if self.to == Some(me) && raft.metrics().borrow().current_leader == Some(me) {
            return Ok(Local::Done(TransferAnswer { from: me }));
        }
        match raft.transfer_leader(self.to).await {
            Ok(()) => Ok(Local::Done(TransferAnswer { from: me })),
            Err(TransferError::NotLeader(forward)) => Ok(Local::NotLeader(forward)),
            Err(TransferError::Refused(refused)) => {
                Err(ApiError::new(ErrorCode::TransferFailed, refused.to_string()))
            }
            Err(TransferError::Fatal(fatal)) => Err(ApiError::new(ErrorCode::Stopped, fatal.to_string())),
        }
    }
}
