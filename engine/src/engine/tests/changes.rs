//! Stories of membership change (thesis 4): begun, joint, finished, rolled back; removed leaders and removed nodes.

use std::time::Duration;

use super::bench::{
    Bench, Cmd, Members, at, config, entries, found, membership_entry, origin, replica, title, voters,
};
use crate::{
    ChangePrecondition, ChangeRefused, Command, HeartbeatRequest, LogId, Membership, MembershipChange,
    NewNode, OwnPayload, Replica, Reply, ServerState, StoreId, VoteReply, VoteRequest,
};

type Change = MembershipChange<u64, ()>;

fn learner(id: u64, promote: bool) -> Change {
    Change::AddLearners([(id, NewNode { store_id: replica(id).store_id, node: (), promote })].into())
}

/// Node 1 leads nodes 2 and 3 in term 1; its first entry, at index 1, is committed.
pub(super) fn leader() -> Bench {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    node.flush();
    node.report(2, Some(at(1, 1)), 1);
    node.report(3, Some(at(1, 1)), 1);
    node
}

fn change_if(node: &mut Bench, change: &Change, conditions: &[ChangePrecondition<u64>]) -> (u64, Vec<Cmd>) {
    let token = node.token();
    node.engine.change_membership(node.now, token, change, conditions);
    (token, node.run())
}

fn change(node: &mut Bench, wanted: Change) -> (u64, Vec<Cmd>) {
    change_if(node, &wanted, &[])
}

fn outcome(node: &mut Bench, token: u64) -> Option<Result<LogId<u64>, ChangeRefused<u64>>> {
    node.answer(token).map(|reply| match reply {
        Reply::Membership(result) => result,
        other => panic!("{other:?} to a change"),
    })
}

fn refusal(node: &mut Bench, wanted: Change) -> ChangeRefused<u64> {
    let (token, commands) = change(node, wanted);
    assert_eq!(commands.len(), 1, "a refused change orders nothing but its answer: {commands:?}");
    outcome(node, token).expect("answered at once").expect_err("refused")
}

/// The membership that these commands append.
fn stated(commands: &[Cmd]) -> Option<Members> {
    commands.iter().find_map(|command| match command {
        Command::AppendOwnEntry { payload: OwnPayload::Membership(membership), .. } => {
            Some(membership.clone())
        }
        _ => None,
    })
}

fn text(node: &Bench) -> String {
    node.engine.membership().membership.to_string()
}

/// The disk and the followers `ids` take everything that there is.
fn spread(node: &mut Bench, ids: &[u64]) -> Vec<Cmd> {
    let mut commands = node.flush();
    for id in ids {
        let (last, position) = (node.engine.last_log_id(), node.position());
        commands.extend(node.report(*id, last, position));
    }
    commands
}

/// Node 4 is admitted, that is committed, and it has caught up.
fn with_learner_4() -> Bench {
    let mut node = leader();
    change(&mut node, learner(4, false));
    spread(&mut node, &[2, 3, 4]);
    assert_eq!(text(&node), "{1,2,3} learners {4}");
    node
}

#[test]
fn a_learner_is_replicated_to_at_once_and_the_caller_is_answered_when_its_admission_is_committed() {
    let mut node = leader();
    let (token, commands) = change(&mut node, learner(4, false));
    assert_eq!(text(&node), "{1,2,3} learners {4}");
    assert!(commands.iter().any(|command| matches!(command,
        Command::RebuildReplications { start, stop } if stop.is_empty() && start[0].replica == replica(4))));
    node.flush();
    assert_eq!(outcome(&mut node, token), None);
    node.report(2, Some(at(1, 2)), 1);
    assert_eq!(outcome(&mut node, token), Some(Ok(at(1, 2))));
    assert_eq!(node.engine.membership().membership.nodes()[&4].admitted, at(1, 2));
}

