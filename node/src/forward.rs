//! Taking an order to the leader, and keeping apart what was certainly not taken there from what may have been.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use openraft_adapters::Env;
use openraft_engine::ClusterId;
use serde::{Deserialize, Serialize};

use crate::order::Outcome;
use crate::values;

/// Where a node takes orders from its peers.
pub(crate) const ORDER_PATH: &str = "/node/v1/order";

/// What is waited for beyond the order's own time, so that the leader's answer at its deadline still comes.
const MARGIN: Duration = Duration::from_millis(500);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The largest reply that is read into memory.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// The most that an [`Address`] takes before its order, in bytes.
pub(crate) const MAX_ADDRESS_BYTES: usize = 64;

/// Whom an order is for, in postcard before the order itself. Ports find new owners: an order that reaches another
/// node, or another cluster, must not be carried out there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    /// The node.
    pub(crate) to: u64,
    /// Its cluster.
    pub(crate) cluster_id: ClusterId,
    /// How long the order may take, in milliseconds.
    pub(crate) within_ms: u64,
}

impl Address {
    /// Whom the order in `body` is for, and the order, encoded.
    ///
    /// # Errors
    /// What the decoder says.
    pub(crate) fn split(body: &[u8]) -> Result<(Self, &[u8]), String> {
        postcard::take_from_bytes(body).map_err(|error| error.to_string())
    }
}

/// Connections to peers, kept open between orders.
#[derive(Clone)]
pub(crate) struct Forwarder {
    client: Client<HttpConnector, Full<Bytes>>,
    env: Env,
}

impl Forwarder {
    pub(crate) fn new(env: Env) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Self { client: Client::builder(TokioExecutor::new()).build(connector), env }
    }

    /// Sends an order, encoded, to the node that listens at `target`.
    pub(crate) async fn send(&self, target: &str, address: Address, order: &[u8]) -> Outcome {
        let mut body = postcard::to_stdvec(&address).unwrap_or_default();
        body.extend_from_slice(order);
        let request =
            Request::post(format!("http://{target}{ORDER_PATH}")).body(Full::new(Bytes::from(body)));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Outcome::NotTaken(format!("{target} is no address: {error}")),
        };
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                let cause = innermost(&error);
                if error.is_connect() {
                    Outcome::NotTaken(format!("the leader {target} cannot be reached: {cause}"))
                } else {
                    Outcome::Unknown(format!("the leader {target} gave no answer: {cause}"))
                }
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await;
            let body = body
                .map_err(|error| {
                    Outcome::Unknown(format!("the leader {target} gave no whole answer: {error}"))
                })?
                .to_bytes();
            if !status.is_success() {
                // Whoever answers there did not take it for an order: nothing is proposed.
                return Err(if status == StatusCode::PAYLOAD_TOO_LARGE {
                    Outcome::Refused(format!(
                        "the leader at {target} takes nothing so large: cut it up, or raise max_proposal_bytes on all \
                         nodes"
                    ))
                } else {
                    Outcome::NotTaken(format!(
                        "{target}, the address of the leader, answered {status} to an order: does a node of this program \
                         run there?"
                    ))
                });
            }
            values::decode(&body).map_err(|error| {
                Outcome::Unknown(format!("the answer of the leader {target} is not understood: {error}"))
            })
        };
        let within = Duration::from_millis(address.within_ms) + MARGIN;
        match self.env.timeout(within, exchange).await {
            Ok(Ok(outcome) | Err(outcome)) => outcome,
            Err(_) => Outcome::Unknown(format!("no answer came from the leader {target} within {within:?}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_never_takes_more_than_the_room_it_is_given() {
        let largest = Address { to: u64::MAX, cluster_id: ClusterId(u128::MAX), within_ms: u64::MAX };
        assert!(postcard::to_stdvec(&largest).unwrap().len() <= MAX_ADDRESS_BYTES);
    }
}
