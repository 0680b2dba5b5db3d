//! The network adapter over HTTP/2: a client side that the core holds, and a server that answers peers and clients on
//! one address.
//!
//! # Layout
//!
//! - [`frame`]: how a message looks on a stream, and the decoder for it.
//! - `wire`: what the frames' payloads are; `handshake`: who may talk to whom; `snapshot_content`: which frames make a
//!   snapshot; `body`: frames as an HTTP body and back.
//! - `client`: [`HttpNetwork`], and below it one peer with its three connections.
//! - `server`: [`serve`], and below it one task for each stream of a peer.
//! - [`HttpOptions`] and [`ServerLimits`]: every time and size that can be set.
//!
//! # On the wire
//!
//! A peer is reached by up to three connections, each HTTP/2 with one long request and one long response, whose bodies
//! are frames: `POST /raft/control` for votes, heartbeats and read indexes, `POST /raft/append` for entries, `POST /raft/snapshot`
//! for one snapshot. Nothing urgent waits behind bulk. The first frame each way proves version, cluster and identity.
//! `POST /raft/form` and `POST /raft/join` are plain requests, for nodes that are not in a cluster yet; the
//! header `x-raft-wire-version` of request and answer proves the version. Every other path belongs to the application.
//!
//! Nothing here is encrypted or authenticated: the handshake guards against mistakes, not against an attacker who can
//! reach the port.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Sockets are not simulated: this crate runs on tokio's clock and tasks directly, and simulations use another network.

mod body;
mod client;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod handshake;
mod options;
mod server;
mod snapshot_content;
mod wire;

pub use client::{HttpNetwork, PeerAddress, Troubles};
pub use options::{HttpOptions, ServerLimits};
pub use server::{RaftSlot, ServerParts, serve};
pub use wire::WIRE_VERSION;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex that guards a plain value, which a panic elsewhere cannot have left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that ends when its owner goes.
struct OwnedTask(tokio::task::JoinHandle<()>);

impl OwnedTask {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for OwnedTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
