//! Linearizable reads: those of a turn share one position; on a node that does not lead they share a question to the
//! leader.

use openraft_adapters::{NetworkError, RaftTypeConfig};
use openraft_engine::{ReadIndexReply, ReadIndexRequest, ReadRefused, Timestamp};

use super::RaftCore;
use crate::Fatal;
use crate::message::{RaftMsg, ReadFailure};

/// Reads on a node that does not lead (thesis 6.4). One question at a time goes to the leader, for all reads that came
/// before it was sent; those that come later wait for the next one, because the leader may have answered already from
/// what was committed before they came.
#[derive(Debug)]
pub(super) struct FollowerReads<NID> {
    /// Reads that no question has been sent for.
    waiting: Vec<u64>,
    /// The question under way.
    asked: Option<Asked<NID>>,
    /// The number of the last question.
    number: u64,
}

#[derive(Debug)]
struct Asked<NID> {
    number: u64,
    leader: NID,
    tokens: Vec<u64>,
}

impl<NID> Default for FollowerReads<NID> {
    fn default() -> Self {
        Self { waiting: Vec::new(), asked: None, number: 0 }
    }
}

impl<NID> FollowerReads<NID> {
    fn len(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |asked| asked.tokens.len())
    }
}

impl<C: RaftTypeConfig> RaftCore<C> {
    /// Asks for one position for all reads of this turn, or the leader for its read index; those that the lease serves
    /// need neither.
    pub(super) fn handle_reads(&mut self, now: Timestamp) -> Result<(), Fatal> {
        let mut tokens = std::mem::take(&mut self.work.reads);
        tokens.extend(self.ask_leader());
        let leased = std::mem::take(&mut self.work.lease_reads);
        if tokens.is_empty() && leased.is_empty() {
            return Ok(());
        }
        if !leased.is_empty() {
            self.engine.read_lease(now, leased);
        }
        if !tokens.is_empty() {
            self.engine.read_index(now, tokens);
        }
        self.execute(None)
    }

    /// A read that any node may serve.
    pub(super) fn take_follower_read(&mut self, token: u64) {
        if self.work.follower_reads.len() >= self.config.max_waiting_reads {
            return self.fail_read(token, ReadFailure::Refused(ReadRefused::Overloaded));
        }
        self.work.follower_reads.waiting.push(token);
    }

    /// Sends the next question, if reads wait for it and none is under way. Returns the reads that need none, because
    /// this node leads.
    fn ask_leader(&mut self) -> Vec<u64> {
        let leader = self.engine.leader();
        let reads = &mut self.work.follower_reads;
        if let Some(asked) = reads.asked.take_if(|asked| Some(asked.leader) != leader) {
            // Whoever was asked leads no more, as far as is known here: ask the next one instead of waiting.
            reads.waiting.extend(asked.tokens);
        }
        if reads.waiting.is_empty() || reads.asked.is_some() {
            return Vec::new();
        }
        let tokens = std::mem::take(&mut reads.waiting);
        if leader == Some(self.me.node_id) {
            return tokens;
        }
        let nodes = self.engine.membership().membership.nodes();
        let Some((leader, node)) = leader.and_then(|id| Some((id, nodes.get(&id)?.node.clone()))) else {
            for token in tokens {
                self.fail_read(token, ReadFailure::Refused(ReadRefused::NotLeader { leader: None }));
            }
            return Vec::new();
        };
        self.send_read_index(leader, &node, tokens);
        Vec::new()
    }

    /// A leader that has not answered within an election timeout leads no more, or will soon not.
    fn send_read_index(&mut self, leader: C::NodeId, node: &C::Node, tokens: Vec<u64>) {
        let reads = &mut self.work.follower_reads;
        reads.number += 1;
        let number = reads.number;
        reads.asked = Some(Asked { number, leader, tokens });
        let network = self.network(leader, node);
        let messages = self.io.messages_tx.clone();
        let (request, within) = (ReadIndexRequest { from: self.me }, self.config.election_timeout_max());
        self.env.spawn("read-index", async move {
            let answer = network.read_index(request, within).await;
            if let Some(messages) = messages.upgrade() {
                let _ = messages.send(RaftMsg::ReadIndexAnswered { number, answer });
            }
        });
    }

    /// The reads that a question was sent for wait for the state machine, or are told why not.
    pub(super) fn handle_read_index_answer(
        &mut self,
        number: u64,
        answer: Result<ReadIndexReply<C::NodeId>, NetworkError>,
    ) {
        let reads = &mut self.work.follower_reads;
        // The answer to a question that was given up is nobody's.
        let Some(Asked { leader, tokens, .. }) = reads.asked.take_if(|asked| asked.number == number) else {
            return;
        };
        let failure = match answer {
            Ok(reply) if reply.from.node_id != leader => {
                let reason = format!("{} answered instead", reply.from);
                let error = NetworkError::unreachable_because(leader, reason);
                ReadFailure::Unanswered { leader, error }
            }
            Ok(ReadIndexReply { result: Ok(log_id), .. }) => {
                return self.engine.await_applied(tokens, log_id);
            }
            Ok(ReadIndexReply { result: Err(refused), .. }) => ReadFailure::Refused(refused),
            Err(error) => ReadFailure::Unanswered { leader, error },
        };
        for token in tokens {
            self.fail_read(token, failure.clone());
        }
    }
}
