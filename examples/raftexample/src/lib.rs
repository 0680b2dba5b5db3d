//! raftexample: a replicated key-value store over HTTP, after etcd's example of the same name.
//!
//! # Layout
//!
//! - [`flags`]: the command line. [`store`]: the replicated state. [`http`]: the clients' interface.
//! - Here: a node starts, serves, and ends: when it is told to, or when it was removed from its cluster.

// The program runs on real clocks, threads and sockets; the rules that these lints guard are for what is simulated.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// The layout above names what is private: nobody depends on this crate but its own program.
#![allow(rustdoc::private_intra_doc_links)]

mod flags;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod store;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use openraft_node::Node;
use openraft_node::axum;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use flags::Flags;
use store::Store;

/// How long requests under way are waited for at the end: longer than a write may take.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the program with the arguments of the process.
#[tokio::main]
pub async fn main() -> ExitCode {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(&flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("raftexample: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let own = flags.own_address()?;
    let host = own.rsplit_once(':').map_or(own.as_str(), |(host, _)| host);
    let clients = format!("{host}:{}", flags.port);
    let listener = TcpListener::bind(&clients)
        .await
        .map_err(|error| format!("cannot listen on {clients} for clients: {error}; give another --port"))?;
    let node = start(flags, own).await?;
    tracing::info!(%clients, "clients are served");
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = axum::serve(listener, http::router(node.clone())).with_graceful_shutdown(async {
        // An error is the end of whoever could have said so: a stop as well.
        let _ = stopped.await;
    });
    let server = tokio::spawn(serving.into_future());
    let ended = until_end(&node, interrupt, terminate).await;
    drop(stop);
    if tokio::time::timeout(GRACE, server).await.is_err() {
        tracing::warn!("a client's request did not end in {GRACE:?}: it is cut off");
    }
    ended?;
    node.shutdown().await?;
    Ok(())
}

async fn start(flags: &Flags, own: String) -> Result<Node<Store>, Box<dyn Error>> {
    let builder = Node::<Store>::builder(flags.id, format!("raftexample-{}", flags.id))
        .name("raftexample")
        .listen(own)
        .admit_if(Store::admits)
        .config(|config| {
            config.snapshot_every_entries = Some(flags.snapshot_entries);
            config.snapshot_keep_entries = flags.snapshot_entries;
        });
    let builder = if flags.join {
        builder.join(flags.peers().filter(|(id, _)| *id != flags.id).map(|(_, address)| address))
    } else {
        builder.cluster(flags.peers())
    };
    Ok(builder.start().await?)
}

/// Until the node is told to end or was removed. An error is its own end.
async fn until_end(
    node: &Node<Store>,
    mut interrupt: Signal,
    mut terminate: Signal,
) -> Result<(), Box<dyn Error>> {
    let mut metrics = node.raft().metrics();
    tokio::select! {
        biased;
        fatal = node.stopped() => return Err(fatal.into()),
        _ = metrics.wait_for(|metrics| metrics.removed) => {
            tracing::info!("stopping: this node was removed from its cluster");
        }
        // It may not join, for good.
        Err(error) = node.ready() => return Err(error.into()),
        _ = interrupt.recv() => tracing::info!("stopping: interrupted"),
        _ = terminate.recv() => tracing::info!("stopping: asked to terminate"),
    }
    Ok(())
}
