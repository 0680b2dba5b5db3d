//! What the frames carry: postcard of the engine's messages, and a few types of this crate.

use bytes::Bytes;
use openraft_adapters::{
    AppendEntriesRequest, EntryBatch, EntryRange, NetworkError, RaftTypeConfig, ServerError, codec,
};
use openraft_engine::{AppendHeader, ClusterId, Replica};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::{self, Frame, Kind};
use crate::options::MAX_SMALL_FRAME_BYTES;

/// The version of everything that is sent between peers. Nodes of different versions refuse one another.
pub const WIRE_VERSION: u16 = 4;

/// In which header a plain request between nodes, and its answer, say the wire version.
pub(crate) const VERSION_HEADER: &str = "x-raft-wire-version";

/// What a peer is told that speaks another version.
pub(crate) fn other_version(theirs: impl std::fmt::Display) -> String {
    format!(
        "it speaks version {WIRE_VERSION} of the wire format, and you version {theirs}: run programs with one version of \
         this library on all nodes"
    )
}

/// The group of a node that has one.
pub(crate) const ONLY_GROUP: u64 = 0;

/// The stream's purpose, and with it its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Control,
    Append,
    Snapshot,
}

impl Lane {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Lane::Control => "/raft/control",
            Lane::Append => "/raft/append",
            Lane::Snapshot => "/raft/snapshot",
        }
    }

    pub(crate) fn from_path(path: &str) -> Option<Self> {
        [Lane::Control, Lane::Append, Lane::Snapshot].into_iter().find(|lane| lane.path() == path)
    }
}

/// Where requests to form a cluster go.
pub(crate) const FORM_PATH: &str = "/raft/form";
/// Where requests to join a cluster go.
pub(crate) const JOIN_PATH: &str = "/raft/join";

/// Who connects, to whom, in which cluster. On the wire it stands behind the wire version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello<NID> {
    pub(crate) cluster_name: String,
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) from: Replica<NID>,
    pub(crate) to: NID,
}

/// The answer. On the wire it stands behind the wire version; a refusal keeps its form in every version, so that it can
/// be understood by a peer of another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum HelloReply<NID> {
    Refused {
        reason: String,
        /// Whether asking again soon is pointless.
        lasting: bool,
    },
    Accepted {
        from: Replica<NID>,
    },
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireError {
    Overloaded,
    Stopped(String),
    Refused(String),
}

impl From<ServerError> for WireError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Overloaded => Self::Overloaded,
            ServerError::Stopped(reason) => Self::Stopped(reason),
            ServerError::Refused(reason) => Self::Refused(reason),
        }
    }
}

impl WireError {
    pub(crate) fn into_network_error(self, target: &str) -> NetworkError {
        match self {
            Self::Overloaded => {
                NetworkError::unreachable_because(target, "it has more messages waiting than it accepts")
            }
            Self::Stopped(reason) => {
                NetworkError::unreachable_because(target, format!("it has stopped: {reason}"))
            }
            Self::Refused(reason) => NetworkError::Refused { target: target.to_owned(), reason },
        }
    }
}

/// What follows a snapshot's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) length: u64,
    pub(crate) crc32: u32,
}

/// A payload that does not hold what its kind promises.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of kind {kind:?} does not decode: {reason}")]
pub(crate) struct PayloadError {
    kind: Kind,
    reason: String,
}

/// A value as a payload.
pub(crate) fn to_payload<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode_value(value)
}

/// A value as a frame of the only group.
pub(crate) fn to_frame<T: Serialize>(kind: Kind, request_id: u64, value: &T) -> Bytes {
    frame::encode_small(ONLY_GROUP, kind, request_id, &to_payload(value))
}

/// The value in a frame's payload, which must hold nothing else.
pub(crate) fn from_frame<T: DeserializeOwned>(frame: &Frame) -> Result<T, PayloadError> {
    from_bytes(frame.kind, &frame.payload)
}

fn from_bytes<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, PayloadError> {
    codec::decode_value(bytes).map_err(|reason| PayloadError { kind, reason })
}

/// A value behind the wire version.
pub(crate) fn to_versioned_frame<T: Serialize>(kind: Kind, version: u16, value: &T) -> Bytes {
    let mut payload = version.to_le_bytes().to_vec();
    payload.extend(to_payload(value));
    frame::encode_small(ONLY_GROUP, kind, 0, &payload)
}

