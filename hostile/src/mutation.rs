//! How a valid input is spoilt, and inputs spoilt so.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The longest input that is made, in bytes.
const LONGEST: usize = 16 * 1024;

/// One change of an input. Places are fractions of its length, so that each fits an input of any length.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// One bit is another.
    Flip(Index, u8),
    /// One byte is another.
    Set(Index, u8),
    /// It ends there.
    Cut(Index),
    /// The bytes between two places are gone.
    Remove(Index, Index),
    /// The bytes between two places come twice.
    Repeat(Index, Index),
    /// The bytes between two places come again at a third.
    Move(Index, Index, Index),
    /// These bytes come in between.
    Insert(Index, Vec<u8>),
    /// A number, as length fields are, stands over what was there.
    Number(Index, Vec<u8>),
}

impl Mutation {
    /// Changes `input`.
    pub fn apply(&self, input: &mut Vec<u8>) {
        let place = |index: &Index, input: &Vec<u8>| index.index(input.len() + 1);
        let range = |a: &Index, b: &Index, input: &Vec<u8>| {
            let (a, b) = (place(a, input), place(b, input));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Flip(at, bit) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] ^= 1 << (bit % 8);
            }
            Self::Set(at, byte) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Flip(..) | Self::Set(..) => {}
            Self::Cut(at) => input.truncate(place(at, input)),
            Self::Remove(a, b) => drop(input.drain(range(a, b, input))),
            Self::Repeat(a, b) => {
                let range = range(a, b, input);
                let (end, again) = (range.end, input[range].to_vec());
                input.splice(end..end, again);
            }
            Self::Move(a, b, to) => {
                let (again, to) = (input[range(a, b, input)].to_vec(), place(to, input));
                input.splice(to..to, again);
            }
            Self::Insert(at, bytes) => {
                let at = place(at, input);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Number(at, bytes) => {
                let at = place(at, input);
                let end = input.len().min(at + bytes.len());
                input.splice(at..end, bytes.iter().copied());
            }
        }
        input.truncate(LONGEST);
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        place().prop_map(Mutation::Cut),
        (place(), place()).prop_map(|(a, b)| Mutation::Remove(a, b)),
        (place(), place()).prop_map(|(a, b)| Mutation::Repeat(a, b)),
        (place(), place(), place()).prop_map(|(a, b, to)| Mutation::Move(a, b, to)),
        (place(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (place(), number()).prop_map(|(at, bytes)| Mutation::Number(at, bytes)),
    ]
}

/// Numbers at which something may go wrong, in every way in which a length is written here.
fn number() -> impl Strategy<Value = Vec<u8>> {
    let edges =
        select(vec![0, 1, 127, 128, 255, 1 << 16, (1 << 31) - 1, 1 << 31, u64::from(u32::MAX), u64::MAX]);
    let number =
        prop_oneof![edges, (0..64u32, 0..3u64).prop_map(|(bit, less)| (1u64 << bit).saturating_sub(less))];
    (number, 0..5).prop_map(|(number, form)| match form {
        0 => varint(number),
        1 => (number as u16).to_le_bytes().to_vec(),
        2 => (number as u32).to_le_bytes().to_vec(),
        3 => number.to_le_bytes().to_vec(),
        _ => number.to_string().into_bytes(),
    })
}

/// Seven bits a byte, the lowest first, as postcard writes numbers and lengths.
fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

/// Mostly a seed with one to four changes, now and then the beginning of one with the end of another, or bytes without
/// any sense.
pub fn inputs(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let seed = || select(seeds.clone());
    let mutated = (seed(), vec(mutation(), 1..5)).prop_map(|(mut input, changes)| {
        changes.iter().for_each(|change| change.apply(&mut input));
        input
    });
    let spliced =
        (seed(), any::<Index>(), seed(), any::<Index>()).prop_map(|(first, until, second, from)| {
            let (until, from) = (until.index(first.len() + 1), from.index(second.len() + 1));
            [&first[..until], &second[from..]].concat()
        });
    prop_oneof![8 => mutated, 1 => spliced, 1 => vec(any::<u8>(), 0..200)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_postcard_writes_it() {
        for (number, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[128, 1]), (300, &[172, 2])] {
            assert_eq!(varint(number), bytes);
        }
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    proptest! {
        #[test]
        fn every_change_fits_every_input(mut input in vec(any::<u8>(), 0..20), change in mutation()) {
            change.apply(&mut input);
            prop_assert!(input.len() <= LONGEST);
        }
    }
}
