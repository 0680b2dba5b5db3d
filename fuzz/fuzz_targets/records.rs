//! Stored records of entries, cut over parts.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("records", input));
