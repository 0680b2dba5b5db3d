//! raft-kv: a replicated key-value server over HTTP, its client and its demo, in one binary.
//!
//! # Layout
//!
//! - [`cli`], [`exit`]: the command line, and how the program ends.
//! - [`cluster_list`], [`limits`], [`wire`], [`http`], [`table`], [`open_files`]: what server and client share.
//! - [`state`], [`snapshot_format`]: the replicated map, and its snapshots.
//! - [`serve`]: starts a node of `openraft-node`; [`api`]: its HTTP interface.
//! - [`client`]: put, cas, get, delete, status, member, snapshot, transfer-leader, import, export.
//! - [`bench`]: load, measured and recorded.
//! - [`demo`]: three nodes on one machine; [`signals`]: what ends it, and `serve`.

// The program runs on real clocks, threads and sockets; the rules that these lints guard are for what is simulated.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// The layout above names what is private: nobody depends on this crate but its own program.
#![allow(rustdoc::private_intra_doc_links)]

mod api;
mod bench;
mod cli;
mod client;
mod cluster_list;
mod demo;
mod exit;
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod limits;
mod open_files;
mod serve;
mod signals;
mod snapshot_format;
mod state;
mod table;
mod wire;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command};
use exit::Failure;

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let mut runtime = match cli.command {
        Command::Bench(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let result = runtime
        .enable_all()
        .build()
        .map_err(|e| Failure::error(format!("the runtime cannot be started: {e}")))
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("raft-kv: {failure}");
            failure.code()
        }
    }
}

async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(options) => serve::serve(options).await,
        Command::Demo(options) => demo::demo(options).await,
        Command::Put(options) => client::commands::put(options).await,
        Command::Cas(options) => client::commands::cas(options).await,
        Command::Get(options) => client::commands::get(options).await,
        Command::Delete(options) => client::commands::delete(options).await,
        Command::Status(options) => client::commands::status(options).await,
        Command::Member(command) => client::members::member(command).await,
        Command::Snapshot(options) => client::commands::snapshot(options).await,
        Command::TransferLeader(options) => client::commands::transfer_leader(options).await,
        Command::Import(options) => client::import::import(options).await,
        Command::Export(options) => client::export::export(options).await,
        Command::Bench(options) => bench::bench(options).await,
    }
}
