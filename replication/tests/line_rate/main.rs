//! The task of one follower on virtual time, against a peer, a log and a snapshot that do what each test says.

mod control;
mod pipeline;
mod quiet;
mod rig;
mod safety;
mod snapshot;
