//! This crate's decoders as plain functions, for property tests and fuzzing: see `openraft_adapters::fuzzing`.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft_adapters::fuzzing::{Cut, Decoder, SERDE_BASE_BYTES, Types};
use openraft_adapters::{
    AppendEntriesRequest, Entry, EntryPayload, EntryRange, FormReply, FormRequest, Identity, JoinReply,
    JoinRequest, SnapshotHeaderOf, SnapshotReplyOf, codec,
};
use openraft_engine::{
    AppendHeader, AppendReply, AppendResult, BasicNode, ClusterId, HeartbeatReply, HeartbeatRequest, LogId,
    Membership, ReadIndexReply, ReadIndexRequest, ReadRefused, Replica, SnapshotMeta, StateHash, StoreId,
    StoredMembership, TimeoutNowReply, TimeoutNowRequest, Vote, VoteReply, VoteRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::{self, Frame, FrameDecoder, FrameError, Kind};
use crate::handshake;
use crate::snapshot_content::{Part, SnapshotContent};
use crate::wire::{self, Hello, HelloReply, ONLY_GROUP, SnapshotEnd, WIRE_VERSION, WireError};

/// The decoders of this crate.
pub const DECODERS: &[Decoder] = &[FRAMES, PAYLOADS, ADMISSION, SNAPSHOT_CONTENT];

/// The largest payload that the decoder of frames is told to accept here.
const FRAME_LIMIT: u32 = 4 * 1024;

const FRAMES: Decoder = Decoder {
    name: "frames",
    decode: frames,
    seeds: || {
        let frame = |kind, request_id, bytes: usize| {
            frame::encode_small(ONLY_GROUP, kind, request_id, &vec![9; bytes])
        };
        let three = [frame(Kind::Vote, 1, 30), frame(Kind::Append, u64::MAX, 0), frame(Kind::Error, 3, 5)];
        vec![
            frame(Kind::Hello, 0, 0).to_vec(),
            frame(Kind::SnapshotChunk, 1 << 40, FRAME_LIMIT as usize).to_vec(),
            three.concat(),
        ]
    },
    guarded: true,
    cut: Cut::Whole,
    memory_base: 64 * 1024,
    // A frame without a payload is 25 bytes, and some 64 in memory.
    memory_per_byte: 12,
};

/// The frames of a stream that comes in small pieces.
fn frames(input: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoder = FrameDecoder::new(FRAME_LIMIT);
    let mut out = Vec::new();
    for piece in input.chunks(1 + input.len() % 97) {
        let mut piece = Bytes::copy_from_slice(piece);
        while !piece.is_empty() {
            if let Some(Frame { group, kind, request_id, payload }) =
                decoder.decode(&mut piece).map_err(|error| error.to_string())?
            {
                assert!(payload.len() <= FRAME_LIMIT as usize);
                out.extend_from_slice(&frame::encode_small(group, kind, request_id, &payload));
            }
        }
    }
    if decoder.is_between_frames() { Ok(out) } else { Err(FrameError::Truncated.to_string()) }
}

const PAYLOADS: Decoder = Decoder {
    name: "payloads",
    decode: payload,
    seeds: payload_seeds,
    guarded: false,
    cut: Cut::Whole,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 100,
};

/// A byte for the kind of a frame, and the frame's payload.
fn payload(input: &[u8]) -> Result<Vec<u8>, String> {
    let (&byte, payload) = input.split_first().ok_or("no kind")?;
    let kind = Kind::from_byte(byte).ok_or("an unknown kind")?;
    let frame = Frame { group: ONLY_GROUP, kind, request_id: 0, payload: Bytes::copy_from_slice(payload) };
    let again = match kind {
        Kind::Hello => {
            let _ = handshake::judge_hello(&identity(), true, &frame);
            versioned::<Hello<u64>>(&frame)
        }
        Kind::HelloReply => {
            let _ = handshake::judge_reply(2u64, &frame);
            versioned::<HelloReply<u64>>(&frame)
        }
        Kind::Vote => plain::<VoteRequest<u64>>(&frame),
        Kind::VoteReply => plain::<VoteReply<u64>>(&frame),
        Kind::Heartbeat => plain::<HeartbeatRequest<u64>>(&frame),
        Kind::HeartbeatReply => plain::<HeartbeatReply<u64>>(&frame),
        Kind::Append => append(&frame),
        Kind::AppendReply => plain::<AppendReply<u64>>(&frame),
        Kind::SnapshotBegin => plain::<(SnapshotHeaderOf<Types>, u64)>(&frame),
        Kind::SnapshotChunk => Ok(payload.to_vec()),
        Kind::SnapshotEnd => plain::<SnapshotEnd>(&frame),
        Kind::SnapshotReply => plain::<SnapshotReplyOf<Types>>(&frame),
        Kind::Error => plain::<WireError>(&frame),
        Kind::TimeoutNow => plain::<TimeoutNowRequest<u64>>(&frame),
        Kind::TimeoutNowReply => plain::<TimeoutNowReply<u64>>(&frame),
        Kind::ReadIndex => plain::<ReadIndexRequest<u64>>(&frame),
        Kind::ReadIndexReply => plain::<ReadIndexReply<u64>>(&frame),
    };
    again.map(|again| [&[byte], &again[..]].concat())
}

fn plain<T: Serialize + DeserializeOwned>(frame: &Frame) -> Result<Vec<u8>, String> {
    let value: T = wire::from_frame(frame).map_err(|error| error.to_string())?;
    Ok(wire::to_payload(&value))
}

fn versioned<T: Serialize + DeserializeOwned>(frame: &Frame) -> Result<Vec<u8>, String> {
    let (version, rest) = wire::split_version(frame).map_err(|error| error.to_string())?;
    let value: T = wire::from_versioned(frame.kind, rest).map_err(|error| error.to_string())?;
    Ok(payload_of(&wire::to_versioned_frame(frame.kind, version, &value)))
}

fn append(frame: &Frame) -> Result<Vec<u8>, String> {
    let request = wire::append_from_frame::<Types>(frame).map_err(|error| error.to_string())?;
    Ok(append_payload(&request))
}

fn append_payload(request: &AppendEntriesRequest<Types>) -> Vec<u8> {
    let pieces = wire::append_to_frame(0, request, u32::MAX).expect("no larger than what was read");
    payload_of(&pieces.concat())
}

fn payload_of(frame: &[u8]) -> Vec<u8> {
    frame[frame::HEAD_BYTES..].to_vec()
}

fn identity() -> Identity<u64> {
    Identity { replica: replica(2), cluster_name: "shop".to_owned(), cluster_id: Some(ClusterId(5)) }
}

fn replica(node_id: u64) -> Replica<u64> {
    Replica { node_id, store_id: StoreId(u128::from(node_id) << 90) }
}

fn payload_seeds() -> Vec<Vec<u8>> {
    fn of(kind: Kind, value: &impl Serialize) -> Vec<u8> {
        [&[kind as u8], &wire::to_payload(value)[..]].concat()
    }
    fn versioned(kind: Kind, value: &impl Serialize) -> Vec<u8> {
        [&[kind as u8], &payload_of(&wire::to_versioned_frame(kind, WIRE_VERSION, value))[..]].concat()
    }
    let (from, vote, id) = (replica(1), Vote::new_committed(7, 1), LogId::new(6, 3, 300));
    let hello =
        Hello { cluster_name: "shop".to_owned(), cluster_id: Some(ClusterId(u128::MAX)), from, to: 2u64 };
    let refused = HelloReply::<u64>::Refused { reason: "two nodes with one id".to_owned(), lasting: true };
    let state_hash = Some(StateHash { index: 9, hash: u64::MAX });
    let result = AppendResult::Conflict { hint: Some(id) };
    let append = |entries| {
        let header =
            AppendHeader { from, vote, prev_log_id: Some(id), position: 3, ..AppendHeader::default() };
        [&[Kind::Append as u8], &append_payload(&AppendEntriesRequest { header, entries })[..]].concat()
    };
    let proposal = EntryPayload::Normal(("key".to_owned(), vec![1; 40], Some(5)));
    let run = [EntryPayload::Blank, proposal].into_iter().zip(301..);
    let run = EntryRange::from_entries(
        run.map(|(payload, index)| Entry::new(LogId::new(7, 1, index), payload)).collect(),
    );
    let nodes =
        (1..4u64).map(|id| (id, StoreId(u128::from(id)), BasicNode::new(format!("10.0.0.{id}:7000"))));
    let membership = StoredMembership::new(LogId::new(0, 0, 0), Membership::new_initial(nodes));
    let meta = SnapshotMeta { last_log_id: Some(id), membership, snapshot_id: "T6-N3-300".to_owned() };
    let header = SnapshotHeaderOf::<Types> { from, admitted: None, to: StoreId(8), vote, position: 1, meta };
    let denied = ReadIndexReply::<u64> { from, result: Err(ReadRefused::NotLeader { leader: Some(3) }) };
    vec![
        versioned(Kind::Hello, &hello),
        versioned(Kind::HelloReply, &HelloReply::Accepted { from }),
        versioned(Kind::HelloReply, &refused),
        of(
            Kind::Vote,
            &VoteRequest { from, vote: Vote::new(8, 1), last_log_id: Some(id), ..Default::default() },
        ),
        of(Kind::VoteReply, &VoteReply { from, vote, granted: true, ..Default::default() }),
        of(
            Kind::Heartbeat,
            &HeartbeatRequest { from, vote, state_hash, committed: Some(id), ..Default::default() },
        ),
        of(Kind::HeartbeatReply, &HeartbeatReply { from, vote, accepted: true, ..Default::default() }),
        append(EntryRange::empty()),
        append(run),
        of(Kind::AppendReply, &AppendReply { from, vote, position: 1, result, promised: Default::default() }),
        of(Kind::SnapshotBegin, &(header, u64::MAX)),
        [&[Kind::SnapshotChunk as u8], &b"content"[..]].concat(),
        of(Kind::SnapshotEnd, &SnapshotEnd { length: 1 << 33, crc32: u32::MAX }),
        of(Kind::SnapshotReply, &SnapshotReplyOf::<Types> { from, vote, position: 4, result }),
        of(Kind::Error, &WireError::Stopped("the disk is full".to_owned())),
        of(Kind::TimeoutNow, &TimeoutNowRequest { from, vote, admitted: Some(id), last_log_id: Some(id) }),
        of(Kind::TimeoutNowReply, &TimeoutNowReply { from, vote, accepted: true }),
        of(Kind::ReadIndex, &ReadIndexRequest { from }),
        of(Kind::ReadIndexReply, &denied),
    ]
}

const ADMISSION: Decoder = Decoder {
    name: "admission",
    decode: admission,
    seeds: admission_seeds,
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 100,
};

/// A byte that says which, and the body of a request to form or to join, or of its answer.
fn admission(input: &[u8]) -> Result<Vec<u8>, String> {
    fn body<T: Serialize + DeserializeOwned>(body: &[u8]) -> Result<Vec<u8>, String> {
        codec::decode_value::<T>(body).map(|value| codec::encode_value(&value))
    }
    let (&which, rest) = input.split_first().ok_or("no body")?;
    let again = match which {
        0 => body::<FormRequest<u64>>(rest),
        1 => body::<FormReply<u64>>(rest),
        2 => body::<JoinRequest<u64, BasicNode>>(rest),
        3 => body::<JoinReply<BasicNode>>(rest),
        _ => Err("no such body".to_owned()),
    };
    again.map(|again| [&[which], &again[..]].concat())
}

fn admission_seeds() -> Vec<Vec<u8>> {
    let (cluster_name, cluster_id) = ("shop".to_owned(), ClusterId(1 << 100));
    let form = FormRequest { from: replica(1), to: 2u64, cluster_name: cluster_name.clone(), cluster_id };
    let known = BTreeMap::from_iter((1..4u64).map(|id| (id, StoreId(u128::from(id)))));
    let refused = FormReply::<u64>::Refused { reason: "another store is recorded".to_owned() };
    let join = JoinRequest {
        from: replica(4),
        node: BasicNode::new("10.0.0.4:7000"),
        cluster_name,
        cluster_id: Some(cluster_id),
        promote: true,
    };
    let joined = JoinReply::<BasicNode>::Refused { reason: "not announced".to_owned() };
    let body = |which: u8, body: Vec<u8>| [&[which], &body[..]].concat();
    vec![
        body(0, codec::encode_value(&form)),
        body(1, codec::encode_value(&FormReply::Recorded { from: replica(2), known })),
        body(1, codec::encode_value(&refused)),
        body(2, codec::encode_value(&join)),
        body(3, codec::encode_value(&joined)),
    ]
}

const SNAPSHOT_CONTENT: Decoder = Decoder {
    name: "snapshot_content",
    decode: snapshot_content,
    seeds: || {
        let chunk = |offset: u64, content: &[u8]| (Kind::SnapshotChunk as u8, offset, content.to_vec());
        let end = |content: &[u8]| {
            let end = SnapshotEnd { length: content.len() as u64, crc32: crc32fast::hash(content) };
            (Kind::SnapshotEnd as u8, 0u64, wire::to_payload(&end))
        };
        vec![
            codec::encode_value(&(0u64, vec![end(b"")])),
            codec::encode_value(&(
                7u64,
                vec![chunk(0, b"all"), chunk(3, b" of"), chunk(6, b"."), end(b"all of.")],
            )),
        ]
    },
    guarded: false,
    cut: Cut::Refused,
    memory_base: SERDE_BASE_BYTES,
    memory_per_byte: 100,
};

/// The length of a content, and the frames that are to make it: kind, number and payload of each.
fn snapshot_content(input: &[u8]) -> Result<Vec<u8>, String> {
    let (length, frames): (u64, Vec<(u8, u64, Vec<u8>)>) = codec::decode_value(input)?;
    let mut content = SnapshotContent::new(length);
    let (mut written, mut ended) = (0, false);
    for (kind, request_id, payload) in &frames {
        let kind = Kind::from_byte(*kind).ok_or("an unknown kind")?;
        let payload = Bytes::copy_from_slice(payload);
        assert!(!ended, "nothing is read after the end");
        match content.take(&Frame {
            group: ONLY_GROUP,
            kind,
            request_id: *request_id,
            payload: payload.clone(),
        })? {
            Part::Chunk(offset) => {
                assert_eq!(offset, written, "every byte is written once");
                written += payload.len() as u64;
                assert!(written <= length);
            }
            Part::End => {
                assert_eq!(written, length, "nothing is missing");
                ended = true;
            }
        }
        if ended {
            break;
        }
    }
    if ended { Ok(codec::encode_value(&(length, frames))) } else { Err("it has no end".to_owned()) }
}
