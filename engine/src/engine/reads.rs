//! Linearizable reads by positional ReadIndex (thesis 6.4): one confirmation round serves every read that waited.

use super::Engine;
use super::state::{ConfirmedRead, Role, WaitingRead};
use crate::{Command, LogIdOptionExt, Node, NodeId, ReadRefused, Reply, Timestamp, quorum};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Asks for a linearizable read for each token. Answers [`Reply::Read`]: once a quorum has confirmed that this node
    /// still led when the read came, and everything committed by then is applied here.
    ///
    /// The read waits for a position drawn now: an answer to any message that carries it, or a later one, confirms.
    /// It never reads below this leadership's first entry, so that a new leader serves nothing before it knows what is
    /// committed.
    pub fn read_index(&mut self, now: Timestamp, mut tokens: Vec<u64>) {
        let Role::Leader(own) = &self.state.role else {
            return self.refuse_reads(tokens, ReadRefused::NotLeader { leader: self.leader() });
        };
        let confirmed = self.state.confirmed_reads.iter().map(|read| read.tokens.len());
        let waiting: usize = own.reads.iter().map(|read| read.tokens.len()).chain(confirmed).sum();
        let places = self.config.max_waiting_reads.saturating_sub(waiting).min(tokens.len());
        self.refuse_reads(tokens.split_off(places), ReadRefused::Overloaded);
        if tokens.is_empty() {
            return;
        }
        let position = self.draw_position(now);
        if let Role::Leader(own) = &mut self.state.role {
            let log_id = self.state.committed.map_or(own.first_own, |committed| committed.max(own.first_own));
            own.reads.push_back(WaitingRead { position, log_id, tokens });
        }
        self.push(Command::SendHeartbeat { position });
        self.confirm_reads();
    }

    fn refuse_reads(&mut self, tokens: Vec<u64>, refused: ReadRefused<NID>) {
        for token in tokens {
            self.respond(token, Reply::Read(Err(refused)));
        }
    }

    /// Moves on the reads whose position a quorum has confirmed.
    pub(super) fn confirm_reads(&mut self) {
        let me = self.id();
        let (latest, voters) = (self.state.position, self.state.memberships.last());
        let voters = voters.map_or(&[][..], |stored| stored.membership.voters());
        let Role::Leader(leader) = &mut self.state.role else { return };
        if leader.reads.is_empty() {
            return;
        }
        let followers = &leader.followers;
        let confirmed = quorum::committed(voters, latest, |id| {
            if *id == me { Some(latest) } else { followers.get(id).map(|follower| follower.confirmed) }
        });
        while let Some(read) = leader.reads.front() {
            if Some(read.position) > confirmed {
                break;
            }
            let WaitingRead { log_id, tokens, .. } = leader.reads.pop_front().expect("just seen");
            self.state.confirmed_reads.push_back(ConfirmedRead { log_id, tokens });
        }
        self.release_reads();
    }

    /// Answers the confirmed reads whose entries are applied.
    pub(super) fn release_reads(&mut self) {
        while self
            .state
            .confirmed_reads
            .front()
            .is_some_and(|read| read.log_id.index < self.state.applied.next_index())
        {
            let read = self.state.confirmed_reads.pop_front().expect("just seen");
            for token in read.tokens {
                self.respond(token, Reply::Read(Ok(read.log_id)));
            }
        }
    }

    /// The reads that wait for the state machine under a leadership that ended: their entry may have been truncated.
    pub(super) fn drop_reads_beyond_commit(&mut self) {
        let committed = self.state.committed;
        let beyond = self.state.confirmed_reads.partition_point(|read| Some(read.log_id) <= committed);
        for token in self.state.confirmed_reads.split_off(beyond).into_iter().flat_map(|read| read.tokens) {
            self.respond(token, Reply::Read(Err(ReadRefused::NotLeader { leader: None })));
        }
    }
}
