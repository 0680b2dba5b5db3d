//! The decoders of all crates by name, for the fuzz targets. `docs/hostile-input.md` says how they are run.

use openraft_hostile::Decoder;

/// The decoders, and with each name its fuzz target.
pub fn decoders() -> impl Iterator<Item = &'static Decoder> {
    [
        openraft_adapters::fuzzing::DECODERS,
        openraft_network_http::fuzzing::DECODERS,
        openraft_storage_sled::fuzzing::DECODERS,
        openraft_node::fuzzing::DECODERS,
        raft_kv::fuzzing::DECODERS,
        raftexample::fuzzing::DECODERS,
    ]
    .into_iter()
    .flatten()
}

/// Gives `input` to the decoder of that name.
///
/// # Panics
/// If it does not keep what every decoder must, or there is none of that name.
pub fn check(name: &str, input: &[u8]) {
    let decoder = decoders().find(|decoder| decoder.name == name).expect("each target is named after a decoder");
    openraft_hostile::check(decoder, input);
}
