//! A turn: take what is ready, then read the time, hand everything to the engine, carry out its commands.

use openraft_adapters::{Entry, EntryPayload, EntryRange, RaftTypeConfig};
use openraft_engine::{LogId, NotProposed, ReplicationReport, ServerState, Timestamp};

use super::RaftCore;
use super::respond::Responder;
use crate::message::{ClientWriteRequest, Notification, RaftMsg, Triggered};
use crate::pending::PendingWrite;
use crate::{Fatal, ReadPolicy, StateHashMismatch, WriteError, WriteLimit};

/// What one turn took from the inboxes.
struct Taken<C: RaftTypeConfig> {
    notifications: Vec<Notification<C>>,
    writes: Vec<ClientWriteRequest<C>>,
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// One turn. Messages go before writes, so that a write meets the newest view of who leads.
    pub(super) async fn turn(&mut self) -> Result<(), Fatal> {
        let taken = self.take_work().await?;
        // After the last message was taken: nothing below is older than this.
        let now = self.env.now();
        for notification in taken.notifications {
            self.handle_notification(now, notification)?;
        }
        for _ in 0..self.work.messages.len() {
            if self.work.turn_over {
                break;
            }
            let Some(message) = self.work.messages.pop_front() else { break };
            self.handle_message(now, message)?;
        }
        self.handle_writes(now, taken.writes)?;
        self.handle_reads(now)?;
        let led = self.engine.role() == ServerState::Leader;
        self.engine.handle_deadline(now);
        if let Some(stalled) = self.engine.stalled(now).filter(|_| led)
            && self.engine.role() != ServerState::Leader
        {
            tracing::warn!(id = %self.me.node_id, ?stalled, "something stands still here: another node shall lead");
        }
        self.execute(None)?;
        self.expire(now);
        self.finish_turn()?;
        self.stop_if_drained(now)
    }

