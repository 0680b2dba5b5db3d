//! The append stream: messages go out without waiting, replies come in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use openraft_adapters::{AppendEntriesRequest, AppendStream, NetworkError, RaftTypeConfig};
use openraft_engine::{AppendReply, AppendResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::peer::Peer;
use crate::OwnedTask;
use crate::body::FrameBody;
use crate::frame::{Frame, Kind};
use crate::wire::{self, Lane, WireError};

/// What the stream's task hands over: an answer with its request id, and at last why there are no more.
type Arrival<NID> = Result<(u64, AppendReply<NID>), NetworkError>;

/// A stream of appends to one peer, on a connection of its own, which is made with the first message.
///
/// What is sent waits in memory until the connection takes it: the sender's window is the bound. Each message must be
/// answered within the stream's deadline, connecting included; one that is not breaks the stream.
pub(crate) struct HttpAppendStream<C: RaftTypeConfig> {
    peer: Arc<Peer<C>>,
    within: Duration,
    state: State<C>,
    next_id: u64,
    /// Messages without an answer, oldest first, and when each must have one.
    waiting: VecDeque<(u64, Instant)>,
}

enum State<C: RaftTypeConfig> {
    Unused,
    Running {
        outbound: mpsc::UnboundedSender<Bytes>,
        arrivals: mpsc::UnboundedReceiver<Arrival<C::NodeId>>,
        _task: OwnedTask,
    },
    Broken(NetworkError),
}

impl<C: RaftTypeConfig> HttpAppendStream<C> {
    pub(crate) fn new(peer: Arc<Peer<C>>, within: Duration) -> Self {
        Self { peer, within, state: State::Unused, next_id: 1, waiting: VecDeque::new() }
    }

    /// From the next message on, answers must come `within` this time.
    pub(crate) fn set_deadline(&mut self, within: Duration) {
        self.within = within;
    }

    fn fail(&mut self, error: NetworkError) -> NetworkError {
        // Ends the task and with it the connection.
        self.state = State::Broken(error.clone());
        self.waiting.clear();
        error
    }

    fn start(&mut self) -> Result<mpsc::UnboundedSender<Bytes>, NetworkError> {
        self.peer.outage.gate(Instant::now())?;
        let (outbound, body) = FrameBody::unbounded();
        let (arrived, arrivals) = mpsc::unbounded_channel();
        let task = OwnedTask::spawn(run(self.peer.clone(), body, arrived));
        self.state = State::Running { outbound: outbound.clone(), arrivals, _task: task };
        Ok(outbound)
    }
}

#[async_trait]
impl<C: RaftTypeConfig> AppendStream<C> for HttpAppendStream<C> {
    fn send(&mut self, request: AppendEntriesRequest<C>) -> Result<(), NetworkError> {
        let outbound = match &self.state {
            State::Broken(error) => return Err(error.clone()),
            State::Running { outbound, .. } => outbound.clone(),
            State::Unused => match self.start() {
                Ok(outbound) => outbound,
                Err(error) => return Err(self.fail(error)),
            },
        };
        let limit = self.peer.options().max_append_bytes;
        let pieces = match wire::append_to_frame(self.next_id, &request, limit) {
            Ok(pieces) => pieces,
            Err(size) => {
                let reason =
                    format!("a message of {size} bytes is over the limit of {limit} (max_append_bytes)");
                tracing::error!(target = self.peer.name, reason, "entries cannot be sent");
                return Err(self.fail(NetworkError::unreachable_because(&self.peer.name, reason)));
            }
        };
        for piece in pieces {
            // A queue without a reader belongs to a task that is ending: `recv` tells why.
            let _ = outbound.send(piece);
        }
        self.waiting.push_back((self.next_id, Instant::now() + self.within));
        self.next_id += 1;
        Ok(())
    }

    async fn recv(&mut self) -> Result<AppendReply<C::NodeId>, NetworkError> {
        let arrivals = match &mut self.state {
            State::Broken(error) => return Err(error.clone()),
            State::Unused => return std::future::pending().await,
            State::Running { arrivals, .. } => arrivals,
        };
        let oldest = self.waiting.front().copied();
        let arrival = tokio::select! {
            biased;
            arrival = arrivals.recv() => arrival,
            () = deadline(oldest) => {
                let error =
                    NetworkError::Timeout { target: self.peer.name.clone(), after: self.within };
                self.peer.outage.broke(Instant::now(), &error);
                return Err(self.fail(error));
            }
        };
        match arrival {
            Some(Ok((id, reply))) if oldest.is_some_and(|(oldest, _)| oldest == id) => {
                self.waiting.pop_front();
                Ok(reply)
            }
            Some(Ok((id, _))) => {
                let reason = format!("it answered append {id} where {oldest:?} is the oldest");
                Err(self.fail(NetworkError::unreachable_because(&self.peer.name, reason)))
            }
            Some(Err(error)) => Err(self.fail(error)),
            None => {
                let error = NetworkError::unreachable_because(&self.peer.name, "the stream was given up");
                Err(self.fail(error))
            }
        }
    }
}

async fn deadline(oldest: Option<(u64, Instant)>) {
    match oldest {
        Some((_, at)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Opens the stream and reads replies until it ends.
async fn run<C: RaftTypeConfig>(
    peer: Arc<Peer<C>>,
    body: FrameBody,
    arrived: mpsc::UnboundedSender<Arrival<C::NodeId>>,
) {
    let mut link = match peer.open(Lane::Append, body).await {
        Ok(link) => link,
        Err(error) => {
            let _ = arrived.send(Err(error));
            return;
        }
    };
    let error = loop {
        let frame = match link.reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break NetworkError::unreachable_because(&peer.name, "it closed the stream"),
            Err(error) => break NetworkError::unreachable(&peer.name, &error),
        };
        match reply_in::<C>(&frame, &peer.name) {
            Ok(reply) if reply.from == link.peer => {
                if let AppendResult::Matched(Some(log_id)) = &reply.result {
                    peer.outage.taken(log_id.index);
                }
                if arrived.send(Ok((frame.request_id, reply))).is_err() {
                    return;
                }
            }
            Ok(reply) => {
                let reason = format!("{} answered on the stream of {}", reply.from, link.peer);
                tracing::warn!(target = peer.name, reason, "the append stream ends");
                break NetworkError::unreachable_because(&peer.name, reason);
            }
            Err(error) => {
                if let NetworkError::Refused { .. } = &error {
                    peer.outage.rejected(&error);
                }
                break error;
            }
        }
    };
    peer.outage.broke(Instant::now(), &error);
    let _ = arrived.send(Err(error));
}

fn reply_in<C: RaftTypeConfig>(frame: &Frame, name: &str) -> Result<AppendReply<C::NodeId>, NetworkError> {
    let malformed = |reason: String| {
        tracing::warn!(target = name, reason, "the append stream ends");
        NetworkError::unreachable_because(name, reason)
    };
    match frame.kind {
        Kind::AppendReply => wire::from_frame(frame).map_err(|e| malformed(e.to_string())),
        Kind::Error => {
            let error: WireError = wire::from_frame(frame).map_err(|e| malformed(e.to_string()))?;
            Err(error.into_network_error(name))
        }
        other => Err(malformed(format!("an append was answered by a {other:?}"))),
    }
}
