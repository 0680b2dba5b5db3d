//! `Progress` against a model of a follower and of its stream, under every pattern of loss that proptest finds.
//!
//! The model knows both logs whole, so it can say at any moment what truly matches. The leader's side does what the
//! replication task does, without time: pauses end when the test says so.

use proptest::prelude::*;

use super::*;

type Id = LogId<u64>;

const ENTRY_BYTES: u64 = 10;

struct Message {
    prev: Option<Id>,
    entries: Vec<Id>,
}

/// Both logs, and the stream between them: messages on their way there, replies on their way back.
struct World {
    /// All that the leader ever had; what is before `purged` can no longer be read.
    leader: Vec<Id>,
    purged: usize,
    follower: Vec<Id>,
    messages: VecDeque<Message>,
    replies: VecDeque<AppendResult<u64>>,
    progress: Progress<u64>,
    /// How many messages the leader has sent.
    sent: usize,
}

/// The last log id up to which both logs are equal.
fn common(a: &[Id], b: &[Id]) -> Option<Id> {
    a.iter().zip(b).take_while(|(a, b)| a == b).last().map(|(id, _)| *id)
}

impl World {
    fn new(leader: Vec<Id>, follower: Vec<Id>, windows: ProgressWindows) -> Self {
        let progress = Progress::new(leader.last().copied(), windows);
        let (messages, replies) = (VecDeque::new(), VecDeque::new());
        Self { leader, purged: 0, follower, messages, replies, progress, sent: 0 }
    }

    fn leader_id_at(&self, next: u64) -> Option<Id> {
        next.checked_sub(1).map(|index| self.leader[index as usize])
    }

    /// Sends one message if one may be sent.
    fn send(&mut self) -> bool {
        let Some(plan) = self.progress.next_send(self.leader.len() as u64) else { return false };
        let (start, end) = (plan.entries.start, plan.entries.end);
        if (start as usize) < self.purged {
            self.progress.on_compacted(self.purged as u64);
            return true;
        }
        let prev = self.leader_id_at(start);
        assert!(plan.prev_log_id.is_none_or(|known| known == prev), "{plan:?} does not follow {prev:?}");
        let most = (plan.max_bytes / ENTRY_BYTES).max(1);
        let entries = self.leader[start as usize..end.min(start + most) as usize].to_vec();
        let last = entries.last().copied().or(prev);
        self.progress.sent(prev, last, entries.len() as u64 * ENTRY_BYTES);
        self.messages.push_back(Message { prev, entries });
        self.sent += 1;
        true
    }

    /// The follower takes the oldest message and answers it.
    fn deliver(&mut self, busy: bool) {
        let Some(message) = self.messages.pop_front() else { return };
        let reply = if busy { AppendResult::Busy } else { self.take(message) };
        self.replies.push_back(reply);
    }

    /// The receiver's rules (paper, figure 2), and a hint.
    fn take(&mut self, message: Message) -> AppendResult<u64> {
        if let Some(prev) = message.prev
            && self.follower.get(prev.index as usize) != Some(&prev)
        {
            let mut held = self.follower.iter().take(prev.index as usize + 1);
            let hint = held.rfind(|id| id.leader_id <= prev.leader_id).copied();
            return AppendResult::Conflict { hint };
        }
        let last = message.entries.last().copied().or(message.prev);
        for id in message.entries {
            if self.follower.get(id.index as usize) != Some(&id) {
                self.follower.truncate(id.index as usize);
                self.follower.push(id);
            }
        }
        AppendResult::Matched(last)
    }

    /// The leader reads the oldest reply.
    fn receive(&mut self) {
        let Some(reply) = self.replies.pop_front() else { return };
        if let ReplyEffect::Conflict { hint } =
            self.progress.on_reply(reply).expect("the model tells the truth")
        {
            let limit = hint.map(|hint| hint.leader_id);
            let low_enough = |next: &u64| self.leader_id_at(*next).map(|id| id.leader_id) <= limit;
            let lowest = self.progress.matched().next_index();
            self.progress
                .lower_probe((lowest..=self.progress.next()).rev().find(low_enough).unwrap_or(lowest));
        }
    }

