//! What peers may never do to a node, whatever they send: make it panic, unseat what it committed, or silence it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::bench::{
    Bench, Entry, Members, asks, at, config, entries, found, membership_entry, origin, replica, title, voters,
};
use crate::{
    AppendHeader, AppendResult, HeartbeatRequest, LogId, RaftEntry, Replica, ServerState, SnapshotHeader,
    SnapshotMeta, StoreId, StoredMembership, Vote, VoteReply, VoteRequest,
};

/// A node with a purged prefix (index 2, term 2), entries to index 5, and 3 committed.
fn purged_node() -> Bench {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 4, 4, 4]);
    node.heartbeat(12, Some(at(4, 3)));
    node.apply();
    node.engine.trigger_snapshot();
    node.engine.handle_snapshot_built(node.now, Some(at(2, 2)));
    node.flush_all();
    assert_eq!(node.engine.purged(), Some(at(2, 2)));
    node
}

#[test]
fn entries_that_contradict_what_was_purged_are_refused_whole() {
    let mut node = purged_node();
    let before = node.engine.last_log_id();
    for (prev, terms) in
        [(Some(origin()), vec![1, 1, 1]), (Some(at(1, 2)), vec![1]), (Some(at(1, 1)), vec![1, 4])]
    {
        let first = prev.map_or(0, |prev| prev.index + 1);
        let token = node.append(12, prev, &entries(first, &terms), None);
        assert_eq!(node.append_answer(token), Some(AppendResult::Refused), "{prev:?} {terms:?}");
    }
    assert_eq!(node.engine.last_log_id(), before);
}

#[test]
fn entries_that_contradict_what_is_committed_are_refused_whole() {
    let mut node = purged_node();
    let token = node.append(12, Some(at(2, 2)), &entries(3, &[12, 12]), None);
    assert_eq!(node.append_answer(token), Some(AppendResult::Refused));
    assert_eq!(node.engine.log_id_at(3), Some(at(4, 3)));
}

#[test]
fn entries_with_gaps_falling_leaders_or_leaders_above_the_vote_are_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let gap = [entries(1, &[12]), entries(3, &[12])].concat();
    for bad in [gap, entries(2, &[12]), entries(1, &[5, 4]), entries(1, &[13])] {
        let token = node.append(12, Some(origin()), &bad, None);
        assert_eq!(node.append_answer(token), Some(AppendResult::Refused), "{bad:?}");
    }
    assert_eq!(node.engine.last_log_id(), Some(origin()));
}

#[test]
fn a_membership_that_is_none_is_refused() {
    let unknown: Members = serde_membership(vec![BTreeSet::from([1, 9])]);
    let empty: Members = serde_membership(vec![BTreeSet::new()]);
    let nothing = Members::default();
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    for bad in [unknown, empty, nothing] {
        let token = node.append(12, Some(origin()), &[membership_entry(12, 1, bad.clone())], None);
        assert_eq!(node.append_answer(token), Some(AppendResult::Refused), "{bad:?}");
    }
    node.flush_all();
    node.deadline();
    assert!(asks(&node.flush()), "it can still campaign");
}

/// A membership such as only a peer can send: it never went through validation.
fn serde_membership(sets: Vec<BTreeSet<u64>>) -> Members {
    let nodes = voters(&[1, 2, 3]).nodes().clone();
    Members::unchecked(sets, nodes)
}

#[test]
fn a_snapshot_that_contradicts_what_is_committed_or_reaches_beyond_every_log_is_refused() {
    let mut node = purged_node();
    let stated = || StoredMembership::new(origin(), voters(&[1, 2, 3]));
    for last in [at(1, 50), LogId::new(12, 2, u64::MAX), LogId::new(12, 2, u64::MAX - 1)] {
        let token = node.snapshot(12, last, stated());
        assert_eq!(node.snapshot_answer(token), Some(AppendResult::Refused), "{last}");
    }
}

#[test]
fn what_is_committed_does_not_move_while_a_snapshot_that_denies_it_is_installed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2, 2, 2, 2]);
    let token = node.snapshot(12, at(3, 2), StoredMembership::new(origin(), voters(&[1, 2, 3])));
    node.heartbeat(12, Some(at(2, 4)));
    node.engine.handle_snapshot_installed(true);
    node.flush_all();
    assert!(node.snapshot_answer(token).is_some());
}

