//! Paths and query strings that raft-kv is asked.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("kv_requests", input));
