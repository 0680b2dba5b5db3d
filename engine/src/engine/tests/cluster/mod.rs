//! Whole clusters of engines, each with a disk that loses what is not flushed, a state machine, a replication task per
//! follower and a network that loses, repeats and reorders; a seeded adversary chooses what happens next, and the
//! [`oracle`] looks on.

mod disk;
mod network;
mod node;
mod oracle;
mod random;
mod task;
