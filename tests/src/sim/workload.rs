//! The clients of one run: they write and read on whatever node they find, try again where that is safe, and give up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft_adapters::Env;
use openraft_core::{ForwardToLeader, ReadIndexError, ReadPolicy, WriteError};
use tokio::time::Instant;

use super::chance::Chance;
use super::clock::{sleep, virtual_now};
use super::cluster::{Door, Doors};
use super::coverage::Reached;
use super::disk::hash_of;
use super::observer::Observer;
use super::subject::{Operation, Outcome, Request, Subject};
use super::trace::Event;

/// How much longer than it told the node a client waits for the answer to a write.
const GRACE: Duration = Duration::from_millis(100);

/// What the clients share.
pub(super) struct Clients<S: Subject> {
    subject: Arc<S>,
    doors: Doors<S>,
    chance: Chance,
    observer: Observer,
    /// Whether lease reads are right: the clocks drift no more than they may.
    lease_is_right: bool,
    /// No new operation is begun.
    stop: AtomicBool,
    /// How many operations have been answered, by client.
    served: Vec<AtomicU64>,
    history: Mutex<Vec<Operation<S>>>,
}

/// One client.
struct Client<S: Subject> {
    id: u64,
    memory: S::Client,
    /// Who led when it last heard.
    leader: Option<u64>,
    shared: Arc<Clients<S>>,
}