/// The wire version and, behind it, what that version says.
pub(crate) fn split_version(frame: &Frame) -> Result<(u16, &[u8]), PayloadError> {
    let (version, rest) = frame
        .payload
        .split_first_chunk::<2>()
        .ok_or_else(|| PayloadError { kind: frame.kind, reason: "no wire version".to_owned() })?;
    Ok((u16::from_le_bytes(*version), rest))
}

/// The value behind a wire version that is ours.
pub(crate) fn from_versioned<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, PayloadError> {
    from_bytes(kind, bytes)
}

/// An append as the pieces of its frame: the length of the postcard head, the head, the entries in their stored form.
/// The entries are not copied. `Err` holds the size if it is more than `max_bytes`.
pub(crate) fn append_to_frame<C: RaftTypeConfig>(
    request_id: u64,
    request: &AppendEntriesRequest<C>,
    max_bytes: u32,
) -> Result<Vec<Bytes>, usize> {
    let head = to_payload(&request.header);
    let head_length = u32::try_from(head.len()).expect("a head of a few bytes");
    let mut small = head_length.to_le_bytes().to_vec();
    small.extend(head);
    let bulk = request.entries.encoded();
    let size = small.len() + bulk.iter().map(Bytes::len).sum::<usize>();
    if size > max_bytes as usize {
        return Err(size);
    }
    frame::encode(ONLY_GROUP, Kind::Append, request_id, &small, bulk).ok_or(size)
}

/// The append in a frame. Its entries keep the frame's bytes as their stored form.
pub(crate) fn append_from_frame<C: RaftTypeConfig>(
    frame: &Frame,
) -> Result<AppendEntriesRequest<C>, PayloadError> {
    let malformed = |reason: String| PayloadError { kind: frame.kind, reason };
    let (length, rest) = frame
        .payload
        .split_first_chunk::<4>()
        .ok_or_else(|| malformed("no length of the head".to_owned()))?;
    let length = u32::from_le_bytes(*length);
    if length > MAX_SMALL_FRAME_BYTES || length as usize > rest.len() {
        return Err(malformed(format!("a head of {length} bytes")));
    }
    let header: AppendHeader<C::NodeId> = from_bytes(frame.kind, &rest[..length as usize])?;
    let entries = frame.payload.slice(4 + length as usize..);
    let entries = if entries.is_empty() {
        EntryRange::empty()
    } else {
        EntryRange::from_batch(EntryBatch::decode(entries).map_err(|e| malformed(e.to_string()))?)
    };
    Ok(AppendEntriesRequest { header, entries })
}

#[cfg(test)]
mod tests {
    use openraft_adapters::{Entry, EntryPayload};
    use openraft_engine::{LogId, StoreId, Vote};

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn request(entries: &[&str]) -> AppendEntriesRequest<T> {
        let entries = entries
            .iter()
            .enumerate()
            .map(|(i, data)| {
                Entry::new(LogId::new(2, 1, 5 + i as u64), EntryPayload::Normal((*data).to_owned()))
            })
            .collect();
        AppendEntriesRequest {
            header: AppendHeader {
                from: Replica { node_id: 1, store_id: StoreId(77) },
                vote: Vote::new_committed(2, 1),
                prev_log_id: Some(LogId::new(1, 1, 4)),
                committed: None,
                position: 3,
                ..Default::default()
            },
            entries: EntryRange::from_entries(entries),
        }
    }

    fn frame_of(request: &AppendEntriesRequest<T>) -> Frame {
        let mut bytes: Bytes = append_to_frame(9, request, u32::MAX).unwrap().concat().into();
        frame::FrameDecoder::new(u32::MAX).decode(&mut bytes).unwrap().unwrap()
    }

    #[test]
    fn an_append_arrives_as_it_was_sent_and_its_entries_are_not_copied_on_the_way_out() {
        let sent = request(&["a", "bc"]);
        let pieces = append_to_frame(9, &sent, u32::MAX).unwrap();
        assert_eq!(pieces[1].as_ptr(), sent.entries.encoded()[0].as_ptr());
        let frame = frame_of(&sent);
        let came: AppendEntriesRequest<T> = append_from_frame(&frame).unwrap();
        assert_eq!(frame.request_id, 9);
        assert_eq!(came.header, sent.header);
        assert_eq!(came.entries.encoded().concat(), sent.entries.encoded().concat());
    }

    #[test]
    fn an_append_without_entries_is_a_message_too() {
        let came: AppendEntriesRequest<T> = append_from_frame(&frame_of(&request(&[]))).unwrap();
        assert!(came.entries.is_empty());
    }

    #[test]
    fn an_append_over_the_limit_is_not_sent() {
        assert!(append_to_frame(1, &request(&["abc"]), 10).is_err());
    }
}
