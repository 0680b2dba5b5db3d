//! Flawed decoders, each of which must be found.

use crate::{Cut, Decoder, feed};

/// A length of one byte, so many bytes, and their sum.
fn checked(input: &[u8]) -> Result<Vec<u8>, String> {
    let (length, rest) = input.split_first().ok_or("no length")?;
    match rest.split_last() {
        Some((sum, content)) if content.len() == usize::from(*length) && sum_of(*length, content) == *sum => {
            Ok(input.to_vec())
        }
        _ => Err("another length, or another sum".to_owned()),
    }
}

/// Changes with every single bit.
fn sum_of(length: u8, content: &[u8]) -> u8 {
    content.iter().fold(length, |sum, byte| sum.rotate_left(1) ^ byte)
}

fn seeds() -> Vec<Vec<u8>> {
    let seed = |content: &[u8]| {
        let length = content.len() as u8;
        [&[length], content, &[sum_of(length, content)]].concat()
    };
    vec![seed(b""), seed(b"a"), seed(b"some content"), seed(&[0xff; 40])]
}

const GOOD: Decoder = Decoder {
    name: "good",
    decode: checked,
    seeds,
    guarded: true,
    cut: Cut::Refused,
    memory_base: 64,
    memory_per_byte: 1,
};

#[test]
fn a_good_decoder_passes() {
    feed(&GOOD);
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn a_panic_is_found() {
    feed(&Decoder {
        decode: |input| match checked(input) {
            Err(_) if input.len() > 1 => Err(input[usize::from(input[0]) + 1].to_string()),
            checked => checked,
        },
        ..GOOD
    });
}

#[test]
#[should_panic(expected = "are allowed")]
fn memory_taken_on_the_word_of_the_input_is_found() {
    feed(&Decoder {
        decode: |input| {
            let length = usize::from(*input.first().ok_or("no length")?);
            let mut content = Vec::with_capacity(1000 * length);
            content.extend(checked(input)?);
            Ok(content)
        },
        memory_base: 60_000,
        ..GOOD
    });
}

#[test]
#[should_panic(expected = "changed is read as")]
fn a_bit_that_no_checksum_guards_is_found() {
    feed(&Decoder {
        decode: |input| {
            let mut input = input.to_vec();
            input.iter_mut().take(1).for_each(|length| *length &= 0x7f);
            checked(&input)
        },
        ..GOOD
    });
}

#[test]
#[should_panic(expected = "cut off after")]
fn an_input_that_was_cut_and_is_taken_for_a_whole_one_is_found() {
    feed(&Decoder {
        decode: |input| if input == [12] { Ok(input.to_vec()) } else { checked(input) },
        ..GOOD
    });
}

#[test]
#[should_panic(expected = "is refused")]
fn an_encoding_that_cannot_be_read_is_found() {
    feed(&Decoder {
        decode: |input| match input {
            [0xff, ..] => Ok(vec![1]),
            input => checked(input),
        },
        ..GOOD
    });
}

#[test]
#[should_panic(expected = "is read as the first")]
fn a_value_that_is_not_encoded_as_it_was_is_found() {
    feed(&Decoder { decode: |input| checked(input).map(|_| Vec::new()), ..GOOD });
}