#[test]
fn terms_at_the_end_of_numbers_are_not_believed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    for term in [u64::MAX, u64::MAX - 1] {
        let request = VoteRequest {
            pre_vote: false,
            from: replica(2),
            vote: Vote::new(term, 2),
            last_log_id: Some(at(9, 9)),
            ..Default::default()
        };
        let token = node.vote_request_of(request);
        assert!(!node.vote_answer(token).expect("answered").granted);
        let header = HeartbeatRequest {
            from: replica(2),
            vote: Vote::new_committed(term, 2),
            committed: None,
            position: 1,
            to: replica(1).store_id,
            ..Default::default()
        };
        let token = node.token();
        node.engine.handle_heartbeat(node.now, token, header);
        assert!(!node.heartbeat_answer(token).expect("answered").accepted);
        let reply = VoteReply {
            pre_vote: false,
            from: replica(2),
            vote: Vote::new(term, 2),
            granted: false,
            last_log_id: None,
            ..Default::default()
        };
        node.engine.handle_vote_reply(node.now, Vote::new(1, 1), reply);
    }
    node.deadline();
    assert_eq!(node.engine.vote(), Vote::new(1, 1));
    node.flush();
    node.grant(2);
    let mut report = node.report_of(3, None, 0);
    report.higher_vote = Some(Vote::new(u64::MAX, 3));
    node.engine.handle_replication_report(node.now, report);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_term_heard_from_a_store_that_the_membership_does_not_name_is_not_believed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let from = Replica { node_id: 2, store_id: StoreId(9) };
    let reply = VoteReply {
        pre_vote: false,
        from,
        vote: Vote::new(1_000, 2),
        granted: false,
        last_log_id: None,
        ..Default::default()
    };
    node.engine.handle_vote_reply(node.now, Vote::new(1, 1), reply);
    node.deadline();
    assert_eq!(node.engine.vote(), Vote::new(1, 1));
}

#[test]
fn nobody_is_followed_or_voted_for_in_term_0_which_is_before_the_first() {
    let mut node = Bench::node(1, &[0, 1, 2], &[]);
    for committed in [false, true] {
        let vote = Vote { term: 0, node_id: 0, committed };
        let request = VoteRequest {
            pre_vote: false,
            from: replica(0),
            vote,
            last_log_id: Some(at(9, 9)),
            ..Default::default()
        };
        let token = node.vote_request_of(request);
        assert!(!node.vote_answer(token).expect("answered at once").granted);
        let token = node.token();
        let header = HeartbeatRequest {
            from: replica(0),
            vote,
            committed: None,
            position: 1,
            to: replica(1).store_id,
            ..Default::default()
        };
        node.engine.handle_heartbeat(node.now, token, header);
        assert!(!node.heartbeat_answer(token).expect("answered at once").accepted);
    }
    assert_eq!(node.engine.vote(), Vote::default());
}

#[test]
fn a_message_in_this_nodes_own_name_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let token = node.vote_request_of(VoteRequest {
        pre_vote: false,
        from: replica(1),
        vote: Vote::new(11, 1),
        last_log_id: Some(at(9, 9)),
        ..Default::default()
    });
    assert!(!node.vote_answer(token).expect("answered at once").granted);
    assert_eq!(node.engine.vote(), Vote::default());
}

#[test]
fn positions_that_were_never_drawn_confirm_nothing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush_all();
    node.report(2, node.engine.last_log_id(), u64::MAX);
    node.apply();
    node.read(vec![100]);
    assert_eq!(node.answer(100), None);
}

#[test]
fn a_report_of_entries_that_the_leader_does_not_have_commits_nothing() {
    let mut node = Bench::node(1, &[1, 2, 3], &[2]);
    node.lead(&[2]);
    node.flush_all();
    for lie in [LogId::new(1, 1, u64::MAX), LogId::new(7, 7, 2), at(2, 9)] {
        let mut report = node.report_of(2, None, 0);
        report.matched = Some(lie);
        node.engine.handle_replication_report(node.now, report);
        node.run();
        assert_eq!(node.engine.committed(), None, "{lie}");
    }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..9, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX >> 1)]
}

fn log_id() -> impl Strategy<Value = LogId<u64>> {
    (number(), 0u64..4, number()).prop_map(|(term, node, index)| LogId::new(term, node, index))
}

fn vote() -> impl Strategy<Value = Vote<u64>> {
    (number(), 0u64..4, any::<bool>()).prop_map(|(term, node_id, committed)| Vote {
        term,
        node_id,
        committed,
    })
}