#[test]
fn a_change_of_voters_is_joint_until_the_joint_entry_is_committed_by_both_sets() {
    let mut node = with_learner_4();
    let (token, commands) = change(&mut node, Change::ReplaceVoters([1, 2, 4].into()));
    assert_eq!(stated(&commands).expect("appended").to_string(), "{1,2,3}+{1,2,4}");
    node.flush();
    let commands = node.report(3, Some(at(1, 3)), 1);
    assert_eq!(stated(&commands), None, "nodes 1 and 3 are a majority of the old voters, not of the new");
    let commands = node.report(4, Some(at(1, 3)), 1);
    assert_eq!(stated(&commands).expect("now it is finished").to_string(), "{1,2,4} learners {3}");
    assert_eq!(outcome(&mut node, token), None, "the uniform entry is not committed yet");
    spread(&mut node, &[4]);
    assert_eq!(outcome(&mut node, token), Some(Ok(at(1, 4))));
}

#[test]
fn a_second_change_is_refused_and_the_one_under_way_is_named() {
    let mut node = with_learner_4();
    change(&mut node, Change::AddVoters([4].into()));
    let in_progress = ChangeRefused::InProgress { log_id: at(1, 3), voters: [1, 2, 3, 4].into() };
    assert_eq!(refusal(&mut node, learner(5, false)), in_progress);
    assert_eq!(in_progress.to_string(), "another membership change is under way, to {1,2,3,4}");
}

#[test]
fn a_leader_takes_no_change_before_its_first_entry_is_committed() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.lead(&[2]);
    assert_eq!(refusal(&mut node, learner(4, false)), ChangeRefused::NotReady);
}

#[test]
fn only_the_leader_takes_a_change() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.heartbeat(12, None);
    assert_eq!(refusal(&mut node, learner(4, false)), ChangeRefused::NotLeader { leader: Some(2) });
}

#[test]
fn a_change_is_made_only_where_its_preconditions_hold() {
    let mut node = leader();
    let last = at(1, 1);
    for held in [
        ChangePrecondition::Membership(origin()),
        ChangePrecondition::LastLog(last),
        ChangePrecondition::Leader(last.leader_id),
    ] {
        let (token, _) = change_if(&mut node, &Change::RemoveVoters([].into()), &[held]);
        let position = node.position();
        node.report(2, Some(last), position);
        assert_eq!(
            outcome(&mut node, token),
            Some(Ok(origin())),
            "{held:?} holds, and nothing is to be changed"
        );
    }
    for broken in [
        ChangePrecondition::Membership(last),
        ChangePrecondition::LastLog(origin()),
        ChangePrecondition::Leader(at(2, 0).leader_id),
    ] {
        let conditions = [ChangePrecondition::LastLog(last), broken];
        let (token, _) = change_if(&mut node, &learner(4, false), &conditions);
        let result = outcome(&mut node, token).expect("answered at once");
        assert!(
            matches!(&result, Err(ChangeRefused::Precondition { expected, .. }) if *expected == broken),
            "{result:?}"
        );
    }
    assert_eq!(text(&node), "{1,2,3}");
}

#[test]
fn a_node_that_lags_or_does_not_answer_becomes_no_voter() {
    let mut node = leader();
    change(&mut node, learner(4, false));
    spread(&mut node, &[2, 3]);
    let refused = refusal(&mut node, Change::AddVoters([4].into()));
    assert_eq!(refused, ChangeRefused::NotCaughtUp { id: 4, matched: None, last: Some(2), reachable: true });
    let mut report = node.report_of(4, Some(at(1, 2)), 1);
    report.reachable = false;
    node.engine.handle_replication_report(node.now, report);
    let refused = refusal(&mut node, Change::AddVoters([4].into()));
    assert!(refused.to_string().contains("does not answer"), "{refused}");
}

#[test]
fn a_learner_that_keeps_up_with_a_busy_log_has_caught_up_and_one_that_falls_behind_has_not() {
    let mut node = with_learner_4();
    node.engine.propose(1, 1).expect("leads");
    node.run();
    node.advance(Duration::from_millis(100));
    let (token, _) = change(&mut node, Change::AddVoters([4].into()));
    assert_eq!(outcome(&mut node, token), None, "its last round was short");
    let mut node = with_learner_4();
    node.engine.propose(1, 1).expect("leads");
    node.run();
    node.advance(Duration::from_secs(2));
    let refused = refusal(&mut node, Change::AddVoters([4].into()));
    assert!(matches!(refused, ChangeRefused::NotCaughtUp { id: 4, .. }), "{refused}");
}

