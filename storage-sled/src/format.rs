//! Keys, and values with a version and a checksum.
//!
//! Keys: one byte for the kind, then the group and further numbers, all big-endian so that sled's order is theirs.
//! Small things that are rewritten at every round stand apart from entries and snapshot chunks, so that a leaf of the
//! tree that is rewritten for a vote holds no bulk.
//!
//! Values: the format version (1 byte), a CRC-32 of key, version and body (4 bytes, little-endian), the body. The key is
//! under the checksum so that a value that turns up in another's place does not pass.

use openraft_adapters::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of everything this crate stores, and of the directory as a whole.
pub(crate) const FORMAT: u8 = 3;
/// Bytes that [`seal`] adds.
pub(crate) const SEAL_BYTES: usize = 5;

/// The directory's identity.
pub(crate) const IDENTITY: &[u8] = &[0x01];
const PEER: u8 = 0x02;
const APP: u8 = 0x03;
const HEAD: u8 = 0x10;
const LEADER_START: u8 = 0x11;
const MEMBERSHIP: u8 = 0x12;
const SNAPSHOT_CURRENT: u8 = 0x13;
const RECORD: u8 = 0x20;
const SNAPSHOT_MANIFEST: u8 = 0x30;
const SNAPSHOT_CHUNK: u8 = 0x31;

/// Why a stored value is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it is shorter than its own head")]
    Short,
    #[error("its format {0} is newer than this version knows")]
    Newer(u8),
    #[error("its checksum is {stored:#010x}, its content gives {computed:#010x}")]
    Checksum { stored: u32, computed: u32 },
    #[error("it does not decode: {0}")]
    Decode(String),
    #[error("it is missing")]
    Missing,
}

fn checksum(key: &[u8], version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// The stored form of `body` under `key`.
pub(crate) fn seal(key: &[u8], body: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL_BYTES + body.iter().map(|b| b.len()).sum::<usize>());
    out.push(FORMAT);
    out.extend_from_slice(&[0; 4]);
    for part in body {
        out.extend_from_slice(part);
    }
    let crc = checksum(key, FORMAT, &out[SEAL_BYTES..]);
    out[1..SEAL_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The body of a stored value.
pub(crate) fn unseal<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (&version, rest) = value.split_first().ok_or(Damage::Short)?;
    let (crc, body) = rest.split_first_chunk::<4>().ok_or(Damage::Short)?;
    let stored = u32::from_le_bytes(*crc);
    let computed = checksum(key, version, body);
    // First the checksum: a damaged version byte must not read as "written by a newer release".
    if stored != computed {
        return Err(Damage::Checksum { stored, computed });
    }
    if version > FORMAT {
        return Err(Damage::Newer(version));
    }
    Ok(body)
}

/// The stored form of a small value.
pub(crate) fn seal_value<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    seal(key, &[&encode(value)])
}

/// A small value in postcard, unsealed.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode_value(value)
}

/// A small value from its stored form.
pub(crate) fn unseal_value<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, Damage> {
    decode(unseal(key, value)?)
}

/// A small value, unsealed, in postcard.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Damage> {
    codec::decode_value(body).map_err(Damage::Decode)
}

/// The keys and values of something that is cut over parts of at most `part_bytes`.
pub(crate) fn seal_parts(
    bytes: &[u8],
    part_bytes: usize,
    key: impl Fn(u64) -> Vec<u8>,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..).zip(bytes.chunks(part_bytes)).map(move |(part, chunk)| {
        let key = key(part);
        let value = seal(&key, &[chunk]);
        (key, value)
    })
}

/// What was cut over these parts, and how many there are. Their number is the third of each key.
pub(crate) fn unseal_parts<K: AsRef<[u8]>, V: AsRef<[u8]>, E>(
    items: impl Iterator<Item = Result<(K, V), E>>,
) -> Result<Result<(Vec<u8>, u64), Damage>, E> {
    let (mut bytes, mut parts) = (Vec::new(), 0);
    for item in items {
        let (key, value) = item?;
        if number(key.as_ref(), 2) != Some(parts) {
            return Ok(Err(Damage::Missing));
        }
        match unseal(key.as_ref(), value.as_ref()) {
            Ok(body) => bytes.extend_from_slice(body),
            Err(damage) => return Ok(Err(damage)),
        }
        parts += 1;
    }
    Ok(Ok((bytes, parts)))
}

