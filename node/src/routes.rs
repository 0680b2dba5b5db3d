//! What a node serves under its own prefix, `/node/`: orders of other nodes, and the admin routes.

use std::sync::Weak;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{any, post};

use crate::forward::{Address, MAX_ADDRESS_BYTES, ORDER_PATH};
use crate::order::{ORDER_OVERHEAD_BYTES, Order, Outcome, carry_out};
use crate::raft_node::Inner;
use crate::{NodeTypeConfig, RaftNode, admin, values};

/// The largest order besides a write: a change of the members.
const MAX_CHANGE_BYTES: usize = 64 * 1024;

/// The routes, to be merged with the application's own. They do not keep the node alive.
pub(crate) fn router<C: NodeTypeConfig>(node: &RaftNode<C>) -> Router {
    let proposal = usize::try_from(node.inner.config.max_proposal_bytes).unwrap_or(usize::MAX);
    let largest = proposal.saturating_add(ORDER_OVERHEAD_BYTES).max(MAX_CHANGE_BYTES);
    let orders = Router::new()
        .route(ORDER_PATH, post(take_order::<C>))
        .layer(DefaultBodyLimit::max(largest.saturating_add(MAX_ADDRESS_BYTES)))
        .with_state(node.downgrade());
    let admin = node.admin_routes().method_not_allowed_fallback(admin::method_not_allowed);
    Router::new().nest("/node/v1", admin).merge(orders).route("/node/{*unknown}", any(admin::unknown_route))
}

/// Carries out what another node sends, in the belief that this one leads.
async fn take_order<C: NodeTypeConfig>(State(inner): State<Weak<Inner<C>>>, body: Bytes) -> Vec<u8> {
    let outcome = match inner.upgrade() {
        Some(inner) => judge(&inner, &body).await,
        None => Outcome::NotTaken("the node has ended".to_owned()),
    };
    postcard::to_stdvec(&outcome).unwrap_or_default()
}

async fn judge<C: NodeTypeConfig>(inner: &Inner<C>, body: &[u8]) -> Outcome {
    let not_understood = |cause: String| Outcome::Refused(values::foreign_command::<C::D>(&cause));
    let (address, order) = match Address::split(body) {
        Ok(taken) => taken,
        Err(cause) => return not_understood(cause),
    };
    let (me, cluster_id) = (inner.raft.replica().node_id, inner.cluster_id());
    if address.to != me || Some(address.cluster_id) != cluster_id {
        let found = match address.to == me {
            true => format!("node {me} of another cluster"),
            false => format!("node {me} instead of node {}", address.to),
        };
        return Outcome::NotTaken(format!(
            "at {} there is {found}: check the addresses of the members",
            inner.address
        ));
    }
    match values::decode::<Order<C::D>>(order) {
        Ok(order) => {
            let within = Duration::from_millis(address.within_ms);
            carry_out(&inner.raft, &inner.env, order, within).await
        }
        Err(cause) => not_understood(cause),
    }
}
