//! The value of raft-kv's --cluster.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("kv_cluster_list", input));
