//! The frames that make a snapshot.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("snapshot_content", input));
