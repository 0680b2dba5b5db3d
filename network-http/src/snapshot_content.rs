//! The content of a snapshot on its stream: which frame may follow which, and that all of it came as it was sent. Pure.

use crate::frame::{Frame, Kind};
use crate::wire::{self, SnapshotEnd};

/// What has come of the content, and what may come next.
#[derive(Debug)]
pub(crate) struct SnapshotContent {
    length: u64,
    written: u64,
    hasher: crc32fast::Hasher,
}

/// What a frame is to the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Its payload belongs at this offset.
    Chunk(u64),
    /// Everything has come.
    End,
}

impl SnapshotContent {
    /// A content of `length` bytes, of which nothing has come yet.
    pub(crate) fn new(length: u64) -> Self {
        Self { length, written: 0, hasher: crc32fast::Hasher::new() }
    }

    /// Takes the next frame.
    ///
    /// # Errors
    /// Why it cannot follow. The transfer is over then.
    pub(crate) fn take(&mut self, frame: &Frame) -> Result<Part, String> {
        match frame.kind {
            Kind::SnapshotChunk => self.chunk(frame.request_id, &frame.payload).map(Part::Chunk),
            Kind::SnapshotEnd => {
                let end: SnapshotEnd = wire::from_frame(frame).map_err(|error| error.to_string())?;
                self.end(end).map(|()| Part::End)
            }
            other => Err(format!("a {other:?} inside a snapshot")),
        }
    }

    fn chunk(&mut self, offset: u64, content: &[u8]) -> Result<u64, String> {
        let (size, length, written) = (content.len() as u64, self.length, self.written);
        if offset != written || size == 0 || size > length - written {
            return Err(format!(
                "a chunk of {size} bytes at {offset} where {written} of {length} bytes are there"
            ));
        }
        self.hasher.update(content);
        self.written += size;
        Ok(offset)
    }

    fn end(&self, end: SnapshotEnd) -> Result<(), String> {
        let found = SnapshotEnd { length: self.written, crc32: self.hasher.clone().finalize() };
        if end != found || self.written != self.length {
            let length = self.length;
            return Err(format!("a snapshot of {length} bytes ends as {found:x?} where {end:x?} was sent"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn chunk(offset: u64, content: &'static [u8]) -> Frame {
        Frame {
            group: 0,
            kind: Kind::SnapshotChunk,
            request_id: offset,
            payload: Bytes::from_static(content),
        }
    }

    fn end(length: u64, content: &[u8]) -> Frame {
        let end = SnapshotEnd { length, crc32: crc32fast::hash(content) };
        let payload = wire::to_payload(&end).into();
        Frame { group: 0, kind: Kind::SnapshotEnd, request_id: 0, payload }
    }

    #[test]
    fn chunks_in_order_and_their_checksum_make_a_content() {
        let mut content = SnapshotContent::new(5);
        assert_eq!(content.take(&chunk(0, b"abc")), Ok(Part::Chunk(0)));
        assert_eq!(content.take(&chunk(3, b"de")), Ok(Part::Chunk(3)));
        assert_eq!(content.take(&end(5, b"abcde")), Ok(Part::End));
    }

    #[test]
    fn nothing_follows_where_it_does_not_belong() {
        let wrong = [
            chunk(0, b"again"),
            chunk(4, b"a gap"),
            chunk(3, b""),
            chunk(3, b"too much"),
            end(5, b"abcde"),
            end(3, b"abc"),
            Frame { kind: Kind::Vote, ..chunk(3, b"de") },
        ];
        for frame in wrong {
            let mut content = SnapshotContent::new(5);
            content.take(&chunk(0, b"abc")).unwrap();
            assert!(content.take(&frame).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn a_changed_byte_shows_at_the_end() {
        let mut content = SnapshotContent::new(3);
        content.take(&chunk(0, b"abd")).unwrap();
        assert!(content.take(&end(3, b"abc")).is_err_and(|reason| reason.contains("ends as")));
    }
}