fn key(kind: u8, numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 8 * numbers.len());
    out.push(kind);
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out
}

pub(crate) fn peer_prefix() -> Vec<u8> {
    vec![PEER]
}

pub(crate) fn peer<NID: Serialize>(node_id: &NID) -> Vec<u8> {
    let mut out = peer_prefix();
    out.extend_from_slice(&encode(node_id));
    out
}

pub(crate) fn app(name: &str) -> Vec<u8> {
    let mut out = vec![APP];
    out.extend_from_slice(name.as_bytes());
    out
}

pub(crate) fn head_prefix() -> Vec<u8> {
    vec![HEAD]
}

pub(crate) fn head(group: u64) -> Vec<u8> {
    key(HEAD, &[group])
}

pub(crate) fn leader_start_prefix(group: u64) -> Vec<u8> {
    key(LEADER_START, &[group])
}

pub(crate) fn leader_start(group: u64, index: u64) -> Vec<u8> {
    key(LEADER_START, &[group, index])
}

pub(crate) fn membership_prefix(group: u64) -> Vec<u8> {
    key(MEMBERSHIP, &[group])
}

/// Part `part` of the membership stated at `index`.
pub(crate) fn membership(group: u64, index: u64, part: u64) -> Vec<u8> {
    key(MEMBERSHIP, &[group, index, part])
}

pub(crate) fn record_prefix(group: u64) -> Vec<u8> {
    key(RECORD, &[group])
}

/// Part `part` of the record whose first entry is `first`.
pub(crate) fn record(group: u64, first: u64, part: u64) -> Vec<u8> {
    key(RECORD, &[group, first, part])
}

pub(crate) fn snapshot_current_prefix() -> Vec<u8> {
    vec![SNAPSHOT_CURRENT]
}

pub(crate) fn snapshot_current(group: u64) -> Vec<u8> {
    key(SNAPSHOT_CURRENT, &[group])
}

pub(crate) fn snapshot_manifest(group: u64, number: u64, part: u64) -> Vec<u8> {
    key(SNAPSHOT_MANIFEST, &[group, number, part])
}

pub(crate) fn snapshot_chunk(group: u64, number: u64, chunk: u64) -> Vec<u8> {
    key(SNAPSHOT_CHUNK, &[group, number, chunk])
}

/// The first byte of the keys of snapshot manifests and of snapshot chunks.
pub(crate) const SNAPSHOT_KINDS: [u8; 2] = [SNAPSHOT_MANIFEST, SNAPSHOT_CHUNK];

/// The key from which all things of `kind` with at least these numbers follow.
pub(crate) fn seek(kind: u8, numbers: &[u64]) -> Vec<u8> {
    key(kind, numbers)
}

/// The `n`th number of a key of this crate, counted from 0; `None` if the key is too short.
pub(crate) fn number(key: &[u8], n: usize) -> Option<u64> {
    let bytes = key.get(1 + 8 * n..9 + 8 * n)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let key = head(3);
        let value = seal(&key, &[b"some", b"thing"]);
        assert_eq!(unseal(&key, &value), Ok(&b"something"[..]));
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&key, &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_value_in_anothers_place_is_noticed() {
        let value = seal(&head(3), &[b"x"]);
        assert!(matches!(unseal(&head(4), &value), Err(Damage::Checksum { .. })));
    }

    #[test]
    fn a_value_of_a_newer_format_is_told_apart_from_a_damaged_one() {
        let key = head(1);
        let mut value = vec![FORMAT + 1, 0, 0, 0, 0, b'x'];
        let crc = checksum(&key, FORMAT + 1, b"x");
        value[1..5].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(unseal(&key, &value), Err(Damage::Newer(FORMAT + 1)));
    }

    #[test]
    fn keys_sort_by_group_then_index_then_part() {
        let keys = [record(1, 2, 0), record(1, 2, 1), record(1, 300, 0), record(2, 0, 0)];
        assert!(keys.is_sorted());
        assert_eq!(
            (number(&keys[2], 0), number(&keys[2], 1), number(&keys[2], 3)),
            (Some(1), Some(300), None)
        );
    }
}
