//! The state machine lane: applying, building a snapshot, installing one.

use std::sync::Arc;

use openraft_engine::{Membership, SnapshotMeta, StoredMembership};

use super::{Node, Snapshot, Work};
use crate::world::entry::{Entry, Payload};
use crate::world::invariants::History;
use crate::world::message::place;

impl Node {
    /// The state machine does its next piece of work.
    pub(in crate::world) fn do_work(&mut self, history: &mut History) -> bool {
        let id = self.id;
        let Some(work) = self.running().work.pop_front() else { return false };
        match work {
            Work::Apply(entries) => self.apply(entries, history),
            Work::Build => {
                let snapshot = self.build();
                let last = snapshot.meta.last_log_id;
                history.note(|| format!("{id} has built a snapshot up to {}", place(last)));
                self.snapshot = Some(snapshot);
                self.with(|engine, now| engine.handle_snapshot_built(now, last));
            }
            Work::Install(snapshot) => {
                let last = snapshot.meta.last_log_id;
                history.note(|| format!("{id} has installed the snapshot up to {}", place(last)));
                history.installed(id, &snapshot.content);
                self.machine = snapshot.content.clone();
                self.snapshot = Some(snapshot);
                self.with(|engine, _| engine.handle_snapshot_installed(true));
            }
        }
        true
    }

    fn apply(&mut self, entries: Vec<Arc<Entry>>, history: &mut History) {
        let id = self.id;
        let last = entries.last().expect("an apply has entries").log_id;
        let mut texts = Vec::new();
        for entry in entries {
            history.applied(id, self.machine.len() as u64, &entry);
            if let Payload::Write(text) = &entry.payload {
                texts.push(text.clone());
            }
            if let Some(written) = self.running().writes.remove(&entry.log_id.index) {
                let Payload::Write(text) = &written.payload else { continue };
                if written == entry {
                    history.note(|| format!("{id} answers {text}: applied"));
                } else {
                    history.note(|| format!("{id} answers {text}: lost to another leader"));
                }
            }
            self.machine.push(entry);
        }
        if !texts.is_empty() {
            history.note(|| format!("{id} applies {}", texts.join(" ")));
        }
        self.with(|engine, now| engine.handle_applied(now, last));
    }

    fn build(&self) -> Snapshot {
        let stated = self.machine.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Membership(members) => Some(StoredMembership::new(entry.log_id, members.clone())),
            Payload::Blank | Payload::Write(_) => None,
        });
        let last = self.machine.last().map(|entry| entry.log_id);
        let meta = SnapshotMeta {
            last_log_id: last,
            membership: stated
                .unwrap_or(StoredMembership { log_id: None, membership: Membership::default() }),
            snapshot_id: format!("{}-{}", self.id, place(last)),
        };
        Snapshot { meta, content: self.machine.clone() }
    }
}
