//! The command line of raft-kv, and the configuration that it comes to.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("kv_command_line", input));
