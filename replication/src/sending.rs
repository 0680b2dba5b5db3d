//! What the task sends: heartbeats first, then as many appends as the windows admit, or a snapshot.

use openraft_adapters::engine::{
    AppendHeader, HeartbeatRequest, LogIdOptionExt, ProgressState, SnapshotHeader, Timestamp,
};
use openraft_adapters::{AppendEntriesRequest, LogIdOf, RaftTypeConfig, Snapshot};

use crate::fetch::Load;
use crate::line_rate_loop::{LineRate, Sent, SnapshotStep};
use crate::update::{greater_index, lesser_index};

impl<C: RaftTypeConfig> LineRate<C> {
    /// Sends what may be sent now.
    pub(crate) fn send_what_is_due(&mut self, now: Timestamp) {
        if self.control.due {
            self.send_heartbeat(now);
        }
        self.send_data(now);
        if !self.ended && (self.latest.position > self.position_sent || self.commit_is_untold()) {
            self.send_heartbeat(now);
        }
    }

    /// What a heartbeat states as committed: no more than the follower is known to hold.
    fn committed_there(&self) -> Option<LogIdOf<C>> {
        lesser_index(self.progress.matched(), self.latest.committed)
    }

    /// Whether the follower does not know of a commit and no append is on its way to tell it.
    fn commit_is_untold(&self) -> bool {
        self.progress.state() == ProgressState::Replicate
            && self.pipe.sent.is_empty()
            && self.fetch.is_none()
            && self.committed_there().next_index() > self.told.next_index()
    }

    /// Sends a heartbeat, unless one is under way or was lost just now. The state that asks for it then stands, and
    /// the one sent later carries the latest position.
    fn send_heartbeat(&mut self, now: Timestamp) {
        if self.control.reply.is_some() || self.control.backoff.is_waiting() {
            return;
        }
        let request = HeartbeatRequest {
            from: self.ctx.me,
            admitted: self.ctx.admitted,
            to: self.ctx.target.store_id,
            vote: self.ctx.vote,
            committed: self.committed_there(),
            position: self.latest.position,
            promise: self.ctx.promise,
            state_hash: self.latest.state_hash,
        };
        self.control.due = false;
        self.control.sent = Sent { position: request.position, at: now };
        self.position_sent = self.position_sent.max(request.position);
        self.told = greater_index(self.told, request.committed);
        let (network, within) = (self.ctx.network.clone(), self.ctx.config.rpc_timeout);
        self.control.reply = Some(Box::pin(async move { network.heartbeat(request, within).await }));
    }

    /// Sends appends until a window closes, the log ends, or the log store has to be asked.
    fn send_data(&mut self, now: Timestamp) {
        while !self.ended && !self.pipe.backoff.is_waiting() && self.fetch.is_none() {
            if let ProgressState::Snapshot { .. } = self.progress.state() {
                return self.choose_snapshot();
            }
            let Some(plan) = self.progress.next_send(self.latest.last.next_index()) else { return };
            match self.source.load_now(&plan) {
                Some(Ok(load)) => self.send_append(load, now),
                Some(Err(error)) => self.on_fetched(Err(error), now),
                None => self.fetch = Some(Box::pin(self.source.clone().load(plan))),
            }
        }
    }

    /// Sends one message, as planned by the progress.
    pub(crate) fn send_append(&mut self, load: Load<C>, now: Timestamp) {
        let (prev, last, bytes) = (load.prev, load.last(), load.entries.weight());
        let header = AppendHeader {
            from: self.ctx.me,
            admitted: self.ctx.admitted,
            to: self.ctx.target.store_id,
            vote: self.ctx.vote,
            prev_log_id: prev,
            committed: self.latest.committed,
            position: self.latest.position,
            promise: self.ctx.promise,
        };
        let stream = self
            .pipe
            .stream
            .get_or_insert_with(|| self.ctx.network.clone().append_stream(self.ctx.config.rpc_timeout));
        if let Err(error) = stream.send(AppendEntriesRequest { header, entries: load.entries }) {
            return self.on_broken(&error, now);
        }
        self.progress.sent(prev, last, bytes);
        self.pipe.sent.push_back(Sent { position: header.position, at: now });
        self.position_sent = self.position_sent.max(header.position);
        self.told = greater_index(self.told, lesser_index(last, header.committed));
    }

    /// Asks for the snapshot to send, if none is on its way.
    fn choose_snapshot(&mut self) {
        if self.snapshot.is_none() {
            let snapshots = self.ctx.snapshots.clone();
            self.snapshot = Some(Box::pin(async move { SnapshotStep::Chosen(snapshots.current().await) }));
        }
    }

    /// Sends `snapshot`, on a stream of its own.
    pub(crate) fn send_snapshot(&mut self, snapshot: Snapshot<C>) {
        let last = snapshot.meta.last_log_id;
        tracing::info!(
            session = self.ctx.session, target = %self.ctx.target, snapshot = snapshot.meta.snapshot_id, log_id = ?last,
            "sends a snapshot: the log no longer holds what the follower lacks"
        );
        self.progress.on_snapshot_chosen(last);
        let position = self.latest.position;
        self.position_sent = self.position_sent.max(position);
        let header = SnapshotHeader {
            from: self.ctx.me,
            admitted: self.ctx.admitted,
            to: self.ctx.target.store_id,
            vote: self.ctx.vote,
            position,
            meta: snapshot.meta,
        };
        let (network, within) = (self.ctx.network.clone(), self.ctx.config.snapshot_timeout);
        self.snapshot = Some(Box::pin(async move {
            let reply = network.snapshot(header, snapshot.source, within).await;
            SnapshotStep::Answered { last, position, reply }
        }));
    }
}
