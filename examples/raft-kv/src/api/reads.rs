//! What makes a read linearizable: at the leader, or on this node whatever its role.

use std::time::Duration;

use openraft_core::{ForwardToLeader, Raft, ReadIndexError, ReadPolicy};

use crate::node::Node;
use crate::state::Types;
use crate::wire::ErrorCode;

use super::errors::ApiError;
use super::leader::{AtLeader, Kind, Local, PAUSE};

/// Confirms that this node leads and has applied all that was committed.
pub(super) struct ConfirmedRead(pub(super) ReadPolicy);

impl AtLeader for ConfirmedRead {
    type Done = ();
    const KIND: Kind = Kind::Read;

    async fn attempt(&self, _: &Node, raft: &Raft<Types>, _: Duration) -> Result<Local<()>, ApiError> {
        match raft.ensure_linearizable(self.0).await {
            Ok(_) => Ok(Local::Done(())),
            Err(ReadIndexError::NotLeader(forward)) => Ok(Local::NotLeader(forward)),
            Err(error) => Err(read_error(error)),
        }
    }
}

/// Waits until this node has applied all that was committed when the request came. While nobody leads, or the leader
/// does not answer, it asks again, up to the request's deadline.
pub(super) async fn catch_up(node: &Node) -> Result<(), ApiError> {
    let within = node.settings.request_timeout;
    let mut reason = "no leader answered".to_owned();
    let waiting = async {
        loop {
            reason = match node.raft() {
                None => node.why_not_formed(),
                Some(raft) => match raft.ensure_linearizable(ReadPolicy::Follower).await {
                    Ok(_) => return Ok(()),
                    Err(ReadIndexError::NotLeader(ForwardToLeader { leader: None })) => node.why_no_leader(),
                    // It led a moment ago, or will in a moment.
                    Err(error @ (ReadIndexError::NotLeader(_) | ReadIndexError::Unanswered { .. })) => {
                        error.to_string()
                    }
                    Err(error) => return Err(read_error(error)),
                },
            };
            tokio::time::sleep(PAUSE).await;
        }
    };
    let result = tokio::time::timeout(within, waiting).await.unwrap_or_else(|_| {
        let message = format!(
            "this node could not make sure within {within:?} that it is up to date: {reason}; ?consistency=stale needs \
             no leader"
        );
        Err(ApiError::new(ErrorCode::ReadTimedOut, message))
    });
    result.map_err(|error| error.with_leader(node.leader_address()))
}

fn read_error(error: ReadIndexError<Types>) -> ApiError {
    let code = match error {
        ReadIndexError::NotLeader(_) => ErrorCode::NotLeader,
        ReadIndexError::Overloaded => ErrorCode::Overloaded,
        ReadIndexError::TimedOut | ReadIndexError::Unanswered { .. } => ErrorCode::ReadTimedOut,
        ReadIndexError::Fatal(_) => ErrorCode::Stopped,
    };
    ApiError::new(code, error.to_string())
}