#[test]
fn a_learner_that_is_to_be_promoted_becomes_a_voter_by_itself_and_under_any_leader() {
    let mut node = leader();
    change(&mut node, learner(4, true));
    spread(&mut node, &[2, 3]);
    assert_eq!(text(&node), "{1,2,3} learners {4}");
    let commands = node.report(4, Some(at(1, 2)), 1);
    assert_eq!(stated(&commands).expect("it has caught up").to_string(), "{1,2,3}+{1,2,3,4}");
    spread(&mut node, &[2, 4]);
    spread(&mut node, &[2, 4]);
    assert_eq!(text(&node), "{1,2,3,4}");
    assert!(!node.engine.membership().membership.nodes()[&4].promote);
}

#[test]
fn a_candidate_needs_the_old_voters_too_while_a_change_is_under_way() {
    let mut node = Bench::with(config(3), joint_log());
    node.deadline();
    node.flush();
    node.grant(4);
    assert_eq!(node.engine.role(), ServerState::Candidate, "all new voters, and one of the three old ones");
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

/// The log of a member of voters 1, 2 and 3 that ends with a joint entry towards 3 and 4.
pub(super) fn joint_log() -> crate::RestartState<u64, ()> {
    let mut state = found(&[1, 2, 3], &[]);
    let joint = joint_of(&voters(&[1, 2, 3]), &[3, 4]);
    state.leader_starts.push(at(9, 1));
    state.last_log_id = Some(at(9, 1));
    state.memberships.push(crate::StoredMembership::new(at(9, 1), joint));
    state
}

#[test]
fn another_leader_finishes_the_change_that_it_finds() {
    let mut node = Bench::with(config(3), joint_log());
    node.deadline();
    node.flush();
    node.grant(1);
    assert_eq!(node.engine.role(), ServerState::Candidate, "a majority of the old voters is not enough");
    node.grant(4);
    assert_eq!(node.engine.role(), ServerState::Leader);
    node.flush();
    node.report(4, Some(at(10, 2)), 1);
    assert_eq!(text(&node), "{1,2,3}+{3,4}", "committed by no majority of the old voters");
    let leader_term = node.engine.vote().term;
    let first = LogId::new(leader_term, 3, 2);
    node.report(4, Some(first), 1);
    node.report(1, Some(first), 1);
    assert_eq!(text(&node), "{3,4}");
}

/// The joint membership from `old` to voters `new`, in which all new ones are known.
pub(super) fn joint_of(old: &Members, new: &[u64]) -> Members {
    let mut nodes = old.nodes().clone();
    nodes.extend(voters(new).nodes().clone());
    let new: std::collections::BTreeSet<u64> = new.iter().copied().collect();
    Membership::try_new(vec![old.voters()[0].clone(), new.clone()], nodes, new).expect("a membership")
}

#[test]
fn a_removed_leader_leads_uncounted_until_that_is_committed_and_then_names_the_best_voter() {
    let mut node = leader();
    let (token, _) = change(&mut node, Change::RemoveNodes([1].into()));
    node.flush();
    node.report(2, Some(at(1, 2)), 1);
    assert_eq!(text(&node), "{1,2,3}+{2,3}", "nodes 1 and 2 are one of two new voters");
    node.report(3, Some(at(1, 2)), 1);
    assert_eq!(text(&node), "{2,3}");
    node.flush();
    node.report(2, Some(at(1, 3)), 1);
    assert_eq!((outcome(&mut node, token), node.engine.role()), (None, ServerState::Leader));
    let commands = node.report(3, Some(at(1, 3)), 1);
    assert_eq!(outcome(&mut node, token), Some(Ok(at(1, 3))));
    let told = commands.iter().find_map(|command| match command {
        Command::SendTimeoutNow { to, request, .. } => Some((*to, request.last_log_id)),
        _ => None,
    });
    assert!(matches!(told, Some((2 | 3, Some(last))) if last == at(1, 3)), "{told:?}");
    assert_eq!(node.engine.role(), ServerState::Learner);
    assert!(node.engine.is_removed());
    assert_eq!(node.engine.next_deadline(), None, "it campaigns no more");
}

#[test]
fn a_removed_node_is_replicated_to_until_it_knows() {
    let mut node = leader();
    change(&mut node, Change::RemoveNodes([3].into()));
    spread(&mut node, &[2]);
    let session = node.session(3);
    let stops = |commands: &[Cmd]| {
        commands.iter().any(
            |command| matches!(command, Command::RebuildReplications { stop, .. } if stop.contains(&session)),
        )
    };
    assert_eq!(text(&node), "{1,2}");
    let commands = spread(&mut node, &[2]);
    assert!(!stops(&commands), "node 3 does not hold its removal yet");
    let commands = node.report(3, Some(at(1, 3)), 1);
    assert!(!stops(&commands), "it holds it, and is now told that it is committed");
    let position = node.position();
    let commands = node.report(3, Some(at(1, 3)), position);
    assert!(stops(&commands));
    assert_eq!(node.engine.followers().count(), 1);
}

#[test]
fn a_removed_node_that_does_not_answer_is_given_up_after_a_time() {
    let mut node = leader();
    change(&mut node, Change::RemoveNodes([3].into()));
    spread(&mut node, &[2]);
    spread(&mut node, &[2]);
    for _ in 0..200 {
        node.deadline();
        let position = node.position();
        node.report(2, Some(at(1, 3)), position);
    }
    assert_eq!(node.engine.role(), ServerState::Leader);
    assert_eq!(node.engine.followers().count(), 1, "only node 2 is still replicated to");
}

#[test]
fn an_uncommitted_change_that_is_truncated_is_rolled_back() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    let smaller = voters(&[1, 2]);
    node.append(11, Some(origin()), &[membership_entry(11, 1, joint_of(&voters(&[1, 2, 3]), &[1, 2]))], None);
    node.append(11, Some(at(11, 1)), &[membership_entry(11, 2, smaller)], None);
    assert_eq!(text(&node), "{1,2}");
    node.append(12, Some(at(11, 1)), &entries(2, &[12]), None);
    assert_eq!(text(&node), "{1,2,3}+{1,2}");
    node.append(22, Some(origin()), &entries(1, &[22]), None);
    assert_eq!(text(&node), "{1,2,3}");
}

