//! Snapshots of raft-kv.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("kv_snapshot", input));
