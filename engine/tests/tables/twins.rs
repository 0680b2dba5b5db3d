//! What must hold for every membership change, against sets computed naively.

use std::collections::BTreeSet;

use openraft_engine::{InvalidChange, LogId, NewNode, StoreId};
use proptest::prelude::*;

use crate::members::{Change, Members, STATED, membership};

/// What the obvious twin knows of a change: who votes and who is a node when all is done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sets {
    voters: BTreeSet<u64>,
    nodes: BTreeSet<u64>,
}

/// One change after the other, by the words of its documentation; `None` if it is refused.
fn twin(sets: &mut Sets, change: &Change) -> Option<()> {
    let known = |sets: &Sets, ids: &BTreeSet<u64>| ids.is_subset(&sets.nodes).then_some(());
    match change {
        Change::AddLearners(new) => sets.nodes.extend(new.keys()),
        Change::AddVoters(ids) => {
            known(sets, ids)?;
            sets.voters = &sets.voters | ids;
        }
        Change::RemoveVoters(ids) => {
            known(sets, ids)?;
            sets.voters = &sets.voters - ids;
        }
        Change::ReplaceVoters(ids) => {
            known(sets, ids)?;
            sets.voters = ids.clone();
        }
        Change::RemoveNodes(ids) => {
            known(sets, ids)?;
            *sets = Sets { voters: &sets.voters - ids, nodes: &sets.nodes - ids };
        }
        Change::ReplaceNodes(new) => {
            sets.nodes = new.keys().copied().collect();
            sets.voters = &sets.voters & &sets.nodes;
        }
        Change::SetNodes(named) => known(sets, &named.keys().copied().collect())?,
        Change::Batch(changes) => return changes.iter().try_for_each(|change| twin(sets, change)),
    }
    Some(())
}

fn some_ids() -> impl Strategy<Value = BTreeSet<u64>> {
    prop::collection::btree_set(1u64..7, 0..5)
}

fn one_change() -> impl Strategy<Value = Change> {
    let new = |ids: BTreeSet<u64>, promote: bool| {
        let store_id = StoreId(0xa);
        ids.into_iter().map(move |id| (id, NewNode { store_id, node: String::new(), promote })).collect()
    };
    prop_oneof![
        (some_ids(), any::<bool>()).prop_map(move |(ids, promote)| Change::AddLearners(new(ids, promote))),
        some_ids().prop_map(Change::AddVoters),
        some_ids().prop_map(Change::RemoveVoters),
        some_ids().prop_map(Change::ReplaceVoters),
        some_ids().prop_map(Change::RemoveNodes),
        some_ids().prop_map(move |ids| Change::ReplaceNodes(new(ids, false))),
        some_ids().prop_map(|ids| Change::SetNodes(ids.into_iter().map(|id| (id, "x".to_owned())).collect())),
    ]
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![one_change(), prop::collection::vec(one_change(), 0..4).prop_map(Change::Batch)]
}

fn uniform() -> impl Strategy<Value = Members> {
    (prop::collection::btree_set(1u64..7, 1..6), some_ids()).prop_map(|(voters, learners)| {
        let ids: Vec<_> = voters.iter().map(u64::to_string).collect();
        let learners: Vec<_> = learners.difference(&voters).map(u64::to_string).collect();
        membership(&format!("{{{}}} {}", ids.join(","), learners.join(" ")))
    })
}

fn nodes(membership: &Members) -> BTreeSet<u64> {
    membership.nodes().keys().copied().collect()
}

/// Whether these nodes are a majority of every voter set.
fn decides(membership: &Members, nodes: &BTreeSet<u64>) -> bool {
    membership.voters().iter().all(|set| (set & nodes).len() * 2 > set.len())
}

/// Every set of the nodes 1 to 6 that decides.
fn quorums(membership: &Members) -> Vec<BTreeSet<u64>> {
    let all = (0u64..64).map(|bits| (1..7).filter(|id| bits >> (id - 1) & 1 == 1).collect());
    all.filter(|nodes: &BTreeSet<u64>| decides(membership, nodes)).collect()
}

proptest! {
    #[test]
    fn a_change_leads_where_the_twin_says(before in uniform(), change in any_change()) {
        let mut goal = Sets { voters: before.voters()[0].clone(), nodes: nodes(&before) };
        let allowed = twin(&mut goal, &change).is_some() && !goal.voters.is_empty();
        match before.changed(&change, LogId::new(STATED.0, STATED.1, STATED.2)) {
            Err(refused) => {
                prop_assert!(!allowed, "{refused} though it leads to {goal:?}");
                prop_assert!(!matches!(refused, InvalidChange::OtherStore { .. }), "there is one store only");
            }
            Ok(stated) => {
                prop_assert!(allowed);
                let stated = stated.unwrap_or_else(|| before.clone());
                stated.validate().expect("a change states a membership");
                let end = stated.finished().unwrap_or_else(|| stated.clone());
                end.validate().expect("and so does its end");
                let voters = end.voters()[0].clone();
                prop_assert_eq!(Sets { voters, nodes: nodes(&end) }, goal);
                prop_assert_eq!(end.remaining(), &nodes(&end), "nobody is left who is to leave");
                prop_assert!(end.voters()[0].iter().all(|id| !end.nodes()[id].promote), "who votes has no wish to");
                // Until the end nobody is missing who is needed.
                prop_assert!(stated.is_joint() == (stated.voters()[0] != end.voters()[0]));
                prop_assert!(nodes(&stated).is_superset(&nodes(&end)));
                prop_assert!(!stated.is_joint() || nodes(&stated).is_superset(&nodes(&before)));
            }
        }
    }

    #[test]
    fn quorums_of_memberships_that_follow_one_another_meet(before in uniform(), change in any_change()) {
        let stated = before.changed(&change, LogId::new(STATED.0, STATED.1, STATED.2));
        let Ok(Some(stated)) = stated else { return Ok(()) };
        let steps = [Some(before.clone()), Some(stated.clone()), stated.finished()];
        let steps: Vec<Members> = steps.into_iter().flatten().collect();
        for pair in steps.windows(2) {
            for (one, other) in quorums(&pair[0]).iter().flat_map(|q| quorums(&pair[1]).into_iter().map(move |o| (q, o))) {
                prop_assert!(!one.is_disjoint(&other), "{one:?} and {other:?} of {:?}", pair);
            }
        }
    }
}
