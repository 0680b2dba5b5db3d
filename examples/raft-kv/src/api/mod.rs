//! The HTTP interface for clients.
//!
//! # Layout
//!
//! - `errors`: every error as JSON with its status.
//! - `leader`: how a request that needs the leader gets there, whichever node received it.
//! - `kv`: put, get, delete; `export`: everything; `reads`: what makes a read linearizable.
//! - `status`: what the node says of itself; `members`: who is in the cluster; `transfer`: another leader; `snapshot`: a
//!   snapshot now.

mod errors;
mod export;
mod kv;
mod leader;
mod members;
mod reads;
mod snapshot;
mod status;
mod transfer;

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};
use axum::routing::{get, post, put};
use serde::Deserialize;

use crate::node::Node;
use crate::wire::{Consistency, EXPORT_PATH, ErrorCode, SNAPSHOT_PATH, STATUS_PATH, TRANSFER_PATH};

use errors::ApiError;

/// Everything that clients may ask a node for.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let one_key = get(kv::get).put(kv::put).delete(kv::delete);
    Router::new()
        .route("/v1/kv/{*key}", one_key.clone())
        // Without a key, to say so instead of "unknown route".
        .route("/v1/kv/", one_key.clone())
        .route("/v1/kv", one_key)
        .route(EXPORT_PATH, get(export::export))
        .route(STATUS_PATH, get(status::status))
        .route(TRANSFER_PATH, post(transfer::transfer))
        .route("/v1/members/{id}", put(members::add).delete(members::remove))
        .route("/v1/members/{id}/promote", post(members::promote))
        .route(SNAPSHOT_PATH, post(snapshot::snapshot))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(node)
}

async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::UnknownRoute,
        format!(
            "there is no {method} {}; there are /v1/kv/KEY, /v1/status, /v1/export, \
             /v1/members/ID, /v1/transfer-leader, /v1/snapshot, /healthz and /readyz",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        ErrorCode::MethodNotAllowed,
        format!(
            "{} does not take {method}; keys take GET, PUT and DELETE, members PUT and DELETE, a transfer, a promotion and a snapshot POST, all else \
             GET",
            uri.path()
        ),
    )
}

/// The query string of a read.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadQuery {
    #[serde(default)]
    consistency: Consistency,
}

impl ReadQuery {
    fn of(uri: &Uri) -> Result<Consistency, ApiError> {
        axum::extract::Query::<ReadQuery>::try_from_uri(uri).map(|query| query.0.consistency).map_err(|_| {
            ApiError::new(
                ErrorCode::BadQuery,
                format!(
                    "the query `{}` is not understood; there is ?consistency=linearizable, the default, \
                     ?consistency=lease, ?consistency=follower and ?consistency=stale",
                    uri.query().unwrap_or_default()
                ),
            )
        })
    }
}

/// The query string of a write.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteQuery {
    /// The version that the key must have; 0: no value.
    if_version: Option<u64>,
}

impl WriteQuery {
    fn of(uri: &Uri) -> Result<Self, ApiError> {
        axum::extract::Query::<WriteQuery>::try_from_uri(uri).map(|query| query.0).map_err(|_| {
            let query = uri.query().unwrap_or_default();
            let message = format!(
                "the query `{query}` is not understood; there is ?if_version=VERSION, where 0 stands for no value"
            );
            ApiError::new(ErrorCode::BadQuery, message)
        })
    }
}
