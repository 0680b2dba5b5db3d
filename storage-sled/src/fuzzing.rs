//! This crate's decoders as plain functions, for property tests and fuzzing: see `openraft_adapters::fuzzing`.

use std::convert::Infallible;

use openraft_adapters::engine::{
    BasicNode, ClusterId, LogId, Membership, Replica, SnapshotMeta, StoreId, StoredMembership, Vote,
};
use openraft_adapters::fuzzing::{Cut, Decoder, SERDE_BASE_BYTES, Types};
use openraft_adapters::{Entry, EntryPayload, EntryRange, Identity, LogIdOf, MembershipOf, ReplicaOf, codec};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::format;
use crate::group::Head;
use crate::marker::Marker;
use crate::record::{self, RecordError};
use crate::snapshot::Manifest;

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[SEALED, VALUES, RECORDS, PARTS, MARKER];

/// The group, and the index or number, under whose keys everything stands here.
const GROUP: u64 = 3;
const PLACE: u64 = 10;
/// How large a part is here.
const PART_BYTES: usize = 64;

const SEALED: Decoder = Decoder {
    name: "sealed",
    decode: |input| {
        let key = format::head(GROUP);
        let body = format::unseal(&key, input).map_err(|damage| damage.to_string())?;
        Ok(format::seal(&key, &[body]))
    },
    seeds: || {
        let key = format::head(GROUP);
        vec![format::seal(&key, &[]), format::seal(&key, &[b"a", b"body"]), format::seal(&key, &[&[0; 300]])]
    },
    guarded: true,
    cut: Cut::Refused,
    memory_base: 1024,
    memory_per_byte: 2,
};

const VALUES: Decoder = Decoder {
    name: "values",
    decode: value,
    seeds: value_seeds,
    guarded: false,
    cut: Cut::Refused,
    memory_base: 64 * 1024,
    memory_per_byte: 20,
};

/// A byte that says which small value it is, and the value without its seal.
fn value(input: &[u8]) -> Result<Vec<u8>, String> {
    fn sealed<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<Vec<u8>, String> {
        let key = format::snapshot_current(GROUP);
        let value = format::seal(&key, &[body]);
        format::unseal_value::<T>(&key, &value)
            .map(|value| format::encode(&value))
            .map_err(|damage| damage.to_string())
    }
    let (&which, body) = input.split_first().ok_or("no value")?;
    let again = match which {
        0 => sealed::<Head<Types>>(body),
        1 => sealed::<LogIdOf<Types>>(body),
        2 => sealed::<Identity<u64>>(body),
        3 => sealed::<ReplicaOf<Types>>(body),
        4 => sealed::<u64>(body),
        _ => Err("no such value".to_owned()),
    };
    again.map(|again| [&[which], &again[..]].concat())
}

fn value_seeds() -> Vec<Vec<u8>> {
    let (id, replica) = (LogId::new(9, 2, 1 << 40), Replica { node_id: 2u64, store_id: StoreId(u128::MAX) });
    let head = Head::<Types> {
        vote: Vote::new(9, 2).into(),
        purged: Some(LogId::new(1, 1, 5)),
        last: Some(id),
        committed: None,
        log_bytes: u64::MAX,
    };
    let identity =
        Identity { replica, cluster_name: "shop".to_owned(), cluster_id: Some(ClusterId(1 << 99)) };
    let values = [
        format::encode(&Head::<Types>::default()),
        format::encode(&head),
        format::encode(&id),
        format::encode(&identity),
        format::encode(&replica),
        format::encode(&u64::MAX),
    ];
    [0u8, 0, 1, 2, 3, 4].iter().zip(values).map(|(which, value)| [&[*which], &value[..]].concat()).collect()
}

