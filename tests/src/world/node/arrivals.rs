//! What arrives from other nodes, and where it goes: to the engine, or to the task that waits for it.

use openraft_engine::Vote;

use super::{Caller, Node};
use crate::world::disk::Image;
use crate::world::invariants::History;
use crate::world::message::{Message, Stamp};
use crate::world::task::{Leadership, Task};

impl Node {
    /// Appends come on a stream. One that is out of its order reaches the engine all the same, but its answer belongs
    /// to no stream.
    fn in_order(&mut self, from: u64, stamp: Stamp, vote: Vote<u64>) -> Stamp {
        let running = self.running();
        if vote < running.engine.vote() {
            return stamp;
        }
        let streams = &mut running.streams;
        let order = |stamp: &Stamp| (stamp.life, stamp.session, stamp.stream, stamp.number);
        if streams.get(&from).is_some_and(|last| order(&stamp) <= order(last)) {
            return Stamp { number: 0, ..stamp };
        }
        streams.insert(from, stamp);
        stamp
    }

    pub(in crate::world) fn receive(&mut self, from: u64, message: Message, history: &mut History) {
        match message {
            Message::VoteRequest(request) => {
                let token = self.caller(Caller::Candidate(from, request.vote));
                self.with(|engine, now| engine.handle_vote_request(now, token, request));
            }
            Message::VoteReply(asked, reply) => {
                self.with(|engine, now| engine.handle_vote_reply(now, asked, reply));
            }
            Message::TimeoutNow(request) => {
                let token = self.caller(Caller::Leader(from));
                self.with(|engine, now| engine.handle_timeout_now(now, token, request));
            }
            Message::TimeoutNowReply(_) => {}
            Message::ReadIndex(number, request) => {
                let token = self.caller(Caller::Reader(from, number));
                self.with(|engine, now| engine.handle_read_index(now, token, request));
            }
            Message::ReadIndexReply(number, reply) => {
                let Some((name, floor)) = self.running().questions.remove(&number) else { return };
                match reply.result {
                    Ok(log_id) => {
                        let token = self.caller(Caller::Read(name, floor));
                        self.with(|engine, _| engine.await_applied(vec![token], log_id));
                    }
                    Err(refused) => history.note(|| format!("{} refuses {name}: {refused:?}", self.id)),
                }
            }
            Message::Heartbeat(stamp, request) => {
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| engine.handle_heartbeat(now, token, request));
            }
            Message::Append(stamp, header, entries) => {
                let stamp = self.in_order(from, stamp, header.vote);
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| {
                    engine.handle_append(now, token, header, entries.iter().map(|entry| &**entry))
                });
                self.hand = entries;
            }
            Message::Snapshot(stamp, header, content) => {
                let token = self.caller(Caller::Peer(from, stamp));
                self.with(|engine, now| engine.handle_install_snapshot(now, token, header));
                self.content = content;
            }
            Message::HeartbeatReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, _| {
                    task.on_heartbeat_reply(stamp, &reply, leader);
                });
            }
            Message::AppendReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, log| {
                    task.on_append_reply(stamp, &reply, leader, log);
                });
            }
            Message::SnapshotReply(stamp, reply) => {
                self.reply_to_task(from, stamp, |task, leader, _| {
                    task.on_snapshot_reply(stamp, &reply, leader);
                });
            }
        }
    }

    fn reply_to_task(&mut self, from: u64, stamp: Stamp, call: impl FnOnce(&mut Task, &Leadership, &Image)) {
        let leader = self.leadership();
        let (now, life) = (self.now, self.life);
        let running = self.running.as_mut().expect("a node that runs");
        let of_session =
            running.tasks.get_mut(&from).filter(|task| task.session == stamp.session && stamp.life == life);
        let Some(task) = of_session else { return };
        call(task, &leader, &self.disk.submitted);
        let report = task.report();
        running.engine.handle_replication_report(now, report);
    }
}
