//! raft-kv
fn main() {}
