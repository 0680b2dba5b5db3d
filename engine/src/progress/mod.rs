//! `Progress`: the flow control of one follower. What to send next, what is under way, and what a reply changes.
//!
//! ```text
//!            match                     log begins after next
//!   Probe ----------> Replicate ------------------------------> Snapshot
//!     ^  <----------      |                                        |
//!     |   conflict, busy, |                        installed: Replicate
//!     |   break           |                        failed: Probe
//! ```
//!
//! While it probes, the leader has one message under way, because it only guesses where the follower's log parts from
//! its own. In Replicate it knows, and sends ahead as far as the windows allow. Messages travel on an ordered stream:
//! replies come in the order of the messages, and a break loses the messages from some point on. The messages behind
//! one that was not accepted build on nothing; their replies are still awaited, since they occupy the stream, but what
//! they say is ignored.
//!
//! The value is owned by the follower's replication task and by nobody else. It is pure, so that scripts and the
//! exhaustive search can hold it beside the engine.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;

use std::collections::VecDeque;
use std::ops::Range;

use crate::{AppendResult, LogId, LogIdOptionExt, NodeId};

/// How much may be under way to one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgressWindows {
    /// Entries under way weigh at most this, in bytes, but for the excess of a single entry heavier than
    /// `max_append_bytes`. A message is sent only when a full one fits, or when no entries are under way.
    pub max_inflight_bytes: u64,
    /// At most this many messages are under way, and one probe more after a conflict. At least one.
    pub max_inflight_messages: usize,
    /// Entries of one message weigh at most this, in bytes, unless it is a single entry.
    pub max_append_bytes: u64,
    /// One message carries at most this many entries. At least one.
    pub max_append_entries: u64,
}

/// Where a probe aims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// At the end of the leader's log as it was when replication began. A follower that holds it, as most do after an
    /// election, takes the entries that come with the probe.
    Guess,
    /// Whether the follower answers at all is open: the probe carries no entries.
    Retry,
    /// Where the follower itself said.
    Hint,
}

/// What the leader is doing about a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressState {
    /// It looks for the last entry both logs have, one message at a time.
    Probe(Aim),
    /// It sends ahead.
    Replicate,
    /// The log no longer holds what the follower lacks: it sends a snapshot, and nothing else until that is done.
    Snapshot {
        /// The lowest index that the leader's log should keep meanwhile.
        needed: u64,
    },
}

/// A message to be sent: the entries of a range, or as many of them as fit, from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendPlan<NID> {
    /// Indexes of the entries to send; empty for a probe without entries. The message goes out with the log id before
    /// `entries.start` as its `prev_log_id`, entries or none.
    pub entries: Range<u64>,
    /// What the entries may weigh together, in bytes, unless it is a single one.
    pub max_bytes: u64,
    /// The log id before `entries.start`, where it is known; otherwise the log has to be asked.
    pub prev_log_id: Option<Option<LogId<NID>>>,
}

/// What a truthful reply has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyEffect<NID> {
    /// The message was taken whole.
    Matched,
    /// The logs differ before the message; a probe is due. The leader's entries with a greater leader id than the
    /// hint's need not be tried: see [`Progress::lower_probe`].
    Conflict {
        /// The follower's hint.
        hint: Option<LogId<NID>>,
    },
    /// The follower takes nothing now. Nothing is sent until [`Progress::resume`].
    Paused,
    /// A reply to a message that was already given up. Nothing changed.
    Stale,
}

