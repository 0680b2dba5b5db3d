//! The control connection: votes, heartbeats, transfers and read indexes side by side, joined to their answers by request id.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft_adapters::{NetworkError, RaftTypeConfig, ReplicaOf};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::connect::Link;
use super::outage::Outage;
use super::peer::Peer;
use crate::body::FrameBody;
use crate::frame::{self, Frame, Kind};
use crate::wire::{self, Lane, ONLY_GROUP, WireError};
use crate::{OwnedTask, lock};

/// Requests without an answer yet, or why there will be none.
type Waiting = Result<BTreeMap<u64, oneshot::Sender<Result<Frame, NetworkError>>>, NetworkError>;

/// An open control connection.
pub(crate) struct Control<C: RaftTypeConfig> {
    shared: Arc<ControlShared>,
    peer: ReplicaOf<C>,
    outbound: mpsc::Sender<Bytes>,
    next_id: AtomicU64,
    _reader: OwnedTask,
    _config: PhantomData<C>,
}

struct ControlShared {
    name: String,
    outage: Arc<Outage>,
    waiting: Mutex<Waiting>,
}

impl<C: RaftTypeConfig> Control<C> {
    pub(crate) async fn open(peer: &Peer<C>) -> Result<Arc<Self>, NetworkError> {
        let (outbound, body) = FrameBody::bounded(peer.options().control_queue);
        let link = peer.open(Lane::Control, body).await?;
        let shared = Arc::new(ControlShared {
            name: peer.name.clone(),
            outage: peer.outage.clone(),
            waiting: Mutex::new(Ok(BTreeMap::new())),
        });
        Ok(Arc::new(Self {
            peer: link.peer,
            outbound,
            next_id: AtomicU64::new(1),
            _reader: OwnedTask::spawn(read(link, shared.clone())),
            shared,
            _config: PhantomData,
        }))
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.shared.waiting).is_ok()
    }

    /// Sends a request and waits for its answer, which must state the peer that shook hands.
    pub(crate) async fn call<A: DeserializeOwned>(
        &self,
        (kind, answer_kind): (Kind, Kind),
        payload: &[u8],
        from: impl FnOnce(&A) -> ReplicaOf<C>,
    ) -> Result<A, NetworkError> {
        let name = &self.shared.name;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        lock(&self.shared.waiting).as_mut().map_err(|error| error.clone())?.insert(id, sender);
        let _forget = Forget { shared: &self.shared, id };
        let frame = frame::encode_small(ONLY_GROUP, kind, id, payload);
        self.outbound.try_send(frame).map_err(|_| {
            NetworkError::unreachable_because(name, "too many messages wait to be sent to it")
        })?;
        let answer = receiver
            .await
            .unwrap_or_else(|_| Err(NetworkError::unreachable_because(name, "the connection was closed")))?;
        if answer.kind == Kind::Error {
            let error: WireError =
                wire::from_frame(&answer).map_err(|e| self.shared.close(&e.to_string()))?;
            return Err(error.into_network_error(name));
        }
        if answer.kind != answer_kind {
            return Err(self.shared.close(&format!("a {kind:?} was answered by a {:?}", answer.kind)));
        }
        let value: A = wire::from_frame(&answer).map_err(|e| self.shared.close(&e.to_string()))?;
        let stated = from(&value);
        if stated != self.peer {
            let reason = format!("{} answered on the connection of {}", stated, self.peer);
            return Err(self.shared.close(&reason));
        }
        Ok(value)
    }
}

/// Takes a request out of the waiting ones when its caller goes.
struct Forget<'a> {
    shared: &'a ControlShared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Ok(waiting) = &mut *lock(&self.shared.waiting) {
            waiting.remove(&self.id);
        }
    }
}

impl ControlShared {
    /// Ends the connection because of what the peer sent.
    fn close(&self, reason: &str) -> NetworkError {
        tracing::warn!(target = self.name, reason, "the control connection ends");
        let error = NetworkError::unreachable_because(&self.name, reason);
        self.fail(error.clone());
        error
    }

    /// Nothing more will be answered.
    fn fail(&self, error: NetworkError) {
        let ended = std::mem::replace(&mut *lock(&self.waiting), Err(error.clone()));
        if let Ok(waiting) = ended {
            self.outage.broke(Instant::now(), &error);
            for (_, sender) in waiting {
                let _ = sender.send(Err(error.clone()));
            }
        }
    }
}

/// Hands answers to those who wait for them, until the connection ends.
async fn read<NID>(mut link: Link<NID>, shared: Arc<ControlShared>) {
    loop {
        match link.reader.next().await {
            Ok(Some(frame)) => {
                let Ok(waiting) = &mut *lock(&shared.waiting) else { break };
                // An answer that nobody waits for any more came after its deadline.
                if let Some(sender) = waiting.remove(&frame.request_id) {
                    let _ = sender.send(Ok(frame));
                }
            }
            Ok(None) => {
                shared.fail(NetworkError::unreachable_because(&shared.name, "it closed the connection"));
                break;
            }
            Err(error) => {
                shared.fail(NetworkError::unreachable(&shared.name, &error));
                break;
            }
        }
    }
    drop(link.connection);
}
