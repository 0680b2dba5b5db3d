//! The stored form of entries, one for disk and wire: a length of four bytes (little-endian), then the entry in
//! postcard: flags, log id, session, payload. Records and frames around it carry version and checksum.

use serde::Serialize;

use crate::{Entry, RaftTypeConfig};

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// They end inside an entry.
    #[error("the bytes end inside an entry: {wanted} wanted, {left} left")]
    Truncated {
        /// How many bytes should follow.
        wanted: usize,
        /// How many do.
        left: usize,
    },
    /// They do not decode as the application's types, as after an incompatible change of those.
    #[error("an entry does not decode: {0}; was the proposal type changed without keeping its stored form?")]
    Malformed(String),
    /// A newer version wrote them.
    #[error("an entry carries flags {0:#x} that this version does not know: it was written by a newer one")]
    UnknownFlags(u32),
    /// Entries do not follow one another.
    #[error("entry {found} follows entry {after}")]
    Gap {
        /// The index before.
        after: u64,
        /// The index found.
        found: u64,
    },
    /// No entry at all where there must be one.
    #[error("no entry")]
    Empty,
}

/// Bytes of a value in postcard.
pub(crate) fn encoded_size<T: Serialize>(value: &T) -> u64 {
    postcard::experimental::serialized_size(value).map_or(0, |n| n as u64)
}

/// Appends one entry to `out`.
pub(crate) fn encode_entry<C: RaftTypeConfig>(entry: &Entry<C>, mut out: Vec<u8>) -> Vec<u8> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut out =
        postcard::to_extend(entry, out).expect("writing to memory does not fail for a type that serialises");
    let length = u32::try_from(out.len() - start - 4).expect("an entry is smaller than 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out
}

/// All entries in `bytes` and the offsets at which they begin and the last one ends.
pub(crate) fn decode_entries<C: RaftTypeConfig>(
    bytes: &[u8],
) -> Result<(Vec<Entry<C>>, Vec<usize>), CodecError> {
    let mut entries = Vec::new();
    let mut offsets = vec![0];
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some((head, tail)) = rest.split_first_chunk::<4>() else {
            return Err(CodecError::Truncated { wanted: 4, left: rest.len() });
        };
        let length = u32::from_le_bytes(*head) as usize;
        if tail.len() < length {
            return Err(CodecError::Truncated { wanted: length, left: tail.len() });
        }
        let (body, next) = tail.split_at(length);
        // Flags stand first and alone decide whether the rest can be understood.
        let (flags, _) =
            postcard::take_from_bytes::<u32>(body).map_err(|e| CodecError::Malformed(e.to_string()))?;
        if flags != 0 {
            return Err(CodecError::UnknownFlags(flags));
        }
        let (entry, left) =
            postcard::take_from_bytes::<Entry<C>>(body).map_err(|e| CodecError::Malformed(e.to_string()))?;
        if !left.is_empty() {
            return Err(CodecError::Malformed(format!("{} bytes are left over", left.len())));
        }
        entries.push(entry);
        offsets.push(bytes.len() - next.len());
        rest = next;
    }
    Ok((entries, offsets))
}
