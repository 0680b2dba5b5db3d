//! `demo`: three nodes on this machine, each a process of its own, and a table of what they do.
//!
//! # Layout
//!
//! - `directory`: where they keep their data, and which ports that data belongs to.
//! - `nodes`: the processes.
//! - this file: waiting, showing, stopping.

mod directory;
mod nodes;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use crate::cli::DemoOptions;
use crate::client::Client;
use crate::client::commands::node_status;
use crate::exit::{Failure, say};
use crate::signals::Stop;
use crate::table;
use crate::wire::NodeStatus;

use directory::DemoDirectory;
use nodes::Nodes;

/// How often the nodes are asked while the table is shown.
const REFRESH: Duration = Duration::from_millis(500);
/// How often they are asked until they have a leader.
const START_POLL: Duration = Duration::from_millis(100);
/// When to show what the nodes wait for, if they still have no leader.
const SLOW_START: Duration = Duration::from_secs(15);
/// How long one node may take to say how it is.
const STATUS_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the demo until it is told to stop.
pub(crate) async fn demo(options: DemoOptions) -> Result<(), Failure> {
    let mut stop = Stop::listen(false)?;
    let directory = DemoDirectory::open(&options.dir, options.base_port)?;
    let mut nodes = Nodes::start(&directory)?;
    let result = tokio::select! {
        biased;
        () = stop.wanted() => Ok(()),
        result = show(&directory, &mut nodes) => result,
    };
    say("\nstopping the nodes\n").ok(); // Whoever read this may be gone, as when a pipe's reader ended.
    nodes.stop().await;
    result
}

async fn show(directory: &DemoDirectory, nodes: &mut Nodes) -> Result<(), Failure> {
    say(&format!(
        "starting three nodes in {}, their logs are node-N.log there\n",
        directory.path().display()
    ))?;
    let client = Client::new(directory.addresses(), STATUS_TIMEOUT);
    wait_for_leader(&client, nodes).await?;
    let table = table::render(&statuses(&client).await);
    let commands = commands(directory)?;
    if !std::io::stdout().is_terminal() {
        say(&format!("{table}\n{commands}"))?;
        loop {
            tokio::time::sleep(REFRESH).await;
            say(&nodes.report_ended())?;
        }
    }
    loop {
        nodes.report_ended();
        let table = table::render(&statuses(&client).await);
        // To the top, and away with all below: counting lines would go wrong where the terminal breaks long ones.
        say(&format!("\x1b[H\x1b[J{table}\n{commands}{}", nodes.how_to_restart()))?;
        tokio::time::sleep(REFRESH).await;
    }
}

async fn wait_for_leader(client: &Client, nodes: &mut Nodes) -> Result<(), Failure> {
    let mut show_reasons_at = Some(Instant::now() + SLOW_START);
    loop {
        if let Some(failure) = nodes.start_failure() {
            return Err(failure);
        }
        let found = statuses(client).await;
        if found.iter().all(|(_, status)| status.as_ref().is_ok_and(|s| s.leader.is_some())) {
            return Ok(());
        }
        if show_reasons_at.is_some_and(|at| Instant::now() >= at) {
            show_reasons_at = None;
            say(&format!("there is no leader yet:\n{}", table::render(&found)))?;
        }
        tokio::time::sleep(START_POLL).await;
    }
}

async fn statuses(client: &Client) -> Vec<(String, Result<NodeStatus, String>)> {
    futures::future::join_all(client.endpoints().iter().map(|endpoint| node_status(client, endpoint))).await
}

/// What to try, ready to be copied.
fn commands(directory: &DemoDirectory) -> Result<String, Failure> {
    let program = nodes::program()?;
    let program = program.display();
    let addresses = directory.addresses();
    let (all, second, third) = (addresses.join(","), &addresses[1], &addresses[2]);
    Ok(format!(
        "try, in another terminal:\n  \
         {program} put --endpoints {all} hello world\n  \
         {program} get --endpoints {all} hello\n  \
         {program} status --endpoints {all}\n  \
         curl -X PUT http://{second}/v1/kv/city --data-binary Ghent\n  \
         curl http://{third}/v1/kv/city\n  \
         kill -9 PROCESS-ID    (of the leader: another one takes over)\n\
         Ctrl-C stops all three; run the demo again to continue with the data\n"
    ))
}