/// A reply that no follower which keeps its promises can have sent. It is not believed; drop the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UntruthfulReply<NID: NodeId> {
    /// A reply to no message.
    #[error("a reply came though no message waits for one")]
    Unsolicited,
    /// It claims to hold what it was not sent.
    #[error("it claims to match up to {claimed:?}, but was sent the log up to {sent:?}")]
    MatchedBeyondSent {
        /// What it claims.
        claimed: Option<LogId<NID>>,
        /// The last log id that was sent.
        sent: Option<LogId<NID>>,
    },
    /// It denies what it acknowledged as durable before.
    #[error("it denies entries up to {matched:?}, which it acknowledged as durable: was its data lost?")]
    DeniesMatched {
        /// What it acknowledged.
        matched: Option<LogId<NID>>,
    },
}

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Inflight<NID> {
    prev: Option<LogId<NID>>,
    /// The last entry, or `prev` if there is none.
    last: Option<LogId<NID>>,
    bytes: u64,
    /// An earlier message was not accepted: the reply to this one says nothing.
    stale: bool,
}

/// The flow control of one follower: what to send next, what is under way, and what a reply changes.
///
/// It probes, one message at a time, until it knows where the follower's log parts from the leader's; then it sends
/// ahead as far as the windows allow. A conflict, a pause or a break leads back to probing, a log that no longer holds
/// what the follower lacks to a snapshot. Messages travel on an ordered stream: replies come in the order of the
/// messages, and a break loses the messages from some point on.
///
/// - getters: [`matched`](Self::matched), [`next`](Self::next), [`state`](Self::state), [`needed`](Self::needed), ...
/// - sending: [`next_send`](Self::next_send) says what to send, [`sent`](Self::sent) that it was.
/// - `on_*`: what happened. [`resume`](Self::resume): a pause is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress<NID> {
    windows: ProgressWindows,
    state: ProgressState,
    /// Never goes back, and `0 <= matched.next_index() <= next`.
    matched: Option<LogId<NID>>,
    /// The first index to send next. Advances with each message in Replicate; stays while probing.
    next: u64,
    paused: bool,
    inflight: VecDeque<Inflight<NID>>,
}

impl<NID: NodeId> Progress<NID> {
    /// A follower of whom nothing is known, under a leader whose last entry is `last` now.
    pub fn new(last: Option<LogId<NID>>, windows: ProgressWindows) -> Self {
        Self {
            windows,
            state: ProgressState::Probe(Aim::Guess),
            matched: None,
            next: last.next_index(),
            paused: false,
            inflight: VecDeque::new(),
        }
    }

    /// The follower's durable log equals the leader's up to here.
    pub fn matched(&self) -> Option<LogId<NID>> {
        self.matched
    }

    /// The first index to send next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What is being done.
    pub fn state(&self) -> ProgressState {
        self.state
    }

    /// Whether nothing is sent until [`resume`](Self::resume).
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// How many messages wait for a reply.
    pub fn inflight_messages(&self) -> usize {
        self.inflight.len()
    }

    /// What the entries under way weigh, in bytes.
    pub fn inflight_bytes(&self) -> u64 {
        self.inflight.iter().map(|message| message.bytes).sum()
    }

    /// The lowest index that the leader's log should keep for this follower.
    pub fn needed(&self) -> u64 {
        match self.state {
            ProgressState::Snapshot { needed } => needed,
            ProgressState::Probe(_) | ProgressState::Replicate => self.matched.next_index(),
        }
    }

    /// What to send now, where the leader's log ends before index `end`; `None` if there is nothing or it must wait.
    /// Changes nothing: whoever sends calls [`sent`](Self::sent).
    pub fn next_send(&self, end: u64) -> Option<AppendPlan<NID>> {
        if self.paused {
            return None;
        }
        let entries = match self.state {
            ProgressState::Snapshot { .. } => return None,
            ProgressState::Probe(_) if self.inflight.iter().any(|message| !message.stale) => return None,
            ProgressState::Probe(Aim::Retry) => self.next..self.next,
            ProgressState::Probe(Aim::Guess | Aim::Hint) => self.next..end.max(self.next),
            ProgressState::Replicate if end <= self.next || !self.window_is_open() => return None,
            ProgressState::Replicate => self.next..end,
        };
        let most = self.next.saturating_add(self.windows.max_append_entries.max(1));
        Some(AppendPlan {
            entries: entries.start..entries.end.min(most),
            max_bytes: self.windows.max_append_bytes,
            prev_log_id: self.known_prev(),
        })
    }