#[test]
fn a_voter_that_only_an_uncommitted_membership_excludes_still_campaigns() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    node.append(11, Some(origin()), &[membership_entry(11, 1, joint_of(&voters(&[1, 2, 3]), &[1, 2]))], None);
    node.append(11, Some(at(11, 1)), &[membership_entry(11, 2, voters(&[1, 2]))], Some(at(11, 1)));
    node.flush();
    node.deadline();
    node.flush();
    assert_eq!(node.engine.role(), ServerState::Candidate);
    node.grant(1);
    assert_eq!(node.engine.role(), ServerState::Candidate, "it does not count itself");
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_leader_that_loses_its_title_leaves_the_callers_change_open() {
    let mut node = with_learner_4();
    let (token, _) = change(&mut node, Change::AddVoters([4].into()));
    node.heartbeat(12, None);
    assert_eq!(outcome(&mut node, token), Some(Err(ChangeRefused::LeadershipLost)));
}

fn asks(from: Replica<u64>, admitted: Option<LogId<u64>>, term: u64, last: LogId<u64>) -> VoteRequest<u64> {
    let vote = crate::Vote::new(term, from.node_id);
    VoteRequest { from, admitted, vote, last_log_id: Some(last), ..Default::default() }
}

#[test]
fn removal_is_told_only_by_a_committed_membership_and_to_no_log_that_goes_further() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let removal = [
        membership_entry(12, 1, joint_of(&voters(&[1, 2, 3]), &[1, 2])),
        membership_entry(12, 2, voters(&[1, 2])),
    ];
    node.append(12, Some(origin()), &removal, Some(at(12, 1)));
    node.flush();
    let removed = |node: &mut Bench, last: LogId<u64>| {
        let token = node.vote_request_of(asks(replica(3), Some(origin()), 5, last));
        node.flush();
        node.vote_answer(token).expect("answered").removed
    };
    assert!(!removed(&mut node, origin()), "not committed");
    node.heartbeat(12, Some(at(12, 2)));
    assert!(removed(&mut node, origin()));
    assert!(!removed(&mut node, at(13, 3)), "whose log goes further is judged as usual");
}

