//! From an address to an open stream: resolve, connect, HTTP/2, handshake.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, Request, StatusCode, Uri};
use hyper::body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use openraft_adapters::{Identity, NetworkError};
use openraft_engine::{NodeId, Replica};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::OwnedTask;
use crate::body::{FrameBody, FrameReader};
use crate::frame::Kind;
use crate::handshake::{self, Answer, Refusal};
use crate::options::{HTTP2_FRAME_BYTES, HttpOptions, MAX_SMALL_FRAME_BYTES};
use crate::wire::{self, Hello, Lane, WIRE_VERSION};

/// Why a stream could not be opened.
#[derive(Clone, Debug)]
pub(crate) enum OpenError {
    /// The peer could not be reached.
    Failed(NetworkError),
    /// It turned us away.
    Refused(Refusal),
}

impl From<NetworkError> for OpenError {
    fn from(error: NetworkError) -> Self {
        Self::Failed(error)
    }
}

/// An open stream. Dropping it closes the connection.
pub(crate) struct Link<NID> {
    /// What the peer sends.
    pub(crate) reader: FrameReader,
    /// Who the peer proved to be.
    pub(crate) peer: Replica<NID>,
    pub(crate) connection: OwnedTask,
}

/// All addresses of `address`, looked up now, which may take `within`.
pub(crate) async fn resolve(
    target: &str,
    address: &str,
    within: Duration,
) -> Result<Vec<SocketAddr>, NetworkError> {
    let unresolved = |cause: &dyn std::fmt::Display| {
        let reason = format!(
            "the name in {address} cannot be resolved ({cause}): check its spelling, and the name service"
        );
        NetworkError::unreachable_because(target, reason)
    };
    let found = match timeout(within, tokio::net::lookup_host(address)).await {
        Ok(Ok(found)) => found.collect::<Vec<SocketAddr>>(),
        Ok(Err(error)) => return Err(unresolved(&error)),
        Err(_) => return Err(unresolved(&format_args!("no answer within {within:?}"))),
    };
    if found.is_empty() {
        return Err(unresolved(&"it has no address"));
    }
    Ok(found)
}

/// A connection to the first of `addresses` that takes one; each may take `within`.
pub(crate) async fn tcp(
    target: &str,
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<TcpStream, NetworkError> {
    let mut last = NetworkError::unreachable_because(target, "it has no address");
    for address in addresses {
        match timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => match prepare(&stream) {
                Ok(()) => return Ok(stream),
                Err(error) => last = unreachable(target, *address, &error),
            },
            Ok(Err(error)) => last = unreachable(target, *address, &error),
            Err(_) => {
                let reason = format!("{address} did not take a connection within {within:?}");
                last = NetworkError::unreachable_because(target, reason);
            }
        }
    }
    Err(last)
}

fn unreachable(target: &str, address: SocketAddr, error: &io::Error) -> NetworkError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => NetworkError::unreachable_because(
            target,
            format!("nobody listens at {address} (connection refused)"),
        ),
        _ => NetworkError::unreachable_because(target, format!("no connection to {address}: {error}")),
    }
}

/// The connection was made, and then no node spoke.
pub(crate) fn no_node(target: &str, error: &dyn std::error::Error) -> NetworkError {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let reason = format!(
        "a connection was made, but nothing answers as a node does ({innermost}): does a node listen there?"
    );
    NetworkError::unreachable_because(target, reason)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Where nobody listens on a local port, the kernel may join a connection to itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there"));
    }
    stream.set_nodelay(true)
}

/// A request to `path` at `address`.
pub(crate) fn post<B>(target: &str, address: &str, path: &str, body: B) -> Result<Request<B>, NetworkError> {
    let uri = Uri::builder().scheme("http").authority(address).path_and_query(path).build();
    uri.and_then(|uri| Request::builder().method(Method::POST).uri(uri).body(body)).map_err(|e| {
        let reason = format!("{address:?} is not an address of the form host:port: {e}");
        NetworkError::unreachable_because(target, reason)
    })
}

/// HTTP/2 on a connection, without waiting for the peer.
pub(crate) async fn http2<B>(
    target: &str,
    tcp: TcpStream,
    options: &HttpOptions,
) -> Result<(http2::SendRequest<B>, OwnedTask), NetworkError>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_frame_size(HTTP2_FRAME_BYTES)
        .keep_alive_interval(options.keep_alive_interval)
        .keep_alive_timeout(options.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(tcp))
        .await
        .map_err(|e| no_node(target, &e))?;
    let name = target.to_owned();
    let task = OwnedTask::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(target = name, %error, "a connection ended");
        }
    });
    Ok((sender, task))
}

/// What answers speaks HTTP/2, and is no node.
pub(crate) fn another_server(target: &str, status: StatusCode, path: &str) -> NetworkError {
    let reason = format!(
        "another HTTP server listens there, no node: it answered {status} to {path}; correct the address, or stop that \
         server"
    );
    NetworkError::unreachable_because(target, reason)
}

/// Where a stream goes.
pub(crate) struct Destination<'a, NID> {
    /// Its name for errors.
    pub(crate) name: &'a str,
    pub(crate) node_id: NID,
    pub(crate) address: &'a str,
    pub(crate) lane: Lane,
}

/// Opens a stream for `destination.lane` over `tcp`, with `body` as what we send after the hello.
pub(crate) async fn open_stream<NID: NodeId>(
    destination: Destination<'_, NID>,
    tcp: TcpStream,
    me: Identity<NID>,
    body: FrameBody,
    options: &HttpOptions,
) -> Result<Link<NID>, OpenError> {
    let Destination { name, node_id, address, lane } = destination;
    let hello =
        Hello { cluster_name: me.cluster_name, cluster_id: me.cluster_id, from: me.replica, to: node_id };
    let body = body.preceded_by(wire::to_versioned_frame(Kind::Hello, WIRE_VERSION, &hello));
    let request = post(name, address, lane.path(), body)?;
    let (mut sender, connection) = http2(name, tcp, options).await?;
    let opening = async {
        let response = sender.send_request(request).await.map_err(|e| no_node(name, &e))?;
        if !response.status().is_success() {
            return Err(another_server(name, response.status(), lane.path()).into());
        }
        let mut reader = FrameReader::new(response.into_body(), MAX_SMALL_FRAME_BYTES);
        let first = reader.next().await.map_err(|e| NetworkError::unreachable(name, &e))?;
        let Some(first) = first else {
            return Err(NetworkError::unreachable_because(name, "it ended the handshake").into());
        };
        match handshake::judge_reply(node_id, &first).map_err(|e| NetworkError::unreachable(name, &e))? {
            Answer::Accepted(peer) => Ok((reader, peer)),
            Answer::Refused(refusal) => Err(OpenError::Refused(refusal)),
        }
    };
    let after = options.handshake_timeout;
    let (reader, peer) = timeout(after, opening)
        .await
        .unwrap_or_else(|_| Err(NetworkError::Timeout { target: name.to_owned(), after }.into()))?;
    Ok(Link { reader, peer, connection })
}
