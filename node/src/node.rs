//! `Node`: a running node in the hands of an application that wrote one trait.

use std::path::PathBuf;
use std::sync::Arc;

use openraft_adapters::{IdentityStore, RaftLogStorage, SnapshotStore};
use openraft_core::{Fatal, Raft};

use crate::builder::{NodeBuilder, OfApp};
use crate::machine::Shared;
use crate::{App, Consistency, NodeStatus, NodeTypes, RaftNode, ReadError, ReadyError, WriteError};

/// A running node. Cloning gives another handle; when the last one is dropped the node ends, without waiting for what is
/// under way. [`shutdown`](Node::shutdown) ends it in order.
///
/// It is a [`RaftNode`] with the application's state beside it.
pub struct Node<A: App> {
    node: RaftNode<NodeTypes<A>>,
    state: Shared<A>,
}

impl<A: App> Clone for Node<A> {
    fn clone(&self) -> Self {
        Self { node: self.node.clone(), state: self.state.clone() }
    }
}

impl<A: App> std::fmt::Debug for Node<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.node.fmt(f)
    }
}

impl<A: App> Node<A> {
    /// Begins to describe node `id`, which keeps everything in `directory`.
    pub fn builder(id: u64, directory: impl Into<PathBuf>) -> NodeBuilder<NodeTypes<A>, OfApp<A>> {
        NodeBuilder::in_directory(id, directory.into())
    }

    /// Begins to describe a node that keeps log, identity and snapshots in an author's own stores instead of a directory.
    /// Who it is and what its cluster is called, `identity` says. No other node may use any of the three.
    pub fn builder_on(
        identity: Arc<dyn IdentityStore<NodeTypes<A>>>,
        log: Arc<dyn RaftLogStorage<NodeTypes<A>>>,
        snapshots: Arc<dyn SnapshotStore<NodeTypes<A>>>,
    ) -> NodeBuilder<NodeTypes<A>, OfApp<A>> {
        NodeBuilder::on_store(identity, log, snapshots)
    }

    pub(crate) fn of(node: RaftNode<NodeTypes<A>>, state: Shared<A>) -> Self {
        Self { node, state }
    }

    /// The node below: everything that does not know of the application.
    pub fn raft_node(&self) -> &RaftNode<NodeTypes<A>> {
        &self.node
    }

    /// The full handle: metrics, membership, transfer of leadership, snapshots.
    pub fn raft(&self) -> &Raft<NodeTypes<A>> {
        self.node.raft()
    }

    /// Where the others find the node, `host:port`.
    pub fn address(&self) -> &str {
        self.node.address()
    }

    /// Writes: on return the command is durable on a quorum and applied by the leader. Works on every node; goes to
    /// whoever leads, and waits for a leader, at most for the configured `write_timeout_ms`. What was certainly not
    /// proposed is tried again within that time, what may have been never is.
    ///
    /// # Errors
    /// See [`WriteError`]: nothing was written, or the outcome is unknown.
    ///
    /// # Cancellation
    /// Dropping the future withdraws nothing: the write may still take effect.
    pub async fn write(&self, command: A::Command) -> Result<A::Reply, WriteError> {
        self.node.write(command).await.map(|written| written.reply)
    }

    /// Looks something up in this node's state, once that is as fresh as `consistency` demands. Works on every node.
    ///
    /// # Errors
    /// If nobody who leads confirms the read within `read_timeout_ms`; if it is to be by lease, and leases are off.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn read(&self, query: A::Query, consistency: Consistency) -> Result<A::Answer, ReadError> {
        self.node.confirm_read(consistency).await?;
        Ok(self.peek(|app| app.query(query)))
    }

    /// Looks at what this node has applied by now, by a function in place of a query. Commands wait while it looks. After
    /// [`RaftNode::confirm_read`] it is as fresh as that made it.
    pub fn peek<T>(&self, look: impl FnOnce(&A) -> T) -> T {
        look(&self.state.read())
    }

    /// Removes the node `id` from the cluster; see [`RaftNode::remove_member`].
    ///
    /// # Errors
    /// As there.
    pub async fn remove_member(&self, id: u64) -> Result<(), WriteError> {
        self.node.remove_member(id).await
    }

    /// The node's view of itself and its cluster.
    pub fn status(&self) -> NodeStatus {
        self.node.status()
    }

    /// Waits until the cluster is formed or joined, and a leader is known here.
    ///
    /// # Errors
    /// If that will never be: the node has stopped, was removed, or is refused for good. Else bound the wait by a timeout
    /// of your own; it may be that other nodes never come.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        self.node.ready().await
    }

    /// Waits until the node has stopped by itself, and says why: its storage failed, or the application panicked.
    pub async fn stopped(&self) -> Fatal {
        self.node.stopped().await
    }

    /// Ends the node in order: no new connections, requests under way are finished, leadership is handed over. On return
    /// the directory may be opened again.
    ///
    /// # Errors
    /// If the node had stopped before for another reason.
    ///
    /// # Cancellation
    /// Dropping the future leaves a node that ends without waiting for what is under way.
    pub async fn shutdown(&self) -> Result<(), Fatal> {
        self.node.shutdown().await
    }
}
