//! `NodeTypes`: the library's one type parameter, for an application.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use openraft_adapters::RaftTypeConfig;
use openraft_engine::BasicNode;

use crate::App;

/// The types of a node that runs `A`: proposals are its commands, node ids are `u64`, a node is its address.
pub struct NodeTypes<A>(PhantomData<fn() -> A>);

impl<A: App> RaftTypeConfig for NodeTypes<A> {
    type D = A::Command;
    type R = A::Reply;
    type NodeId = u64;
    type Node = BasicNode;
}

// A name has one value, whatever the application is.
impl<A> Clone for NodeTypes<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for NodeTypes<A> {}

impl<A> Default for NodeTypes<A> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<A> fmt::Debug for NodeTypes<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeTypes")
    }
}

impl<A> PartialEq for NodeTypes<A> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<A> Eq for NodeTypes<A> {}

impl<A> PartialOrd for NodeTypes<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<A> Ord for NodeTypes<A> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl<A> Hash for NodeTypes<A> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
