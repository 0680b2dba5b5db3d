//! What goes wrong, for whoever starts a node, writes or reads.

use std::path::PathBuf;
use std::time::Duration;

use openraft_core::{Fatal, InvalidConfig};

/// Why a node did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
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
    #[error(
        "cannot listen on {address}: {source}; stop what listens there, or give this node another address"
    )]
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

/// Why a write has no reply. Only [`OutcomeUnknown`](WriteError::OutcomeUnknown) may yet take effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Certainly not written: it is safe to try again.
    #[error("nothing was written: {reason}; it is safe to try again")]
    NotWritten {
        /// Why.
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