    /// The stream breaks: the follower may still read some of what was under way, but nothing comes back.
    fn break_stream(&mut self, still_read: usize) {
        for _ in 0..still_read {
            self.deliver(false);
        }
        self.messages.clear();
        self.replies.clear();
        self.progress.on_broken();
    }

    fn snapshot(&mut self, arrives: bool) {
        let ProgressState::Snapshot { .. } = self.progress.state() else { return };
        let last = self.leader_id_at(self.purged as u64);
        self.progress.on_snapshot_chosen(last);
        if !arrives {
            return self.progress.on_snapshot_failed();
        }
        if common(&self.leader, &self.follower).next_index() < last.next_index() {
            self.follower = self.leader[..self.purged].to_vec();
        }
        self.progress.on_snapshot_done(last);
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send => drop(self.send()),
            Action::Deliver { busy } => self.deliver(busy),
            Action::Receive => self.receive(),
            Action::Break { still_read } => self.break_stream(still_read),
            Action::Append => {
                let last = *self.leader.last().expect("never empty");
                self.leader.push(LogId { index: last.index + 1, ..last });
            }
            // Only what is committed is purged; one entry at least stays, as the leader's own first one does.
            Action::Purge { share } => {
                self.purged = self.purged.max((self.leader.len() - 1) * share / 100);
            }
            Action::Snapshot { arrives } => self.snapshot(arrives),
            Action::Resume => self.progress.resume(),
        }
    }

    fn check(&self, before: Option<Id>, windows: &ProgressWindows) {
        let progress = &self.progress;
        let truth = common(&self.leader, &self.follower);
        assert!(progress.matched().next_index() <= progress.next(), "{progress:?}");
        assert!(progress.matched().next_index() >= before.next_index(), "matched went back: {progress:?}");
        assert!(
            progress.matched().next_index() <= truth.next_index(),
            "{progress:?}, though only {truth:?} is common"
        );
        assert_eq!(progress.matched(), self.leader_id_at(progress.matched().next_index()));
        assert!(progress.inflight_messages() <= windows.max_inflight_messages + 1, "{progress:?}");
        assert!(
            progress.inflight_bytes() <= windows.max_inflight_bytes + windows.max_append_bytes,
            "{progress:?}"
        );
        assert_eq!(progress.inflight_messages(), self.messages.len() + self.replies.len());
    }

    /// Runs without faults until nothing is left to do, and says how many messages that took.
    fn settle(&mut self) -> usize {
        let sent = self.sent;
        for _ in 0..10_000 {
            self.progress.resume();
            let idle = !self.send() && self.messages.is_empty() && self.replies.is_empty();
            if idle && self.progress.state() == ProgressState::Replicate {
                return self.sent - sent;
            }
            self.deliver(false);
            self.receive();
            self.snapshot(true);
        }
        panic!("no end: {:?} of {} entries", self.progress, self.leader.len());
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Send,
    Deliver { busy: bool },
    Receive,
    Break { still_read: usize },
    Append,
    Purge { share: usize },
    Snapshot { arrives: bool },
    Resume,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => Just(Action::Send),
        6 => prop::bool::weighted(0.1).prop_map(|busy| Action::Deliver { busy }),
        6 => Just(Action::Receive),
        1 => (0usize..4).prop_map(|still_read| Action::Break { still_read }),
        3 => Just(Action::Append),
        1 => (0usize..100).prop_map(|share| Action::Purge { share }),
        2 => any::<bool>().prop_map(|arrives| Action::Snapshot { arrives }),
        1 => Just(Action::Resume),
    ];
    prop::collection::vec(action, 0..120)
}

/// Log ids with the given steps between terms.
fn extend(log: &mut Vec<Id>, node_id: u64, parity: u64, steps: &[u64]) {
    let mut term = log.last().map_or(0, |id| id.leader_id.term / 2);
    for step in steps {
        term += step + u64::from(log.last().is_some_and(|id| 2 * term + parity < id.leader_id.term));
        log.push(LogId::new(2 * term + parity, node_id, log.len() as u64));
    }
}

