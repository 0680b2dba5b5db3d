//! Hostile input: what every decoder must keep whatever bytes it is given, and bytes to give it.
//!
//! A crate that reads bytes which others wrote lists its decoders ([`Decoder`]), and a test of it feeds them all:
//!
//! ```
//! openraft_hostile::feed_all(openraft_adapters::fuzzing::DECODERS);
//! ```
//!
//! The fuzz targets in `fuzz/` run the same [`check`] over the input that libFuzzer makes up.
//!
//! # Layout
//!
//! - [`check`]: one input; what holds for all of them. `seeds`: what holds for inputs that an encoder wrote.
//! - [`Mutation`]: how a valid input is spoilt. [`inputs`]: spoilt, spliced and random ones.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Test support: it is not simulated.

mod check;
mod mutation;
mod seeds;

#[cfg(test)]
mod tests;

pub use check::check;
pub use mutation::{Mutation, inputs};
pub use openraft_adapters::fuzzing::{Cut, Decoder};

use std::path::Path;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many inputs each decoder is fed, unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 10_000;

/// Where all decoders are listed.
const PAGE: &str = "docs/hostile-input.md";

/// Checks each decoder with its seeds, and with inputs made of them. The same inputs every time; `PROPTEST_CASES` makes
/// them more.
///
/// # Panics
/// If one does not keep what it must: with the decoder's name, and the shortest input found that shows it. If it has no
/// fuzz target, or is not listed in `docs/hostile-input.md`.
pub fn feed_all(decoders: &[Decoder]) {
    assert!(!decoders.is_empty(), "no decoder is listed");
    for decoder in decoders {
        listed(decoder);
        feed(decoder);
    }
}

/// Checks that the decoder has a fuzz target, and a line on the page about all of them.
fn listed(decoder: &Decoder) {
    let (root, name) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), decoder.name);
    let target = root.join(format!("fuzz/fuzz_targets/{name}.rs"));
    assert!(target.exists(), "{name} has no fuzz target {}", target.display());
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    assert!(page.contains(&format!("| `{name}` |")), "{name} has no line in {PAGE}");
}

/// [`feed_all`] of one.
///
/// # Panics
/// As [`feed_all`].
pub fn feed(decoder: &Decoder) {
    seeds::check(decoder);
    let config = Config::default();
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config =
        Config { cases: if asked { config.cases } else { CASES }, failure_persistence: None, ..config };
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &[0x5e; 32]);
    let fed = TestRunner::new_with_rng(config, chance).run(&inputs((decoder.seeds)()), |input| {
        check(decoder, &input);
        Ok(())
    });
    if let Err(error) = fed {
        panic!("{}: {error}", decoder.name);
    }
}
