//! The HTTP interface for clients.
//!
//! # Layout
//!
//! - `errors`: every error as JSON with its status; `answers`: which of them the node's own are.
//! - `kv`: put, get, delete; `export`: everything.
//! - Status, members, transfer of leadership and snapshots are the node's admin routes, here under `/v1` as well.

mod answers;
mod errors;
mod export;
pub(crate) mod kv;

use axum::extract::State;
use axum::http::{Method, Uri};
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use openraft_node::{HealthAnswer, Node};
use serde::Deserialize;

use crate::state::KvState;
use crate::wire::{Consistency, EXPORT_PATH, ErrorCode};

use answers::orders_here_only_if_leader;
pub(crate) use errors::ApiError;

/// Everything that clients may ask a node for.
pub(crate) fn router(node: Node<KvState>) -> Router {
    let one_key = get(kv::get).put(kv::put).delete(kv::delete);
    let admin = node.raft_node().admin_routes();
    Router::new()
        .route("/v1/kv/{*key}", one_key.clone())
        // Without a key, to say so instead of "unknown route".
        .route("/v1/kv/", one_key.clone())
        .route("/v1/kv", one_key)
        .route(EXPORT_PATH, get(export::export))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(node.clone())
        .nest("/v1", admin.layer(from_fn_with_state(node, orders_here_only_if_leader)))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
}

/// The process runs and answers.
async fn healthz() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok".to_owned() })
}

/// The node can serve reads and writes, its own or by passing them on.
async fn readyz(State(node): State<Node<KvState>>) -> Result<Json<HealthAnswer>, ApiError> {
    match node.raft_node().why_not_ready() {
        None => Ok(Json(HealthAnswer { status: "ready".to_owned() })),
        Some(reason) => {
            let leader = node.raft_node().leader_elsewhere();
            Err(ApiError::new(ErrorCode::NotReady, reason).with_leader(leader))
        }
    }
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
pub(crate) struct ReadQuery {
    #[serde(default)]
    consistency: Consistency,
}

impl ReadQuery {
    pub(crate) fn of(uri: &Uri) -> Result<Consistency, ApiError> {
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
pub(crate) struct WriteQuery {
    /// The version that the key must have; 0: no value.
    pub(crate) if_version: Option<u64>,
}

impl WriteQuery {
    pub(crate) fn of(uri: &Uri) -> Result<Self, ApiError> {
        axum::extract::Query::<WriteQuery>::try_from_uri(uri).map(|query| query.0).map_err(|_| {
            let query = uri.query().unwrap_or_default();
            let message = format!(
                "the query `{query}` is not understood; there is ?if_version=VERSION, where 0 stands for no value"
            );
            ApiError::new(ErrorCode::BadQuery, message)
        })
    }
}
