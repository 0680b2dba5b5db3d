//! Linearizable reads by positional ReadIndex (thesis 6.4): one confirmation round serves every read that waited, here
//! and on followers.

use super::Engine;
use super::state::{ConfirmedRead, Readers, Role, WaitingRead};
use crate::{
    ChangeRefused, Command, LogId, LogIdOptionExt, Node, NodeId, ReadIndexReply, ReadIndexRequest,
    ReadRefused, Reply, Timestamp, quorum,
};

impl<NID: NodeId, N: Node> Engine<NID, N> {
    /// Asks for a linearizable read for each token. Answers [`Reply::Read`]: once a quorum has confirmed that this node
    /// still led when the read came, and everything committed by then is applied here.
    ///
    /// The read waits for a position drawn now: an answer to any message that carries it, or a later one, confirms.
    /// It never reads below this leadership's first entry, so that a new leader serves nothing before it knows what is
    /// committed.
    pub fn read_index(&mut self, now: Timestamp, tokens: Vec<u64>) {
        self.enter("read_index");
        if !matches!(self.state.role, Role::Leader(_)) {
            let leader = self.leader();
            return self.refuse_read(Readers::Here(tokens), ReadRefused::NotLeader { leader });
        }
        let tokens = self.admit_reads(tokens);
        if !tokens.is_empty() {
            self.wait_for_quorum(now, Readers::Here(tokens));
        }
    }

    /// A follower asks up to where it must have applied before it may serve a linearizable read. Answers
    /// [`Reply::ReadIndex`] as soon as a quorum has confirmed that this node led when the request came, whatever is
    /// applied here; the entry named is committed, so that no follower ever waits for one that is not to come.
    ///
    /// It counts as one of the reads that may wait. Who asks does not matter: the answer binds nobody.
    pub fn handle_read_index(&mut self, now: Timestamp, token: u64, _request: ReadIndexRequest<NID>) {
        self.enter("handle_read_index");
        let refused = if !matches!(self.state.role, Role::Leader(_)) {
            Some(ReadRefused::NotLeader { leader: self.leader() })
        } else if self.places_for_reads() == 0 {
            Some(ReadRefused::Overloaded)
        } else {
            None
        };
        match refused {
            Some(refused) => self.refuse_read(Readers::Peer(token), refused),
            None => self.wait_for_quorum(now, Readers::Peer(token)),
        }
    }

    /// Reads wait on this node, whatever its role, until its state machine has applied `log_id`, which a leader has
    /// named in a [`ReadIndexReply`]. Answers [`Reply::Read`] for each token.
    ///
    /// What a leader named is committed, hence in the log of every later leader: a change of leadership in the meantime
    /// changes nothing. It may be long in coming where this node is behind or removed; whoever waits has a deadline of
    /// its own. Should another entry be found applied in its place, the answer is a refusal.
    pub fn await_applied(&mut self, tokens: Vec<u64>, log_id: LogId<NID>) {
        self.enter("await_applied");
        let tokens = self.admit_reads(tokens);
        if !tokens.is_empty() {
            self.wait_for_apply(ConfirmedRead { log_id, tokens });
            self.release_reads();
        }
    }

    /// How many more reads may wait.
    fn places_for_reads(&self) -> usize {
        let unconfirmed = match &self.state.role {
            Role::Leader(leader) => leader.reads.iter().map(|read| read.readers.count()).sum(),
            _ => 0,
        };
        let confirmed: usize = self.state.confirmed_reads.iter().map(|read| read.tokens.len()).sum();
        self.config.max_waiting_reads.saturating_sub(unconfirmed + confirmed)
    }

    /// Refuses those of the reads that find no place, and returns the others.
    fn admit_reads(&mut self, mut tokens: Vec<u64>) -> Vec<u64> {
        let places = self.places_for_reads().min(tokens.len());
        self.refuse_read(Readers::Here(tokens.split_off(places)), ReadRefused::Overloaded);
        tokens
    }

