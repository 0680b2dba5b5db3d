//! Sends one snapshot on a connection of its own, chunk by chunk, at the pace at which the peer takes it.

use std::time::Duration;

use bytes::Bytes;
use openraft_adapters::{
    NetworkError, RaftTypeConfig, ReplicaOf, SnapshotHeaderOf, SnapshotReplyOf, SnapshotSource,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::connect::Link;
use super::peer::Peer;
use crate::body::{FrameBody, ReadFrameError};
use crate::frame::{self, Frame, Kind};
use crate::options::MAX_SNAPSHOT_CHUNK_BYTES;
use crate::wire::{self, Lane, ONLY_GROUP, SnapshotEnd, WireError};

/// How many pieces may wait for the connection: a chunk and its head. The next chunk is read when it has gone.
const QUEUED_PIECES: usize = 2;

/// A transfer under way.
struct Transfer<'a, C: RaftTypeConfig> {
    name: &'a str,
    within: Duration,
    link: Link<C::NodeId>,
    outbound: mpsc::Sender<Bytes>,
}

/// How sending a piece ended.
enum Sent {
    Taken,
    /// The peer answered before it had everything.
    Answered(Frame),
}

/// See `RaftNetwork::snapshot`.
pub(crate) async fn send<C: RaftTypeConfig>(
    peer: &Peer<C>,
    header: SnapshotHeaderOf<C>,
    source: Box<dyn SnapshotSource>,
    within: Duration,
) -> Result<SnapshotReplyOf<C>, NetworkError> {
    let (outbound, body) = FrameBody::bounded(QUEUED_PIECES);
    let link = timeout(within, peer.open(Lane::Snapshot, body))
        .await
        .unwrap_or_else(|_| Err(NetworkError::Timeout { target: peer.name.clone(), after: within }))?;
    let chunk_bytes = peer.options().snapshot_chunk_bytes.clamp(1, MAX_SNAPSHOT_CHUNK_BYTES) as usize;
    let mut transfer = Transfer::<C> { name: &peer.name, within, link, outbound };
    let result = transfer.run(&header, source, chunk_bytes).await;
    if let Err(error) = &result {
        peer.outage.broke(Instant::now(), error);
    }
    result
}

impl<C: RaftTypeConfig> Transfer<'_, C> {
    async fn run(
        &mut self,
        header: &SnapshotHeaderOf<C>,
        source: Box<dyn SnapshotSource>,
        chunk_bytes: usize,
    ) -> Result<SnapshotReplyOf<C>, NetworkError> {
        let length = source.len();
        let begin = wire::to_frame(Kind::SnapshotBegin, 0, &(header, length));
        if let Sent::Answered(frame) = self.send(begin).await? {
            return self.answer(&frame);
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut offset = 0;
        while offset < length {
            let chunk = self.read(source.as_ref(), offset, chunk_bytes).await?;
            hasher.update(&chunk);
            let size = chunk.len() as u64;
            let pieces = frame::encode(ONLY_GROUP, Kind::SnapshotChunk, offset, &[], vec![chunk])
                .expect("a chunk is smaller than 4 GiB");
            for piece in pieces {
                if let Sent::Answered(frame) = self.send(piece).await? {
                    return self.answer(&frame);
                }
            }
            offset += size;
        }
        let end = SnapshotEnd { length, crc32: hasher.finalize() };
        if let Sent::Answered(frame) = self.send(wire::to_frame(Kind::SnapshotEnd, length, &end)).await? {
            return self.answer(&frame);
        }
        let frame = timeout(self.within, self.link.reader.next()).await.map_err(|_| self.timed_out())?;
        let frame = self.arrived(frame)?;
        self.answer(&frame)
    }

    async fn read(
        &self,
        source: &dyn SnapshotSource,
        offset: u64,
        chunk_bytes: usize,
    ) -> Result<Bytes, NetworkError> {
        let chunk = source
            .read_at(offset, chunk_bytes)
            .await
            .map_err(|e| NetworkError::unreachable_because(self.name, format!("our snapshot: {e}")))?;
        if chunk.is_empty() || chunk.len() > chunk_bytes {
            let reason = format!("our snapshot gave {} bytes at {offset} of {}", chunk.len(), source.len());
            return Err(NetworkError::unreachable_because(self.name, reason));
        }
        Ok(chunk)
    }

    /// Queues a piece once the connection has taken earlier ones.
    async fn send(&mut self, piece: Bytes) -> Result<Sent, NetworkError> {
        let sending = async {
            tokio::select! {
                biased;
                frame = self.link.reader.next() => Some(frame),
                sent = self.outbound.send(piece) => match sent {
                    Ok(()) => None,
                    // The connection is gone: its reader knows why.
                    Err(_) => Some(self.link.reader.next().await),
                },
            }
        };
        match timeout(self.within, sending).await {
            Ok(None) => Ok(Sent::Taken),
            Ok(Some(frame)) => self.arrived(frame).map(Sent::Answered),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn arrived(&self, frame: Result<Option<Frame>, ReadFrameError>) -> Result<Frame, NetworkError> {
        match frame {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(NetworkError::unreachable_because(self.name, "it gave up the snapshot's stream")),
            Err(error) => Err(NetworkError::unreachable(self.name, &error)),
        }
    }

    fn answer(&self, frame: &Frame) -> Result<SnapshotReplyOf<C>, NetworkError> {
        let broken = |reason: String| {
            tracing::warn!(target = self.name, reason, "the snapshot's stream ends");
            NetworkError::unreachable_because(self.name, reason)
        };
        match frame.kind {
            Kind::SnapshotReply => {
                let reply: SnapshotReplyOf<C> = wire::from_frame(frame).map_err(|e| broken(e.to_string()))?;
                let peer: ReplicaOf<C> = self.link.peer;
                if reply.from != peer {
                    return Err(broken(format!("{} answered on the stream of {peer}", reply.from)));
                }
                Ok(reply)
            }
            Kind::Error => {
                let error: WireError = wire::from_frame(frame).map_err(|e| broken(e.to_string()))?;
                Err(error.into_network_error(self.name))
            }
            other => Err(broken(format!("a snapshot was answered by a {other:?}"))),
        }
    }

    fn timed_out(&self) -> NetworkError {
        NetworkError::Timeout { target: self.name.to_owned(), after: self.within }
    }
}
