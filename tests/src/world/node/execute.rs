//! Carries out what the engine orders, and tells what became of the node.

use std::sync::Arc;
use std::time::Duration;

use openraft_engine::{Command, OwnPayload, Reply, SavedVote, ServerState};

use super::{Caller, Node, Seen, Snapshot, Work, seen};
use crate::world::disk::Write;
use crate::world::entry::{Address, Entry, Payload};
use crate::world::invariants::{Goal, History};
use crate::world::message::{Envelope, Message, place};
use crate::world::task::{Leadership, Task};

impl Node {
    pub(super) fn leadership(&self) -> Leadership {
        let running = self.running.as_ref().expect("a node that runs");
        Leadership {
            me: self.replica(),
            admitted: running.engine.admitted(),
            vote: running.engine.vote(),
            life: self.life,
            promise: if self.settings.promises { running.engine.promise_asked() } else { Duration::ZERO },
            committed: running.committed,
            position: running.position,
            now: self.now,
        }
    }

    /// Carries out what the engine ordered, and sends what the tasks have to send.
    pub(in crate::world) fn turn(&mut self, history: &mut History) {
        for command in self.running().engine.take_commands() {
            self.carry_out(command, history);
        }
        self.hand.clear();
        self.content.clear();
        let leader = self.leadership();
        let running = self.running.as_mut().expect("a node that runs");
        for (to, task) in &mut running.tasks {
            for message in task.send(&self.disk.submitted, self.snapshot.as_ref(), &leader) {
                self.out.push(Envelope::new(self.id, *to, message));
            }
        }
        self.note_changes(history);
    }

    fn carry_out(&mut self, command: Command<u64, Address>, history: &mut History) {
        let id = self.id;
        match command {
            Command::SaveVote { io, vote, promise_cap } => {
                // Where nobody asks for a promise none is given, and a restart has nothing to wait for.
                history.saves_vote(id, self.disk.submitted.vote, vote);
                let promise_cap = if self.settings.promises { promise_cap } else { Duration::ZERO };
                self.disk.submit(Some(io), Write::Vote(SavedVote { vote, promise_cap }));
            }
            Command::AppendInputEntries { io, first, last } => {
                let range = first..=last.index;
                let taken: Vec<Arc<Entry>> =
                    self.hand.iter().filter(|entry| range.contains(&entry.log_id.index)).cloned().collect();
                assert_eq!(taken.last().map(|entry| entry.log_id), Some(last));
                self.disk.submit(Some(io), Write::Append(taken));
            }
            Command::AppendOwnEntry { io, log_id, payload } => {
                let payload = match payload {
                    OwnPayload::Blank => Payload::Blank,
                    OwnPayload::Membership(members) => {
                        history.note(|| format!("{id} appends {log_id}: membership {members}"));
                        Payload::Membership(members)
                    }
                };
                self.disk.submit(Some(io), Write::Append(vec![Arc::new(Entry { log_id, payload })]));
            }
            Command::TruncateLog { io, since } => {
                history.note(|| format!("{id} truncates its log from index {since}"));
                self.disk.submit(Some(io), Write::Truncate(since));
            }
            Command::PurgeLog { io, upto } => {
                history.note(|| format!("{id} purges its log up to {upto}"));
                self.disk.submit(Some(io), Write::Purge(upto));
            }
            Command::SaveCommitted { committed } => self.disk.submit(None, Write::Committed(committed)),
            Command::LeaderCommit { since, upto } | Command::FollowerCommit { since, upto } => {
                let held = &self.disk.durable.entries;
                let entries: Vec<Arc<Entry>> =
                    (since..=upto.index).filter_map(|index| held.get(&index).cloned()).collect();
                history.apply_ordered(id, since, upto, &entries);
                self.running().work.push_back(Work::Apply(entries));
            }
            Command::BuildSnapshot => self.running().work.push_back(Work::Build),
            Command::InstallSnapshot { meta } => {
                let snapshot = Snapshot { meta, content: std::mem::take(&mut self.content) };
                self.running().work.push_back(Work::Install(snapshot));
            }
            Command::RebuildReplications { start, stop } => {
                let windows = self.settings.windows;
                let tasks = &mut self.running().tasks;
                tasks.retain(|_, task| !stop.contains(&task.session));
                for target in start {
                    let task = Task::new(target.replica, target.session, target.last, windows);
                    tasks.insert(target.replica.node_id, task);
                }
            }
            Command::SendHeartbeat { position } => {
                let running = self.running();
                running.position = position;
                running.tasks.values_mut().for_each(Task::beat);
            }
            Command::SendVote { to, request, .. } => {
                history.asked_for_vote(id, &self.disk.durable, &request);
                self.out.push(Envelope::new(id, to, Message::VoteRequest(request)));
            }
            Command::SendTimeoutNow { to, request, .. } => {
                self.out.push(Envelope::new(id, to, Message::TimeoutNow(request)));
            }
            Command::ReplicateCommitted { committed } => self.running().committed = Some(committed),
            Command::ReplicateInputEntries { .. } => {}
            Command::AbandonWrites { since } => {
                for (_, entry) in self.running().writes.split_off(&since) {
                    let Payload::Write(text) = &entry.payload else { continue };
                    history.note(|| format!("{id} answers {text}: outcome unknown"));
                }
            }
            Command::Respond { token, reply } => self.answer(token, reply, history),
        }
    }

