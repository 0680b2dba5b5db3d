//! Records: how runs of encoded entries lie in sled, and how they are found and cut.
//!
//! A record holds consecutive entries under the key (group, first index, part 0). An entry too large for one value has a
//! record of its own, cut over parts 0, 1, 2 and so on. Each value begins with the number of entries, the number of
//! parts and the part's own number, so that a missing part is noticed.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft_adapters::codec::CodecError;
use openraft_adapters::{EntryBatch, EntryRange, RaftTypeConfig};

use crate::format::{self, Damage};

const HEAD_BYTES: usize = 12;

/// Why a record does not give its entries.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("the record of entries from {first} on (part {part}) is damaged: {damage}")]
    Damaged { first: u64, part: u64, damage: Damage },
    #[error("the record of entries from {first} on is not understood: {source}")]
    Entries { first: u64, source: CodecError },
    #[error("the database fails: {0}")]
    Sled(#[from] sled::Error),
}

/// One record's entries, encoded one after another.
pub(crate) struct Record {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The length of the encoded entry at the front of `bytes`, its own length field included; `None` if it is cut short.
pub(crate) fn entry_len(bytes: &[u8]) -> Option<usize> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*head) as usize;
    (rest.len() >= len).then_some(4 + len)
}

/// The keys and values of a record of `count` entries, in parts of at most `part_bytes`.
pub(crate) fn encode(
    group: u64,
    first: u64,
    count: u32,
    bytes: &[u8],
    part_bytes: usize,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let parts = bytes.len().div_ceil(part_bytes);
    bytes.chunks(part_bytes).enumerate().map(move |(part, chunk)| {
        let key = format::record(group, first, part as u64);
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&count.to_le_bytes());
        head[4..8].copy_from_slice(&(parts as u32).to_le_bytes());
        head[8..].copy_from_slice(&(part as u32).to_le_bytes());
        let value = format::seal(&key, &[&head, chunk]);
        (key, value)
    })
}

/// The first index of the record that holds `index` or, if none does, of the last one before it.
pub(crate) fn locate(db: &sled::Db, group: u64, index: u64) -> Result<Option<u64>, sled::Error> {
    let keys = format::record_prefix(group)..=format::record(group, index, u64::MAX);
    match db.range(keys).next_back() {
        None => Ok(None),
        Some(found) => Ok(format::number(&found?.0, 1)),
    }
}

/// The last record of a group.
pub(crate) fn last(db: &sled::Db, group: u64) -> Result<Option<u64>, sled::Error> {
    locate(db, group, u64::MAX)
}

/// A group that has records and is not among `groups`.
pub(crate) fn group_beside<G>(db: &sled::Db, groups: &BTreeMap<u64, G>) -> Result<Option<u64>, sled::Error> {
    let (mut from, end) = (format::record_prefix(0), format::record(u64::MAX, u64::MAX, u64::MAX));
    // From one group to the next, without touching the records in between.
    while let Some(key) = db.range(from..=end.clone()).keys().next() {
        let group = format::number(&key?, 0).unwrap_or(u64::MAX);
        if !groups.contains_key(&group) {
            return Ok(Some(group));
        }
        let Some(next) = group.checked_add(1) else { break };
        from = format::record_prefix(next);
    }
    Ok(None)
}

/// The record that begins with `first`.
pub(crate) fn load(db: &sled::Db, group: u64, first: u64) -> Result<Record, RecordError> {
    assemble(group, first, |key| db.get(key))
}

