//! Decoders as plain functions over bytes, for property tests and fuzzing. Not for applications.
//!
//! Each crate that reads bytes which others wrote lists its decoders in a module of this name. `openraft-hostile` states
//! what every one of them must keep, and feeds them; `docs/hostile-input.md` has the table.

use bytes::Bytes;
use openraft_engine::{BasicNode, LogId, Membership, StoreId};

use crate::memory::restore_app;
use crate::{ClientSession, Entry, EntryBatch, EntryPayload, EntryRange, codec};

/// A function that reads bytes which others wrote, and what it must keep besides never panicking.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Its name, and that of its fuzz target.
    pub name: &'static str,
    /// Reads all of the input, and encodes what it has read as its encoder would.
    ///
    /// # Errors
    /// Why it refuses the input.
    pub decode: fn(&[u8]) -> Result<Vec<u8>, String>,
    /// Inputs exactly as the encoder writes them.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether a checksum guards every bit.
    pub guarded: bool,
    /// What becomes of an input that was cut off.
    pub cut: Cut,
    /// The most memory that may be held at a time while nothing of the input justifies it, in bytes.
    pub memory_base: u64,
    /// The most memory that may be held for each byte of the input, in bytes.
    pub memory_per_byte: u64,
}

/// What may become of the beginning of a valid input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is always refused.
    Refused,
    /// It is refused, or was cut where a part ends and is read as exactly what is there.
    Whole,
    /// It may say anything: a text that people write.
    Anything,
}

/// What serde takes for a collection on the word of the input, at most, before any of its elements has come, and as much
/// again for a collection inside of it.
pub const SERDE_BASE_BYTES: u64 = 2 * 1024 * 1024 + 64 * 1024;

crate::declare_raft_types!(
    /// What decoders that are generic over an application are run with: proposals with fields of several kinds.
    pub Types: D = (String, Vec<u8>, Option<u64>)
);

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[
    Decoder {
        name: "entries",
        decode: entries,
        seeds: entries_seeds,
        guarded: false,
        cut: Cut::Whole,
        memory_base: SERDE_BASE_BYTES,
        // The smallest entry takes about ten bytes, and some two hundred in memory, where vectors double.
        memory_per_byte: 100,
    },
    Decoder {
        name: "memory_snapshot",
        decode: |input| restore_app::<Vec<(String, u64)>>(input).map(|app| codec::encode_value(&app)),
        seeds: || {
            let app = |keys: u64| {
                (0..keys).map(|key| (format!("key {key}"), key << (key % 64))).collect::<Vec<_>>()
            };
            [0, 1, 200].map(|keys| codec::encode_value(&app(keys))).to_vec()
        },
        guarded: false,
        cut: Cut::Refused,
        memory_base: SERDE_BASE_BYTES,
        memory_per_byte: 100,
    },
];

/// A run of entries, as records and appends hold them.
fn entries(input: &[u8]) -> Result<Vec<u8>, String> {
    let batch =
        EntryBatch::<Types>::decode(Bytes::copy_from_slice(input)).map_err(|error| error.to_string())?;
    let run = EntryRange::from_batch(batch.clone());
    // What every receiver asks of a run before anything else.
    let (Some(first), Some(end)) = (run.first_index(), run.end_index()) else {
        return Err("no entry".to_owned());
    };
    assert_eq!(end - first, run.len() as u64, "indexes without a gap");
    assert_eq!(run.slice(first..end).weight(), run.weight());
    Ok(batch.entries().iter().fold(Vec::new(), |out, entry| codec::encode_entry(entry, out)))
}

fn entries_seeds() -> Vec<Vec<u8>> {
    let of = |first: u64, payloads: Vec<EntryPayload<Types>>| {
        let entries =
            (first..).zip(payloads).map(|(index, payload)| Entry::new(LogId::new(3, 2, index), payload));
        EntryRange::from_entries(entries.collect()).encoded().concat()
    };
    let proposal =
        |text: &str, bytes: usize, number| EntryPayload::Normal((text.to_owned(), vec![7; bytes], number));
    let node = |id: u64| (id, StoreId(u128::from(id) << 100), BasicNode::new(format!("node-{id}:7000")));
    let membership = EntryPayload::Membership(Membership::new_initial((1..=3).map(node)));
    let mut session = Entry::<Types>::new(LogId::new(1, 1, 9), proposal("in a session", 3, None));
    session.session = Some(ClientSession { client_id: u128::MAX, sequence: 300 });
    vec![
        of(0, vec![EntryPayload::Blank]),
        of(0, vec![membership]),
        of(17, vec![proposal("a", 0, None), EntryPayload::Blank, proposal("", 300, Some(u64::MAX))]),
        of(u64::MAX - 2, vec![EntryPayload::Blank, proposal("near the last index", 2, Some(0))]),
        codec::encode_entry(&session, Vec::new()),
    ]
}
