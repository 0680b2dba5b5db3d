//! `App`: the one trait that an author writes.

use std::fmt::Debug;
use std::io::{self, Read, Write};

use openraft_engine::LogId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::values;

/// A replicated application: its state as a value, and what changes and reads it.
///
/// Every node holds one. The default is the state before the first command; a clone is the view from which a snapshot is
/// written while new commands are applied, so that a large state should be cheap to clone (share what rarely changes).
/// serde writes and reads snapshots, unless [`snapshot`](App::snapshot) and [`restore`](App::restore) say otherwise.
pub trait App: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What is proposed, carried to every node and kept in its log. To be extended only in ways in which what was
    /// written before still decodes: with postcard, new variants at the end of an enum.
    type Command: Serialize + DeserializeOwned + Debug + Send + Sync + 'static;
    /// What a command answers. It travels back to the node that was asked.
    type Reply: Serialize + DeserializeOwned + Debug + Send + 'static;
    /// What is asked of the state.
    type Query: Send + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// Executes a command. Must be deterministic: the same commands in the same order give the same state and replies
    /// on every node, now and when the log is replayed; no clock, no chance, no iteration in an order that differs. What
    /// the application refuses is a reply. A panic stops the node, and stops it again at every start until a program
    /// that does not panic runs.
    fn apply(&mut self, log_id: LogId<u64>, command: &Self::Command) -> Self::Reply;

    /// Looks something up. Commands wait meanwhile.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// Writes the state. Runs on a thread of its own, on a clone. The first snapshot of a process is at once
    /// [restored](App::restore), and kept only if that succeeds: the log is purged for it.
    ///
    /// # Errors
    /// If it cannot be written; the snapshot before it stays.
    fn snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        postcard::to_io(self, out).map(|_| ()).map_err(io::Error::other)
    }

    /// Reads what [`snapshot`](App::snapshot) wrote, perhaps of an earlier version of the program. Runs on a thread of
    /// its own.
    ///
    /// # Errors
    /// If it is not understood; the node does not start then, or goes on with the state that it has.
    fn restore(input: &mut dyn Read) -> io::Result<Self> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        values::decode(&bytes).map_err(|cause| io::Error::other(values::foreign_state::<Self>(&cause)))
    }
}
