//! Tests of the store through its public surface, on real directories.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, missing_docs)]

mod conformance;
mod crash;
mod damage;
mod failure;
mod identity;
mod leftovers;
mod opening;
mod reading;
mod sizes;
mod snapshots;
mod support;
