//! Carrying out the engine's commands: each lane in order, and what a turn gathers submitted at its end.

use std::sync::Arc;
use std::time::Duration;

use openraft_adapters::{Entry, EntryPayload, EntryRange, IoFlushed, RaftNetwork, RaftTypeConfig};
use openraft_engine::{
    Command, LogIdOptionExt, OwnPayload, ReplicationTarget, SavedVote, TimeoutNowRequest, VoteRequest,
};
use openraft_replication::{LeaderUpdate, ReplicationConfig, ReplicationContext, Slot, spawn_replication};

use super::{Peer, RaftCore, Replicate, Replication};
use crate::Fatal;
use crate::leadership::Standing;
use crate::message::{Notification, RaftMsg};
use crate::state_machine::{CurrentSnapshot, StateMachineCommand};

impl<C: RaftTypeConfig> RaftCore<C> {
    /// Carries out what the engine has ordered. `input` are the entries of the call just made.
    pub(super) fn execute(&mut self, input: Option<&EntryRange<C>>) -> Result<(), Fatal> {
        self.execute_with(input).map(|_| ())
    }

    /// As [`execute`](Self::execute); returns what the accepted part of `input` weighs.
    pub(super) fn execute_with(&mut self, input: Option<&EntryRange<C>>) -> Result<u64, Fatal> {
        self.tell_hooks();
        let mut accepted = 0;
        for command in self.engine.take_commands() {
            match command {
                Command::SaveVote { io, vote, promise_cap } => {
                    self.submit_append();
                    self.work.turn_over = true;
                    self.log.save_vote(SavedVote { vote, promise_cap }, self.flushed(io));
                }
                Command::AppendInputEntries { io, first, last } => {
                    let input = input.expect("the engine appends only what it was just given");
                    let entries = input.slice(first..last.index + 1);
                    accepted += entries.weight();
                    self.append(io, entries);
                }
                Command::AppendOwnEntry { io, log_id, payload } => {
                    let payload = match payload {
                        OwnPayload::Blank => EntryPayload::Blank,
                        OwnPayload::Membership(membership) => EntryPayload::Membership(membership),
                    };
                    let entries = EntryRange::from_entries(vec![Entry::new(log_id, payload)]);
                    self.budget.hold(entries.weight());
                    self.append(io, entries);
                }
                Command::TruncateLog { io, since } => {
                    self.submit_append();
                    self.work.turn_over = true;
                    self.tail.truncate(since);
                    self.log.truncate(since, self.flushed(io));
                }
                Command::PurgeLog { io, upto } => {
                    self.submit_append();
                    let log_end = self.engine.last_log_id().map_or(0, |last| last.index + 1);
                    self.tail.purge(upto, log_end);
                    self.log.purge(upto, self.flushed(io));
                }
                Command::SaveCommitted { committed } => self.log.save_committed(committed),
                Command::LeaderCommit { since, upto } | Command::FollowerCommit { since, upto } => {
                    let since = self.work.apply.map_or(since, |(earlier, _)| earlier);
                    self.work.apply = Some((since, upto));
                }
                Command::BuildSnapshot => {
                    self.submit_apply();
                    self.order(StateMachineCommand::BuildSnapshot);
                }
                Command::InstallSnapshot { meta } => {
                    self.submit_apply();
                    self.work.turn_over = true;
                    self.order(StateMachineCommand::InstallSnapshot { meta });
                }
                Command::RebuildReplications { start, stop } => self.rebuild_replications(start, &stop),
                Command::ReplicateInputEntries { .. } | Command::ReplicateCommitted { .. } => {
                    self.work.replicate.get_or_insert_default();
                }
                Command::SendHeartbeat { position } => {
                    let replicate = self.work.replicate.get_or_insert_default();
                    replicate.heartbeat = true;
                    replicate.position = position;
                }
                Command::SendVote { to, node, request } => self.send_vote(to, &node, request),
                Command::SendTimeoutNow { to, node, request } => self.send_timeout_now(to, &node, request),
                Command::Respond { token, reply } => self.respond(token, reply),
                Command::AbandonWrites { since } => self.abandon_writes(since),
            }
        }
        Ok(accepted)
    }