#[test]
fn a_node_that_hears_of_its_removal_campaigns_no_more_until_a_leader_speaks_to_it() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    node.deadline();
    let asked = node.engine.vote();
    let from = replica(1);
    let reply = VoteReply { from, vote: asked, removed: true, ..Default::default() };
    node.engine.handle_vote_reply(node.now, asked, reply);
    assert!(node.engine.is_removed());
    assert_eq!((node.engine.role(), node.engine.next_deadline()), (ServerState::Learner, None));
    node.heartbeat(12, None);
    assert!(!node.engine.is_removed());
    assert!(node.engine.next_deadline().is_some());
}

#[test]
fn a_vote_is_refused_to_another_store_of_a_node_unless_it_was_admitted_later() {
    let wiped = Replica { node_id: 2, store_id: StoreId(999) };
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let granted = |node: &mut Bench, admitted| {
        let token = node.vote_request_of(asks(wiped, admitted, 5, at(4, 9)));
        node.flush();
        node.vote_answer(token).expect("answered").granted
    };
    assert!(!granted(&mut node, None));
    assert!(!granted(&mut node, Some(origin())), "admitted by the same entry as the store that is known");
    assert!(granted(&mut node, Some(at(4, 7))), "this log does not know yet that node 2 was admitted anew");
}

#[test]
fn a_vote_or_an_acknowledgement_of_a_wiped_store_is_not_counted() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    node.grant_from(Replica { node_id: 2, store_id: StoreId(999) });
    assert_eq!(node.engine.role(), ServerState::Candidate);
    node.grant(3);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_re_admitted_node_starts_from_nothing() {
    let mut node = leader();
    change(&mut node, Change::RemoveNodes([3].into()));
    spread(&mut node, &[2]);
    spread(&mut node, &[2]);
    let old = node.session(3);
    let admit = |store: u128| {
        let new = NewNode { store_id: StoreId(store), node: (), promote: false };
        Change::AddLearners([(3, new)].into())
    };
    let (_, commands) = change(&mut node, admit(999));
    let started = commands.iter().any(|command| {
        matches!(command, Command::RebuildReplications { start, stop }
            if stop.contains(&old) && start[0].replica.store_id == StoreId(999))
    });
    assert!(started, "{commands:?}");
    let matched = node.engine.followers().find(|(id, _, _)| *id == 3).map(|(_, matched, _)| matched);
    assert_eq!(matched, Some(None));
    spread(&mut node, &[2]);
    let refused = refusal(&mut node, admit(1_000));
    assert!(refused.to_string().contains("remove the node first"), "{refused}");
}

#[test]
fn a_heartbeat_for_another_store_of_this_node_is_refused() {
    let mut node = Bench::node(1, &[1, 2, 3], &[]);
    let request = HeartbeatRequest {
        from: replica(2),
        vote: title(12),
        to: StoreId(7),
        position: 1,
        ..Default::default()
    };
    let token = node.token();
    node.engine.handle_heartbeat(node.now, token, request);
    assert!(!node.heartbeat_answer(token).expect("answered").accepted);
    assert_eq!(node.engine.leader(), None);
}

#[test]
fn a_read_is_confirmed_by_a_majority_of_both_sets_while_a_change_is_under_way() {
    let mut node = with_learner_4();
    change(&mut node, Change::ReplaceVoters([1, 4].into()));
    let token = node.token();
    node.read(vec![token]);
    let position = node.position();
    node.apply();
    node.report(4, Some(at(1, 2)), position);
    assert_eq!(node.answer(token), None, "nodes 1 and 4 are one of three old voters");
    node.report(2, Some(at(1, 2)), position);
    assert!(matches!(node.answer(token), Some(Reply::Read(Ok(_)))));
}

#[test]
fn a_new_task_to_a_known_follower_pins_no_more_of_the_log_than_the_follower_lacks() {
    let mut node = with_learner_4();
    let session = node.session(4);
    node.engine.handle_replication_ended(4, session);
    node.run();
    let mut report = node.report_of(4, None, 0);
    report.needed = 0;
    node.engine.handle_replication_report(node.now, report);
    let super::super::state::Role::Leader(leader) = &node.engine.state.role else { panic!("it leads") };
    assert_eq!(leader.followers[&4].needed, 3, "it holds the log up to index 2");
}
