//! Instants that are no part of what a search compares.

use std::hash::{Hash, Hasher};

use openraft_engine::Timestamp;

/// An instant that equals every other: two worlds that differ only in when things happened are the same world, since
/// a search lets any armed deadline fire.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At(pub(super) Timestamp);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}

impl Hash for At {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