const RECORDS: Decoder = Decoder {
    name: "records",
    decode: |input| {
        let parts: Vec<Vec<u8>> = codec::decode_value(input)?;
        let record = record::assemble(GROUP, PLACE, |key| {
            let part = format::number(key, 2).and_then(|part| parts.get(usize::try_from(part).ok()?));
            Ok(part.map(|part| format::seal(key, &[part])))
        });
        let again = record.and_then(again).map_err(|error| error.to_string())?;
        // Parts beyond those that the first one speaks of are never asked for.
        Ok(codec::encode_value(&again))
    },
    seeds: || {
        let run = |bytes: &[usize]| {
            let entries = (PLACE..).zip(bytes).map(|(index, bytes)| {
                let data = ("record".to_owned(), vec![index as u8; *bytes], None);
                Entry::<Types>::new(LogId::new(4, 1, index), EntryPayload::Normal(data))
            });
            EntryRange::from_entries(entries.collect()).encoded().concat()
        };
        let record = |bytes: &[usize]| codec::encode_value(&bodies(bytes.len() as u32, &run(bytes)));
        vec![record(&[0]), record(&[3, 0, 5]), record(&[1000])]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 150,
};

/// The bodies of a record that is read as `record`.
fn again(record: record::Record) -> Result<Vec<Vec<u8>>, RecordError> {
    let bytes = record.bytes.clone();
    let (first, end, count) = (record.first, record.end(), record.count);
    let mut places = Vec::new();
    // Counts that the entries do not bear out show here as well as in `decode`.
    for index in (first..=end).take(1 + bytes.len()) {
        places.push(record.split(index).map(|(before, _)| before.len()));
    }
    let entries = record.decode::<Types>()?;
    assert_eq!((entries.first_index(), entries.end_index()), (Some(first), Some(end)));
    for (index, place) in (first..=end).zip(places) {
        let before = entries.slice(first..index).encoded().concat();
        assert_eq!(place.ok(), Some(before.len()), "a cut before entry {index}");
    }
    Ok(bodies(u32::try_from(count).expect("it was read as one"), &bytes))
}

fn bodies(count: u32, bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = record::encode(GROUP, PLACE, count, bytes, PART_BYTES);
    parts.map(|(_, value)| value[format::SEAL_BYTES..].to_vec()).collect()
}

const PARTS: Decoder = Decoder {
    name: "parts",
    decode: |input| {
        let (manifest, parts): (bool, Vec<(u64, Vec<u8>)>) = codec::decode_value(input)?;
        let items = parts.iter().map(|(part, body)| {
            let key = part_key(manifest, *part);
            let value = format::seal(&key, &[body]);
            Ok::<_, Infallible>((key, value))
        });
        let bytes = match format::unseal_parts(items) {
            Ok(joined) => joined.map_err(|damage| damage.to_string())?.0,
        };
        let again = if manifest {
            Manifest::<Types>::decode(&bytes).map(|manifest| format::encode(&manifest))
        } else {
            type Stated = (LogIdOf<Types>, MembershipOf<Types>);
            format::decode::<Stated>(&bytes).map(|stated| format::encode(&stated))
        };
        Ok(parts_of(manifest, &again.map_err(|damage| damage.to_string())?))
    },
    seeds: || {
        let node = |id: u64| (id, StoreId(u128::from(id)), BasicNode::new(format!("10.0.0.{id}:7000")));
        let membership = Membership::new_initial((1..4).map(node));
        let stated = (LogId::new(0, 0, 0), membership.clone());
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(2, 1, 77)),
            membership: StoredMembership::new(LogId::new(0, 0, 0), membership),
            snapshot_id: "T2-N1-77".to_owned(),
        };
        let manifest = Manifest::<Types> { meta, len: 1 << 30, chunk_bytes: 1 << 16 };
        vec![parts_of(false, &format::encode(&stated)), parts_of(true, &format::encode(&manifest))]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 150,
};

fn part_key(manifest: bool, part: u64) -> Vec<u8> {
    if manifest {
        format::snapshot_manifest(GROUP, PLACE, part)
    } else {
        format::membership(GROUP, PLACE, part)
    }
}

/// Whether it is a snapshot's manifest or a membership, and its parts with their numbers.
fn parts_of(manifest: bool, bytes: &[u8]) -> Vec<u8> {
    let parts = format::seal_parts(bytes, PART_BYTES, |part| part_key(manifest, part));
    let parts: Vec<(u64, Vec<u8>)> =
        (0..).zip(parts.map(|(_, value)| value[format::SEAL_BYTES..].to_vec())).collect();
    codec::encode_value(&(manifest, parts))
}

const MARKER: Decoder = Decoder {
    name: "marker",
    decode: |input| {
        let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
        let marker = Marker::parse(text).map_err(|error| format!("{error:?}"))?;
        Ok(marker.text().into_bytes())
    },
    seeds: || {
        let marker = |complete, cluster: &str| Marker {
            complete,
            node: "7".to_owned(),
            cluster: format!("{cluster:?}"),
            store: StoreId(1 << 77).to_string(),
            segment_size: 8 << 20,
        };
        vec![marker(false, "shop").text().into_bytes(), marker(true, "a: b\n\"c\"").text().into_bytes()]
    },
    guarded: true,
    cut: Cut::Refused,
    memory_base: 4096,
    memory_per_byte: 8,
};
