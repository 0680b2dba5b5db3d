//! Snapshots of a state machine in memory.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("memory_snapshot", input));
