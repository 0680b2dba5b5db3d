//! The frame: one message on a stream, with its length checked before memory is taken and its content by a checksum.
//!
//! ```text
//! offset  bytes
//!      0      8  group, little-endian like all numbers here; 0 while a node has one group
//!      8      1  kind, see [`Kind`]
//!      9      8  request id, chosen by the sender of a request and repeated in its answer;
//!                in a snapshot's chunk, its offset
//!     17      4  length of the payload
//!     21      4  CRC-32 of the 21 bytes before and of the payload
//!     25         payload
//! ```

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 25;
const CHECKED_HEAD_BYTES: usize = 21;

/// How much memory a frame gets before any of its payload has arrived, at most.
const FIRST_RESERVE_BYTES: usize = 64 * 1024;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of the one who connects.
    Hello = 1,
    /// The first frame of the one who was connected to.
    HelloReply = 2,
    /// A vote request.
    Vote = 3,
    /// Its answer.
    VoteReply = 4,
    /// A heartbeat.
    Heartbeat = 5,
    /// Its answer.
    HeartbeatReply = 6,
    /// Entries with their head.
    Append = 7,
    /// The answer to them.
    AppendReply = 8,
    /// A snapshot is coming.
    SnapshotBegin = 9,
    /// A part of its content.
    SnapshotChunk = 10,
    /// All of its content was sent.
    SnapshotEnd = 11,
    /// What became of it.
    SnapshotReply = 12,
    /// The request of that id was not answered, and why.
    Error = 13,
    /// The order to campaign at once.
    TimeoutNow = 14,
    /// Its answer.
    TimeoutNowReply = 15,
    /// A follower's question for the read index.
    ReadIndex = 16,
    /// Its answer.
    ReadIndexReply = 17,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        use Kind::*;
        const ALL: [Kind; 17] = [
            Hello,
            HelloReply,
            Vote,
            VoteReply,
            Heartbeat,
            HeartbeatReply,
            Append,
            AppendReply,
            SnapshotBegin,
            SnapshotChunk,
            SnapshotEnd,
            SnapshotReply,
            Error,
            TimeoutNow,
            TimeoutNowReply,
            ReadIndex,
            ReadIndexReply,
        ];
        ALL.get(usize::from(byte).checked_sub(1)?).copied()
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The Raft group it belongs to.
    pub group: u64,
    /// What the payload is.
    pub kind: Kind,
    /// Joins a request and its answer.
    pub request_id: u64,
    /// The message itself.
    pub payload: Bytes,
}

/// Bytes that are not a frame. After one of these nothing more can be read from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// More than is accepted on this stream.
    #[error("a frame of {length} bytes, where at most {limit} are accepted")]
    TooLarge {
        /// What the frame says of itself, in bytes.
        length: u32,
        /// What is accepted, in bytes.
        limit: u32,
    },
    /// Head or payload changed on the way.
    #[error("a frame's checksum is {found:08x}, its content gives {computed:08x}")]
    Checksum {
        /// What the frame states.
        found: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame")]
    Truncated,
}

/// The frame as pieces to be sent one after another: the head with the `small` part of the payload, then the `bulk`
/// parts as they are, not copied. `None` if the payload is 4 GiB or more.
pub fn encode(group: u64, kind: Kind, request_id: u64, small: &[u8], bulk: Vec<Bytes>) -> Option<Vec<Bytes>> {
    let length = u32::try_from(small.len() + bulk.iter().map(Bytes::len).sum::<usize>()).ok()?;
    let mut head = BytesMut::with_capacity(HEAD_BYTES + small.len());
    head.extend_from_slice(&group.to_le_bytes());
    head.extend_from_slice(&[kind as u8]);
    head.extend_from_slice(&request_id.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(small);
    bulk.iter().for_each(|piece| hasher.update(piece));
    head.extend_from_slice(&hasher.finalize().to_le_bytes());
    head.extend_from_slice(small);
    let mut pieces = Vec::with_capacity(1 + bulk.len());
    pieces.push(head.freeze());
    pieces.extend(bulk);
    Some(pieces)
}

/// The frame in one piece, for payloads that are small.
///
/// # Panics
/// If the payload is 4 GiB or more.
pub fn encode_small(group: u64, kind: Kind, request_id: u64, payload: &[u8]) -> Bytes {
    encode(group, kind, request_id, payload, Vec::new()).expect("a small payload").remove(0)
}

/// Takes bytes as they come and gives out frames. Pure: it reads nothing and waits for nothing.
///
/// It holds no more memory than the greater of 64 KiB and twice what has arrived of one frame.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: u32,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    /// The frame whose head is complete.
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    kind: Kind,
    length: usize,
    payload: Vec<u8>,
    hasher: crc32fast::Hasher,
}

impl FrameDecoder {
    /// A decoder that accepts payloads of at most `limit` bytes.
    pub fn new(limit: u32) -> Self {
        Self { limit, head: [0; HEAD_BYTES], head_len: 0, body: None }
    }