    fn window_is_open(&self) -> bool {
        let bytes = self.inflight_bytes();
        self.inflight.len() < self.windows.max_inflight_messages.max(1)
            && (bytes == 0
                || bytes.saturating_add(self.windows.max_append_bytes) <= self.windows.max_inflight_bytes)
    }

    /// The log id before `next`, if this value has seen it.
    fn known_prev(&self) -> Option<Option<LogId<NID>>> {
        let last_sent = self.inflight.back().filter(|message| !message.stale).map(|message| message.last);
        [Some(self.matched), last_sent].into_iter().flatten().find(|id| id.next_index() == self.next)
    }

    /// A message was sent as [`next_send`](Self::next_send) planned it: `prev` as its `prev_log_id`, the entries up to
    /// `last` (which is `prev` if there are none), weighing `bytes`.
    ///
    /// # Panics
    /// If the message does not begin at [`next`](Self::next): that is the caller's mistake.
    pub fn sent(&mut self, prev: Option<LogId<NID>>, last: Option<LogId<NID>>, bytes: u64) {
        assert_eq!(prev.next_index(), self.next, "a message begins at next: {self:?}");
        assert!(last.next_index() >= self.next, "{last:?} does not follow {prev:?}");
        self.inflight.push_back(Inflight { prev, last, bytes, stale: false });
        if self.state == ProgressState::Replicate {
            self.next = last.next_index();
        }
    }

    /// The reply to the oldest message under way.
    ///
    /// # Errors
    /// If the reply cannot be true. It has then changed nothing but that its message is no longer under way.
    pub fn on_reply(&mut self, result: AppendResult<NID>) -> Result<ReplyEffect<NID>, UntruthfulReply<NID>> {
        let message = self.inflight.pop_front().ok_or(UntruthfulReply::Unsolicited)?;
        if message.stale {
            return Ok(ReplyEffect::Stale);
        }
        match result {
            AppendResult::Matched(claimed) => self.on_matched(&message, claimed),
            AppendResult::Conflict { hint } => self.on_conflict(&message, hint),
            AppendResult::Busy | AppendResult::Refused | AppendResult::HigherVote => {
                self.pause();
                Ok(ReplyEffect::Paused)
            }
        }
    }

    fn on_matched(
        &mut self,
        message: &Inflight<NID>,
        claimed: Option<LogId<NID>>,
    ) -> Result<ReplyEffect<NID>, UntruthfulReply<NID>> {
        // A follower may acknowledge several messages by one flush, so any of them may bound what it says.
        let sent = self.inflight.iter().rev().find(|later| !later.stale).map_or(message.last, |m| m.last);
        let beyond = UntruthfulReply::MatchedBeyondSent { claimed, sent };
        if claimed.next_index() > sent.next_index() {
            return Err(beyond);
        }
        let known = [message.prev, message.last].into_iter().chain(self.inflight.iter().map(|m| m.last));
        for id in known.chain([self.matched]) {
            if id.next_index() == claimed.next_index() && id != claimed {
                return Err(beyond);
            }
        }
        self.raise_matched(claimed);
        if claimed.next_index() < message.last.next_index() {
            // It took a part, and what follows the rest builds on nothing. If it took nothing at all, asking again at
            // once would be asking for ever.
            let nothing = claimed.next_index() <= message.prev.next_index();
            self.give_up_inflight();
            self.probe_again();
            self.paused = nothing;
            return Ok(if nothing { ReplyEffect::Paused } else { ReplyEffect::Matched });
        }
        self.next = self.next.max(self.matched.next_index());
        if let ProgressState::Probe(_) = self.state {
            self.state = ProgressState::Replicate;
        }
        Ok(ReplyEffect::Matched)
    }

