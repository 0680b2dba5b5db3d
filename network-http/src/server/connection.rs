//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, and each request to where it belongs.

use std::error::Error;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use openraft_adapters::{FormRequest, JoinRequest, RaftTypeConfig, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tower_service::Service;

use super::{Node, Phase, peer_stream, reached};
use crate::body::FrameBody;
use crate::lock;
use crate::options::{HTTP2_FRAME_BYTES, MAX_SMALL_FRAME_BYTES, ServerLimits};
use crate::wire::{self, FORM_PATH, JOIN_PATH, Lane, VERSION_HEADER, WIRE_VERSION};

/// How many requests may be under way on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// What one connection is, told to its requests.
pub(super) struct Origin {
    /// The address of the other end.
    pub(super) remote: SocketAddr,
    /// Held while the connection serves clients; a peer's connection gives it up, so that a stop does not wait for it.
    busy: Mutex<Option<mpsc::Sender<()>>>,
    /// Whether it has made a request.
    used: AtomicBool,
}

impl Origin {
    /// A peer shook hands on this connection.
    pub(super) fn belongs_to_peer(&self) {
        lock(&self.busy).take();
    }
}

/// Serves one connection until it ends, says nothing for too long, or the server stops.
pub(super) async fn run<C, S, B>(stream: TcpStream, node: Arc<Node<C>>, app: S, busy: mpsc::Sender<()>)
where
    C: RaftTypeConfig,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Ok(remote) = stream.peer_addr() else { return };
    let _ = stream.set_nodelay(true);
    let origin = Arc::new(Origin { remote, busy: Mutex::new(Some(busy)), used: AtomicBool::new(false) });
    let (service_node, service_origin) = (node.clone(), origin.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        service_origin.used.store(true, Ordering::Relaxed);
        handle(request, service_node.clone(), app.clone(), service_origin.clone())
    });
    let builder = builder(&node.limits);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let patience = tokio::time::sleep(node.limits.header_timeout);
    tokio::pin!(patience);
    let draining = reached(node.phase.clone(), Phase::Draining);
    tokio::pin!(draining);
    let (mut told, mut checked) = (false, false);
    loop {
        tokio::select! {
            biased;
            () = reached(node.phase.clone(), Phase::Cut) => return,
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%remote, error, "a connection ended");
                }
                return;
            }
            () = &mut draining, if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut patience, if !checked => {
                checked = true;
                if !origin.used.load(Ordering::Relaxed) {
                    tracing::debug!(%remote, "a connection without a request was closed");
                    return;
                }
            }
        }
    }
}

fn builder(limits: &ServerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

async fn handle<C, S, B>(
    request: Request<Incoming>,
    node: Arc<Node<C>>,
    mut app: S,
    origin: Arc<Origin>,
) -> Result<Response<Either<FrameBody, B>>, Box<dyn Error + Send + Sync>>
where
    C: RaftTypeConfig,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !request.uri().path().starts_with("/raft/") {
        poll_fn(|cx| app.poll_ready(cx)).await.map_err(Into::into)?;
        return Ok(app.call(request).await.map_err(Into::into)?.map(Either::Right));
    }
    let body = if request.method() != Method::POST {
        Err((StatusCode::METHOD_NOT_ALLOWED, "only nodes use this path, by POST\n".to_owned()))
    } else if let Some(words) = other_version(&request) {
        Err((StatusCode::BAD_REQUEST, words))
    } else if let Some(lane) = Lane::from_path(request.uri().path()) {
        Ok(peer_stream::open(lane, request.into_body(), node, origin))
    } else if request.uri().path() == FORM_PATH {
        let request: Result<FormRequest<C::NodeId>, _> = read(request.into_body(), &node, "form").await;
        match request {
            Ok(request) => Ok(answer(&node.formation.form(request).await)),
            Err(error) => Err(error),
        }
    } else if request.uri().path() == JOIN_PATH {
        let request: Result<JoinRequest<_, _>, _> = read(request.into_body(), &node, "join").await;
        match request {
            Ok(request) => Ok(answer(&node.join.join(request).await)),
            Err(error) => Err(error),
        }
    } else {
        Err((StatusCode::NOT_FOUND, "no such path between nodes\n".to_owned()))
    };
    let (status, body) = match body {
        Ok(body) => (StatusCode::OK, body),
        Err((status, words)) => (status, FrameBody::fixed(Bytes::from(words))),
    };
    Ok(Response::builder().status(status).header(VERSION_HEADER, WIRE_VERSION).body(Either::Left(body))?)
}

/// What speaks against a plain request of a node with another version of the wire format. On streams the handshake
/// tells.
fn other_version(request: &Request<Incoming>) -> Option<String> {
    if ![FORM_PATH, JOIN_PATH].contains(&request.uri().path()) {
        return None;
    }
    let theirs =
        request.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
    (theirs != WIRE_VERSION.to_string()).then(|| wire::other_version(theirs))
}

/// The plain request of a node that wants to form or to join (`what`) a cluster.
async fn read<C: RaftTypeConfig, Q: DeserializeOwned>(
    body: Incoming,
    node: &Node<C>,
    what: &str,
) -> Result<Q, (StatusCode, String)> {
    let bad = |words: String| (StatusCode::BAD_REQUEST, words);
    let reading = Limited::new(body, MAX_SMALL_FRAME_BYTES as usize).collect();
    let bytes = tokio::time::timeout(node.limits.handshake_timeout, reading)
        .await
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time\n".to_owned()))?
        .map_err(|e| bad(format!("the request cannot be read: {e}\n")))?
        .to_bytes();
    codec::decode_value(&bytes).map_err(|e| bad(format!("this is no request to {what} a cluster: {e}\n")))
}

fn answer<A: Serialize>(reply: &A) -> FrameBody {
    FrameBody::fixed(Bytes::from(wire::to_payload(reply)))
}