impl<S: Subject> Clients<S> {
    pub(super) fn new(
        subject: Arc<S>,
        count: u64,
        doors: Doors<S>,
        chance: Chance,
        observer: Observer,
        lease_is_right: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            subject,
            doors,
            chance,
            observer,
            lease_is_right,
            stop: AtomicBool::new(false),
            served: (0..count).map(|_| AtomicU64::new(0)).collect(),
            history: Mutex::default(),
        })
    }

    /// The clients begin.
    pub(super) fn begin(self: &Arc<Self>, env: &Env) {
        for id in 0..self.served.len() as u64 {
            let memory = self.subject.client(id);
            let client = Client { id, memory, leader: None, shared: self.clone() };
            env.spawn("client", client.run());
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How many operations of each client have been answered.
    pub(super) fn served(&self) -> Vec<u64> {
        self.served.iter().map(|served| served.load(Ordering::Relaxed)).collect()
    }

    /// What the clients were told so far, in order of return.
    pub(super) fn history(&self) -> Vec<Operation<S>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<S: Subject> Client<S> {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            sleep(self.shared.chance.micros(1_000, 60_000)).await;
            let subject = self.shared.subject.clone();
            let request = self.shared.chance.draw(|rng| subject.next(&mut self.memory, rng));
            self.shared.observer.step(Event::Client(format!("c{} begins {request:?}", self.id)));
            let called = self.shared.observer.instant();
            // Some have little patience, so that not all of them wait for a leader that is cut off.
            let chance = &self.shared.chance;
            let patience =
                if chance.one_in(3) { Duration::from_secs(2) } else { chance.micros(20_000, 300_000) };
            let gives_up = virtual_now() + patience;
            let outcome = match &request {
                Request::Write(proposal) => self.write(proposal, gives_up).await,
                Request::Read(query) => self.read(query, gives_up).await,
            };
            let returned = self.shared.observer.instant();
            self.shared.observer.step(Event::Client(format!("c{} ends {request:?}: {outcome:?}", self.id)));
            if !matches!(outcome, Outcome::Failed | Outcome::Unknown) {
                self.shared.served[self.id as usize].fetch_add(1, Ordering::Relaxed);
            }
            subject.learn(&mut self.memory, &request, &outcome);
            let operation = Operation { client: self.id, request, called, returned, outcome };
            self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
        }
    }

    /// A node to talk to: the leader if it is known, mostly; else any.
    fn door(&self) -> Option<Door<S>> {
        let doors = self.shared.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let known = doors.iter().find(|door| Some(door.0) == self.leader);
        if let Some(door) = known.filter(|_| !self.shared.chance.one_in(4)) {
            return Some(door.clone());
        }
        (!doors.is_empty()).then(|| {
            doors[self.shared.chance.draw(|rng| rand::Rng::random_range(rng, 0..doors.len()))].clone()
        })
    }

    fn heard(&mut self, forward: &ForwardToLeader<S::Types>) {
        self.leader = forward.leader.as_ref().map(|(id, _)| *id);
    }

    /// Writes. What was certainly not proposed is tried again elsewhere until patience ends.
    async fn write(&mut self, proposal: &S::Proposal, gives_up: Instant) -> Outcome<S> {
        let (observer, name) = (self.shared.observer.clone(), hash_of(proposal));
        loop {
            let left = gives_up.saturating_duration_since(virtual_now());
            if let Some((id, raft, _)) = self.door()
                && !left.is_zero()
            {
                // A node that stands still tells nothing, and its client gives up all the same.
                let write = raft.client_write_within(proposal.clone(), left);
                let answer = Env::tokio().timeout(left + GRACE, write).await;
                match answer.unwrap_or(Err(WriteError::OutcomeUnknown { reason: "the client gave up" })) {
                    Ok(reply) => {
                        self.leader = Some(id);
                        observer.invariants(|invariants| invariants.acknowledged(name, reply.log_id));
                        return Outcome::Written(reply.reply);
                    }
                    Err(error) if error.is_outcome_unknown() => {
                        observer.count(Reached::WriteUnknown);
                        return Outcome::Unknown;
                    }
                    Err(WriteError::NotLeader(forward)) => self.heard(&forward),
                    Err(_) => {}
                }
            }
            if virtual_now() >= gives_up || self.shared.chance.one_in(6) {
                observer.invariants(|invariants| invariants.refused(name));
                return Outcome::Failed;
            }
            sleep(self.shared.chance.micros(1_000, 40_000)).await;
        }
    }

    /// Reads, by whatever policy.
    async fn read(&mut self, query: &S::Query, gives_up: Instant) -> Outcome<S> {
        loop {
            let lease = if self.shared.lease_is_right { 3 } else { 2 };
            let drawn = self.shared.chance.draw(|rng| rand::Rng::random_range(rng, 0..lease));
            let policy = [ReadPolicy::ReadIndex, ReadPolicy::Follower, ReadPolicy::Lease][drawn];
            if let Some((id, raft, view)) = self.door() {
                if !self.shared.lease_is_right && self.shared.chance.one_in(3) {
                    self.read_by_wrong_lease(&raft).await;
                }
                let left = gives_up.saturating_duration_since(virtual_now());
                // A read that is given up tells nothing.
                match Env::tokio().timeout(left, raft.ensure_linearizable(policy)).await {
                    Ok(Ok(_)) => {
                        self.shared.observer.count(match policy {
                            ReadPolicy::ReadIndex => Reached::ReadIndexRead,
                            ReadPolicy::Lease => Reached::LeaseRead,
                            ReadPolicy::Follower => Reached::FollowerRead,
                        });
                        if policy != ReadPolicy::Follower {
                            self.leader = Some(id);
                        }
                        return Outcome::Read(self.shared.subject.read(&view, query));
                    }
                    Ok(Err(ReadIndexError::NotLeader(forward))) => self.heard(&forward),
                    _ => {}
                }
            }
            if virtual_now() >= gives_up || self.shared.chance.one_in(6) {
                return Outcome::Failed;
            }
            sleep(self.shared.chance.micros(1_000, 40_000)).await;
        }
    }

    /// A lease read where clocks drift beyond the bound: what it shows may be old, but nothing else may go wrong by it.
    async fn read_by_wrong_lease(&self, raft: &openraft_core::Raft<S::Types>) {
        let read = raft.ensure_linearizable(ReadPolicy::Lease);
        if let Ok(Ok(_)) = Env::tokio().timeout(Duration::from_millis(50), read).await {
            self.shared.observer.count(Reached::LeaseBeyondDrift);
        }
    }
}
