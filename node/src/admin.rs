//! The admin routes: what an operator asks a node for, over HTTP and in JSON. The table is in the crate's documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use openraft_adapters::engine::LogIdOptionExt;
use openraft_engine::{BasicNode, MembershipChange, NewNode, StoreId};
use serde::{Deserialize, Serialize};

use crate::raft_node::Inner;
use crate::status::{MemberStatus, NodeStatus, members};
use crate::{NodeTypeConfig, RaftNode, WriteError, check};

/// What kind of error it is. Programs decide by this, people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminErrorCode {
    /// No such path.
    UnknownRoute,
    /// The path does not take this method.
    MethodNotAllowed,
    /// Path or query string are not understood.
    BadQuery,
    /// Certainly nothing was begun within the time there is. It may be asked for again.
    NotProposed,
    /// It may or may not have happened, or may yet happen. It may be asked for again.
    OutcomeUnknown,
    /// The members are not changed as was asked.
    ChangeRefused,
    /// Leadership was not handed over; the leader leads on.
    TransferFailed,
    /// The node has failed or is stopping.
    Stopped,
    /// The node is not ready to serve, or is no member.
    NotReady,
}

/// The body of every answer of an admin route that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    /// The kind.
    pub code: AdminErrorCode,
    /// A sentence for people: what happened and what to do.
    pub message: String,
    /// The address of the leader, where it is known and is not the answering node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// The answer when the members are as was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersAnswer {
    /// The index of the log entry that states them; `null` if there was nothing to change.
    pub log_index: Option<u64>,
}

/// The answer when leadership was handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferAnswer {
    /// Who led before.
    pub from: u64,
}

/// The answer to the order to take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAnswer {
    /// The node that was asked.
    pub node: u64,
    /// Whether one is being made now.
    pub ordered: bool,
    /// What the node says of it, in a sentence.
    pub message: String,
    /// The last entry applied.
    pub applied_index: Option<u64>,
    /// The last entry that the snapshot covers which the node has already.
    pub snapshot_index: Option<u64>,
}

/// The answer of `/health` and of a ready `/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthAnswer {
    /// `ok` or `ready`.
    pub status: String,
}

impl AdminError {
    fn new(code: AdminErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), leader: None }
    }
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        let status = match self.code {
            AdminErrorCode::UnknownRoute => StatusCode::NOT_FOUND,
            AdminErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            AdminErrorCode::BadQuery => StatusCode::BAD_REQUEST,
            AdminErrorCode::NotProposed | AdminErrorCode::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
            AdminErrorCode::ChangeRefused | AdminErrorCode::TransferFailed => StatusCode::CONFLICT,
            AdminErrorCode::Stopped | AdminErrorCode::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}

/// The node that answers; it does not live on only because its routes do.
struct Held<C: NodeTypeConfig>(Weak<Inner<C>>);

impl<C: NodeTypeConfig> Clone for Held<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: NodeTypeConfig> Held<C> {
    fn node(&self) -> Result<RaftNode<C>, AdminError> {
        let gone = || AdminError::new(AdminErrorCode::Stopped, "the node has ended");
        self.0.upgrade().map(|inner| RaftNode { inner }).ok_or_else(gone)
    }
}

impl<C: NodeTypeConfig> RaftNode<C> {
    /// The admin routes: `/status`, `/members` and so on, as in the table of the crate's documentation. The node serves them
    /// under `/node/v1` by itself; this is for whoever wants them somewhere else as well. They have no fallbacks, and do not
    /// keep the node alive.
    pub fn admin_routes(&self) -> Router {
        Router::new()
            .route("/status", get(status::<C>))
            .route("/members", get(list::<C>))
            .route("/members/{id}", put(add::<C>).delete(remove::<C>))
            .route("/members/{id}/promote", post(promote::<C>))
            .route("/transfer-leader", post(transfer::<C>))
            .route("/snapshot", post(snapshot::<C>))
            .route("/health", get(health))
            .route("/ready", get(ready::<C>))
            .with_state(Held(self.downgrade()))
    }

    /// What a change of the members or of the leader came to, in the words of the admin routes.
    fn admin_error(&self, error: WriteError, refused: AdminErrorCode) -> AdminError {
        let within = Duration::from_millis(self.config().write_timeout_ms);
        let (code, message) = match error {
            WriteError::NotWritten { reason } | WriteError::Overloaded { reason } => (
                AdminErrorCode::NotProposed,
                format!(
                    "no leader took the order within {within:?}: {reason}; nothing was changed, it is safe to try again"
                ),
            ),
            WriteError::Refused { reason } => (refused, reason),
            WriteError::OutcomeUnknown { reason } => (
                AdminErrorCode::OutcomeUnknown,
                format!("{reason}; it is safe to try again; {}", self.why_no_quorum()),
            ),
            WriteError::NoMember { reason } => (AdminErrorCode::NotReady, reason),
            WriteError::Stopped(fatal) => (AdminErrorCode::Stopped, fatal.to_string()),
        };
        AdminError { code, message, leader: self.leader_elsewhere() }
    }
}

/// What answers under the node's own prefix where there is no such route.
pub(crate) async fn unknown_route(method: Method, uri: Uri) -> Response {
    let message = format!(
        "there is no {method} {}; there are GET status, members, health and ready, PUT and DELETE members/ID, POST \
         members/ID/promote, transfer-leader and snapshot",
        uri.path()
    );
    AdminError::new(AdminErrorCode::UnknownRoute, message).into_response()
}

/// What answers where there is such a route, but not for this method.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let message = format!(
        "{} does not take {method}; members take PUT and DELETE, a promotion, a transfer and a snapshot POST, all else GET",
        uri.path()
    );
    AdminError::new(AdminErrorCode::MethodNotAllowed, message).into_response()
}

