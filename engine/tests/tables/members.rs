//! The notation of the table of membership changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use openraft_engine::{LogId, Member, Membership, MembershipChange, NewNode, StoreId};

use crate::rows::ids;

pub(crate) type Members = Membership<u64, String>;
pub(crate) type Change = MembershipChange<u64, String>;

/// The entry that states the membership by which a change begins.
pub(crate) const STATED: (u64, u64, u64) = (1, 1, 10);

/// `4*@b^10=addr-`: a node and what is out of the ordinary about it. Returns also whether it leaves.
fn node(word: &str) -> (u64, Member<u64, String>, bool) {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let mut member = Member { store_id: StoreId(0xa), ..Member::default() };
    let (mut leaves, mut rest) = (false, &word[end..]);
    while let Some(mark) = rest.chars().next() {
        let end = rest[1..].find(['*', '-', '@', '^', '=']).map_or(rest.len(), |at| at + 1);
        let value = &rest[1..end];
        match mark {
            '*' => member.promote = true,
            '-' => leaves = true,
            '@' => {
                member.store_id = StoreId(u128::from_str_radix(value, 16).expect("a store in hexadecimal"))
            }
            '^' => member.admitted = LogId::new(STATED.0, STATED.1, value.parse().expect("an index")),
            '=' => value.clone_into(&mut member.node),
            other => panic!("`{other}` in `{word}` marks nothing"),
        }
        rest = &rest[end..];
    }
    (ids(&word[..end])[0], member, leaves)
}

/// `{1,2,3}+{2,3,4} 3- 5*`: voter sets, then the nodes of which there is more to say.
pub(crate) fn membership(text: &str) -> Members {
    let mut words = text.split_whitespace();
    let sets = words.next().expect("voter sets").split('+').map(|set| ids(set).into_iter().collect());
    let sets: Vec<BTreeSet<u64>> = sets.collect();
    let mut nodes: BTreeMap<u64, _> =
        sets.iter().flatten().map(|id| (*id, node(&id.to_string()).1)).collect();
    let mut leaving = BTreeSet::new();
    for word in words {
        let (id, member, leaves) = node(word);
        nodes.insert(id, member);
        leaving.extend(leaves.then_some(id));
    }
    let remaining = nodes.keys().copied().filter(|id| !leaving.contains(id)).collect();
    Membership::try_new(sets, nodes, remaining).expect("a membership")
}

pub(crate) fn print(membership: &Members) -> String {
    let set = |set: &BTreeSet<u64>| set.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let sets: Vec<_> = membership.voters().iter().map(|ids| format!("{{{}}}", set(ids))).collect();
    let mut out = sets.join("+");
    for (id, member) in membership.nodes() {
        let mut marks = String::new();
        marks.push_str(if member.promote { "*" } else { "" });
        if member.store_id != StoreId(0xa) {
            write!(marks, "@{:x}", member.store_id.0).expect("a string");
        }
        if member.admitted.index > 0 {
            write!(marks, "^{}", member.admitted.index).expect("a string");
        }
        if !member.node.is_empty() {
            write!(marks, "={}", member.node).expect("a string");
        }
        marks.push_str(if membership.remaining().contains(id) { "" } else { "-" });
        if !marks.is_empty() || !membership.is_voter(id) {
            write!(out, " {id}{marks}").expect("a string");
        }
    }
    out
}

/// `add 4*`, `nodes= 1 2 5`, ...; several after one another by `;`.
fn change(text: &str) -> Change {
    if text.contains(';') {
        return Change::Batch(text.split(';').map(change).collect());
    }
    let (word, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
    let new = || {
        let nodes = rest.split_whitespace().map(|word| {
            let (id, Member { store_id, node, promote, .. }, _) = node(word);
            (id, NewNode { store_id, node, promote })
        });
        nodes.collect()
    };
    let known = || ids(rest).into_iter().collect();
    match word {
        "add" => Change::AddLearners(new()),
        "voters+" => Change::AddVoters(known()),
        "voters-" => Change::RemoveVoters(known()),
        "voters=" => Change::ReplaceVoters(known()),
        "nodes-" => Change::RemoveNodes(known()),
        "nodes=" => Change::ReplaceNodes(new()),
        "set" => {
            let named = rest.split_whitespace().map(node);
            Change::SetNodes(named.map(|(id, member, _)| (id, member.node)).collect())
        }
        other => panic!("`{other}` changes nothing"),
    }
}

pub(crate) fn changed(row: &str) -> String {
    let Some((before, asked)) = row.split_once('|') else { return String::new() };
    let log_id = LogId::new(STATED.0, STATED.1, STATED.2);
    match membership(before).changed(&change(asked), log_id) {
        Err(refused) => format!("refused: {refused}"),
        Ok(None) => "as it is".to_owned(),
        Ok(Some(stated)) => match stated.finished() {
            None => print(&stated),
            Some(finished) => format!("{}, then {}", print(&stated), print(&finished)),
        },
    }
}
