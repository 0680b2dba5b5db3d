//! Snapshots of an application that leaves them to serde.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("state", input));
