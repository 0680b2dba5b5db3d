//! `serve`: one node, from its directory to its last answer.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::engine::{BasicNode, Replica};
use openraft_adapters::{Env, IdentityStore};
use openraft_core::formation::Formation;
use openraft_core::join::{Admission, Joining};
use openraft_core::{Config, Fatal, Raft, RaftParts};
use openraft_network_http::{HttpNetwork, HttpOptions, RaftSlot, ServerLimits, ServerParts};
use openraft_storage_sled::{SledOptions, SledStore};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api;
use crate::cli::ServeOptions;
use crate::exit::Failure;
use crate::limits::{COMMAND_OVERHEAD_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::machine::KvMachine;
use crate::node::{Arrival, Node, Settings};
use crate::signals::Stop;
use crate::state::{SharedState, Types};

const MIB: u64 = 1 << 20;

/// There is one group.
const GROUP: u64 = 0;

/// Runs a node until it is told to stop, or cannot go on.
///
/// The core starts before the node answers anyone, because what it says to peers that form a cluster depends on whether
/// its log already belongs to one.
pub(crate) async fn serve(options: ServeOptions) -> Result<(), Failure> {
    options.validate()?;
    let config = config(&options)?;
    let mut stop = Stop::listen(options.stop_with_stdin)?;
    let listener = bind(&options.listen).await?;
    let store = open(&options).await?;

    let env = Env::tokio();
    let identity: Arc<dyn IdentityStore<Types>> = store.clone();
    let network = HttpNetwork::new(identity.clone(), HttpOptions::default());
    // Of a node that joins the list is empty: it forms nothing, but says so to whoever asks.
    let listed = options.cluster.iter().flat_map(|list| list.iter());
    let listed = listed.map(|(id, address)| (id, BasicNode::new(address))).collect();
    let formation = Arc::new(Formation::new(identity.clone(), listed));
    let arrival = arrival(&options, &identity, &formation);
    let state = SharedState::default();
    let node = Arc::new(Node::new(settings(&options), state.clone(), identity.clone(), arrival.clone()));

    let replica: Replica<u64> = identity.identity().replica;
    let parts = RaftParts {
        config,
        replica,
        env: env.clone(),
        network: Arc::new(network.clone()),
        log: store.log(GROUP),
        state_machine: Box::new(KvMachine::new(state, store.snapshots(GROUP))),
    };
    let raft = Raft::start(parts).await.map_err(|e| {
        Failure::error(format!("node {} cannot start on {}: {e}", options.id, options.data.display()))
    })?;
    if raft.is_initialized() {
        formation.set_formed_of(&raft);
        node.set_raft(raft.clone());
    }

    let slot = RaftSlot::new();
    slot.set(Arc::new(raft.clone()));
    let (stop_server, server_stopped) = watch::channel(false);
    let server = tokio::spawn(openraft_network_http::serve(
        listener,
        ServerParts {
            join: Arc::new(Admission::new(identity.clone(), raft.clone())),
            identity,
            raft: slot,
            formation: formation.clone(),
            app: api::router(node.clone()),
            limits: ServerLimits::default(),
        },
        stopped(server_stopped),
    ));
    tracing::info!(id = options.id, listen = %options.listen, data = %options.data.display(), "the node answers");

    let result = tokio::select! {
        biased;
        () = stop.wanted() => Ok(()),
        failure = run(&node, &raft, &arrival, &formation, &network, &env) => Err(failure),
    };
    stop_server.send_replace(true);
    let served = server.await.map_err(|e| Failure::error(format!("the server ended early: {e}")));
    let shut_down = raft.shutdown().await.map_err(|e| Failure::error(e.to_string()));
    result.and(served).and(shut_down)
}

/// How the node comes into a cluster if its directory is empty.
fn arrival(
    options: &ServeOptions,
    identity: &Arc<dyn IdentityStore<Types>>,
    formation: &Arc<Formation<Types>>,
) -> Arrival {
    match &options.cluster {
        Some(list) => Arrival::Forming { list: list.clone(), formation: formation.clone() },
        None => {
            let members = options.join.iter().map(BasicNode::new).collect();
            let me = BasicNode::new(options.address());
            Arrival::Joining(Arc::new(Joining::new(identity.clone(), me, members, !options.learner)))
        }
    }
}

/// Forms or joins the cluster if the node is in none, then watches the core. Ends only with what the node cannot go on
/// after.
async fn run(
    node: &Node,
    raft: &Raft<Types>,
    arrival: &Arrival,
    formation: &Formation<Types>,
    network: &HttpNetwork<Types>,
    env: &Env,
) -> Failure {
    if !raft.is_initialized() {
        let arrived = match arrival {
            Arrival::Forming { .. } => form(raft, formation, network, env).await,
            Arrival::Joining(joining) => join(raft, joining, network, env).await,
        };
        if let Err(failure) = arrived {
            return failure;
        }
        node.set_raft(raft.clone());
    }
    let fatal = formation.follow(raft).await;
    Failure::error(format!("{fatal}; mend the cause, then start the node again on the same directory"))
}

async fn form(
    raft: &Raft<Types>,
    formation: &Formation<Types>,
    network: &HttpNetwork<Types>,
    env: &Env,
) -> Result<(), Failure> {
    let nodes = formation.form(network, env).await;
    let nodes = nodes.map_err(|e| Failure::error(format!("no cluster can be formed: {e}")))?;
    let initialized = formation.initialize(raft, nodes).await;
    initialized.map_err(|e| Failure::error(format!("the cluster cannot be initialised: {e}")))
}

async fn join(
    raft: &Raft<Types>,
    joining: &Joining<Types>,
    network: &HttpNetwork<Types>,
    env: &Env,
) -> Result<(), Failure> {
    joining.join(network, env).await.map_err(|e| Failure::error(e.to_string()))?;
    // The log comes from the leader, and the membership with it.
    let mut metrics = raft.metrics();
    let ended = metrics.wait_for(|m| m.fatal.is_some() || !m.membership.membership.is_empty()).await;
    match ended.map(|metrics| metrics.fatal.clone()).unwrap_or(Some(Fatal::Stopped)) {
        Some(fatal) => Err(Failure::error(fatal.to_string())),
        None => Ok(()),
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error is the end of whoever could have said so: a stop as well.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn config(options: &ServeOptions) -> Result<Config, Failure> {
    let config = Config {
        heartbeat_interval_ms: options.heartbeat_ms,
        election_timeout_min_ms: options.election_min_ms,
        election_timeout_max_ms: options.election_max_ms,
        election_priority: options.election_priority,
        lease_reads: options.lease_reads,
        memory_budget_bytes: options.memory_budget_mb * MIB,
        max_proposal_bytes: (MAX_VALUE_BYTES + MAX_KEY_BYTES + COMMAND_OVERHEAD_BYTES) as u64,
        write_timeout_ms: options.write_timeout_ms,
        read_timeout_ms: options.write_timeout_ms,
        snapshot_every_entries: (options.snapshot_every > 0).then_some(options.snapshot_every),
        snapshot_every_bytes: (options.snapshot_every_mb > 0)
            .then(|| options.snapshot_every_mb.saturating_mul(MIB)),
        snapshot_interval_ms: (options.snapshot_interval_s > 0)
            .then(|| options.snapshot_interval_s.saturating_mul(1_000)),
        snapshot_keep_entries: options.snapshot_keep,
        purge_pin_bytes: options.purge_pin_mb.saturating_mul(MIB),
        purge_pin_absence_ms: options.purge_pin_absence_s.saturating_mul(1_000),
        ..Config::default()
    };
    config.validate().map_err(|e| Failure::Usage(format!("these options do not fit together: {e}")))?;
    Ok(config)
}

fn settings(options: &ServeOptions) -> Settings {
    Settings {
        id: options.id,
        address: options.address().to_owned(),
        request_timeout: Duration::from_millis(options.write_timeout_ms),
        memory_budget_bytes: options.memory_budget_mb * MIB,
        cache_bytes: options.cache_mb * MIB,
    }
}

async fn bind(listen: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|e| {
        let advice = match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or give this node another address"
            }
            std::io::ErrorKind::PermissionDenied => {
                "give a port from 1024 on, or the right to use a lower one"
            }
            std::io::ErrorKind::AddrNotAvailable => "give an address of this machine",
            _ => "give a HOST:PORT of this machine",
        };
        Failure::error(format!("cannot listen on {listen}: {e}; {advice}"))
    })
}

async fn open(options: &ServeOptions) -> Result<Arc<SledStore<Types>>, Failure> {
    let (dir, sled) = (
        options.data.clone(),
        SledOptions {
            cache_capacity_bytes: options.cache_mb * MIB,
            ..SledOptions::new(options.id, options.name.clone())
        },
    );
    let opened = tokio::task::spawn_blocking(move || SledStore::open(&dir, sled)).await;
    opened
        .map_err(|e| Failure::error(format!("opening {} ended early: {e}", options.data.display())))?
        .map_err(|e| Failure::error(e.to_string()))
}
