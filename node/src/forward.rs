//! Taking an order to the leader, and keeping apart what was certainly not taken there from what may have been.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// What only a leader carries out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// A command of the application, in postcard.
    Write,
    /// The removal of a member, its id in postcard. May be repeated.
    Remove,
}

impl Order {
    /// Where a node takes such orders from its peers.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Write => "/node/v1/write",
            Self::Remove => "/node/v1/remove",
        }
    }
}

/// How long the order may take at the leader, in milliseconds.
pub(crate) const WITHIN_HEADER: &str = "x-within-ms";

/// What is waited for beyond the order's own time, so that the leader's answer at its deadline still comes.
const MARGIN: Duration = Duration::from_millis(500);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest reply that is read into memory.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// The leader's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Forwarded {
    /// It is carried out; the reply in postcard.
    Done(Vec<u8>),
    /// Certainly not proposed; somebody else may take it, or this node later.
    NotTaken(String),
    /// Certainly not proposed, and asking again does not help.
    Refused(String),
    /// It may yet take effect.
    Unknown(String),
}

/// Connections to peers, kept open between orders.
#[derive(Clone)]
pub(crate) struct Forwarder {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Forwarder {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends an order, encoded, to the node at `target`, which has `within` for it.
    pub(crate) async fn send(&self, target: &str, order: Order, body: Bytes, within: Duration) -> Forwarded {
        let request = Request::post(format!("http://{target}{}", order.path()))
            .header(WITHIN_HEADER, within.as_millis().to_string())
            .body(Full::new(body));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Forwarded::NotTaken(format!("{target} is no address: {error}")),
        };
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let words = format!("{target}: {}", innermost(&error));
                if error.is_connect() { Forwarded::NotTaken(words) } else { Forwarded::Unknown(words) }
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
            let body = body.map_err(|error| Forwarded::Unknown(format!("{target}: {error}")))?.to_bytes();
            if !status.is_success() {
                // Whoever answers there does not know this path: it has proposed nothing.
                return Err(Forwarded::NotTaken(format!("{target} answered {status}")));
            }
            postcard::from_bytes(&body).map_err(|error| {
                Forwarded::Unknown(format!("the answer of {target} is not understood: {error}"))
            })
        };
        match tokio::time::timeout(within + MARGIN, exchange).await {
            Ok(Ok(answer) | Err(answer)) => answer,
            Err(_) => Forwarded::Unknown(format!("no answer came from {target} in time")),
        }
    }
}

/// The words of the last cause: "connection refused" says more than "client error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
