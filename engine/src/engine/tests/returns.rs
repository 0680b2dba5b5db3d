//! Stories of nodes that return or join in the middle of membership changes: what they know of themselves, and what
//! others make of them.

use std::collections::BTreeSet;

use super::bench::{
    Bench, Cmd, Entry, at, config, entries, found, membership_entry, origin, replica, title, voters,
};
use super::changes::joint_of;
use crate::{
    AppendResult, Command, Membership, MembershipChange, Reply, RestartState, ServerState, StoredMembership,
    VoteReply, VoteRequest,
};

/// What the store of a former or present member holds from which node 3 was removed: the joint entry at index 1, the
/// uniform one at index 2; all of it is applied.
fn removal_applied() -> RestartState<u64, ()> {
    let mut state = found(&[1, 2, 3], &[11, 11]);
    let joint = joint_of(&voters(&[1, 2, 3]), &[1, 2]);
    state.memberships =
        vec![StoredMembership::new(at(11, 1), joint), StoredMembership::new(at(11, 2), voters(&[1, 2]))];
    state.applied = state.last_log_id;
    state.committed_hint = state.last_log_id;
    state
}

#[test]
fn a_removed_node_that_restarts_still_knows_it_and_does_not_campaign() {
    let mut node = Bench::with(config(3), removal_applied());
    node.run();
    assert_eq!((node.engine.role(), node.engine.next_deadline()), (ServerState::Learner, None));
    assert!(node.engine.is_removed());
}

#[test]
fn a_removed_node_whose_state_lives_in_memory_still_knows_it_when_it_restarts() {
    let state = RestartState { applied: None, ..removal_applied() };
    let mut node = Bench::with(config(3), state);
    node.run();
    assert!(node.engine.is_removed());
    assert_eq!(node.engine.next_deadline(), None);
}

#[test]
fn a_member_that_restarts_still_tells_a_removed_node_of_its_removal() {
    let mut node = Bench::with(config(1), removal_applied());
    let vote = crate::Vote::new(20, 3);
    let request = VoteRequest { from: replica(3), vote, last_log_id: Some(origin()), ..Default::default() };
    let token = node.vote_request_of(request);
    assert!(node.vote_answer(token).expect("answered").removed);
}

#[test]
fn a_candidate_that_only_an_uncommitted_membership_excludes_still_states_its_admission() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    node.append(11, Some(origin()), &[membership_entry(11, 1, joint_of(&voters(&[1, 2, 3]), &[1, 2]))], None);
    node.append(11, Some(at(11, 1)), &[membership_entry(11, 2, voters(&[1, 2]))], Some(at(11, 1)));
    node.flush();
    node.deadline();
    let commands = node.flush();
    let admitted: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::SendVote { request, .. } => Some(request.admitted),
            _ => None,
        })
        .collect();
    // A voter whose log still names an earlier store of this node listens to a later admission only.
    assert_eq!(admitted, [Some(origin()), Some(origin())]);
}

#[test]
fn a_late_answer_that_speaks_of_removal_does_not_end_a_later_campaign() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    node.deadline();
    node.flush();
    let asked = node.engine.vote();
    node.append(11, Some(origin()), &entries(1, &[11]), None);
    node.flush();
    node.deadline();
    node.flush();
    assert_eq!(node.engine.role(), ServerState::Candidate);
    let reply = VoteReply { from: replica(1), vote: asked, removed: true, ..Default::default() };
    node.engine.handle_vote_reply(node.now, asked, reply);
    assert!(!node.engine.is_removed(), "the log reaches further since it was asked");
    node.grant(2);
    assert_eq!(node.engine.role(), ServerState::Leader);
}

#[test]
fn a_node_that_is_being_caught_up_was_not_removed() {
    let mut node = Bench::with(config(4), RestartState::default());
    let initial = [Entry { log_id: origin(), membership: Some(voters(&[1, 2, 3])), value: 0 }];
    node.append(11, None, &initial, Some(origin()));
    node.flush();
    assert_eq!(node.engine.committed(), Some(origin()));
    assert!(!node.engine.is_removed(), "its admission is yet to come");
}

#[test]
fn a_joint_membership_whose_new_voters_would_not_all_remain_is_refused() {
    let mut node = Bench::node(3, &[1, 2, 3], &[]);
    let old = voters(&[1, 2, 3]);
    let new = BTreeSet::from([2, 3]);
    let sets = vec![old.voters()[0].clone(), new];
    // Finished, it would have a voter whom nobody could find.
    let lie = Membership::unchecked_of(sets, old.nodes().clone(), [2]);
    let token = node.append(11, Some(origin()), &[membership_entry(11, 1, lie)], None);
    assert_eq!(node.append_answer(token), Some(AppendResult::Refused));
}

#[test]
fn that_a_change_is_made_already_is_said_only_by_who_is_known_to_lead_still() {
    let lead = || {
        let mut node = Bench::node(1, &[1, 2, 3], &[]);
        node.lead(&[2]);
        node.flush();
        node.report(2, Some(at(1, 1)), 1);
        let token = node.token();
        node.engine.change_membership(node.now, token, &MembershipChange::AddVoters([3].into()), &[]);
        let commands: Vec<Cmd> = node.run();
        assert!(!commands.iter().any(|c| matches!(c, Command::AppendOwnEntry { .. })), "nothing is written");
        assert_eq!(node.answer(token), None, "another may lead by now, and have removed node 3");
        (node, token)
    };
    let (mut node, token) = lead();
    let position = node.position();
    node.report(2, Some(at(1, 1)), position);
    assert_eq!(node.answer(token), Some(Reply::Membership(Ok(origin()))));
    let (mut node, token) = lead();
    assert!(title(12) > node.engine.vote());
    node.heartbeat(12, None);
    assert!(matches!(node.answer(token), Some(Reply::Membership(Err(_)))));
}
