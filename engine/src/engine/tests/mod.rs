//! Tests of the engine: stories of one engine ([`bench`]), and whole clusters under a seeded adversary
//! ([`cluster`]).

mod appends;
mod bench;
mod changes;
#[cfg(debug_assertions)]
mod checks;
mod cluster;
mod commits;
mod edges;
mod elections;
mod forming;
mod leases;
mod lies;
mod planted;
mod pre_votes;
mod priorities;
mod promises;
mod purges;
mod reads;
mod returns;
mod snapshots;
mod transfers;
mod watchdog;
