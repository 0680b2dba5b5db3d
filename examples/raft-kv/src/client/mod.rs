//! The client: finds the leader among the endpoints, repeats what may be repeated, and keeps "outcome unknown" apart
//! from "not done".
//!
//! # Layout
//!
//! - `verdict`: what one attempt's result means for the whole request; pure.
//! - `targets`: which node to ask next.
//! - `commands`: put, cas, get, delete, status, snapshot, transfer of leadership.
//! - `members`: who is in the cluster.
//! - `import`, `export`, `lines`: many keys at once, and their forms as text.

pub(crate) mod commands;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod lines;
pub(crate) mod members;
mod targets;
pub(crate) mod verdict;

use std::time::{Duration, Instant};

use axum::http::Method;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::exit::Failure;
use crate::http::{Answer, Call, Http, HttpError};
use crate::wire::{ErrorBody, NO_FORWARD_HEADER, NodeStatus, STATUS_PATH};

use targets::Targets;
pub(crate) use verdict::Repeat;
use verdict::Verdict;

/// How long one attempt may take before the client asks elsewhere. Longer than a node's default write timeout, so that
/// a node's own, better informed answer comes first.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a node may take to say who leads. A node that hangs must not hold up the client while others answer.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// The pauses between attempts: short at first, as a redirect is quickly followed, then longer while nobody leads.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// A node refused it, and every other would.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// Nobody took it in time. Nothing was written.
    #[error("no node took the request within {within:?}; the last answer was: {last}")]
    Unavailable { within: Duration, last: String },
    /// The write may or may not have happened, or may yet happen.
    #[error(
        "outcome unknown: {reason}; read the key to see, or repeat the write if doing it twice does no harm"
    )]
    OutcomeUnknown { reason: String },
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match &error {
            CallError::OutcomeUnknown { .. } => Self::OutcomeUnknown(error.to_string()),
            _ => Self::Error(error.to_string()),
        }
    }
}

/// Talks to a cluster. Shared by as many requests at once as one likes.
pub(crate) struct Client {
    http: Http,
    targets: Targets,
    /// Held by the one request that looks for the leader while others wait for what it finds; when the last one began.
    looking: tokio::sync::Mutex<Option<Instant>>,
    timeout: Duration,
}

/// Who is to answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Leader,
    /// Whichever endpoint does.
    Anyone,
}

/// A good answer and what it took to get it.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// How many attempts there were, at least one.
    pub(crate) attempts: u32,
}

impl Client {
    /// A client of the nodes at `endpoints`, at least one, which gives every request `timeout`.
    pub(crate) fn new(endpoints: Vec<String>, timeout: Duration) -> Self {
        Self {
            http: Http::new(),
            targets: Targets::new(endpoints),
            looking: tokio::sync::Mutex::default(),
            timeout,
        }
    }

    /// Sends `call` to the leader until it is answered well, is refused, may not be repeated, or the timeout has passed.
    pub(crate) async fn call(&self, call: &Call, repeat: Repeat) -> Result<Answered, CallError> {
        self.call_at(Whom::Leader, call, repeat).await
    }

    /// Sends `call`, a read, to one endpoint after the other until one answers it well or refuses it, or the timeout has
    /// passed.
    pub(crate) async fn call_anyone(&self, call: &Call) -> Result<Answered, CallError> {
        self.call_at(Whom::Anyone, call, Repeat::Freely).await
    }

    async fn call_at(&self, whom: Whom, call: &Call, repeat: Repeat) -> Result<Answered, CallError> {
        let call = call.clone().header(NO_FORWARD_HEADER, "1");
        let end = Instant::now() + self.timeout;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        // An attempt whose outcome is unknown makes the whole unknown, unless a later one succeeds.
        let mut unknown: Option<String> = None;
        let mut last = "none: nobody said in time who leads".to_owned();
        loop {
            let target = match whom {
                Whom::Leader => {
                    // What is not found in time is not found.
                    let _ = tokio::time::timeout_at(end.into(), self.look_for_leader()).await;
                    self.targets.current()
                }
                Whom::Anyone => self.targets.next_endpoint(),
            };
            let left = end.saturating_duration_since(Instant::now());
            // Never sent, so certainly not done.
            if left.is_zero() {
                return Err(self.out_of_time(unknown, last));
            }
            let result = self.http.call(&target, &call, left.min(ATTEMPT_TIMEOUT)).await;
            attempts += 1;
            last = match verdict::judge(result, repeat, unknown.as_deref()) {
                Verdict::Done(answer) => return Ok(Answered { answer, attempts }),
                Verdict::Stop(error) => {
                    // Whoever asks next should not wait for the same node again, if it hangs.
                    if matches!(error, CallError::OutcomeUnknown { .. }) {
                        self.targets.failed(&target);
                    }
                    return Err(error);
                }
                Verdict::Ask { leader, reason } if whom == Whom::Leader => {
                    tracing::debug!(%target, %leader, %reason, "following a redirect");
                    self.targets.leads(&leader);
                    // The first is followed at once; two nodes that name each other are not spun between.
                    if attempts == 1 {
                        continue;
                    }
                    reason
                }
                Verdict::Ask { reason, .. } => {
                    self.targets.failed(&target);
                    reason
                }
                Verdict::Next { reason, maybe_done } => {
                    tracing::debug!(%target, %reason, "asking another node");
                    self.targets.failed(&target);
                    if maybe_done {
                        unknown = Some(reason.clone());
                    }
                    reason
                }
            };
            if Instant::now() + pause >= end {
                return Err(self.out_of_time(unknown, last));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Nothing more is tried. `unknown` says why an attempt's outcome is not known, if there was one.
    fn out_of_time(&self, unknown: Option<String>, last: String) -> CallError {
        match unknown {
            Some(reason) => CallError::OutcomeUnknown { reason },
            None => CallError::Unavailable { within: self.timeout, last },
        }
    }

    /// Asks all endpoints at once who leads, unless that is known, and takes the first answer that says so.
    async fn look_for_leader(&self) {
        let arrived = Instant::now();
        let mut last_began = self.looking.lock().await;
        // Where many wait and nobody leads, one looks for all of them.
        if self.targets.knows_leader() || last_began.is_some_and(|began| began >= arrived) {
            return;
        }
        *last_began = Some(Instant::now());
        let call = Call::new(Method::GET, STATUS_PATH);
        let mut answers: FuturesUnordered<_> = self
            .endpoints()
            .iter()
            .map(|endpoint| self.http.call(endpoint, &call, STATUS_TIMEOUT.min(self.timeout / 2)))
            .collect();
        while let Some(answer) = answers.next().await {
            let status =
                answer.ok().and_then(|answer| serde_json::from_slice::<NodeStatus>(&answer.body).ok());
            if let Some(leader) = status.and_then(|status| status.leader_address) {
                self.targets.leads(&leader);
                return;
            }
        }
    }

    /// Sends `call` once to one endpoint.
    pub(crate) async fn ask(&self, endpoint: &str, call: &Call) -> Result<Answer, HttpError> {
        self.http.call(endpoint, call, self.timeout).await
    }

    /// The endpoints as given.
    pub(crate) fn endpoints(&self) -> &[String] {
        self.targets.endpoints()
    }

    /// The connections.
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }
}
