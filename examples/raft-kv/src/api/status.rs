//! What a node says of itself: its status, whether it lives, whether it can serve.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::node::Node;
use crate::wire::{ErrorCode, HealthAnswer, NodeStatus};

use super::errors::ApiError;

pub(super) async fn status(State(node): State<Arc<Node>>) -> Json<NodeStatus> {
    Json(node.status())
}

/// The process runs and answers.
pub(super) async fn healthz() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok".to_owned() })
}

/// The node can serve reads and writes, its own or by passing them on.
pub(super) async fn readyz(State(node): State<Arc<Node>>) -> Result<Json<HealthAnswer>, ApiError> {
    match node.why_not_ready() {
        None => Ok(Json(HealthAnswer { status: "ready".to_owned() })),
        Some(reason) => Err(ApiError::new(ErrorCode::NotReady, reason).with_leader(node.leader_address())),
    }
}
