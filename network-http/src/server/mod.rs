//! The server: one address for peers and for clients, HTTP/1.1 and HTTP/2.
//!
//! - this file: what a server is made of, accepting, and stopping.
//! - `connection`: one connection, and which of its requests go where.
//! - `peer_stream`: one stream of a peer, from handshake to end; `append`, `control` and `snapshot` are what it does then.

mod append;
mod connection;
mod control;
mod peer_stream;
mod snapshot;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use openraft_adapters::{FormationServer, IdentityStore, JoinServer, RaftServer, RaftTypeConfig};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use crate::ServerLimits;
use crate::lock;

/// The core that a server hands peers' messages to, once there is one. Clones are one slot.
///
/// A server must answer requests to form a cluster, and clients, before the core can start. Until then peers are told
/// to ask again.
pub struct RaftSlot<C: RaftTypeConfig>(Arc<OnceLock<Arc<dyn RaftServer<C>>>>);

impl<C: RaftTypeConfig> RaftSlot<C> {
    /// An empty slot.
    pub fn new() -> Self {
        Self(Arc::new(OnceLock::new()))
    }

    /// Fills the slot. `false` if it was full before; then nothing changes.
    pub fn set(&self, raft: Arc<dyn RaftServer<C>>) -> bool {
        self.0.set(raft).is_ok()
    }

    /// The core, if it has started.
    pub fn get(&self) -> Option<&Arc<dyn RaftServer<C>>> {
        self.0.get()
    }
}

impl<C: RaftTypeConfig> Default for RaftSlot<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: RaftTypeConfig> Clone for RaftSlot<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: RaftTypeConfig> fmt::Debug for RaftSlot<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.get().is_some() { "RaftSlot(running)" } else { "RaftSlot(empty)" })
    }
}

/// What a server is made of.
pub struct ServerParts<C: RaftTypeConfig, S> {
    /// Who this node is; read at every handshake.
    pub identity: Arc<dyn IdentityStore<C>>,
    /// Where peers' messages go.
    pub raft: RaftSlot<C>,
    /// Where requests to form a cluster go.
    pub formation: Arc<dyn FormationServer<C>>,
    /// Where requests to join it go.
    pub join: Arc<dyn JoinServer<C>>,
    /// Every request whose path does not begin with `/raft/`: an axum `Router` fits as it is.
    pub app: S,
    /// What is accepted.
    pub limits: ServerLimits,
}

impl<C: RaftTypeConfig, S> fmt::Debug for ServerParts<C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerParts").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new connections; requests under way are finished, peers are served on.
    Draining,
    /// Everything ends now.
    Cut,
}

/// Completes once `phase` has come, or the server is gone.
async fn reached(mut phase: watch::Receiver<Phase>, at_least: Phase) {
    let _ = phase.wait_for(|now| *now >= at_least).await;
}

/// What all connections share.
struct Node<C: RaftTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    raft: RaftSlot<C>,
    formation: Arc<dyn FormationServer<C>>,
    join: Arc<dyn JoinServer<C>>,
    limits: ServerLimits,
    phase: watch::Receiver<Phase>,
    refusals: Arc<Refusals>,
}

/// The reason last given to each peer that was refused, so that one which keeps asking fills no log.
#[derive(Default)]
struct Refusals(Mutex<BTreeMap<String, String>>);

/// How many refused askers are remembered.
const REMEMBERED_REFUSALS: usize = 256;

impl Refusals {
    /// Logs that `asker` was refused, at a level that tells news from repetition.
    fn log(&self, asker: &str, reason: &str) {
        let mut refused = lock(&self.0);
        if refused.get(asker).is_some_and(|before| before == reason) {
            tracing::debug!(asker, reason, "refused a peer again");
            return;
        }
        if refused.len() >= REMEMBERED_REFUSALS {
            refused.clear();
        }
        refused.insert(asker.to_owned(), reason.to_owned());
        tracing::warn!(asker, reason, "refused a peer");
    }
}

/// Serves peers and clients on `listener` until `shutdown` completes.
///
/// Then no connection is accepted any more; requests of clients that are under way may finish within
/// [`ServerLimits::drain_timeout`], while peers are still served; then the rest is cut off and this returns. What
/// stops the core should therefore wait for this function.
///
/// No error of a connection ends the server. Dropping the future cuts everything at once.
pub async fn serve<C, S, B>(
    listener: TcpListener,
    parts: ServerParts<C, S>,
    shutdown: impl Future<Output = ()> + Send,
) where
    C: RaftTypeConfig,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let ServerParts { identity, raft, formation, join, app, limits } = parts;
    let (phase, phase_seen) = watch::channel(Phase::Serving);
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let drain_timeout = limits.drain_timeout;
    let node = Arc::new(Node {
        identity,
        raft,
        formation,
        join,
        limits,
        phase: phase_seen,
        refusals: Arc::default(),
    });
    // Every connection that serves clients holds a clone of `busy`; the drain ends when all are gone.
    let (busy, mut idle) = mpsc::channel::<()>(1);
    let mut connections = JoinSet::new();
    let mut full = false;
    tokio::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, as a rule: connections must end before another can begin.
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(
                    limit = node.limits.max_connections,
                    "all connections are in use; further ones are closed (max_connections)"
                );
            }
            continue;
        };
        full = false;
        let connection = connection::run(stream, node.clone(), app.clone(), busy.clone());
        connections.spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    drop(busy);
    let _ = phase.send(Phase::Draining);
    if timeout(drain_timeout, idle.recv()).await.is_err() {
        tracing::warn!(?drain_timeout, "requests of clients were cut off by the stop");
    }
    let _ = phase.send(Phase::Cut);
    while connections.join_next().await.is_some() {}
}
