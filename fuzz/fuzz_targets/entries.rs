//! Runs of entries, as records and appends hold them.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("entries", input));
