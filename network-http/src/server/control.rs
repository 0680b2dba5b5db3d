//! Votes, heartbeats, transfers of leadership and read indexes: each is answered when its answer is there, whatever the
//! others wait for.

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft_adapters::{RaftTypeConfig, ServerError};
use openraft_engine::{
    HeartbeatReply, HeartbeatRequest, NodeId, ReadIndexReply, ReadIndexRequest, TimeoutNowReply,
    TimeoutNowRequest, VoteReply, VoteRequest,
};

use super::peer_stream::{PeerStream, StreamEnd};
use crate::frame::{Frame, Kind};
use crate::wire;

/// An answer of any kind.
enum Answer<NID: NodeId> {
    Vote(VoteReply<NID>),
    Heartbeat(HeartbeatReply<NID>),
    TimeoutNow(TimeoutNowReply<NID>),
    ReadIndex(ReadIndexReply<NID>),
}

type Answering<NID> = BoxFuture<'static, (u64, Result<Answer<NID>, ServerError>)>;

/// Serves the stream to its end; at most `limit` requests are under way.
pub(super) async fn run<C: RaftTypeConfig>(mut stream: PeerStream<C>, limit: usize) -> StreamEnd {
    let mut under_way: FuturesUnordered<Answering<C::NodeId>> = FuturesUnordered::new();
    loop {
        let step = tokio::select! {
            biased;
            Some((id, answer)) = under_way.next(), if !under_way.is_empty() => match answer {
                Ok(Answer::Vote(reply)) => stream.answer(Kind::VoteReply, id, &reply).await,
                Ok(Answer::Heartbeat(reply)) => stream.answer(Kind::HeartbeatReply, id, &reply).await,
                Ok(Answer::TimeoutNow(reply)) => stream.answer(Kind::TimeoutNowReply, id, &reply).await,
                Ok(Answer::ReadIndex(reply)) => stream.answer(Kind::ReadIndexReply, id, &reply).await,
                Err(error) => stream.answer_error(id, error).await,
            },
            frame = stream.next(), if under_way.len() < limit => {
                frame.and_then(|frame| begin(&stream, &frame)).map(|answering| under_way.push(answering))
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// Hands a request to the core.
fn begin<C: RaftTypeConfig>(
    stream: &PeerStream<C>,
    frame: &Frame,
) -> Result<Answering<C::NodeId>, StreamEnd> {
    let id = frame.request_id;
    match frame.kind {
        Kind::Vote => {
            let request: VoteRequest<C::NodeId> = wire::from_frame(frame)?;
            stream.check_sender(request.from)?;
            let answer = stream.raft.vote(request);
            Ok(async move { (id, answer.await.map(Answer::Vote)) }.boxed())
        }
        Kind::Heartbeat => {
            let request: HeartbeatRequest<C::NodeId> = wire::from_frame(frame)?;
            stream.check_sender(request.from)?;
            let answer = stream.raft.heartbeat(request);
            Ok(async move { (id, answer.await.map(Answer::Heartbeat)) }.boxed())
        }
        Kind::TimeoutNow => {
            let request: TimeoutNowRequest<C::NodeId> = wire::from_frame(frame)?;
            stream.check_sender(request.from)?;
            let answer = stream.raft.timeout_now(request);
            Ok(async move { (id, answer.await.map(Answer::TimeoutNow)) }.boxed())
        }
        Kind::ReadIndex => {
            let request: ReadIndexRequest<C::NodeId> = wire::from_frame(frame)?;
            stream.check_sender(request.from)?;
            let answer = stream.raft.read_index(request);
            Ok(async move { (id, answer.await.map(Answer::ReadIndex)) }.boxed())
        }
        other => Err(StreamEnd::Bad(format!("a {other:?} on the control stream"))),
    }
}