    fn answer(&mut self, token: u64, reply: Reply<u64>, history: &mut History) {
        let id = self.id;
        let caller = self.running().callers.remove(&token).expect("a token is answered once");
        let (to, message) = match (caller, reply) {
            (Caller::Initialize, Reply::Initialize(result)) => {
                return result.expect("formed once");
            }
            (Caller::Read(name, floor), Reply::Read(result)) => {
                return match result {
                    Ok(read) => {
                        history.read(id, read, floor, self.machine.len() as u64);
                        history.note(|| format!("{id} serves {name} at {read}"));
                    }
                    Err(refused) => history.note(|| format!("{id} refuses {name}: {refused:?}")),
                };
            }
            (Caller::Transfer, Reply::Transfer(result)) => {
                if result.is_ok() {
                    history.reach(Goal::Transferred);
                }
                return history.note(|| match result {
                    Ok(()) => format!("{id} has handed leadership over"),
                    Err(refused) => format!("{id} did not hand over: {refused}"),
                });
            }
            (Caller::Change, Reply::Membership(result)) => {
                if result.is_ok() {
                    history.reach(Goal::Changed);
                }
                return history.note(|| match result {
                    Ok(log_id) => format!("{id} answers the change: in force by {log_id}"),
                    Err(refused) => format!("{id} answers the change: {refused}"),
                });
            }
            (Caller::Reader(to, number), Reply::ReadIndex(reply)) => {
                (to, Message::ReadIndexReply(number, reply))
            }
            (Caller::Leader(to), Reply::TimeoutNow(reply)) => (to, Message::TimeoutNowReply(reply)),
            (Caller::Candidate(to, asked), Reply::Vote(reply)) => {
                history.voted(id, &self.disk.durable, asked, &reply);
                (to, Message::VoteReply(asked, reply))
            }
            (Caller::Peer(to, stamp), Reply::Heartbeat(reply)) => {
                history.heartbeat_answered(id, &self.disk.durable, &reply);
                (to, Message::HeartbeatReply(stamp, reply))
            }
            (Caller::Peer(to, stamp), Reply::Append(reply)) => {
                history.acknowledged(self, &reply);
                (to, Message::AppendReply(stamp, reply))
            }
            (Caller::Peer(to, stamp), Reply::Snapshot(reply)) => (to, Message::SnapshotReply(stamp, reply)),
            (caller, reply) => panic!("{reply:?} to {caller:?}"),
        };
        self.out.push(Envelope::new(id, to, message));
    }

    /// Tells in words what became of the node.
    fn note_changes(&mut self, history: &mut History) {
        let id = self.id;
        let running = self.running();
        let in_force = &running.engine.membership().membership;
        running.was_in_force = (*running.in_force != *in_force).then(|| {
            let now = Arc::new(in_force.clone());
            std::mem::replace(&mut running.in_force, now)
        });
        let (before, now) = (running.seen, seen(&running.engine));
        if before == now {
            return;
        }
        running.seen = now;
        // What is not accepted has no order to keep.
        running.streams.retain(|leader, _| *leader == now.vote.node_id);
        history.went_on(id, [before.vote, now.vote], [before.committed, now.committed]);
        let is_follower =
            |seen: Seen| matches!(seen.role, Some(ServerState::Follower | ServerState::Learner));
        let same_side = is_follower(before) && is_follower(now);
        if same_side && (before.leader, before.vote) == (now.leader, now.vote) {
            if before.role != now.role {
                let what = if now.role == Some(ServerState::Follower) { "a voter" } else { "no voter" };
                history.note(|| format!("{id} is {what} now"));
            }
        } else if (before.role, before.leader, before.vote) != (now.role, now.leader, now.vote) {
            let vote = now.vote;
            let what = match (now.role.expect("it runs"), now.leader) {
                (ServerState::Leader, _) => format!("{id} leads, {vote}"),
                (ServerState::PreCandidate, _) => format!("{id} asks whether it would be elected"),
                (ServerState::Candidate, _) => format!("{id} campaigns, {vote}"),
                (_, Some(leader)) => format!("{id} follows {leader}, {vote}"),
                (_, None) if vote == before.vote && before.role == Some(ServerState::Leader) => {
                    format!("{id} leads no more")
                }
                (_, None) if vote == before.vote => format!("{id} knows of no leader now"),
                (_, None) => format!("{id} votes for {vote}"),
            };
            history.note(|| what);
        }
        if before.committed != now.committed {
            history.note(|| format!("{id} knows {} to be committed", place(now.committed)));
        }
    }
}
