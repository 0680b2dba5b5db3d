//! Appends: handed to the core in the order in which they come, answered in the same order.

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, StreamExt};
use openraft_adapters::{RaftTypeConfig, ServerError};
use openraft_engine::AppendReply;

use super::peer_stream::{PeerStream, StreamEnd};
use crate::frame::{Frame, Kind};
use crate::wire;

type Answering<NID> = BoxFuture<'static, (u64, Result<AppendReply<NID>, ServerError>)>;

/// Serves the stream to its end; at most `limit` appends await their answer, then reading pauses and the sender feels
/// it.
///
/// An append that the core does not take is answered by an error, which ends the stream: what came behind it cannot
/// stand without it.
pub(super) async fn run<C: RaftTypeConfig>(mut stream: PeerStream<C>, limit: usize) -> StreamEnd {
    let mut under_way: FuturesOrdered<Answering<C::NodeId>> = FuturesOrdered::new();
    loop {
        let step = tokio::select! {
            biased;
            Some((id, answer)) = under_way.next(), if !under_way.is_empty() => match answer {
                Ok(reply) => stream.answer(Kind::AppendReply, id, &reply).await,
                Err(error) => stream.answer_error(id, error).await.and(Err(StreamEnd::Closed)),
            },
            frame = stream.next(), if under_way.len() < limit => {
                frame.and_then(|frame| begin(&stream, &frame)).map(|answering| under_way.push_back(answering))
            }
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// Hands an append to the core.
fn begin<C: RaftTypeConfig>(
    stream: &PeerStream<C>,
    frame: &Frame,
) -> Result<Answering<C::NodeId>, StreamEnd> {
    if frame.kind != Kind::Append {
        return Err(StreamEnd::Bad(format!("a {:?} on the append stream", frame.kind)));
    }
    let id = frame.request_id;
    let request = match wire::append_from_frame::<C>(frame) {
        Ok(request) => request,
        Err(error) => {
            // The leader's operator is told as well: its program may be the newer one.
            let reason = error.to_string();
            stream.note(&reason);
            return Ok(async move { (id, Err(ServerError::Refused(reason))) }.boxed());
        }
    };
    stream.check_sender(request.header.from)?;
    let answer = stream.raft.append_entries(request);
    Ok(async move { (id, answer.await) }.boxed())
}
