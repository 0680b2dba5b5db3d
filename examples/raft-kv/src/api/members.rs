//! Who is in the cluster: `PUT /v1/members/ID?address=HOST:PORT&store_id=STORE`, `DELETE /v1/members/ID` and
//! `POST /v1/members/ID/promote`. All of them may be repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use openraft_adapters::engine::{
    BasicNode, ChangeRefused, InvalidChange, MembershipChange, NewNode, StoreId,
};
use openraft_core::{ChangeMembershipError, ForwardToLeader, Raft};
use serde::Deserialize;

use crate::cluster_list::parse_address;
use crate::http::Call;
use crate::node::Node;
use crate::state::Types;
use crate::wire::{ErrorCode, MEMBERS_PATH, MembersAnswer};

use super::errors::ApiError;
use super::leader::{AtLeader, Kind, Local, PAUSE, Routed, at_leader, relay};

/// The node in the path.
type Id = Result<Path<u64>, PathRejection>;

/// The query string of an addition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddQuery {
    address: String,
    store_id: String,
    #[serde(default)]
    learner: bool,
}

/// Adds a node that is in this cluster's name on that store, or gives a member another address.
pub(super) async fn add(
    State(node): State<Arc<Node>>,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = id_of(id)?;
    let not_understood = |what: String| {
        let query = uri.query().unwrap_or_default();
        let message = format!(
            "the query `{query}` is not understood ({what}); there are address=HOST:PORT, store_id=STORE and \
             learner=true"
        );
        ApiError::new(ErrorCode::BadQuery, message)
    };
    let Query(query): Query<AddQuery> =
        Query::try_from_uri(&uri).map_err(|error| not_understood(error.to_string()))?;
    let address = parse_address(&query.address).map_err(|error| not_understood(error.to_string()))?;
    let store_id =
        u128::from_str_radix(&query.store_id, 16).map_err(|error| not_understood(error.to_string()))?;
    let new = NewNode { store_id: StoreId(store_id), node: BasicNode::new(address), promote: !query.learner };
    let change = MembershipChange::AddLearners(BTreeMap::from([(id, new)]));
    carry_out(&node, &headers, Method::PUT, &uri, change).await
}

/// Removes a node, a voter or not.
pub(super) async fn remove(
    State(node): State<Arc<Node>>,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let change = MembershipChange::RemoveNodes(BTreeSet::from([id_of(id)?]));
    carry_out(&node, &headers, Method::DELETE, &uri, change).await
}

/// Makes a voter of a learner that has caught up.
pub(super) async fn promote(
    State(node): State<Arc<Node>>,
    id: Id,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let change = MembershipChange::AddVoters(BTreeSet::from([id_of(id)?]));
    carry_out(&node, &headers, Method::POST, &uri, change).await
}

fn id_of(id: Id) -> Result<u64, ApiError> {
    match id {
        Ok(Path(id)) if id > 0 => Ok(id),
        _ => {
            let message = format!("name the node by its id, a whole number from 1 on, as in {MEMBERS_PATH}4");
            Err(ApiError::new(ErrorCode::BadQuery, message))
        }
    }
}

/// A change of the members; only what may be repeated.
struct Change(MembershipChange<u64, BasicNode>);

async fn carry_out(
    node: &Node,
    headers: &HeaderMap,
    method: Method,
    uri: &Uri,
    change: MembershipChange<u64, BasicNode>,
) -> Result<Response, ApiError> {
    let call = Call::new(method, uri.to_string());
    match at_leader(node, headers, call, &Change(change)).await? {
        Routed::Here(answer) => Ok(Json(answer).into_response()),
        Routed::There(answer) => Ok(relay(answer)),
    }
}

impl AtLeader for Change {
    type Done = MembersAnswer;
    const KIND: Kind = Kind::Order;

    /// Waits for another change that is under way, and for this one to be committed.
    async fn attempt(
        &self,
        node: &Node,
        raft: &Raft<Types>,
        within: Duration,
    ) -> Result<Local<MembersAnswer>, ApiError> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(result) = tokio::time::timeout(left, raft.change_membership(self.0.clone())).await else {
                let message = format!(
                    "the change has begun and is not finished within {within:?}; `member list` shows how far it is; {}",
                    node.why_no_quorum()
                );
                return Err(ApiError::new(ErrorCode::OutcomeUnknown, message));
            };
            let refused = match result {
                Ok(log_id) => return Ok(Local::Done(MembersAnswer { log_index: Some(log_id.index) })),
                Err(ChangeMembershipError::NotLeader(forward)) => return Ok(Local::NotLeader(forward)),
                Err(ChangeMembershipError::Fatal(fatal)) => {
                    return Err(ApiError::new(ErrorCode::Stopped, fatal.to_string()));
                }
                Err(ChangeMembershipError::Refused(refused)) => refused,
            };
            match &refused {
                // It is done already, perhaps by an earlier attempt.
                ChangeRefused::Invalid(InvalidChange::UnknownNode { .. })
                    if matches!(self.0, MembershipChange::RemoveNodes(_)) =>
                {
                    return Ok(Local::Done(MembersAnswer { log_index: None }));
                }
                // Whoever leads next is told again; what was done by then is not done twice.
                ChangeRefused::LeadershipLost => {
                    return Ok(Local::NotLeader(ForwardToLeader { leader: None }));
                }
                ChangeRefused::InProgress { .. } | ChangeRefused::Transferring { .. }
                    if Instant::now() + PAUSE < end =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                _ => return Err(ApiError::new(ErrorCode::ChangeRefused, refused.to_string())),
            }
        }
    }
}
