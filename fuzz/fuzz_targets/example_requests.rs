//! Requests of raftexample's clients.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("example_requests", input));