    /// After every call of the engine, so that nothing is missed that comes and goes within a turn.
    fn tell_hooks(&mut self) {
        let standing = Standing::of(&self.engine);
        if standing != self.work.standing {
            self.work.standing = standing;
            self.hooks.tell(standing);
        }
    }

    /// Entries become part of the log in memory, and of this turn's submission.
    fn append(&mut self, io: u64, entries: EntryRange<C>) {
        self.tail.push(entries.clone());
        match &mut self.work.append {
            Some((last_io, batch)) => {
                *last_io = io;
                batch.push(entries);
            }
            None => self.work.append = Some((io, entries)),
        }
    }

    /// Submits this turn's appends as one, under the number of the last.
    fn submit_append(&mut self) {
        if let Some((io, entries)) = self.work.append.take() {
            self.log.append(entries, self.flushed(io));
        }
    }

    /// Submits this turn's applies as one.
    fn submit_apply(&mut self) {
        let Some((since, upto)) = self.work.apply.take() else { return };
        let tail = self.tail.suffix(since..upto.index + 1);
        // The tail may end before `upto` only if it holds nothing of it at all.
        let tail = if tail.end_index() == Some(upto.index + 1) { tail } else { EntryRange::empty() };
        self.order(StateMachineCommand::Apply { since, upto, tail });
    }

    /// A failure to send means that the task is gone; it said why in a notification.
    fn order(&self, command: StateMachineCommand<C>) {
        let _ = self.state_machine.send(command);
    }

    /// Submits what the turn gathered, tells the followers and publishes the metrics.
    pub(super) fn finish_turn(&mut self) -> Result<(), Fatal> {
        self.execute(None)?;
        self.submit_append();
        self.submit_apply();
        self.work.turn_over = false;
        if let Some(replicate) = self.work.replicate.take() {
            self.tell_followers(replicate);
        }
        self.note_decided();
        let settled = self.engine.applied().min(self.engine.flushed());
        self.tail.settle(settled.map_or(0, |settled| settled.index + 1));
        self.publish_metrics();
        Ok(())
    }

    /// Tells the tail what is committed and applied.
    pub(super) fn note_decided(&self) {
        self.tail.decided(self.engine.committed().next_index(), self.engine.applied().next_index());
    }

    /// One slot written for each follower.
    fn tell_followers(&self, replicate: Replicate) {
        for replication in self.work.replications.values() {
            replication.handle.update(self.leader_update(replication.handle.session(), replicate));
        }
    }

    fn leader_update(&self, session: u64, replicate: Replicate) -> LeaderUpdate<C> {
        LeaderUpdate {
            session,
            last: self.engine.last_log_id(),
            committed: self.engine.committed(),
            position: replicate.position,
            heartbeat: replicate.heartbeat,
            state_hash: self.work.state_hashes.latest(),
            stop: false,
        }
    }

    /// The completion of write `io`.
    fn flushed(&self, io: u64) -> IoFlushed {
        let notify = self.io.notifications_tx.clone();
        IoFlushed::new(move |result| {
            // After the core's end nobody waits for it.
            let _ = notify.send(Notification::LogFlushed { io, result });
        })
    }

    fn rebuild_replications(&mut self, start: Vec<ReplicationTarget<C::NodeId, C::Node>>, stop: &[u64]) {
        self.work.replications.retain(|_, replication| !stop.contains(&replication.handle.session()));
        for target in start {
            let replication = self.start_replication(&target);
            self.work.replications.insert(target.replica.node_id, replication);
        }
    }