    /// What matched never goes back.
    fn raise_matched(&mut self, matched: Option<LogId<NID>>) {
        if matched.next_index() > self.matched.next_index() {
            self.matched = matched;
        }
    }

    fn on_conflict(
        &mut self,
        message: &Inflight<NID>,
        hint: Option<LogId<NID>>,
    ) -> Result<ReplyEffect<NID>, UntruthfulReply<NID>> {
        // It does not hold `prev`, so the common part ends before it, whatever the hint says.
        let probe = hint.next_index().min(message.prev.next_index().saturating_sub(1));
        if message.prev.is_none() || probe < self.matched.next_index() {
            return Err(UntruthfulReply::DeniesMatched { matched: self.matched });
        }
        self.give_up_inflight();
        self.next = probe;
        self.state = ProgressState::Probe(Aim::Hint);
        Ok(ReplyEffect::Conflict { hint })
    }

    /// After a conflict: the leader's own log says that the entries from index `next` on have greater leader ids than
    /// the hint, so that the probe may as well begin there. Ignored where it would raise the probe, or lower it below
    /// what matches.
    pub fn lower_probe(&mut self, next: u64) {
        if self.state == ProgressState::Probe(Aim::Hint) {
            self.next = self.next.min(next).max(self.matched.next_index());
        }
    }

    /// The stream broke, or a message's deadline passed: nothing under way will be answered.
    pub fn on_broken(&mut self) {
        self.inflight.clear();
        self.probe_again();
    }

    /// The leader's log begins at `first`, after what is to be sent next.
    pub fn on_compacted(&mut self, first: u64) {
        if first <= self.next {
            return;
        }
        match self.state {
            ProgressState::Probe(Aim::Guess | Aim::Retry) => {
                // The follower has not said that it lacks what is gone: ask before sending it everything.
                self.state = ProgressState::Probe(Aim::Retry);
                self.next = first;
            }
            ProgressState::Probe(Aim::Hint) | ProgressState::Replicate => {
                self.give_up_inflight();
                self.state = ProgressState::Snapshot { needed: first };
            }
            ProgressState::Snapshot { .. } => {}
        }
    }

    /// The snapshot that is being sent ends with `last`: what follows it will be needed.
    pub fn on_snapshot_chosen(&mut self, last: Option<LogId<NID>>) {
        if let ProgressState::Snapshot { needed } = &mut self.state {
            *needed = last.next_index();
        }
    }

    /// The follower has installed, durably, the snapshot that ends with `last`.
    pub fn on_snapshot_done(&mut self, last: Option<LogId<NID>>) {
        let ProgressState::Snapshot { .. } = self.state else { return };
        self.raise_matched(last);
        self.next = self.matched.next_index();
        self.state = ProgressState::Replicate;
    }

    /// The snapshot did not arrive or was refused. A probe will show whether one is still needed.
    pub fn on_snapshot_failed(&mut self) {
        if let ProgressState::Snapshot { .. } = self.state {
            self.state = ProgressState::Probe(Aim::Retry);
        }
    }

    /// Sending may go on after a [`ReplyEffect::Paused`].
    pub fn resume(&mut self) {
        self.paused = false;
    }

    fn pause(&mut self) {
        self.give_up_inflight();
        self.probe_again();
        self.paused = true;
    }

    /// Probing begins where Replicate knows the logs to be equal. A probe that was not answered is repeated as it was:
    /// nothing matched yet, and beginning at the first entry would ask for what may be long purged.
    fn probe_again(&mut self) {
        match self.state {
            ProgressState::Replicate => self.next = self.matched.next_index(),
            ProgressState::Probe(_) => self.next = self.next.max(self.matched.next_index()),
            ProgressState::Snapshot { .. } => return,
        }
        self.state = ProgressState::Probe(Aim::Retry);
    }

    fn give_up_inflight(&mut self) {
        for message in &mut self.inflight {
            message.stale = true;
        }
    }
}
