//! What clients ask for: values by `PUT` and `GET /key`, members by `POST` and `DELETE /id`.

use bytes::Bytes;
use openraft_node::axum::Router;
use openraft_node::axum::extract::State;
use openraft_node::axum::http::header::ALLOW;
use openraft_node::axum::http::{Method, StatusCode, Uri};
use openraft_node::axum::response::{IntoResponse, Response};
use openraft_node::{Consistency, Node, ReadError, WriteError};

use crate::flags::parse_url;
use crate::store::{Command, Store};

/// An answer other than the one that was hoped for: a status and a sentence.
pub(crate) struct Failure(StatusCode, pub(crate) String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let status = match &error {
            WriteError::NotWritten { .. }
            | WriteError::Overloaded { .. }
            | WriteError::NoMember { .. }
            | WriteError::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
            WriteError::Refused { .. } => StatusCode::CONFLICT,
            WriteError::OutcomeUnknown { .. } => StatusCode::GATEWAY_TIMEOUT,
        };
        Self(status, error.to_string())
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

fn bad_request(sentence: String) -> Failure {
    Failure(StatusCode::BAD_REQUEST, sentence)
}

/// Every path is a key, so that there is nothing to route by but the method.
pub(crate) fn router(node: Node<Store>) -> Router {
    Router::new().fallback(answer).with_state(node)
}

async fn answer(State(node): State<Node<Store>>, method: Method, uri: Uri, body: Bytes) -> Response {
    let answered = match method {
        Method::PUT => put(&node, &uri, body).await,
        Method::GET => get(&node, &uri).await,
        Method::POST => add(&node, &uri, &body).await,
        Method::DELETE => remove(&node, &uri).await,
        _ => {
            let allowed = [(ALLOW, "PUT, GET, POST, DELETE")];
            return (StatusCode::METHOD_NOT_ALLOWED, allowed, "there are PUT, GET, POST and DELETE\n")
                .into_response();
        }
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

fn done() -> Result<Response, Failure> {
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn put(node: &Node<Store>, uri: &Uri, value: Bytes) -> Result<Response, Failure> {
    // A value of its own: what came is a part of the connection's buffer.
    let value = Bytes::copy_from_slice(&value);
    node.write(Command::Put { key: uri.path().to_owned(), value }).await?;
    done()
}

async fn get(node: &Node<Store>, uri: &Uri) -> Result<Response, Failure> {
    let consistency = consistency_of(uri)?;
    match node.read(uri.path().to_owned(), consistency).await? {
        Some(value) => Ok(value.into_response()),
        None => Err(Failure(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()))),
    }
}

/// How fresh a read must be.
pub(crate) fn consistency_of(uri: &Uri) -> Result<Consistency, Failure> {
    match uri.query() {
        None | Some("consistency=linearizable") => Ok(Consistency::Linearizable),
        Some("consistency=stale") => Ok(Consistency::Stale),
        Some(other) => Err(bad_request(format!(
            "the query {other:?} is not understood: there are consistency=linearizable, which is the default, and \
             consistency=stale"
        ))),
    }
}

/// Announces a node, which is admitted when it asks. Whoever is a member already stays one.
async fn add(node: &Node<Store>, uri: &Uri, body: &[u8]) -> Result<Response, Failure> {
    let (id, address) = announced(uri, body)?;
    // With it this node knows of every change of the members that was finished before.
    node.read(String::new(), Consistency::Linearizable).await?;
    let member = {
        let metrics = node.raft().metrics();
        let metrics = metrics.borrow();
        metrics.membership.membership.nodes().get(&id).map(|member| member.node.addr.clone())
    };
    match member {
        Some(known) if known == address => done(),
        Some(known) => Err(Failure(
            StatusCode::CONFLICT,
            format!("node {id} is a member at http://{known}: DELETE /{id} first"),
        )),
        None => {
            node.write(Command::Announce { id, address }).await?;
            done()
        }
    }
}

/// The node that is announced, and its address.
pub(crate) fn announced(uri: &Uri, body: &[u8]) -> Result<(u64, String), Failure> {
    let id = id_of(uri)?;
    let url =
        std::str::from_utf8(body).map_err(|error| bad_request(format!("the body is no URL: {error}")))?;
    Ok((id, parse_url(url.trim()).map_err(bad_request)?))
}

/// Removes a member; who is none is gone already.
async fn remove(node: &Node<Store>, uri: &Uri) -> Result<Response, Failure> {
    let id = id_of(uri)?;
    // First, or it could ask and be admitted again at once.
    node.write(Command::Withdraw { id }).await?;
    node.remove_member(id).await?;
    done()
}

fn id_of(uri: &Uri) -> Result<u64, Failure> {
    match uri.path().trim_start_matches('/').parse() {
        Ok(id) if id > 0 => Ok(id),
        _ => {
            Err(bad_request(format!("{} is no node: give its id, a number from 1 on, as in /4", uri.path())))
        }
    }
}
