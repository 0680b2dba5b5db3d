//! The client side: [`HttpNetwork`] makes one [`Peer`] for each node the core talks to.
//!
//! - `peer`: one node, its outages, and the three ways of reaching it; what the core calls.
//! - `connect`: from an address to a connection on which the handshake is done.
//! - `outage`: when to try again, and what to log.
//! - `control`, `append`, `snapshot`: what runs on each of the three connections.

mod append;
mod connect;
mod control;
mod outage;
mod peer;
mod snapshot;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use openraft_adapters::{
    FormReply, FormRequest, FormationNetwork, IdentityStore, JoinNetwork, JoinReply, JoinRequest,
    NetworkError, RaftNetwork, RaftNetworkFactory, RaftTypeConfig, codec,
};
use openraft_engine::{BasicNode, NodeId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::lock;
use crate::options::{HttpOptions, MAX_SMALL_FRAME_BYTES};
use crate::wire::{self, FORM_PATH, JOIN_PATH, VERSION_HEADER, WIRE_VERSION};
use outage::Outage;
use peer::Peer;

/// Where a node listens.
pub trait PeerAddress {
    /// `host:port`, the host a name or an address (in brackets, if it has colons).
    fn address(&self) -> String;
}

impl PeerAddress for BasicNode {
    fn address(&self) -> String {
        self.addr.clone()
    }
}

/// Tells where a node listens.
type AddressOf<N> = Box<dyn Fn(&N) -> String + Send + Sync>;

/// What all peers share.
struct Shared<C: RaftTypeConfig> {
    identity: Arc<dyn IdentityStore<C>>,
    options: HttpOptions,
    address: AddressOf<C::Node>,
    /// How it goes with the peers that the core talks to.
    outages: Outages<C::NodeId>,
}

type Outages<NID> = Arc<Mutex<BTreeMap<NID, Weak<Outage>>>>;

/// With which peers it does not go well, for an operator. Keeps nothing else of the network alive.
#[derive(Clone)]
pub struct Troubles<NID>(Outages<NID>);

impl<NID: NodeId> Troubles<NID> {
    /// The peers that the core has talked to and to which the last attempt to connect failed, or which refuse what is
    /// sent, and why.
    pub fn list(&self) -> BTreeMap<NID, NetworkError> {
        let outages = lock(&self.0);
        outages.iter().filter_map(|(id, outage)| Some((*id, outage.upgrade()?.trouble()?))).collect()
    }
}

impl<NID: NodeId> fmt::Debug for Troubles<NID> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Troubles").field(&self.list()).finish()
    }
}

/// The network over HTTP/2, to be given to the core. Clones share what they are made of.
///
/// Who we are is read from the identity store at every handshake, so the network can be made before the cluster is
/// formed. It must be used within a tokio runtime with I/O and time.
pub struct HttpNetwork<C: RaftTypeConfig> {
    shared: Arc<Shared<C>>,
}

impl<C: RaftTypeConfig> Clone for HttpNetwork<C> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for HttpNetwork<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNetwork").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl<C: RaftTypeConfig> HttpNetwork<C> {
    /// A network for nodes that know their own address.
    pub fn new(identity: Arc<dyn IdentityStore<C>>, options: HttpOptions) -> Self
    where
        C::Node: PeerAddress,
    {
        Self::with_addresses(identity, options, C::Node::address)
    }

    /// A network in which `address` tells where a node listens, as `host:port`.
    pub fn with_addresses(
        identity: Arc<dyn IdentityStore<C>>,
        options: HttpOptions,
        address: impl Fn(&C::Node) -> String + Send + Sync + 'static,
    ) -> Self {
        let outages = Outages::default();
        Self { shared: Arc::new(Shared { identity, options, address: Box::new(address), outages }) }
    }

    /// What is known of the peers that cannot be talked to.
    pub fn troubles(&self) -> Troubles<C::NodeId> {
        Troubles(self.shared.outages.clone())
    }

    /// A plain request to form or to join (`what`) a cluster, to a node that is not connected.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        (path, what): (&'static str, &str),
        target: &str,
        address: &str,
        request: &Q,
    ) -> Result<A, NetworkError> {
        let options = &self.shared.options;
        let addresses = connect::resolve(target, address, options.connect_timeout).await?;
        let tcp = connect::tcp(target, &addresses, options.connect_timeout).await?;
        let after = options.form_timeout;
        tokio::time::timeout(after, self.ask_on(tcp, (path, what), target, address, request))
            .await
            .unwrap_or_else(|_| {
                let reason = format!(
                    "a connection was made, but no answer came within {after:?}: does a node listen there?"
                );
                Err(NetworkError::unreachable_because(target, reason))
            })
    }

    async fn ask_on<Q: Serialize, A: DeserializeOwned>(
        &self,
        tcp: TcpStream,
        (path, what): (&'static str, &str),
        target: &str,
        address: &str,
        request: &Q,
    ) -> Result<A, NetworkError> {
        let body = Full::new(Bytes::from(wire::to_payload(request)));
        let mut request = connect::post(target, address, path, body)?;
        request.headers_mut().insert(VERSION_HEADER, WIRE_VERSION.into());
        let (mut sender, _connection) = connect::http2(target, tcp, &self.shared.options).await?;
        let response = sender.send_request(request).await.map_err(|e| connect::no_node(target, &e))?;
        let status = response.status();
        if !response.headers().contains_key(VERSION_HEADER) {
            return Err(connect::another_server(target, status, path));
        }
        let body = Limited::new(response.into_body(), MAX_SMALL_FRAME_BYTES as usize)
            .collect()
            .await
            .map_err(|e| NetworkError::unreachable_because(target, e))?
            .to_bytes();
        if !status.is_success() {
            let reason = String::from_utf8_lossy(&body).trim_end().to_owned();
            return Err(NetworkError::Refused { target: target.to_owned(), reason });
        }
        codec::decode_value(&body).map_err(|e| {
            let reason = format!("its answer to a request to {what} a cluster does not decode: {e}");
            NetworkError::unreachable_because(target, reason)
        })
    }
}

impl<C: RaftTypeConfig> RaftNetworkFactory<C> for HttpNetwork<C> {
    fn network(&self, target: C::NodeId, node: &C::Node) -> Arc<dyn RaftNetwork<C>> {
        Peer::new(self.shared.clone(), target, (self.shared.address)(node)).into_network()
    }
}

#[async_trait]
impl<C: RaftTypeConfig> FormationNetwork<C> for HttpNetwork<C> {
    async fn form(
        &self,
        target: C::NodeId,
        node: &C::Node,
        request: FormRequest<C::NodeId>,
    ) -> Result<FormReply<C::NodeId>, NetworkError> {
        let address = (self.shared.address)(node);
        self.ask((FORM_PATH, "form"), &describe(&target, &address), &address, &request).await
    }
}

#[async_trait]
impl<C: RaftTypeConfig> JoinNetwork<C> for HttpNetwork<C> {
    async fn join(
        &self,
        member: &C::Node,
        request: JoinRequest<C::NodeId, C::Node>,
    ) -> Result<JoinReply<C::Node>, NetworkError> {
        let address = (self.shared.address)(member);
        self.ask((JOIN_PATH, "join"), &address, &address, &request).await
    }
}

/// How errors and logs name a peer.
fn describe(target: &impl fmt::Display, address: &str) -> String {
    format!("node {target} at {address}")
}
