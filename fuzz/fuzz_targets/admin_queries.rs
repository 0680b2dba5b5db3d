//! Query strings of the admin routes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| openraft_fuzz::check("admin_queries", input));
