//! One stream of a peer: the handshake, then what its lane is for, until either side ends it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use openraft_adapters::{RaftServer, RaftTypeConfig, ReplicaOf, ServerError};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Origin;
use super::{Node, Phase, Refusals, append, control, reached, snapshot};
use crate::body::{FrameBody, FrameReader, ReadFrameError};
use crate::frame::{Frame, Kind};
use crate::handshake::{self, Refusal};
use crate::options::{MAX_SMALL_FRAME_BYTES, MAX_SNAPSHOT_FRAME_BYTES};
use crate::wire::{self, HelloReply, Lane, ONLY_GROUP, PayloadError, WIRE_VERSION, WireError};

/// How many answers may wait to be sent before no more requests are read.
const QUEUED_ANSWERS: usize = 256;

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    /// The other side closed it, or the connection broke.
    #[error("the stream was closed")]
    Closed,
    /// The peer sent what it should not; worth a line in the log.
    #[error("{0}")]
    Bad(String),
}

impl From<ReadFrameError> for StreamEnd {
    fn from(error: ReadFrameError) -> Self {
        match error {
            ReadFrameError::Broken(_) => Self::Closed,
            ReadFrameError::Bad(error) => Self::Bad(error.to_string()),
        }
    }
}

impl From<PayloadError> for StreamEnd {
    fn from(error: PayloadError) -> Self {
        Self::Bad(error.to_string())
    }
}

/// A stream on which a peer shook hands.
pub(super) struct PeerStream<C: RaftTypeConfig> {
    pub(super) raft: Arc<dyn RaftServer<C>>,
    pub(super) peer: ReplicaOf<C>,
    reader: FrameReader,
    outbound: mpsc::Sender<Bytes>,
    refusals: Arc<Refusals>,
}

impl<C: RaftTypeConfig> PeerStream<C> {
    /// The next frame. May be dropped and called again without loss.
    pub(super) async fn next(&mut self) -> Result<Frame, StreamEnd> {
        let frame = self.reader.next().await?.ok_or(StreamEnd::Closed)?;
        if frame.group != ONLY_GROUP {
            return Err(StreamEnd::Bad(format!("a frame for the unknown group {}", frame.group)));
        }
        Ok(frame)
    }

    /// Queues an answer; waits while too many wait to be sent.
    pub(super) async fn answer<T: Serialize>(
        &self,
        kind: Kind,
        request_id: u64,
        value: &T,
    ) -> Result<(), StreamEnd> {
        let frame = wire::to_frame(kind, request_id, value);
        self.outbound.send(frame).await.map_err(|_| StreamEnd::Closed)
    }

    /// Queues the news that a request has no answer.
    pub(super) async fn answer_error(&self, request_id: u64, error: ServerError) -> Result<(), StreamEnd> {
        self.answer(Kind::Error, request_id, &WireError::from(error)).await
    }

    /// Logs that a message is refused, once for as long as the reason stays the same.
    pub(super) fn note(&self, reason: &str) {
        self.refusals.log(&self.peer.to_string(), reason);
    }

    /// Whether a message comes from the one who shook hands.
    pub(super) fn check_sender(&self, stated: ReplicaOf<C>) -> Result<(), StreamEnd> {
        if stated == self.peer {
            return Ok(());
        }
        Err(StreamEnd::Bad(format!("a message states that {stated} sent it, but {} shook hands", self.peer)))
    }
}

/// Begins to serve a stream and returns the body of the response.
pub(super) fn open<C: RaftTypeConfig>(
    lane: Lane,
    body: Incoming,
    node: Arc<Node<C>>,
    origin: Arc<Origin>,
) -> FrameBody {
    let (outbound, response) = FrameBody::bounded(QUEUED_ANSWERS);
    tokio::spawn(async move {
        let cut = reached(node.phase.clone(), Phase::Cut);
        tokio::select! {
            biased;
            () = cut => {}
            () = serve(lane, body, outbound, &node, &origin) => {}
        }
    });
    response
}

async fn serve<C: RaftTypeConfig>(
    lane: Lane,
    body: Incoming,
    outbound: mpsc::Sender<Bytes>,
    node: &Node<C>,
    origin: &Origin,
) {
    let mut reader = FrameReader::new(body, MAX_SMALL_FRAME_BYTES);
    let Some((raft, peer)) = shake_hands(&mut reader, &outbound, node, origin).await else { return };
    origin.belongs_to_peer();
    reader.set_limit(match lane {
        Lane::Control => MAX_SMALL_FRAME_BYTES,
        Lane::Append => node.limits.max_append_bytes,
        Lane::Snapshot => MAX_SNAPSHOT_FRAME_BYTES,
    });
    let stream = PeerStream { raft, peer, reader, outbound, refusals: node.refusals.clone() };
    let end = match lane {
        Lane::Control => control::run(stream, node.limits.max_control_in_flight).await,
        Lane::Append => append::run(stream, node.limits.max_appends_in_flight).await,
        Lane::Snapshot => snapshot::run(stream, node.limits.snapshot_idle_timeout).await,
    };
    match end {
        StreamEnd::Closed => tracing::debug!(%peer, ?lane, "a peer's stream ended"),
        StreamEnd::Bad(reason) => {
            tracing::warn!(%peer, remote = %origin.remote, ?lane, reason, "a peer's stream is closed");
        }
    }
}

/// The core and the peer, if the peer may go on.
async fn shake_hands<C: RaftTypeConfig>(
    reader: &mut FrameReader,
    outbound: &mpsc::Sender<Bytes>,
    node: &Node<C>,
    origin: &Origin,
) -> Option<(Arc<dyn RaftServer<C>>, ReplicaOf<C>)> {
    let me = node.identity.identity();
    let raft = node.raft.get();
    let (verdict, reply) = match first_frame(reader, node.limits.handshake_timeout).await {
        Ok(frame) => {
            let verdict = handshake::judge_hello(&me, raft.is_some(), &frame);
            let reply = match &verdict {
                Ok(_) => HelloReply::Accepted { from: me.replica },
                Err(refusal) => {
                    HelloReply::Refused { reason: refusal.reason.clone(), lasting: refusal.lasting }
                }
            };
            (verdict, Some(reply))
        }
        Err(reason) => (Err(Refusal { reason, lasting: true }), None),
    };
    if let Some(reply) = reply {
        let frame = wire::to_versioned_frame(Kind::HelloReply, WIRE_VERSION, &reply);
        outbound.send(frame).await.ok()?;
    }
    match verdict {
        Ok(peer) => Some((raft?.clone(), peer)),
        Err(refusal) => {
            node.refusals.log(&origin.remote.ip().to_string(), &refusal.reason);
            None
        }
    }
}

async fn first_frame(reader: &mut FrameReader, within: Duration) -> Result<Frame, String> {
    match timeout(within, reader.next()).await {
        Ok(Ok(Some(frame))) => Ok(frame),
        Ok(Ok(None)) => Err("the stream ended before the hello".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no hello came within {within:?}")),
    }
}