async fn status<C: NodeTypeConfig>(State(held): State<Held<C>>) -> Result<Json<NodeStatus>, AdminError> {
    Ok(Json(held.node()?.status()))
}

async fn list<C: NodeTypeConfig>(State(held): State<Held<C>>) -> Result<Json<Vec<MemberStatus>>, AdminError> {
    let node = held.node()?;
    let metrics = node.raft().metrics();
    Ok(Json(members(&metrics.borrow())))
}

/// The process runs and answers.
async fn health() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok".to_owned() })
}

/// The node can serve reads and writes.
async fn ready<C: NodeTypeConfig>(State(held): State<Held<C>>) -> Result<Json<HealthAnswer>, AdminError> {
    let node = held.node()?;
    match node.why_not_ready() {
        None => Ok(Json(HealthAnswer { status: "ready".to_owned() })),
        Some(message) => {
            Err(AdminError { code: AdminErrorCode::NotReady, message, leader: node.leader_elsewhere() })
        }
    }
}

/// The node in the path.
type Id = Result<Path<u64>, PathRejection>;

fn id_of(id: Id) -> Result<u64, AdminError> {
    match id {
        Ok(Path(id)) if id > 0 => Ok(id),
        _ => {
            let message = "name the node by its id, a whole number from 1 on, as in members/4";
            Err(AdminError::new(AdminErrorCode::BadQuery, message))
        }
    }
}

/// The query string of an addition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddQuery {
    address: String,
    store_id: String,
    #[serde(default)]
    learner: bool,
}

/// The node that the query of an addition describes.
pub(crate) fn new_node(uri: &Uri) -> Result<NewNode<BasicNode>, AdminError> {
    let not_understood = |what: String| {
        let query = uri.query().unwrap_or_default();
        let message = format!(
            "the query `{query}` is not understood ({what}); there are address=HOST:PORT, store_id=STORE and \
             learner=true"
        );
        AdminError::new(AdminErrorCode::BadQuery, message)
    };
    let Query(query): Query<AddQuery> =
        Query::try_from_uri(uri).map_err(|error| not_understood(error.to_string()))?;
    check::reachable("the node", &query.address).map_err(|error| not_understood(error.to_string()))?;
    let store_id =
        u128::from_str_radix(&query.store_id, 16).map_err(|error| not_understood(error.to_string()))?;
    Ok(NewNode { store_id: StoreId(store_id), node: BasicNode::new(query.address), promote: !query.learner })
}

/// Adds a node that is in this cluster's name on that store, or gives a member another address.
async fn add<C: NodeTypeConfig>(
    State(held): State<Held<C>>,
    id: Id,
    uri: Uri,
) -> Result<Json<MembersAnswer>, AdminError> {
    let id = id_of(id)?;
    let new = new_node(&uri)?;
    change(&held, MembershipChange::AddLearners(BTreeMap::from([(id, new)]))).await
}

/// Removes a node, a voter or not.
async fn remove<C: NodeTypeConfig>(
    State(held): State<Held<C>>,
    id: Id,
) -> Result<Json<MembersAnswer>, AdminError> {
    change(&held, MembershipChange::RemoveNodes(BTreeSet::from([id_of(id)?]))).await
}

/// Makes a voter of a learner that has caught up.
async fn promote<C: NodeTypeConfig>(
    State(held): State<Held<C>>,
    id: Id,
) -> Result<Json<MembersAnswer>, AdminError> {
    change(&held, MembershipChange::AddVoters(BTreeSet::from([id_of(id)?]))).await
}

async fn change<C: NodeTypeConfig>(
    held: &Held<C>,
    change: MembershipChange<u64, BasicNode>,
) -> Result<Json<MembersAnswer>, AdminError> {
    let node = held.node()?;
    match node.change_members(change).await {
        Ok(log_index) => Ok(Json(MembersAnswer { log_index })),
        Err(error) => Err(node.admin_error(error, AdminErrorCode::ChangeRefused)),
    }
}

/// The query string of a transfer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferQuery {
    to: Option<u64>,
}

/// Who is to lead by the query of a transfer, if it names one.
pub(crate) fn transfer_target(uri: &Uri) -> Result<Option<u64>, AdminError> {
    Query::try_from_uri(uri).map(|Query(TransferQuery { to })| to).map_err(|_| {
        let query = uri.query().unwrap_or_default();
        let message = format!("the query `{query}` is not understood; there is ?to=ID");
        AdminError::new(AdminErrorCode::BadQuery, message)
    })
}

async fn transfer<C: NodeTypeConfig>(
    State(held): State<Held<C>>,
    uri: Uri,
) -> Result<Json<TransferAnswer>, AdminError> {
    let to = transfer_target(&uri)?;
    let node = held.node()?;
    match node.transfer_leader(to).await {
        Ok(from) => Ok(Json(TransferAnswer { from })),
        Err(error) => Err(node.admin_error(error, AdminErrorCode::TransferFailed)),
    }
}

/// A snapshot of the node that is asked and of no other. Answers when it is ordered; the status shows when it is done.
async fn snapshot<C: NodeTypeConfig>(
    State(held): State<Held<C>>,
) -> Result<Json<SnapshotAnswer>, AdminError> {
    let node = held.node()?;
    let ordered = node.raft().trigger().snapshot().await;
    let ordered = ordered.map_err(|fatal| AdminError::new(AdminErrorCode::Stopped, fatal.to_string()))?;
    let (applied, held) = {
        let metrics = node.raft().metrics();
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
        node: node.replica().node_id,
        ordered,
        message,
        applied_index: applied,
        snapshot_index: held,
    }))
}