/// The record that begins with `first`, of the values that `get` finds.
pub(crate) fn assemble<V: AsRef<[u8]>>(
    group: u64,
    first: u64,
    mut get: impl FnMut(&[u8]) -> Result<Option<V>, sled::Error>,
) -> Result<Record, RecordError> {
    let damaged = |part, damage| RecordError::Damaged { first, part, damage };
    let (mut bytes, mut count, mut parts, mut part) = (Vec::new(), 0, 1, 0);
    while part < parts {
        let key = format::record(group, first, part);
        let value = get(&key)?.ok_or_else(|| damaged(part, Damage::Missing))?;
        let body = format::unseal(&key, value.as_ref()).map_err(|damage| damaged(part, damage))?;
        let field = |at: usize| body.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (Some(n), Some(of), Some(number)) = (field(0), field(4), field(8)) else {
            return Err(damaged(part, Damage::Short));
        };
        if u64::from(number) != part || of == 0 || (part > 0 && u64::from(of) != parts) {
            return Err(damaged(part, Damage::Decode(format!("it is part {number} of {of}"))));
        }
        (count, parts, part) = (u64::from(n), u64::from(of), part + 1);
        bytes.extend_from_slice(&body[HEAD_BYTES..]);
    }
    Ok(Record { first, count, bytes })
}

impl Record {
    /// One more than the last index.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    /// The encoded entries before and from `index` on; `index` lies within the record or at its end.
    pub(crate) fn split(&self, index: u64) -> Result<(&[u8], &[u8]), RecordError> {
        let mut at = 0;
        for _ in self.first..index {
            at += entry_len(&self.bytes[at..]).ok_or_else(|| RecordError::Damaged {
                first: self.first,
                part: 0,
                damage: Damage::Decode("it ends inside an entry".to_owned()),
            })?;
        }
        Ok(self.bytes.split_at(at))
    }

    /// Its entries.
    pub(crate) fn decode<C: RaftTypeConfig>(self) -> Result<EntryRange<C>, RecordError> {
        let (first, count) = (self.first, self.count);
        let batch = EntryBatch::<C>::decode(Bytes::from(self.bytes))
            .map_err(|source| RecordError::Entries { first, source })?;
        let entries = batch.entries();
        if entries[0].log_id.index != first || entries.len() as u64 != count {
            let damage = Damage::Decode(format!(
                "it holds {} entries from {} on instead of {count}",
                entries.len(),
                entries[0].log_id.index
            ));
            return Err(RecordError::Damaged { first, part: 0, damage });
        }
        Ok(EntryRange::from_batch(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(lens: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for len in lens {
            out.extend_from_slice(&(*len as u32).to_le_bytes());
            out.resize(out.len() + len, 7);
        }
        out
    }

    fn stored(bytes: &[u8], count: u32, part_bytes: usize) -> (tempfile::TempDir, sled::Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = sled::open(dir.path()).unwrap();
        for (key, value) in encode(1, 10, count, bytes, part_bytes) {
            db.insert(key, value).unwrap();
        }
        (dir, db)
    }

    #[test]
    fn a_record_cut_over_parts_is_put_together_again() {
        let bytes = entries(&[1000]);
        let (_dir, db) = stored(&bytes, 1, 64);
        assert_eq!(db.len(), 16);
        assert_eq!(load(&db, 1, 10).unwrap().bytes, bytes);
    }

    #[test]
    fn a_missing_part_is_damage() {
        let (_dir, db) = stored(&entries(&[1000]), 1, 64);
        db.remove(format::record(1, 10, 3)).unwrap();
        assert!(matches!(
            load(&db, 1, 10),
            Err(RecordError::Damaged { part: 3, damage: Damage::Missing, .. })
        ));
    }

    #[test]
    fn a_record_is_split_between_entries() {
        let bytes = entries(&[3, 0, 5]);
        let record = Record { first: 10, count: 3, bytes: bytes.clone() };
        for (index, at) in [(10, 0), (11, 7), (12, 11), (13, 20)] {
            assert_eq!(record.split(index).unwrap(), bytes.split_at(at), "index {index}");
        }
        assert!(record.split(14).is_err());
    }

    #[test]
    fn the_record_of_an_index_is_the_one_that_begins_at_or_before_it() {
        let (_dir, db) = stored(&entries(&[1, 1, 1]), 3, 64);
        assert_eq!(locate(&db, 1, 9).unwrap(), None);
        assert_eq!(locate(&db, 1, 12).unwrap(), Some(10));
        assert_eq!(locate(&db, 0, 12).unwrap(), None);
        assert_eq!(last(&db, 1).unwrap(), Some(10));
    }
}
