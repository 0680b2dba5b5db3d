//! Frames as the body of an HTTP message, and the body of an HTTP message as frames.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::mpsc;

use crate::frame::{Frame, FrameDecoder, FrameError};

/// Pieces below this size are joined with what waits behind them, so that many small messages are one write.
const SMALL_PIECE_BYTES: usize = 4 * 1024;
/// Up to how many bytes they are joined.
const JOINED_BYTES: usize = 32 * 1024;

/// Pieces of frames that wait to be sent.
#[derive(Debug)]
enum Queue {
    Bounded(mpsc::Receiver<Bytes>),
    Unbounded(mpsc::UnboundedReceiver<Bytes>),
}

/// A body that sends what is put into its queue, in order, until the queue's sender goes.
///
/// It is polled only while the connection has room, so a bounded queue makes its sender feel the receiver's pace.
#[derive(Debug)]
pub(crate) struct FrameBody {
    queue: Queue,
    /// What goes before anything in the queue, or was taken from it and is too large to be joined.
    next: Option<Bytes>,
    ended: bool,
}

impl FrameBody {
    /// A body with a queue of at most `pieces` pieces.
    pub(crate) fn bounded(pieces: usize) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(pieces);
        (sender, Self { queue: Queue::Bounded(receiver), next: None, ended: false })
    }

    /// A body whose queue takes everything.
    pub(crate) fn unbounded() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self { queue: Queue::Unbounded(receiver), next: None, ended: false })
    }

    /// A body of exactly these bytes.
    pub(crate) fn fixed(bytes: Bytes) -> Self {
        let (_, empty) = Self::unbounded();
        if bytes.is_empty() { empty } else { empty.preceded_by(bytes) }
    }

    /// The same body with `first` before everything else.
    pub(crate) fn preceded_by(mut self, first: Bytes) -> Self {
        self.next = Some(first);
        self
    }

    /// The next piece, or `None` if there will be none.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.next.take() {
            return Poll::Ready(Some(piece));
        }
        match &mut self.queue {
            Queue::Bounded(queue) => queue.poll_recv(cx),
            Queue::Unbounded(queue) => queue.poll_recv(cx),
        }
    }

    fn waiting_piece(&mut self) -> Option<Bytes> {
        match &mut self.queue {
            Queue::Bounded(queue) => queue.try_recv().ok(),
            Queue::Unbounded(queue) => queue.try_recv().ok(),
        }
    }
}

impl Body for FrameBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Some(first) = std::task::ready!(self.poll_piece(cx)) else {
            self.ended = true;
            return Poll::Ready(None);
        };
        if first.len() >= SMALL_PIECE_BYTES {
            return Poll::Ready(Some(Ok(hyper::body::Frame::data(first))));
        }
        let mut joined: Option<BytesMut> = None;
        while let Some(piece) = self.waiting_piece() {
            if piece.len() >= SMALL_PIECE_BYTES {
                self.next = Some(piece);
                break;
            }
            let joined = joined.get_or_insert_with(|| BytesMut::from(&first[..]));
            joined.extend_from_slice(&piece);
            if joined.len() >= JOINED_BYTES {
                break;
            }
        }
        let data = joined.map_or(first, BytesMut::freeze);
        Poll::Ready(Some(Ok(hyper::body::Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Why no more frames can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFrameError {
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("bad bytes: {0}")]
    Bad(#[from] FrameError),
}

/// Reads frames from the body of an HTTP message.
#[derive(Debug)]
pub(crate) struct FrameReader {
    body: Incoming,
    decoder: FrameDecoder,
    /// What has arrived and is not decoded yet.
    input: Bytes,
}

impl FrameReader {
    /// A reader that accepts payloads of at most `limit` bytes.
    pub(crate) fn new(body: Incoming, limit: u32) -> Self {
        Self { body, decoder: FrameDecoder::new(limit), input: Bytes::new() }
    }

    /// From the next frame on, accepts payloads of at most `limit` bytes.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.decoder.set_limit(limit);
    }

    /// The next frame, `None` at the end of the stream. May be dropped and called again without loss.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, ReadFrameError> {
        loop {
            while !self.input.is_empty() {
                if let Some(frame) = self.decoder.decode(&mut self.input)? {
                    return Ok(Some(frame));
                }
            }
            match self.body.frame().await {
                Some(frame) => {
                    // Trailers carry nothing of ours.
                    if let Ok(data) = frame?.into_data() {
                        self.input = data;
                    }
                }
                None if self.decoder.is_between_frames() => return Ok(None),
                None => return Err(FrameError::Truncated.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pieces(body: FrameBody) -> Vec<usize> {
        let mut body = body;
        let mut sizes = Vec::new();
        while let Some(frame) = body.frame().await {
            sizes.push(frame.unwrap().into_data().unwrap().len());
        }
        sizes
    }

    #[tokio::test]
    async fn small_pieces_are_joined_and_large_ones_are_not_copied_into_them() {
        let (queue, body) = FrameBody::unbounded();
        for size in [10, 20, 100_000, 5, 5] {
            queue.send(Bytes::from(vec![0; size])).unwrap();
        }
        drop(queue);
        assert_eq!(pieces(body.preceded_by(Bytes::from_static(b"abc"))).await, [33, 100_000, 10]);
    }

    #[tokio::test]
    async fn a_fixed_body_is_its_bytes() {
        assert_eq!(pieces(FrameBody::fixed(Bytes::from_static(b"abc"))).await, [3]);
        assert_eq!(pieces(FrameBody::fixed(Bytes::new())).await, [0; 0]);
    }
}
