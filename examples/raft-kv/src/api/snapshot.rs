//! A snapshot by request: `POST /v1/snapshot`, of the node that is asked and of no other.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use openraft_adapters::engine::LogIdOptionExt;

use crate::node::Node;
use crate::wire::{ErrorCode, SnapshotAnswer};

use super::errors::ApiError;

/// Answers when the snapshot is ordered; the status shows when it is done.
pub(super) async fn snapshot(State(node): State<Arc<Node>>) -> Result<Json<SnapshotAnswer>, ApiError> {
    let raft = node.raft().ok_or_else(|| ApiError::new(ErrorCode::NotReady, node.why_not_formed()))?;
    let ordered = raft.trigger().snapshot().await;
    let ordered = ordered.map_err(|fatal| ApiError::new(ErrorCode::Stopped, fatal.to_string()))?;
    let (applied, held) = {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        (metrics.applied.index(), metrics.snapshot.index())
    };
    let message = match (ordered, held) {
        (true, _) => "a snapshot is being made; the status shows when it is done".to_owned(),
        (false, Some(held)) if applied == Some(held) => {
            format!("nothing was applied since the snapshot at log index {held}")
        }
        (false, _) => "one is being made or received already, or nothing was applied yet".to_owned(),
    };
    Ok(Json(SnapshotAnswer {
        node: node.settings.id,
        ordered,
        message,
        applied_index: applied,
        snapshot_index: held,
    }))
}