    /// From the next frame on, accepts payloads of at most `limit` bytes.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Whether nothing of a further frame has arrived.
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0
    }

    /// Takes bytes from `input` up to the end of one frame and returns that frame, or takes all of them and returns
    /// `None`.
    ///
    /// # Errors
    /// If the bytes are no frame. The decoder is of no use afterwards.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Frame>, FrameError> {
        let body = match &mut self.body {
            Some(body) => body,
            none => {
                let take = input.len().min(HEAD_BYTES - self.head_len);
                self.head[self.head_len..self.head_len + take].copy_from_slice(&input[..take]);
                self.head_len += take;
                input.advance(take);
                if self.head_len < HEAD_BYTES {
                    return Ok(None);
                }
                none.insert(Self::begin(&self.head, self.limit)?)
            }
        };
        let take = input.len().min(body.length - body.payload.len());
        // Memory grows with what has arrived, never with what a head claims; the last step makes it exact.
        if body.payload.capacity() - body.payload.len() < take {
            let grow = take.max(body.payload.len()).min(body.length - body.payload.len());
            body.payload.reserve_exact(grow);
        }
        body.hasher.update(&input[..take]);
        body.payload.extend_from_slice(&input[..take]);
        input.advance(take);
        if body.payload.len() < body.length {
            return Ok(None);
        }
        let body = self.body.take().expect("a frame is under way");
        self.head_len = 0;
        let (found, computed) = (number(&self.head[CHECKED_HEAD_BYTES..]) as u32, body.hasher.finalize());
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        Ok(Some(Frame {
            group: number(&self.head[..8]),
            kind: body.kind,
            request_id: number(&self.head[9..17]),
            payload: Bytes::from(body.payload),
        }))
    }

    fn begin(head: &[u8; HEAD_BYTES], limit: u32) -> Result<Body, FrameError> {
        let kind = Kind::from_byte(head[8]).ok_or(FrameError::UnknownKind(head[8]))?;
        let length = number(&head[17..21]) as u32;
        if length > limit {
            return Err(FrameError::TooLarge { length, limit });
        }
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[..CHECKED_HEAD_BYTES]);
        let length = length as usize;
        Ok(Body { kind, length, payload: Vec::with_capacity(length.min(FIRST_RESERVE_BYTES)), hasher })
    }
}

/// Up to eight little-endian bytes as a number.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u32 = 1000;

    /// Feeds `bytes` cut into pieces of `step` bytes and collects the frames up to the first error.
    fn decode_all(bytes: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>) {
        let mut decoder = FrameDecoder::new(LIMIT);
        let mut frames = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            let mut input = Bytes::copy_from_slice(piece);
            while !input.is_empty() {
                match decoder.decode(&mut input) {
                    Ok(frame) => frames.extend(frame),
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
        let cut = !decoder.is_between_frames();
        (frames, cut.then_some(FrameError::Truncated))
    }

    fn frame() -> impl Strategy<Value = Frame> {
        (any::<u64>(), 1u8..=17, any::<u64>(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
            |(group, kind, request_id, payload)| Frame {
                group,
                kind: Kind::from_byte(kind).unwrap(),
                request_id,
                payload: payload.into(),
            },
        )
    }

    fn encoded(frames: &[Frame]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|f| {
                let cut = f.payload.len() / 3;
                let bulk = vec![f.payload.slice(cut..2 * cut), f.payload.slice(2 * cut..)];
                encode(f.group, f.kind, f.request_id, &f.payload[..cut], bulk).unwrap().concat()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_cut(
            frames in prop::collection::vec(frame(), 0..5), step in 1usize..300,
        ) {
            prop_assert_eq!(decode_all(&encoded(&frames), step), (frames, None));
        }

        #[test]
        fn one_changed_byte_is_never_served_as_a_frame(
            frame in frame(), at in any::<prop::sample::Index>(), change in 1u8..=255,
        ) {
            let mut bytes = encoded(std::slice::from_ref(&frame));
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let (frames, error) = decode_all(&bytes, 7);
            prop_assert_eq!(frames, vec![]);
            prop_assert!(error.is_some());
        }

        #[test]
        fn random_bytes_never_panic_and_never_take_more_than_the_limit(
            bytes in prop::collection::vec(any::<u8>(), 0..3000), step in 1usize..300,
        ) {
            let (frames, _) = decode_all(&bytes, step);
            prop_assert!(frames.iter().all(|f| f.payload.len() <= LIMIT as usize));
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_from_its_head_alone() {
        let bytes = encode_small(0, Kind::Append, 1, &[0; LIMIT as usize + 1]);
        let mut decoder = FrameDecoder::new(LIMIT);
        let refused = decoder.decode(&mut bytes.slice(..HEAD_BYTES));
        assert_eq!(refused, Err(FrameError::TooLarge { length: LIMIT + 1, limit: LIMIT }));
        assert!(decoder.body.is_none());
    }

    #[test]
    fn memory_is_taken_as_bytes_arrive_and_ends_exact() {
        let length = 10 * 1024 * 1024 + 17;
        let bytes = encode_small(0, Kind::Append, 1, &vec![7; length]);
        let mut decoder = FrameDecoder::new(u32::MAX);
        assert_eq!(decoder.decode(&mut bytes.slice(..HEAD_BYTES + 1)), Ok(None));
        assert!(decoder.body.as_ref().unwrap().payload.capacity() <= FIRST_RESERVE_BYTES);
        let mut rest = bytes.slice(HEAD_BYTES + 1..);
        let mut last_capacity = 0;
        while rest.len() > 16_384 {
            let mut piece = rest.split_to(16_384);
            assert_eq!(decoder.decode(&mut piece), Ok(None));
            last_capacity = decoder.body.as_ref().unwrap().payload.capacity();
        }
        assert_eq!(last_capacity, length);
        assert_eq!(decoder.decode(&mut rest).unwrap().unwrap().payload.len(), length);
    }
}
