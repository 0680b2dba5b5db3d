//! Messages under way; whoever holds the network decides which arrives next, and whether once, twice or never.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::super::bench::Entry;
use crate::{
    AppendHeader, AppendResult, HeartbeatReply, HeartbeatRequest, SnapshotHeader, TimeoutNowRequest, Vote,
    VoteReply, VoteRequest,
};

/// Names a message of a replication task, so that its reply finds the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The leader's life.
    pub(super) life: u64,
    pub(super) session: u64,
    /// The stream, counted from the session's beginning, and the message's number on it.
    pub(super) stream: u64,
    pub(super) number: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Message {
    VoteRequest(VoteRequest<u64>),
    VoteReply(Vote<u64>, VoteReply<u64>),
    TimeoutNow(TimeoutNowRequest<u64>),
    Heartbeat(Stamp, HeartbeatRequest<u64>),
    HeartbeatReply(Stamp, HeartbeatReply<u64>),
    Append(Stamp, AppendHeader<u64>, Vec<Entry>),
    Snapshot(Stamp, SnapshotHeader<u64, ()>, Vec<Entry>),
    /// To an append or a snapshot: the replier's vote, the position, the result and the promise.
    Replicated(Stamp, Vote<u64>, u64, AppendResult<u64>, Duration),
}

#[derive(Clone, Debug)]
pub(super) struct Envelope {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) message: Message,
}

#[derive(Debug, Default)]
pub(super) struct Network {
    under_way: Vec<Envelope>,
}

/// More than this is not under way at once; what comes on top is lost.
const UNDER_WAY_MAX: usize = 400;

impl Network {
    pub(super) fn send(&mut self, envelope: Envelope) {
        if self.under_way.len() < UNDER_WAY_MAX {
            self.under_way.push(envelope);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next message to arrive: any. One in `loss` is lost, one in `loss` arrives twice; 0: none.
    pub(super) fn next(&mut self, rng: &mut SmallRng, loss: u32) -> Option<Envelope> {
        if self.under_way.is_empty() {
            return None;
        }
        // Mostly the older ones first, as networks do.
        let most = if rng.random_ratio(1, 4) { self.under_way.len() } else { self.under_way.len().min(4) };
        let chosen = rng.random_range(0..most);
        let fate = if loss == 0 { 2 } else { rng.random_range(0..loss) };
        if fate == 0 {
            return Some(self.under_way[chosen].clone());
        }
        let envelope = self.under_way.remove(chosen);
        (fate != 1).then_some(envelope)
    }
}
