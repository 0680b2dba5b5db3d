//! What can go wrong below the protocol: in a store, on the network, at a server.

use std::time::Duration;

use anyerror::AnyError;

/// A store or a state machine failed. For the core that uses it this is the end: what the store holds is known only
/// after it has been opened anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} failed: {source}")]
pub struct StorageError {
    /// What was being done, with group, index and file where they are known.
    pub action: String,
    /// The cause.
    pub source: Box<AnyError>,
}

impl StorageError {
    /// `action` failed because of `source`.
    pub fn new<E: std::error::Error + 'static>(action: impl Into<String>, source: &E) -> Self {
        Self { action: action.into(), source: Box::new(AnyError::new(source)) }
    }

    /// `action` failed for a reason said in words.
    pub fn message(action: impl Into<String>, reason: impl ToString) -> Self {
        Self { action: action.into(), source: Box::new(AnyError::error(reason)) }
    }
}

/// A read of the log found no entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The entries were purged; a snapshot covers them. Never a defect.
    #[error("the entries from {wanted} on are compacted: the log begins at {first}")]
    Compacted {
        /// The first index asked for.
        wanted: u64,
        /// The first index that the log still holds.
        first: u64,
    },
    /// The store failed, or holds something else than it was given.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A message did not get an answer. Nothing is known of whether it arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// No connection, or it broke.
    #[error("{target} is unreachable: {source}")]
    Unreachable {
        /// Whom we wanted to reach.
        target: String,
        /// The cause.
        source: Box<AnyError>,
    },
    /// No answer within the message's deadline.
    #[error("no answer from {target} within {after:?}")]
    Timeout {
        /// Whom we asked.
        target: String,
        /// How long we waited.
        after: Duration,
    },
    /// The peer answered that it will not talk to us: wrong cluster, identity or version.
    #[error("{target} refuses us: {reason}")]
    Refused {
        /// Who refused.
        target: String,
        /// Why.
        reason: String,
    },
}

impl NetworkError {
    /// `target` cannot be reached because of `source`.
    pub fn unreachable<E: std::error::Error + 'static>(target: impl ToString, source: &E) -> Self {
        Self::Unreachable { target: target.to_string(), source: Box::new(AnyError::new(source)) }
    }

    /// `target` cannot be reached for a reason said in words.
    pub fn unreachable_because(target: impl ToString, reason: impl ToString) -> Self {
        Self::Unreachable { target: target.to_string(), source: Box::new(AnyError::error(reason)) }
    }
}

/// A node cannot take a peer's message now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Its queue is full; the message was not looked at.
    #[error("the node has more messages waiting than it accepts")]
    Overloaded,
    /// It has stopped or is stopping.
    #[error("the node has stopped: {0}")]
    Stopped(String),
    /// The message is not one that a peer may send.
    #[error("the message is refused: {0}")]
    Refused(String),
}
