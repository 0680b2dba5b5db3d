//! What ends a long-running command: Ctrl-C, SIGTERM, or the end of standard input where that was asked for.

use std::io::Read;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Waits for the end.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    stdin: Option<tokio::sync::oneshot::Receiver<()>>,
}

impl Stop {
    /// From now on signals end nothing by themselves.
    pub(crate) fn listen(with_stdin: bool) -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|e| Failure::error(format!("signals cannot be received: {e}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            stdin: with_stdin.then(stdin_end),
        })
    }

    /// Completes when it is time to stop. May be awaited again after it was dropped unfinished.
    pub(crate) async fn wanted(&mut self) {
        let stdin = async {
            match &mut self.stdin {
                Some(end) => drop(end.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => tracing::info!("stopping: interrupted"),
            _ = self.terminate.recv() => tracing::info!("stopping: asked to terminate"),
            () = stdin => tracing::info!("stopping: the process that started this one has gone"),
        }
    }
}

/// Standard input is read on a thread of its own, which nobody waits for: a blocking read cannot be given up.
fn stdin_end() -> tokio::sync::oneshot::Receiver<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while stdin.read(&mut buffer).is_ok_and(|n| n > 0) {}
        let _ = sender.send(()); // Whoever waited may have been told to stop by a signal.
    });
    receiver
}
