//! Membership changes and their conditions, in words.

use std::collections::{BTreeMap, BTreeSet};

use openraft_engine::{ChangePrecondition, LeaderId, LogId, MembershipChange, NewNode};

use crate::world::{Address, World};

/// A change, and what must hold for it.
pub(super) struct Asked {
    pub(super) change: MembershipChange<u64, Address>,
    pub(super) preconditions: Vec<ChangePrecondition<u64>>,
}

/// `CHANGE [and CHANGE ...] [if CONDITION [CONDITION ...]]`.
pub(super) fn parse(words: &[&str], world: &World) -> Result<Asked, String> {
    let (changes, conditions) = match words.iter().position(|word| *word == "if") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let parts = changes.split(|word| *word == "and");
    let mut changes = parts.map(|part| change(part, world)).collect::<Result<Vec<_>, _>>()?;
    let change = if changes.len() == 1 { changes.remove(0) } else { MembershipChange::Batch(changes) };
    let preconditions = conditions.chunks(2).map(condition).collect::<Result<Vec<_>, _>>()?;
    Ok(Asked { change, preconditions })
}

fn change(words: &[&str], world: &World) -> Result<MembershipChange<u64, Address>, String> {
    let (name, rest) = words.split_first().ok_or("an empty change")?;
    match *name {
        "add" => {
            let promote = rest.last() == Some(&"promote");
            let ids = if promote { &rest[..rest.len() - 1] } else { rest };
            Ok(MembershipChange::AddLearners(new_nodes(ids, promote, world)?))
        }
        "nodes" => Ok(MembershipChange::ReplaceNodes(new_nodes(rest, false, world)?)),
        "voters" => Ok(MembershipChange::ReplaceVoters(ids(rest)?)),
        "promote" => Ok(MembershipChange::AddVoters(ids(rest)?)),
        "demote" => Ok(MembershipChange::RemoveVoters(ids(rest)?)),
        "remove" => Ok(MembershipChange::RemoveNodes(ids(rest)?)),
        "move" => {
            let [id, address] = rest else { return Err("say: move 2 host-9".to_owned()) };
            Ok(MembershipChange::SetNodes(BTreeMap::from([(number(id)?, (*address).to_owned())])))
        }
        _ => Err(format!("there is no change {name}")),
    }
}

fn condition(words: &[&str]) -> Result<ChangePrecondition<u64>, String> {
    match words {
        ["membership", id] => Ok(ChangePrecondition::Membership(log_id(id)?)),
        ["last", id] => Ok(ChangePrecondition::LastLog(log_id(id)?)),
        ["leader", id] => Ok(ChangePrecondition::Leader(leader_id(id)?)),
        _ => Err(format!("{} is no condition", words.join(" "))),
    }
}

fn new_nodes(
    words: &[&str],
    promote: bool,
    world: &World,
) -> Result<BTreeMap<u64, NewNode<Address>>, String> {
    Ok(ids(words)?.into_iter().map(|id| (id, world.new_node(id, promote))).collect())
}

fn ids(words: &[&str]) -> Result<BTreeSet<u64>, String> {
    words.iter().map(|word| number(word)).collect()
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no node"))
}

/// `T2-N1`.
fn leader_id(word: &str) -> Result<LeaderId<u64>, String> {
    let parts = word.strip_prefix('T').and_then(|rest| rest.split_once("-N"));
    let parts = parts.and_then(|(term, id)| Some((term.parse().ok()?, id.parse().ok()?)));
    let (term, node_id) = parts.ok_or_else(|| format!("{word} is no leader: say T2-N1"))?;
    Ok(LeaderId { term, node_id })
}

/// `T2-N1-7`.
fn log_id(word: &str) -> Result<LogId<u64>, String> {
    let parts = word.rsplit_once('-').and_then(|(leader, index)| Some((leader, index.parse().ok()?)));
    let (leader, index) = parts.ok_or_else(|| format!("{word} is no log id: say T2-N1-7"))?;
    Ok(LogId { leader_id: leader_id(leader)?, index })
}