fn sender() -> impl Strategy<Value = Replica<u64>> {
    prop_oneof![8 => (0u64..5).prop_map(replica), 1 => Just(Replica { node_id: 2, store_id: StoreId(1) })]
}

fn any_members() -> impl Strategy<Value = Members> {
    let sets = prop::collection::vec(prop::collection::btree_set(0u64..5, 0..4), 0..3);
    (sets, prop::collection::btree_set(0u64..5, 0..5)).prop_map(|(sets, nodes)| {
        let ids: Vec<u64> = nodes.into_iter().collect();
        Members::unchecked(sets, voters(&ids).nodes().clone())
    })
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let member = prop_oneof![4 => Just(None), 1 => any_members().prop_map(Some)];
    let loose = prop::collection::vec((log_id(), member.clone()), 0..4).prop_map(|entries| {
        entries.into_iter().map(|(log_id, membership)| Entry { log_id, membership, value: 0 }).collect()
    });
    let tight = (0u64..6, 0u64..4, prop::collection::vec((0u64..2, member), 0..5), 0u64..6).prop_map(
        |(mut term, node, steps, first)| {
            let mut all = Vec::new();
            for (i, (step, membership)) in steps.into_iter().enumerate() {
                term += step;
                all.push(Entry { log_id: LogId::new(term, node, first + i as u64), membership, value: 0 });
            }
            all
        },
    );
    prop_oneof![1 => loose, 3 => tight]
}

#[derive(Clone, Debug)]
enum Arrival {
    Vote(VoteRequest<u64>),
    VoteReply(Vote<u64>, VoteReply<u64>),
    Heartbeat(HeartbeatRequest<u64>),
    Append(AppendHeader<u64>, Vec<Entry>),
    Snapshot(SnapshotHeader<u64, ()>),
    Installed(bool),
    Report { target: u64, matched: LogId<u64>, confirmed: u64, higher: Option<Vote<u64>> },
    Deadline,
    Flush,
    Apply,
    Built,
    Propose,
    Read,
}

/// A vote and its sender, who mostly is the one it names, so that the lie gets past the door.
fn signed() -> impl Strategy<Value = (Vote<u64>, Replica<u64>)> {
    (vote(), sender(), any::<bool>())
        .prop_map(|(vote, from, honest)| (vote, if honest { replica(vote.node_id) } else { from }))
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let header = (signed(), prop::option::of(log_id()), prop::option::of(log_id()), number());
    prop_oneof![
        2 => (signed(), prop::option::of(log_id()))
            .prop_map(|((vote, from), last_log_id)| Arrival::Vote(VoteRequest { pre_vote: false, from, vote, last_log_id, ..Default::default() })),
        2 => (vote(), sender(), vote(), any::<bool>()).prop_map(|(asked, from, vote, granted)| {
            Arrival::VoteReply(asked, VoteReply { pre_vote: false, from, vote, granted, last_log_id: None, ..Default::default() })
        }),
        2 => (signed(), prop::option::of(log_id()), number()).prop_map(|((vote, from), committed, position)| {
            Arrival::Heartbeat(HeartbeatRequest { from, vote, committed, position, to: replica(1).store_id, ..Default::default() })
        }),
        6 => (header, any_entries(), any::<bool>()).prop_map(|(((vote, from), prev, committed, position), entries, fit)| {
            let mut header = AppendHeader { from, vote, prev_log_id: prev, committed, position, to: replica(1).store_id, ..Default::default() };
            if fit && let Some(first) = entries.first().map(RaftEntry::log_id) {
                header.vote = Vote { committed: true, ..header.vote };
                header.from = replica(header.vote.node_id);
                header.prev_log_id = first.index.checked_sub(1).map(|index| LogId { index, ..first });
            }
            Arrival::Append(header, entries)
        }),
        2 => (signed(), log_id(), log_id(), any_members(), number()).prop_map(|((vote, from), last, stated, members, position)| {
            Arrival::Snapshot(SnapshotHeader {
                from, admitted: None, to: replica(1).store_id, vote, position,
                meta: SnapshotMeta {
                    last_log_id: Some(last),
                    membership: StoredMembership::new(stated, members),
                    snapshot_id: String::new(),
                },
            })
        }),
        1 => any::<bool>().prop_map(Arrival::Installed),
        2 => (0u64..4, log_id(), number(), prop::option::of(vote())).prop_map(|(target, matched, confirmed, higher)| {
            Arrival::Report { target, matched, confirmed, higher }
        }),
        2 => Just(Arrival::Deadline),
        4 => Just(Arrival::Flush),
        2 => Just(Arrival::Apply),
        1 => Just(Arrival::Built),
        1 => Just(Arrival::Propose),
        1 => Just(Arrival::Read),
    ]
}