/// Two logs that are equal up to some point and have no entry in common after it: the leader's own terms are even, the
/// follower's odd.
fn logs() -> impl Strategy<Value = (Vec<Id>, Vec<Id>)> {
    let steps = |n| prop::collection::vec(0u64..3, n);
    (steps(1..12), steps(0..12), steps(0..12)).prop_map(|(shared, own, other)| {
        let mut leader = Vec::new();
        extend(&mut leader, 1, 0, &shared);
        let mut follower = leader.clone();
        extend(&mut follower, 2, 1, &other);
        extend(&mut leader, 1, 0, &own);
        (leader, follower)
    })
}

fn windows() -> impl Strategy<Value = ProgressWindows> {
    (1u64..8, 1usize..5, 1u64..4, 1u64..4).prop_map(|(bytes, messages, append, entries)| ProgressWindows {
        max_inflight_bytes: bytes * ENTRY_BYTES,
        max_inflight_messages: messages,
        max_append_bytes: append * ENTRY_BYTES,
        max_append_entries: entries,
    })
}

proptest! {
    #[test]
    fn whatever_is_lost_matched_is_true_and_the_logs_become_equal(
        (leader, follower) in logs(),
        cut in 0usize..12,
        windows in windows(),
        actions in actions(),
    ) {
        let mut world = World::new(leader, follower, windows);
        // A follower may be behind, or hold nothing at all.
        world.follower.truncate(world.follower.len().saturating_sub(cut));
        for action in actions {
            let before = world.progress.matched();
            world.act(action);
            world.check(before, &windows);
        }
        world.settle();
        prop_assert_eq!(world.progress.matched(), world.leader.last().copied());
        prop_assert!(world.follower.starts_with(&world.leader));
    }

    #[test]
    fn logs_that_differ_meet_after_one_probe_for_each_term_at_most((leader, follower) in logs()) {
        let windows = ProgressWindows {
            max_inflight_bytes: 1 << 20,
            max_inflight_messages: 8,
            max_append_bytes: 1 << 20,
            max_append_entries: 1 << 20,
        };
        let shared = common(&leader, &follower).next_index() as usize;
        let mut terms: Vec<u64> = follower[shared..].iter().map(|id| id.leader_id.term).collect();
        terms.dedup();
        let mut world = World::new(leader, follower, windows);
        let messages = world.settle();
        prop_assert!(messages <= terms.len() + 2, "{} messages for {} terms", messages, terms.len());
    }

    #[test]
    fn a_peer_that_says_anything_at_all_is_believed_no_further_than_it_was_sent(
        windows in windows(),
        steps in prop::collection::vec((0u8..4, any_reply(), 0u64..40), 0..60),
    ) {
        let mut progress = Progress::new(Some(LogId::new(2, 1, 9)), windows);
        let leader: Vec<Id> = (0..30).map(|index| LogId::new(2, 1, index)).collect();
        let mut sent_end = 0;
        for (kind, reply, number) in steps {
            let before = progress.matched();
            match kind {
                0 => progress.on_broken(),
                1 => progress.resume(),
                2 => drop(progress.on_reply(reply)),
                _ => if let Some(plan) = progress.next_send(number.min(30)) {
                    let prev = plan.entries.start.checked_sub(1).map(|index| leader[index as usize]);
                    let last = plan.entries.end.checked_sub(1).map(|index| leader[index as usize]);
                    progress.sent(prev, last, 1);
                    sent_end = sent_end.max(last.next_index());
                }
            }
            prop_assert!(progress.matched().next_index() >= before.next_index());
            prop_assert!(progress.matched().next_index() <= progress.next());
            prop_assert!(progress.matched().next_index() <= sent_end);
        }
    }
}

fn any_reply() -> impl Strategy<Value = AppendResult<u64>> {
    let id = prop::option::of((1u64..4, 0u64..40).prop_map(|(term, index)| LogId::new(term, 1, index)));
    prop_oneof![
        4 => id.clone().prop_map(AppendResult::Matched),
        4 => id.prop_map(|hint| AppendResult::Conflict { hint }),
        1 => Just(AppendResult::Busy),
        1 => Just(AppendResult::Refused),
        1 => Just(AppendResult::HigherVote),
    ]
}
