//! How a node starts from what its builder was told: listener, core, server, and its way into the cluster.

use std::sync::{Arc, Mutex};

use axum::Router;
use openraft_adapters::{Env, Identity};
use openraft_core::formation::Formation;
use openraft_core::join::{Admission, Joining};
use openraft_core::{Raft, RaftParts};
use openraft_engine::BasicNode;
use openraft_network_http::{HttpNetwork, RaftSlot, ServerParts};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use super::{NodeBuilder, OfParts};
use crate::arrival::{Arrival, Surroundings, Waiting};
use crate::forward::Forwarder;
use crate::parts::NodeNetwork;
use crate::raft_node::{Inner, Open, ServerTask};
use crate::{NodeTypeConfig, RaftNode, StartError, check, routes};

impl<C: NodeTypeConfig, M> NodeBuilder<C, M> {
    /// Binds, opens the parts when that has succeeded, and starts.
    pub(super) async fn start_with(
        self,
        id: u64,
        open: impl AsyncFnOnce(M) -> Result<OfParts<C>, StartError>,
    ) -> Result<RaftNode<C>, StartError> {
        check::runtime()?;
        self.config.validate()?;
        if self.cluster.is_empty() == self.join.is_empty() {
            return Err(StartError::Incomplete(
                "give either cluster(), to form a new one, or join(), to become a member of one that exists"
                    .to_owned(),
            ));
        }
        let list = check::list(id, self.cluster)?;
        let own = list.get(&id).map(|node| node.addr.clone());
        let (listener, listens_at) =
            bind(self.listener, self.listen.or(own.clone()).or(self.advertise.clone())).await?;
        let address = own.or(self.advertise).unwrap_or(listens_at);
        check::reachable(&format!("node {id}"), &address)?;
        check::members(&address, &self.join)?;

        let OfParts { identity, log, state_machine } = open(self.machine).await?;
        let env = self.env.unwrap_or_else(Env::tokio);
        let (network, troubles): (Arc<dyn NodeNetwork<C>>, _) = match self.network {
            Some(network) => (network, None),
            None => {
                let network = HttpNetwork::new(identity.clone(), self.options);
                let troubles = network.troubles();
                (Arc::new(network), Some(troubles))
            }
        };
        let formation = Arc::new(Formation::new(identity.clone(), list.clone()));
        let Identity { replica, cluster_name, .. } = identity.identity();
        let raft = Raft::start(RaftParts {
            config: self.config.clone(),
            replica,
            env: env.clone(),
            network: network.clone(),
            log,
            state_machine,
        })
        .await
        .map_err(|error| StartError::Node { id, reason: error.to_string() })?;

        // Before the node answers anyone: what it says to peers that form depends on it.
        if raft.is_initialized() {
            formation.set_formed_of(&raft);
        }
        let (arrival, waiting) = if self.join.is_empty() {
            (Arrival::Forming, Waiting::Forming(formation.status(), list.clone()))
        } else {
            let me = BasicNode::new(address.clone());
            let joining = Joining::new(identity.clone(), me, self.join, self.promote);
            let waiting = Waiting::Joining(joining.waiting());
            (Arrival::Joining(joining), waiting)
        };
        let with =
            Surroundings { raft: raft.clone(), formation: formation.clone(), network, env: env.clone() };
        let (standing_tx, standing) = watch::channel(with.standing());
        let arriving = env.spawn("arrival", with.arrive(arrival, standing_tx));
        let mut admission = Admission::new(identity.clone(), raft.clone());
        if let Some(condition) = self.condition {
            admission = admission.admit_if(condition);
        }
        let join = Arc::new(admission);
        let (stop, stopped) = watch::channel(false);
        let node = RaftNode {
            inner: Arc::new(Inner {
                raft: raft.clone(),
                config: self.config,
                cluster_name,
                listed: list,
                started: env.now(),
                standing,
                waiting,
                troubles,
                details: self.details,
                forwarder: Forwarder::new(env.clone()),
                stop,
                open: Mutex::new(Some(Open {
                    identity: identity.clone(),
                    formation: formation.clone(),
                    join: join.clone(),
                    arriving,
                    server: None,
                })),
                env: env.clone(),
                address,
            }),
        };
        let app = self.routes.map_or_else(Router::new, |routes| routes(&node));
        let slot = RaftSlot::new();
        slot.set(Arc::new(raft));
        let parts = ServerParts {
            identity,
            raft: slot,
            formation,
            join,
            app: app.merge(routes::router(&node)),
            limits: self.limits,
        };
        let (ended_tx, ended) = oneshot::channel();
        let task = env.spawn("server", async move {
            openraft_network_http::serve(listener, parts, until(stopped)).await;
            // Nobody may wait for it.
            let _ = ended_tx.send(());
        });
        if let Some(open) = node.inner.open().as_mut() {
            open.server = Some(ServerTask { task, ended });
        }
        tracing::info!(id, listen = %node.inner.address, "the node answers");
        Ok(node)
    }
}

/// The listener, and where it listens. A name stays a name, for the others and for whoever admits by it; of port 0 only
/// the system knows the number.
async fn bind(
    listener: Option<TcpListener>,
    listen: Option<String>,
) -> Result<(TcpListener, String), StartError> {
    let failed = |address: &str, source| StartError::Listen { address: address.to_owned(), source };
    let (listener, listen) = match (listener, listen) {
        (Some(listener), listen) => (listener, listen.unwrap_or_else(|| ":0".to_owned())),
        (None, Some(listen)) => {
            check::listens(&listen)?;
            (TcpListener::bind(&listen).await.map_err(|source| failed(&listen, source))?, listen)
        }
        (None, None) => {
            return Err(StartError::Incomplete(
                "a node that joins must be told by listen() where the others find it".to_owned(),
            ));
        }
    };
    if listen.ends_with(":0") {
        let bound = listener.local_addr().map_err(|source| failed(&listen, source))?;
        return Ok((listener, bound.to_string()));
    }
    Ok((listener, listen))
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error is the end of whoever could have said so: a stop as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}
