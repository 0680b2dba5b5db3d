//! Requests, commands and snapshots under hostile input.

#[test]
fn no_input_makes_a_decoder_panic_or_take_memory_that_it_does_not_justify() {
    openraft_hostile::feed_all(raftexample::fuzzing::DECODERS);
}