    fn start_replication(&mut self, target: &ReplicationTarget<C::NodeId, C::Node>) -> Replication<C> {
        let (id, session) = (target.replica.node_id, target.session);
        let network = self.network(id, &target.node);
        let inbox = Arc::new(Slot::new());
        inbox.put(LeaderUpdate { last: target.last, ..self.leader_update(session, Replicate::default()) });
        let outbox = Arc::new(Slot::new());
        let wake = self.io.messages_tx.clone();
        let handle = spawn_replication(ReplicationContext {
            target: target.replica,
            session,
            last: target.last,
            me: self.me,
            admitted: self.engine.admitted(),
            promise: self.engine.promise_asked(),
            vote: self.engine.vote(),
            env: self.env.clone(),
            network,
            log: self.reader.clone(),
            tail: self.tail.clone(),
            snapshots: Arc::new(CurrentSnapshot { commands: self.state_machine.clone() }),
            config: self.replication_config(),
            seed: self.config.seed ^ session,
            inbox,
            outbox: outbox.clone(),
            wake: Arc::new(move || {
                if let Some(messages) = wake.upgrade() {
                    let _ = messages.send(RaftMsg::UpdateReplicationMatched { target: id, session });
                }
            }),
        });
        Replication { handle, outbox }
    }

    /// All windows together have at most half of the budget.
    fn replication_config(&self) -> ReplicationConfig {
        let followers = (self.engine.membership().membership.nodes().len() as u64).saturating_sub(1).max(1);
        let share = self.config.memory_budget_bytes / 2 / followers;
        let configured = self.config.replication;
        ReplicationConfig {
            max_inflight_bytes: configured.max_inflight_bytes.min(share).max(1),
            max_append_bytes: configured.max_append_bytes.min(share).max(1),
            ..configured
        }
    }

    /// The network to a node: kept, and made anew when the node's description changes.
    pub(super) fn network(&mut self, id: C::NodeId, node: &C::Node) -> Arc<dyn RaftNetwork<C>> {
        if let Some(peer) = self.work.networks.get(&id).filter(|peer| peer.node == *node) {
            return peer.network.clone();
        }
        let network = self.factory.network(id, node);
        self.work.networks.insert(id, Peer { node: node.clone(), network: network.clone() });
        network
    }

    /// Whether it was accepted shows in what follows: the target's vote request, or nothing until the deadline.
    fn send_timeout_now(&mut self, to: C::NodeId, node: &C::Node, request: TimeoutNowRequest<C::NodeId>) {
        let network = self.network(to, node);
        let within = Duration::from_millis(self.config.election_timeout_min_ms);
        self.env.spawn("timeout-now", async move {
            match network.timeout_now(request, within).await {
                Ok(reply) if reply.accepted => {
                    tracing::info!(target = %to, "the target of the transfer campaigns")
                }
                Ok(reply) => {
                    tracing::warn!(target = %to, vote = %reply.vote, "the target of the transfer refuses")
                }
                Err(error) => {
                    tracing::warn!(target = %to, %error, "no answer from the target of the transfer")
                }
            }
        });
    }

    /// A task for each request, so that a slow voter holds up nobody.
    fn send_vote(&mut self, to: C::NodeId, node: &C::Node, request: VoteRequest<C::NodeId>) {
        let network = self.network(to, node);
        let messages = self.io.messages_tx.clone();
        let within = Duration::from_millis(self.config.election_timeout_min_ms);
        self.env.spawn("vote", async move {
            match network.vote(request, within).await {
                // Whoever answers for another node is not believed.
                Ok(reply) if reply.from.node_id == to => {
                    if let Some(messages) = messages.upgrade() {
                        let _ = messages.send(RaftMsg::VoteReplied { asked: request.vote, reply });
                    }
                }
                Ok(reply) => {
                    tracing::warn!(target = %to, from = %reply.from, "another node answered a vote request")
                }
                Err(error) => tracing::debug!(target = %to, %error, "no answer to a vote request"),
            }
        });
    }
}
