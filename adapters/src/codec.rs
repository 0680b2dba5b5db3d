//! The stored form of entries, one for disk and wire: a length of four bytes (little-endian), then the entry in
//! postcard: flags, log id, session, payload. Records and frames around it carry version and checksum.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{ClientSession, Entry, LogIdOf, RaftTypeConfig};

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
    /// They are no entry.
    #[error("an entry does not decode: {0}")]
    Malformed(String),
    /// What the entry proposes does not decode as the application's type, as after an incompatible change of that.
    #[error(
        "what the entry {log_id} proposes does not decode as {proposal} ({cause}): a program wrote it whose proposal type \
         is another. Nothing is lost: run the program that wrote it, or teach this one to decode it as well (add variants \
         only at the end of an enum; never remove or reorder them or change their fields)"
    )]
    Proposal {
        /// The entry.
        log_id: String,
        /// The type as which it should decode.
        proposal: &'static str,
        /// What the decoder says.
        cause: String,
    },
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
    /// An entry has the greatest index that there is, so that none can follow it.
    #[error("an entry has the greatest index that there is")]
    NoEnd,
    /// No entry at all where there must be one.
    #[error("no entry")]
    Empty,
}

/// Bytes of a value in postcard.
pub(crate) fn encoded_size<T: Serialize>(value: &T) -> u64 {
    postcard::experimental::serialized_size(value).map_or(0, |n| n as u64)
}

/// A value in postcard, as it stands in frames, in stored values and in requests between nodes.
///
/// # Panics
/// If the type is one that does not serialise.
pub fn encode_value<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("writing to memory does not fail for a type that serialises")
}

/// The value in `bytes`, which must hold nothing else.
///
/// # Errors
/// What the decoder says.
pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, left)) => Err(format!("{} bytes are left over", left.len())),
        Err(error) => Err(error.to_string()),
    }
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
        let entry = match postcard::take_from_bytes::<Entry<C>>(body) {
            Ok((entry, [])) => entry,
            Ok((_, left)) => {
                return Err(not_decoded::<C>(body, format!("{} bytes are left over", left.len())));
            }
            Err(error) => return Err(not_decoded::<C>(body, error.to_string())),
        };
        entries.push(entry);
        offsets.push(bytes.len() - next.len());
        rest = next;
    }
    Ok((entries, offsets))
}

/// The place in `EntryPayload` of a proposal.
const PROPOSAL_VARIANT: u32 = 1;

/// Why an entry does not decode: if all that is the library's own does, the application's proposal is to blame, and the
/// entry has a name.
fn not_decoded<C: RaftTypeConfig>(body: &[u8], cause: String) -> CodecError {
    type Head<C> = (u32, LogIdOf<C>, Option<ClientSession>, u32);
    match postcard::take_from_bytes::<Head<C>>(body) {
        Ok(((_, log_id, _, PROPOSAL_VARIANT), _)) => CodecError::Proposal {
            log_id: log_id.to_string(),
            proposal: std::any::type_name::<C::D>(),
            cause,
        },
        Ok(((_, log_id, ..), _)) => CodecError::Malformed(format!("entry {log_id}: {cause}")),
        Err(_) => CodecError::Malformed(cause),
    }
}