    /// Draws a position, which a quorum must confirm. This node leads.
    pub(super) fn wait_for_quorum(&mut self, now: Timestamp, readers: Readers<NID>) {
        let position = self.draw_position(now);
        let committed = self.state.committed;
        if let Role::Leader(own) = &mut self.state.role {
            let log_id = committed.map_or(own.first_own, |committed| committed.max(own.first_own));
            own.reads.push_back(WaitingRead { position, log_id, readers });
        }
        self.push(Command::SendHeartbeat { position });
        self.confirm_reads();
    }

    pub(super) fn refuse_read(&mut self, readers: Readers<NID>, refused: ReadRefused<NID>) {
        match readers {
            Readers::Here(tokens) => {
                for token in tokens {
                    self.respond(token, Reply::Read(Err(refused)));
                }
            }
            Readers::Peer(token) => self.answer_peer(token, Err(refused)),
            Readers::Unchanged(token, _) => {
                let leader = self.leader();
                self.respond(token, Reply::Membership(Err(ChangeRefused::NotLeader { leader })));
            }
        }
    }

    fn answer_peer(&mut self, token: u64, result: Result<LogId<NID>, ReadRefused<NID>>) {
        let from = self.config.replica;
        self.respond(token, Reply::ReadIndex(ReadIndexReply { from, result }));
    }

    /// Moves on the reads whose position a quorum has confirmed and whose entry is committed.
    pub(super) fn confirm_reads(&mut self) {
        let me = self.id();
        let (latest, committed) = (self.state.position, self.state.committed);
        let voters = self.state.memberships.last().map_or(&[][..], |stored| stored.membership.voters());
        let Role::Leader(leader) = &mut self.state.role else { return };
        if leader.reads.is_empty() {
            return;
        }
        let followers = &leader.followers;
        let confirmed = quorum::committed(voters, latest, |id| {
            if *id == me { Some(latest) } else { followers.get(id).map(|follower| follower.confirmed) }
        });
        let ready = leader
            .reads
            .partition_point(|read| Some(read.position) <= confirmed && Some(read.log_id) <= committed);
        let waiting = leader.reads.split_off(ready);
        for WaitingRead { log_id, readers, .. } in std::mem::replace(&mut leader.reads, waiting) {
            match readers {
                Readers::Here(tokens) => self.wait_for_apply(ConfirmedRead { log_id, tokens }),
                Readers::Peer(token) => self.answer_peer(token, Ok(log_id)),
                Readers::Unchanged(token, stated) => self.respond(token, Reply::Membership(Ok(stated))),
            }
        }
        self.release_reads();
    }

    fn wait_for_apply(&mut self, read: ConfirmedRead<NID>) {
        let reads = &mut self.state.confirmed_reads;
        let at = reads.partition_point(|earlier| earlier.log_id.index <= read.log_id.index);
        reads.insert(at, read);
    }

    /// Answers the confirmed reads whose entries are applied.
    pub(super) fn release_reads(&mut self) {
        let end = self.state.applied.next_index();
        while self.state.confirmed_reads.front().is_some_and(|read| read.log_id.index < end) {
            let ConfirmedRead { log_id, tokens } = self.state.confirmed_reads.pop_front().expect("just seen");
            // A leader that is none, or of another cluster, may have named an entry that was never committed.
            let holds = self.state.log.get(log_id.index).is_none_or(|held| held == log_id);
            let result = if holds { Ok(log_id) } else { Err(ReadRefused::NotLeader { leader: None }) };
            for token in tokens {
                self.respond(token, Reply::Read(result));
            }
        }
    }
}

impl<NID> Readers<NID> {
    fn count(&self) -> usize {
        match self {
            Readers::Here(tokens) => tokens.len(),
            Readers::Peer(_) | Readers::Unchanged(..) => 1,
        }
    }
}
