//! `serve`: one node, from its directory to its last answer.

use openraft_node::serde_json::{Map, Value};
use openraft_node::{Config, Node, ReadyError, StartError};

use crate::api;
use crate::cli::ServeOptions;
use crate::exit::Failure;
use crate::limits::{COMMAND_OVERHEAD_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::open_files::make_room_for_connections;
use crate::signals::Stop;
use crate::state::KvState;

const MIB: u64 = 1 << 20;

/// Runs a node until it is told to stop, or cannot go on.
pub(crate) async fn serve(options: ServeOptions) -> Result<(), Failure> {
    options.validate()?;
    let config = config(&options)?;
    let mut stop = Stop::listen(options.stop_with_stdin)?;
    let node = start(options, config).await?;
    let result = tokio::select! {
        biased;
        () = stop.wanted() => Ok(()),
        failure = until_unable(&node) => Err(failure),
    };
    result.and(node.shutdown().await.map_err(|e| Failure::error(e.to_string())))
}

async fn start(options: ServeOptions, config: Config) -> Result<Node<KvState>, Failure> {
    let cache_bytes = options.cache_mb * MIB;
    let room = make_room_for_connections();
    let max_connections = options.max_connections.unwrap_or(room);
    let address = options.address().to_owned();
    let builder = Node::<KvState>::builder(options.id, options.data)
        .name(options.name)
        .sled(|sled| sled.cache_capacity_bytes = cache_bytes)
        .listen(options.listen)
        .http(|_, server| server.max_connections = max_connections)
        .config(|defaults| *defaults = config)
        .routes(api::router)
        .status_details(move |state| {
            let details = [("keys", Value::from(state.len())), ("cache_bytes", cache_bytes.into())];
            Map::from_iter(details.map(|(name, value)| (name.to_owned(), value)))
        });
    let builder = match &options.cluster {
        Some(list) => builder.cluster(list.iter()),
        None => builder.join(options.join).advertise(address),
    };
    let builder = if options.learner { builder.learner() } else { builder };
    builder.start().await.map_err(|error| match error {
        StartError::Listen { address, source } => cannot_listen(&address, &source),
        error => Failure::error(error.to_string()),
    })
}

/// Ends only with what the node cannot go on after. One that was removed goes on: it may be added again as it is.
async fn until_unable(node: &Node<KvState>) -> Failure {
    if let Err(ReadyError::NoMember { reason }) = node.ready().await
        && !node.raft().metrics().borrow().removed
    {
        return Failure::error(reason);
    }
    let fatal = node.stopped().await;
    Failure::error(format!("{fatal}; mend the cause, then start the node again on the same directory"))
}

pub(crate) fn config(options: &ServeOptions) -> Result<Config, Failure> {
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

fn cannot_listen(address: &str, source: &std::io::Error) -> Failure {
    let advice = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or give this node another address"
        }
        std::io::ErrorKind::PermissionDenied => "give a port from 1024 on, or the right to use a lower one",
        std::io::ErrorKind::AddrNotAvailable => "give an address of this machine",
        _ => "give a HOST:PORT of this machine",
    };
    Failure::error(format!("cannot listen on {address}: {source}; {advice}"))
}
