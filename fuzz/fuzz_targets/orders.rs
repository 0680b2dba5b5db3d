//! Orders between nodes, and their outcomes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("orders", input));