/// Drives a node with arbitrary messages and a truthful disk; every call with a token must be answered in the end.
fn drive(node: &mut Bench, arrivals: Vec<Arrival>) {
    let mut tokens = BTreeMap::new();
    for arrival in arrivals {
        let now = node.now;
        let token = node.token();
        let installing = node.engine.state.installing.is_some();
        let asked = match arrival.clone() {
            Arrival::Vote(request) => {
                node.engine.handle_vote_request(now, token, request);
                true
            }
            Arrival::VoteReply(asked, mut reply) => {
                let own = node.engine.vote();
                reply.vote = if reply.granted { own } else { reply.vote };
                node.engine.handle_vote_reply(now, if reply.granted { own } else { asked }, reply);
                false
            }
            Arrival::Heartbeat(request) => {
                node.engine.handle_heartbeat(now, token, request);
                true
            }
            Arrival::Append(header, entries) => {
                node.engine.handle_append(now, token, header, entries.iter());
                true
            }
            Arrival::Snapshot(header) => {
                node.engine.handle_install_snapshot(now, token, header);
                true
            }
            Arrival::Installed(ok) => {
                if installing {
                    node.engine.handle_snapshot_installed(ok);
                }
                false
            }
            Arrival::Report { target, matched, confirmed, higher } => {
                node.run();
                if node.engine.role() == ServerState::Leader && node.engine.followers().any(|f| f.0 == target)
                {
                    let mut report = node.report_of(target, None, confirmed);
                    report.matched = Some(matched);
                    report.higher_vote = higher;
                    node.engine.handle_replication_report(now, report);
                }
                false
            }
            Arrival::Deadline => {
                if node.engine.next_deadline().is_some() {
                    node.deadline();
                }
                false
            }
            Arrival::Flush => {
                node.flush();
                false
            }
            Arrival::Apply => {
                if node.engine.state.apply_ordered > node.engine.applied() {
                    let upto = node.engine.state.apply_ordered.expect("greater than another");
                    node.engine.handle_applied(node.now, upto);
                }
                false
            }
            Arrival::Built => {
                if node.engine.trigger_snapshot() {
                    let applied = node.engine.applied();
                    node.engine.handle_snapshot_built(node.now, applied);
                }
                false
            }
            Arrival::Propose => {
                let _ = node.engine.propose(2, 2);
                false
            }
            Arrival::Read => {
                node.engine.read_index(now, vec![token]);
                true
            }
        };
        if asked {
            tokens.insert(token, arrival);
        }
        node.run();
    }
    // Whatever was asked is answered once the disk, the state machine and the leadership have come to an end.
    if node.engine.state.installing.is_some() {
        node.engine.handle_snapshot_installed(true);
    }
    if node.engine.role() == ServerState::Leader {
        let term = node.engine.vote().term / 10 * 10 + 12;
        node.heartbeat(term, None);
        assert_ne!(node.engine.role(), ServerState::Leader);
    }
    node.flush_all();
    if let Some(upto) = node.engine.state.apply_ordered {
        node.engine.handle_applied(node.now, upto);
    }
    for (token, arrival) in tokens {
        assert!(node.answer(token).is_some(), "never answered: {arrival:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_message_whatever_makes_a_node_panic_or_leaves_a_caller_without_an_answer(
        arrivals in prop::collection::vec(arrival(), 0..40),
    ) {
        drive(&mut Bench::with(config(1), found(&[1, 2, 3], &[2, 2, 4])), arrivals);
    }
}

#[test]
fn an_honest_leader_is_still_followed_after_all_refusals() {
    let mut node = purged_node();
    node.append(12, Some(at(1, 2)), &entries(3, &[1]), None);
    let token = node.append(12, Some(at(4, 5)), &entries(6, &[12]), None);
    node.flush();
    assert_eq!(node.append_answer(token), Some(AppendResult::Matched(Some(at(12, 6)))));
    assert_eq!(node.engine.vote(), title(12));
}
