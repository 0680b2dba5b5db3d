//! What frames carry: every message between nodes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("payloads", input));
