//! What goes wrong, for whoever starts a node, writes or reads.

use std::fmt;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use openraft_core::{Fatal, InvalidConfig};

/// Why a node did not start. Nothing is left running. Its debug form is its sentence, because that is what an error that
/// `main` returns is shown by.
#[derive(thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("the configuration cannot work: {0}")]
    Config(#[from] InvalidConfig),
    /// The builder was not told enough, or contradicts itself.
    #[error("{0}")]
    Incomplete(String),
    /// The directory cannot be used.
    #[error("the directory {} cannot be used: {reason}", dir.display())]
    Directory {
        /// Which.
        dir: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; {}", listen_remedy(source))]
    Listen {
        /// Which.
        address: String,
        /// The cause.
        source: std::io::Error,
    },
    /// What the directory holds does not make a running node.
    #[error("node {id} cannot start: {reason}")]
    Node {
        /// Which.
        id: u64,
        /// Why, and what to do.
        reason: String,
    },
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn listen_remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "stop what listens there, or give this node another address",
        ErrorKind::AddrNotAvailable => {
            "that is no address of this machine: give listen() one that is, or 0.0.0.0 for all of them"
        }
        ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a greater one",
        _ => "give listen() an address of this machine, host:port",
    }
}

/// Why a write has no reply. Only [`OutcomeUnknown`](WriteError::OutcomeUnknown) may yet take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Certainly not written: it is safe to try again.
    #[error("nothing was written: {reason}; it is safe to try again")]
    NotWritten {
        /// Why.
        reason: String,
    },
    /// Certainly not written, because too much is on its way: try again after a pause, and not at once.
    #[error("nothing was written: {reason}")]
    Overloaded {
        /// Which limit was met, and by what.
        reason: String,
    },
    /// Certainly not written, and trying again does not help.
    #[error("nothing was written: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// It was proposed, or may have been: it may have taken effect, may yet, or never.
    #[error("the outcome is unknown: {reason}")]
    OutcomeUnknown {
        /// What happened.
        reason: String,
    },
    /// Certainly not written: this node is in no cluster and will not come into one by itself. It was removed, its
    /// [`join`](crate::NodeBuilder::join) was refused, or its directory belongs to another cluster.
    #[error("nothing was written: this node is no member of its cluster: {reason}")]
    NoMember {
        /// Why, and what to do.
        reason: String,
    },
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody who leads could be asked in time.
    #[error("no leader confirmed the read within {within:?}: {reason}; Consistency::Stale needs no leader")]
    NotConfirmed {
        /// How long it was tried.
        within: Duration,
        /// Why.
        reason: String,
    },
    /// This node is in no cluster and will not come into one by itself: it has nothing to be compared with.
    #[error("this node is no member of its cluster: {reason}; Consistency::Stale reads what it has")]
    NoMember {
        /// Why, and what to do.
        reason: String,
    },
    /// It was to be by lease, and this node's configuration has leases off.
    #[error(
        "a read by lease was asked for, and lease reads are off: where no machine is ever suspended or moved while it \
         runs, set lease_reads in the config() of every node; else read with Consistency::Linearizable"
    )]
    LeasesOff,
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

/// Why a node will never be ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadyError {
    /// It is in no cluster and will not come into one by itself: it was removed, its [`join`](crate::NodeBuilder::join) was
    /// refused, or its directory belongs to another cluster. It runs on; end it, act, and start it again.
    #[error("this node is no member of its cluster: {reason}")]
    NoMember {
        /// Why, and what to do.
        reason: String,
    },
    /// It has stopped.
    #[error(transparent)]
    Stopped(#[from] Fatal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_error_that_main_returns_still_says_what_to_do() {
        let source = std::io::ErrorKind::AddrInUse.into();
        let error = StartError::Listen { address: "127.0.0.1:7001".to_owned(), source };
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(error.to_string().contains("give this node another address"));
    }
}
