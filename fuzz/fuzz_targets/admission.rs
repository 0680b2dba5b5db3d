//! Requests to form and to join, and their answers.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("admission", input));
