//! What a snapshot of the state looks like: a version, the last log index, the number of keys, then one record for each
//! key in order.
//! Checksums and length are the store's business; this format says only what the bytes mean.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::{COMMAND_OVERHEAD_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES};
use crate::state::{KvState, Versioned};

const VERSION: u8 = 2;
/// Version, applied index (the largest: none), number of keys.
const HEADER_BYTES: usize = 1 + 8 + 8;
const NOTHING_APPLIED: u64 = u64::MAX;
/// The most that a key, its value and what stands around them take.
const MAX_RECORD_BYTES: usize = MAX_KEY_BYTES + MAX_VALUE_BYTES + COMMAND_OVERHEAD_BYTES;
/// About how much is written and read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// One key. On disk a length of four bytes (little-endian) precedes it.
#[derive(Serialize, Deserialize)]
struct Record<'a> {
    key: &'a str,
    version: u64,
    #[serde(borrow)]
    value: &'a [u8],
}

/// Why a snapshot does not restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormatError {
    #[error(
        "it has format version {0} and this version knows {VERSION}; run the newer version that wrote it"
    )]
    Version(u8),
    #[error("a record does not decode: {0}")]
    Record(String),
    #[error("a record of {0} bytes, where none has more than {MAX_RECORD_BYTES}")]
    TooLong(u32),
    #[error("it should hold {expected} keys and holds {found}")]
    Count { expected: u64, found: u64 },
    #[error("it ends inside a record")]
    Truncated,
}

/// The content of a snapshot of `view`, piece by piece.
pub(crate) struct Chunks {
    view: KvState,
    after: Option<Arc<str>>,
    header_due: bool,
}

impl Chunks {
    pub(crate) fn new(view: KvState) -> Self {
        Self { view, after: None, header_due: true }
    }
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = Vec::new();
        if std::mem::take(&mut self.header_due) {
            out.push(VERSION);
            out.extend_from_slice(&self.view.applied_index().unwrap_or(NOTHING_APPLIED).to_le_bytes());
            out.extend_from_slice(&(self.view.len() as u64).to_le_bytes());
        }
        let mut last = None;
        for (key, versioned) in self.view.next_after(self.after.as_deref()) {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            let record = Record { key, version: versioned.version, value: &versioned.value };
            out = postcard::to_extend(&record, out).expect("a record serialises into memory");
            let length = u32::try_from(out.len() - start - 4).expect("key and value are limited");
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            last = Some(key.clone());
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if last.is_some() {
            self.after = last;
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

/// The state that was written.
pub(crate) fn restore(input: &mut dyn Read) -> io::Result<KvState> {
    let (mut restorer, mut piece) = (Restorer::default(), vec![0; CHUNK_BYTES]);
    loop {
        match input.read(&mut piece)? {
            0 => return restorer.finish().map_err(io::Error::other),
            count => restorer.push(&piece[..count]).map_err(io::Error::other)?,
        }
    }
}

/// Takes a snapshot's content in pieces of any size and becomes the state.
#[derive(Default)]
struct Restorer {
    state: KvState,
    expected: Option<u64>,
    /// What has come and is not yet a whole record.
    pending: Vec<u8>,
}

impl Restorer {
    /// Takes the next piece.
    fn push(&mut self, piece: &[u8]) -> Result<(), FormatError> {
        self.pending.extend_from_slice(piece);
        let mut rest = self.pending.as_slice();
        if self.expected.is_none() {
            let Some((header, tail)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Ok(()) };
            let (version, numbers) = (header[0], &header[1..]);
            if version != VERSION {
                return Err(FormatError::Version(version));
            }
            let mut numbers = numbers.chunks_exact(8).map(|bytes| {
                u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes are eight bytes"))
            });
            if let Some(index) = numbers.next().filter(|index| *index != NOTHING_APPLIED) {
                self.state.advance(index);
            }
            self.expected = numbers.next();
            rest = tail;
        }
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length);
            // All that comes before its end is kept in memory.
            if length as usize > MAX_RECORD_BYTES {
                return Err(FormatError::TooLong(length));
            }
            let Some((body, tail)) = tail.split_at_checked(length as usize) else { break };
            let record = match postcard::take_from_bytes::<Record<'_>>(body) {
                Ok((record, [])) => record,
                Ok((_, left)) => {
                    return Err(FormatError::Record(format!("{} bytes are left over", left.len())));
                }
                Err(error) => return Err(FormatError::Record(error.to_string())),
            };
            let value = Bytes::copy_from_slice(record.value);
            self.state.restore(record.key, Versioned { value, version: record.version });
            rest = tail;
        }
        let used = self.pending.len() - rest.len();
        self.pending.drain(..used);
        Ok(())
    }

    /// All has come.
    fn finish(self) -> Result<KvState, FormatError> {
        let Some(expected) = self.expected else { return Err(FormatError::Truncated) };
        if !self.pending.is_empty() {
            return Err(FormatError::Truncated);
        }
        let found = self.state.len() as u64;
        if found != expected {
            return Err(FormatError::Count { expected, found });
        }
        Ok(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Command;

    fn state(keys: u64, value_bytes: usize) -> KvState {
        let mut state = KvState::default();
        for i in 0..keys {
            let value = Bytes::from(vec![i as u8; value_bytes]);
            state.apply(i + 1, &Command::Put { key: format!("key-{i}"), value });
        }
        state
    }

    fn restore_by(content: &[u8], piece: usize) -> Result<KvState, FormatError> {
        let mut restorer = Restorer::default();
        for piece in content.chunks(piece) {
            restorer.push(piece)?;
        }
        restorer.finish()
    }

    #[test]
    fn a_state_is_restored_from_pieces_of_any_size() {
        for (keys, value_bytes, piece) in [(0, 0, 1), (3, 0, 1), (3, 5, 7), (40, 100_000, 65_536)] {
            let state = state(keys, value_bytes);
            let content: Vec<u8> = Chunks::new(state.clone()).flatten().collect();
            assert_eq!(restore_by(&content, piece).unwrap(), state, "{keys} keys of {value_bytes} bytes");
            assert_eq!(restore(&mut &content[..]).unwrap(), state);
        }
    }

    #[test]
    fn large_states_come_in_several_chunks() {
        assert!(Chunks::new(state(40, 100_000)).count() > 1);
    }

    #[test]
    fn content_that_is_cut_or_of_another_version_is_refused() {
        let content: Vec<u8> = Chunks::new(state(3, 5)).flatten().collect();
        assert_eq!(restore_by(&content[..5], 5).unwrap_err(), FormatError::Truncated);
        assert_eq!(restore_by(&content[..content.len() - 1], 5).unwrap_err(), FormatError::Truncated);
        let one_less = content.len() - (content.len() - HEADER_BYTES) / 3;
        assert_eq!(
            restore_by(&content[..one_less], 5).unwrap_err(),
            FormatError::Count { expected: 3, found: 2 }
        );
        let mut newer = content.clone();
        newer[0] = VERSION + 1;
        assert_eq!(restore_by(&newer, 5).unwrap_err(), FormatError::Version(VERSION + 1));
    }
}
