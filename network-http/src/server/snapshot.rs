//! A snapshot: its description, its content chunk by chunk into a sink, and what became of it.

use std::time::Duration;

use openraft_adapters::{RaftTypeConfig, ServerError, SnapshotHeaderOf, SnapshotSink, StorageError};
use tokio::time::timeout;

use super::peer_stream::{PeerStream, StreamEnd};
use crate::frame::{Frame, Kind};
use crate::snapshot_content::{Part, SnapshotContent};
use crate::wire;

/// Serves the stream to its end. Each frame must come `within` this time after the one before was dealt with.
pub(super) async fn run<C: RaftTypeConfig>(mut stream: PeerStream<C>, within: Duration) -> StreamEnd {
    match receive(&mut stream, within).await {
        Ok(()) => StreamEnd::Closed,
        Err(end) => end,
    }
}

async fn next<C: RaftTypeConfig>(stream: &mut PeerStream<C>, within: Duration) -> Result<Frame, StreamEnd> {
    timeout(within, stream.next())
        .await
        .unwrap_or_else(|_| Err(StreamEnd::Bad(format!("the snapshot made no progress for {within:?}"))))
}

async fn receive<C: RaftTypeConfig>(stream: &mut PeerStream<C>, within: Duration) -> Result<(), StreamEnd> {
    let frame = next(stream, within).await?;
    if frame.kind != Kind::SnapshotBegin {
        return Err(StreamEnd::Bad(format!("a snapshot begins with a {:?}", frame.kind)));
    }
    let (header, length): (SnapshotHeaderOf<C>, u64) = wire::from_frame(&frame)?;
    stream.check_sender(header.from)?;
    let mut sink = match stream.raft.begin_snapshot(header.clone()).await {
        Ok(sink) => sink,
        Err(error) => return stream.answer_error(0, error).await,
    };
    match receive_content(stream, sink.as_mut(), length, within).await {
        Ok(()) => {}
        Err(ContentError::Stream(end)) => {
            sink.abort().await;
            return Err(end);
        }
        Err(ContentError::Sink(error)) => {
            tracing::warn!(peer = %stream.peer, %error, "a snapshot cannot be stored");
            sink.abort().await;
            return stream.answer_error(0, ServerError::Stopped(error.to_string())).await;
        }
    }
    match stream.raft.finish_snapshot(header, sink).await {
        Ok(reply) => stream.answer(Kind::SnapshotReply, length, &reply).await,
        Err(error) => stream.answer_error(length, error).await,
    }
}

/// Why the content did not arrive.
enum ContentError {
    Stream(StreamEnd),
    Sink(StorageError),
}

impl From<StreamEnd> for ContentError {
    fn from(end: StreamEnd) -> Self {
        Self::Stream(end)
    }
}

/// Writes `length` bytes into the sink and checks them against the checksum that follows.
async fn receive_content<C: RaftTypeConfig>(
    stream: &mut PeerStream<C>,
    sink: &mut dyn SnapshotSink,
    length: u64,
    within: Duration,
) -> Result<(), ContentError> {
    let mut content = SnapshotContent::new(length);
    loop {
        let frame = next(stream, within).await?;
        match content.take(&frame).map_err(StreamEnd::Bad)? {
            Part::Chunk(offset) => {
                sink.write_at(offset, frame.payload).await.map_err(ContentError::Sink)?;
            }
            Part::End => return Ok(()),
        }
    }
}
