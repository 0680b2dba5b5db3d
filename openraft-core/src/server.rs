//! The handle as peers use it: `RaftServer`.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use openraft_adapters::{
    AppendEntriesRequest, RaftServer, RaftTypeConfig, ServerError, SnapshotHeaderOf, SnapshotReplyOf,
    SnapshotSink,
};
use openraft_engine::{
    AppendReply, HeartbeatReply, HeartbeatRequest, ReadIndexReply, ReadIndexRequest, TimeoutNowReply,
    TimeoutNowRequest, VoteReply, VoteRequest,
};
use tokio::sync::oneshot;

use crate::Raft;
use crate::gate::Place;
use crate::message::{PeerCall, RaftMsg};
use crate::raft::Shared;
use crate::state_machine::StateMachineCommand;

impl<C: RaftTypeConfig> Raft<C> {
    /// Sends a peer's message to the core, if there is a place for it, and waits for the answer.
    fn ask<T: Send + 'static>(
        &self,
        message: impl FnOnce(PeerCall<T>) -> RaftMsg<C>,
    ) -> BoxFuture<'static, Result<T, ServerError>> {
        match self.shared.peer_messages.enter() {
            Some(place) => self.ask_from(place, message),
            None => ready(Err(ServerError::Overloaded)).boxed(),
        }
    }

    fn ask_from<T: Send + 'static>(
        &self,
        place: Place,
        message: impl FnOnce(PeerCall<T>) -> RaftMsg<C>,
    ) -> BoxFuture<'static, Result<T, ServerError>> {
        let (tx, rx) = oneshot::channel();
        if let Err(fatal) = self.send(message(PeerCall::new(tx, place))) {
            return ready(Err(ServerError::Stopped(fatal.to_string()))).boxed();
        }
        // The answer must not keep the node alive.
        let shared = Arc::downgrade(&self.shared);
        async move { rx.await.map_err(|_| stopped(shared.upgrade())) }.boxed()
    }
}

fn stopped<C: RaftTypeConfig>(shared: Option<Arc<Shared<C>>>) -> ServerError {
    let cause = shared.map(|shared| Raft { shared }.fatal()).unwrap_or(crate::Fatal::Stopped);
    ServerError::Stopped(cause.to_string())
}

impl<C: RaftTypeConfig> RaftServer<C> for Raft<C> {
    fn append_entries(
        &self,
        request: AppendEntriesRequest<C>,
    ) -> BoxFuture<'static, Result<AppendReply<C::NodeId>, ServerError>> {
        let Some(place) = self.shared.peer_messages.enter() else {
            return ready(Err(ServerError::Overloaded)).boxed();
        };
        if self.shared.budget.try_hold(request.entries.weight()).is_err() {
            return self.ask_from(place, |tx| RaftMsg::AppendWithoutRoom { header: request.header, tx });
        }
        self.ask_from(place, |tx| RaftMsg::AppendEntries { request, tx })
    }

    fn heartbeat(
        &self,
        request: HeartbeatRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<HeartbeatReply<C::NodeId>, ServerError>> {
        self.ask(|tx| RaftMsg::Heartbeat { request, tx })
    }

    fn timeout_now(
        &self,
        request: TimeoutNowRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<TimeoutNowReply<C::NodeId>, ServerError>> {
        self.ask(|tx| RaftMsg::TimeoutNow { request, tx })
    }

    fn read_index(
        &self,
        request: ReadIndexRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<ReadIndexReply<C::NodeId>, ServerError>> {
        self.ask(|tx| RaftMsg::ReadIndex { request, tx })
    }

    fn vote(
        &self,
        request: VoteRequest<C::NodeId>,
    ) -> BoxFuture<'static, Result<VoteReply<C::NodeId>, ServerError>> {
        self.ask(|tx| RaftMsg::Vote { request, tx })
    }

    fn begin_snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
    ) -> BoxFuture<'static, Result<Box<dyn SnapshotSink>, ServerError>> {
        let Some(place) = self.shared.peer_messages.enter() else {
            return ready(Err(ServerError::Overloaded)).boxed();
        };
        let commands = self.shared.state_machine.upgrade();
        let (tx, rx) = oneshot::channel();
        let shared = Arc::downgrade(&self.shared);
        async move {
            let order = StateMachineCommand::OpenSink { meta: header.meta, tx };
            if commands.is_none_or(|commands| commands.send(order).is_err()) {
                return Err(stopped(shared.upgrade()));
            }
            let sink = rx.await.map_err(|_| stopped(shared.upgrade()))?;
            drop(place);
            sink.map_err(|error| ServerError::Refused(format!("no snapshot can be received now: {error}")))
        }
        .boxed()
    }

    fn finish_snapshot(
        &self,
        header: SnapshotHeaderOf<C>,
        sink: Box<dyn SnapshotSink>,
    ) -> BoxFuture<'static, Result<SnapshotReplyOf<C>, ServerError>> {
        let shared = Arc::downgrade(&self.shared);
        async move {
            let finished = sink.finish().await;
            finished
                .map_err(|error| ServerError::Refused(format!("the snapshot cannot be kept: {error}")))?;
            let Some(shared) = shared.upgrade() else { return Err(stopped::<C>(None)) };
            let answer = Raft { shared }.ask(|tx| RaftMsg::InstallSnapshot { header, tx });
            answer.await
        }
        .boxed()
    }
}
