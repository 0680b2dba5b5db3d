//! What holds for inputs exactly as an encoder wrote them.

use crate::check::decode;
use crate::{Cut, Decoder};

/// How many places of a long input are tried.
const PLACES: usize = 4_000;

/// Every seed is read and encoded as it was; cut anywhere it is refused, or whole as far as it goes; where a checksum
/// guards it, every changed bit is noticed.
pub(crate) fn check(decoder: &Decoder) {
    let seeds = (decoder.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", decoder.name);
    for seed in &seeds {
        match decode(decoder, seed) {
            Ok(again) => assert_eq!(again, *seed, "{}: the second is read as the first", decoder.name),
            Err(error) => panic!("{}: its own seed {seed:?} is refused: {error}", decoder.name),
        }
        cut(decoder, seed);
        if decoder.guarded {
            flip(decoder, seed);
        }
    }
}

fn cut(decoder: &Decoder, seed: &[u8]) {
    if decoder.cut == Cut::Anything {
        return;
    }
    for length in (0..seed.len()).step_by(1 + seed.len() / PLACES) {
        let left = &seed[..length];
        match decode(decoder, left) {
            Err(_) => {}
            Ok(again) if decoder.cut == Cut::Whole && again == left => {}
            Ok(again) => {
                panic!("{}: {seed:?} cut off after {length} bytes is read as {again:?}", decoder.name)
            }
        }
    }
}

fn flip(decoder: &Decoder, seed: &[u8]) {
    for bit in (0..8 * seed.len()).step_by(1 + seed.len() / PLACES) {
        let mut changed = seed.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok(again) = decode(decoder, &changed) {
            panic!("{}: {seed:?} with bit {bit} changed is read as {again:?}", decoder.name);
        }
    }
}
