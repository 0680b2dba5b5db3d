//! Prints nodes, logs, progress and disks.

use openraft_engine::{LogIdOptionExt, ProgressState, ServerState};

use crate::world::{Image, Node, Payload, Task, World, Write, place};

/// Role, vote, and how far log, disk, commit and state machine are.
pub(super) fn state(node: &Node) -> String {
    let Some(engine) = node.engine() else { return format!("{} down", node.id) };
    let role = match engine.role() {
        ServerState::Learner => "learner",
        ServerState::Follower => "follower",
        ServerState::PreCandidate => "pre-candidate",
        ServerState::Candidate => "candidate",
        ServerState::Leader => "leader",
    };
    let mut line = format!(
        "{} {role:<9} {:<6} log {}, flushed {}, committed {}, applied {}",
        node.id,
        engine.vote().to_string(),
        place(engine.last_log_id()),
        place(engine.flushed()),
        place(engine.committed()),
        place(engine.applied())
    );
    if engine.snapshot().is_some() {
        line += &format!(", snapshot {}", place(engine.snapshot()));
    }
    if engine.purged().is_some() {
        line += &format!(", purged {}", place(engine.purged()));
    }
    line
}

/// The terms of the log's entries, from index 0 or behind what is purged.
pub(super) fn log(node: &Node) -> String {
    let image = &node.disk().submitted;
    let mut line = format!("{}:", node.id);
    if let Some(purged) = image.purged {
        line += &format!(" (purged {purged})");
    }
    for entry in image.entries.values() {
        line += &format!(" {}", entry.log_id.leader_id.term);
    }
    let durable = node.disk().durable.last().next_index();
    let end = image.last().next_index();
    if durable < end {
        line += &format!(" ({} not durable)", end - durable);
    }
    line
}

/// What the leader's task knows of a follower.
pub(super) fn progress(to: u64, task: &Task) -> String {
    let progress = task.progress();
    let state = match progress.state() {
        ProgressState::Probe(aim) => format!("probe ({aim:?})").to_lowercase(),
        ProgressState::Replicate => "replicate".to_owned(),
        ProgressState::Snapshot { needed } => format!("snapshot (needs {needed})"),
    };
    let mut line = format!(
        "to {to}: {state}, matched {}, next {}, {} under way",
        place(progress.matched()),
        progress.next(),
        progress.inflight_messages()
    );
    if task.is_paused() {
        line += ", paused";
    }
    if !task.is_reachable() {
        line += ", unreachable";
    }
    line
}

/// What is durable, and what is on the way to it.
pub(super) fn disk(node: &Node) -> Vec<String> {
    let Image { vote, .. } = &node.disk().durable;
    let mut lines =
        vec![format!("{} durable: vote {vote}, log {}", node.id, place(node.disk().durable.last()))];
    lines.extend(node.disk().pending().map(|write| format!("{} under way: {}", node.id, words(write))));
    lines.extend(node.work().into_iter().map(|work| format!("{} state machine: {work}", node.id)));
    lines
}

fn words(write: &Write) -> String {
    match write {
        Write::Vote(saved) => format!("save vote {}", saved.vote),
        Write::Append(entries) => {
            let texts: Vec<String> = entries
                .iter()
                .map(|entry| match &entry.payload {
                    Payload::Blank => format!("{} blank", entry.log_id),
                    Payload::Write(text) => format!("{} {text}", entry.log_id),
                    Payload::Membership(members) => format!("{} {members}", entry.log_id),
                })
                .collect();
            format!("append {}", texts.join(", "))
        }
        Write::Truncate(since) => format!("truncate from {since}"),
        Write::Purge(upto) => format!("purge up to {upto}"),
        Write::Committed(committed) => format!("note {committed} committed"),
    }
}

/// The membership in force, with the addresses of nodes that have moved.
pub(super) fn members(node: &Node) -> String {
    let Some(engine) = node.engine() else { return format!("{} down", node.id) };
    let stored = engine.membership();
    let mut line = format!("{}: {} by {}", node.id, stored.membership, place(stored.log_id));
    for (id, member) in stored.membership.nodes() {
        if member.node != World::address(*id) {
            line += &format!(", {id} at {}", member.node);
        }
    }
    line
}

/// Whether the node votes for nobody for now, or leads by such promises.
pub(super) fn promise(node: &Node) -> String {
    let Some(engine) = node.engine() else { return format!("{} down", node.id) };
    let what = if engine.has_lease(node.now()) {
        "has a lease"
    } else if engine.is_promised(node.now()) {
        "votes for nobody for now"
    } else {
        "is free to vote"
    };
    format!("{} {what}", node.id)
}

/// What the state machine has applied: the writes.
pub(super) fn machine(node: &Node) -> String {
    let writes: Vec<&str> = node
        .machine()
        .iter()
        .filter_map(|entry| match &entry.payload {
            Payload::Write(text) => Some(text.as_str()),
            Payload::Blank | Payload::Membership(_) => None,
        })
        .collect();
    format!("{}: {}", node.id, writes.join(" "))
}
