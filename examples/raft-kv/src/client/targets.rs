//! Which node to ask next: the leader while one is known, else the endpoints in turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The endpoints, and what was learnt of who leads. Shared by all requests of a client.
pub(crate) struct Targets {
    endpoints: Vec<String>,
    state: Mutex<State>,
}

struct State {
    /// A position in `endpoints`.
    next: usize,
    /// The address of the last leader named, until it fails.
    leader: Option<String>,
}

impl Targets {
    /// # Panics
    /// If there are no endpoints.
    pub(crate) fn new(endpoints: Vec<String>) -> Self {
        assert!(!endpoints.is_empty(), "a client needs at least one endpoint");
        Self { endpoints, state: Mutex::new(State { next: 0, leader: None }) }
    }

    /// All endpoints.
    pub(crate) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// Whom to ask now.
    pub(crate) fn current(&self) -> String {
        let state = self.lock();
        state.leader.clone().unwrap_or_else(|| self.endpoints[state.next].clone())
    }

    /// Which endpoint to ask now, whoever leads.
    pub(crate) fn next_endpoint(&self) -> String {
        self.endpoints[self.lock().next].clone()
    }

    /// Whether a leader was named that has not failed since.
    pub(crate) fn knows_leader(&self) -> bool {
        self.lock().leader.is_some()
    }

    /// A node says that `address` leads.
    pub(crate) fn leads(&self, address: &str) {
        self.lock().leader = Some(address.to_owned());
    }

    /// `target` did not serve. Others may have moved on from it in the meantime; then nothing changes.
    pub(crate) fn failed(&self, target: &str) {
        let mut state = self.lock();
        match &state.leader {
            Some(leader) if leader == target => state.leader = None,
            Some(_) => return,
            None => {}
        }
        if self.endpoints[state.next] == target {
            state.next = (state.next + 1) % self.endpoints.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Targets {
        Targets::new(vec!["a".into(), "b".into(), "c".into()])
    }

    #[test]
    fn endpoints_are_asked_in_turn_until_a_leader_is_known() {
        let targets = targets();
        assert_eq!(targets.current(), "a");
        targets.failed("a");
        assert_eq!(targets.current(), "b");
        targets.leads("c");
        assert_eq!(targets.current(), "c");
        targets.failed("c");
        assert_eq!(targets.current(), "b");
    }

    #[test]
    fn two_requests_that_fail_on_one_node_skip_only_that_node() {
        let targets = targets();
        targets.failed("a");
        targets.failed("a");
        assert_eq!(targets.current(), "b");
    }

    #[test]
    fn a_late_failure_of_an_old_leader_does_not_forget_the_new_one() {
        let targets = targets();
        targets.leads("b");
        targets.leads("c");
        targets.failed("b");
        assert_eq!(targets.current(), "c");
    }

    #[test]
    fn a_leader_that_is_also_the_next_endpoint_is_not_asked_again_at_once() {
        let targets = targets();
        targets.leads("a");
        targets.failed("a");
        assert_eq!(targets.current(), "b");
    }
}
