//! What holds for every input.

use allocation_counter::measure;

use crate::Decoder;

/// Gives `input` to the decoder.
///
/// # Panics
/// If the decoder does; if it holds more memory at a time than the input justifies; if what it reads, encoded as its
/// encoder would, is not read again as the same.
pub fn check(decoder: &Decoder, input: &[u8]) {
    let Ok(canonical) = decode(decoder, input) else { return };
    match decode(decoder, &canonical) {
        Ok(again) => assert_eq!(
            again, canonical,
            "{}: what is read of {input:?} is encoded as the second, and that is read as the first",
            decoder.name
        ),
        Err(error) => {
            panic!(
                "{}: what is read of {input:?} is encoded as {canonical:?}, which is refused: {error}",
                decoder.name
            )
        }
    }
}

/// What the decoder makes of the input, within the memory that it may take.
pub(crate) fn decode(decoder: &Decoder, input: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoded = Err(String::new());
    let held = measure(|| decoded = (decoder.decode)(input)).bytes_max;
    let most = decoder.memory_base + decoder.memory_per_byte * input.len() as u64;
    assert!(
        held <= most,
        "{}: {} bytes of input make it hold {held} bytes, where {most} are allowed: {input:?}",
        decoder.name,
        input.len()
    );
    decoded
}