    /// Waits until there is something to do, then takes what else is ready, up to the limits of a turn.
    async fn take_work(&mut self) -> Result<Taken<C>, Fatal> {
        let mut taken = Taken { notifications: Vec::new(), writes: Vec::new() };
        if !self.engine.holds_proposals() {
            taken.writes = std::mem::take(&mut self.work.held);
        }
        let mut write_bytes = 0;
        if self.work.messages.is_empty() && taken.writes.is_empty() {
            let deadline = [self.engine.next_deadline(), self.work.earliest_deadline, self.work.stopping];
            let deadline = deadline.into_iter().flatten().min();
            let env = &self.env;
            let sleep = async move {
                match deadline {
                    Some(deadline) => env.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(notification) = self.io.notifications.recv() => taken.notifications.push(notification),
                message = self.io.messages.recv() => match message {
                    Some(message) => self.work.messages.push_back(message),
                    // Every handle is gone: nobody can ask for anything any more.
                    None => return Err(Fatal::Stopped),
                },
                Some(write) = self.io.writes.recv(), if !self.engine.holds_proposals() => {
                    write_bytes += write.weight;
                    taken.writes.push(write);
                }
                () = sleep => {}
            }
        }
        let limit = self.config.turn_messages;
        while taken.notifications.len() < limit
            && let Ok(notification) = self.io.notifications.try_recv()
        {
            taken.notifications.push(notification);
        }
        while self.work.messages.len() < limit
            && let Ok(message) = self.io.messages.try_recv()
        {
            self.work.messages.push_back(message);
        }
        // While leadership is handed over writes wait in their queue: the next leader, or this one, will say.
        while !self.engine.holds_proposals()
            && taken.writes.len() < limit
            && write_bytes < self.config.turn_bytes
            && let Ok(write) = self.io.writes.try_recv()
        {
            write_bytes += write.weight;
            taken.writes.push(write);
        }
        Ok(taken)
    }

    fn handle_notification(&mut self, now: Timestamp, notification: Notification<C>) -> Result<(), Fatal> {
        match notification {
            Notification::LogFlushed { io, result } => {
                result?;
                self.engine.handle_log_flushed(now, io);
            }
            Notification::Applied { log_id } => self.engine.handle_applied(now, log_id),
            Notification::StateHashed { own } => {
                let mismatch = self.work.state_hashes.note_own(own);
                self.alarm(mismatch);
            }
            Notification::SnapshotBuilt { result: Ok(meta) } => {
                tracing::info!(id = %self.me.node_id, snapshot = %meta.snapshot_id, "snapshot built");
                self.engine.handle_snapshot_built(now, meta.last_log_id);
            }
            Notification::SnapshotBuilt { result: Err(error) } => {
                tracing::warn!(id = %self.me.node_id, %error, "no snapshot was built; the one before it remains");
                self.engine.handle_snapshot_built(now, None);
            }
            Notification::SnapshotInstalled { result } => {
                if let Err(error) = &result {
                    tracing::warn!(id = %self.me.node_id, %error, "the leader's snapshot was not installed");
                }
                self.engine.handle_snapshot_installed(result.is_ok());
            }
            Notification::StateMachineFailed { fatal } => return Err(fatal),
        }
        self.execute(None)
    }

    fn handle_message(&mut self, now: Timestamp, message: RaftMsg<C>) -> Result<(), Fatal> {
        match message {
            RaftMsg::AppendEntries { request, tx } => {
                let token = self.token(Responder::Append(tx));
                self.engine.handle_append(now, token, request.header, request.entries.iter());
                let arrived = request.entries.weight();
                let accepted = self.execute_with(Some(&request.entries))?;
                // What was accepted is held by the tail from here on.
                self.budget.release(arrived - accepted);
                return Ok(());
            }
            RaftMsg::AppendWithoutRoom { header, tx } => {
                let token = self.token(Responder::Append(tx));
                self.engine.handle_append_refused_busy(now, token, header);
                self.execute(None)?;
                self.make_room();
            }
            RaftMsg::Heartbeat { request, tx } => {
                let token = self.token(Responder::Heartbeat(tx));
                let (vote, leader, state_hash) = (request.vote, request.from.node_id, request.state_hash);
                self.engine.handle_heartbeat(now, token, request);
                // Believed only of the leader that this node follows.
                if let Some(leaders) = state_hash.filter(|_| self.engine.vote() == vote) {
                    let mismatch = self.work.state_hashes.note_leaders(leader, leaders);
                    self.alarm(mismatch);
                }
            }
            RaftMsg::TimeoutNow { request, tx } => {
                let token = self.token(Responder::TimeoutNow(tx));
                self.engine.handle_timeout_now(now, token, request);
            }
            RaftMsg::ChangeMembership { change, preconditions, tx } => {
                let token = self.token(Responder::Membership(tx));
                self.engine.change_membership(now, token, &change, &preconditions);
            }
            RaftMsg::TransferLeader { to, tx } => {
                let token = self.token(Responder::Transfer(tx));
                self.engine.transfer_leader(now, token, to);
            }
            RaftMsg::ReadIndex { request, tx } => {
                let token = self.token(Responder::ReadIndex(tx));
                self.engine.handle_read_index(now, token, request);
            }
            RaftMsg::ReadIndexAnswered { number, answer } => self.handle_read_index_answer(number, answer),
            RaftMsg::Vote { request, tx } => {
                let token = self.token(Responder::Vote(tx));
                self.engine.handle_vote_request(now, token, request);
            }
            RaftMsg::InstallSnapshot { header, tx } => {
                let token = self.token(Responder::Snapshot(tx));
                self.engine.handle_install_snapshot(now, token, header);
            }
            RaftMsg::Initialize { nodes, tx } => {
                let token = self.token(Responder::Initialize(tx));
                self.engine.initialize(now, token, nodes);
            }
            RaftMsg::EnsureLinearizable { policy, deadline, tx } => {
                let token = self.token(Responder::Read(tx, deadline));
                self.note_deadline(deadline);
                match policy {
                    ReadPolicy::ReadIndex => self.work.reads.push(token),
                    ReadPolicy::Lease => self.work.lease_reads.push(token),
                    ReadPolicy::Follower => self.take_follower_read(token),
                }
            }
            RaftMsg::Trigger { what, tx } => {
                let done = match what {
                    Triggered::Elect => self.engine.trigger_elect(now),
                    Triggered::Heartbeat => self.engine.trigger_heartbeat(now),
                    Triggered::Snapshot => self.engine.trigger_snapshot(),
                    Triggered::ForgetLeader => self.engine.forget_leader(),
                };
                // The caller may have gone.
                let _ = tx.send(done);
            }
            RaftMsg::UpdateReplicationMatched { target, session } => self.handle_report(now, target, session),
            RaftMsg::VoteReplied { asked, reply } => self.engine.handle_vote_reply(now, asked, reply),
            RaftMsg::Shutdown { deadline } => {
                tracing::info!(id = %self.me.node_id, "shutting down");
                if self.work.stopping.is_none() {
                    self.work.stopping = Some(deadline);
                    // Nobody waits for the answer: the end of the transfer, however it ends, lets the node stop.
                    let token = self.work.new_token();
                    self.engine.transfer_leader(now, token, None);
                }
            }
        }
        self.execute(None)
    }

    /// Where all that a follower holds waits for its leader to decide, only the leader's next entries can free it, by
    /// committing it or by taking its place: a deposed leader full of undecided writes would be busy for ever. What is
    /// flushed of it gives way, and is read back from the log store should it be applied. While the state machine or
    /// the disk has work to do, room comes by itself.
    fn make_room(&self) {
        let undecided =
            self.engine.role() != ServerState::Leader && self.engine.applied() == self.engine.committed();
        if let Some(flushed) = self.engine.flushed().filter(|_| undecided) {
            self.tail.settle(flushed.index + 1);
        }
    }

    /// Hands the report of a replication task to the engine.
    fn handle_report(&mut self, now: Timestamp, target: C::NodeId, session: u64) {
        let Some(replication) = self.work.replications.get(&target) else { return };
        if replication.handle.session() != session {
            return;
        }
        let Some(update) = replication.outbox.take() else { return };
        self.engine.handle_replication_report(
            now,
            ReplicationReport {
                session: update.session,
                target: update.target,
                matched: update.matched,
                confirmed: update.confirmed,
                promised: update.promised,
                needed: update.needed,
                reachable: update.reachable,
                higher_vote: update.higher_vote,
            },
        );
        if update.ended {
            self.engine.handle_replication_ended(target, session);
        }
    }

    /// Proposes this turn's writes as one batch.
    fn handle_writes(&mut self, now: Timestamp, writes: Vec<ClientWriteRequest<C>>) -> Result<(), Fatal> {
        let mut batch = Vec::with_capacity(writes.len());
        for write in writes {
            let refused = if self.work.stopping.is_some() {
                Some(self.left_to_another())
            } else if write.deadline <= now {
                Some(WriteError::NotProposedInTime)
            } else {
                None
            };
            match refused {
                None => batch.push(write),
                Some(error) => self.refuse_write(write, error),
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        let batch = self.within_limits(batch);
        if batch.is_empty() {
            return Ok(());
        }
        let bytes: u64 = batch.iter().map(|write| write.weight).sum();
        match self.engine.propose(batch.len() as u64, bytes) {
            Err(NotProposed::Transferring { .. }) => {
                // The transfer began in this very turn.
                self.work.held = batch;
                Ok(())
            }
            Err(NotProposed::NotLeader { leader }) => {
                let error = WriteError::NotLeader(self.forward_to(leader));
                for write in batch {
                    self.refuse_write(write, error.clone());
                }
                Ok(())
            }
            Ok(proposed) => {
                let mut entries = Vec::with_capacity(batch.len());
                let mut pending = Vec::with_capacity(batch.len());
                for (i, write) in batch.into_iter().enumerate() {
                    let index = proposed.first_index + i as u64;
                    let log_id = LogId { leader_id: proposed.leader_id, index };
                    entries.push(Entry::new(log_id, EntryPayload::Normal(write.data)));
                    self.note_deadline(write.deadline);
                    pending.push(PendingWrite { index, deadline: write.deadline, tx: write.tx });
                }
                self.work.pending.push(pending);
                let entries = EntryRange::from_entries(entries);
                debug_assert_eq!(entries.weight(), bytes, "a write is held with its entry's weight");
                self.execute(Some(&entries))
            }
        }
    }

    /// Refuses what goes beyond the leader's limits of bytes under way.
    fn within_limits(&self, batch: Vec<ClientWriteRequest<C>>) -> Vec<ClientWriteRequest<C>> {
        if self.engine.role() != ServerState::Leader {
            return batch;
        }
        self.note_decided();
        let (mut uncommitted, unapplied) = self.tail.undecided();
        let mut taken = Vec::with_capacity(batch.len());
        for write in batch {
            let refused = if unapplied > self.config.max_unapplied_bytes {
                Some((WriteLimit::Unapplied, unapplied, self.config.max_unapplied_bytes))
            } else if uncommitted > 0
                && uncommitted.saturating_add(write.weight) > self.config.max_uncommitted_bytes
            {
                Some((WriteLimit::Uncommitted, uncommitted, self.config.max_uncommitted_bytes))
            } else {
                None
            };
            match refused {
                Some((by, held, limit)) => {
                    self.refuse_write(write, WriteError::Overloaded { by, held, limit });
                }
                None => {
                    uncommitted = uncommitted.saturating_add(write.weight);
                    taken.push(write);
                }
            }
        }
        taken
    }

    /// A state machine that is not deterministic is its author's to find; the node goes on.
    fn alarm(&self, mismatch: Option<StateHashMismatch<C>>) {
        if let Some(StateHashMismatch { index, own, leaders, leader }) = mismatch {
            tracing::error!(
                id = %self.me.node_id, %leader, index, own, leaders,
                "the state machines differ although they applied the same entries: `apply` is not deterministic"
            );
        }
    }

    /// What a stopping node says of a write that it has not proposed: whoever leads after it may take it.
    pub(super) fn left_to_another(&self) -> WriteError<C> {
        let next = self.engine.leader().filter(|leader| *leader != self.me.node_id);
        WriteError::NotLeader(self.forward_to(next))
    }

    pub(super) fn refuse_write(&self, write: ClientWriteRequest<C>, error: WriteError<C>) {
        self.budget.release(write.weight);
        // The caller may have given up.
        let _ = write.tx.send(Err(error));
    }

    /// Once nothing is under way that somebody waits for, or the time is over, a stopping node is stopped.
    fn stop_if_drained(&mut self, now: Timestamp) -> Result<(), Fatal> {
        let Some(deadline) = self.work.stopping else { return Ok(()) };
        let handed_over = !self.engine.holds_proposals();
        let drained =
            self.work.pending.is_empty() && self.engine.applied() == self.engine.committed() && handed_over;
        if drained || now >= deadline { Err(Fatal::Stopped) } else { Ok(()) }
    }
}
