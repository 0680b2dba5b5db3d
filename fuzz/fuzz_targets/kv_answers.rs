//! JSON that the clients of raft-kv are answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("kv_answers", input));
