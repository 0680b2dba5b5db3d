//! Small stored values: heads, identities, log ids.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("values", input));
