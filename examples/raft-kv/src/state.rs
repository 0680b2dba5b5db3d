//! The replicated state: a map from keys to values, and the commands that change it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use openraft_adapters::declare_raft_types;
use serde::{Deserialize, Serialize};

declare_raft_types!(
    /// The types of this application: node ids are `u64`, and of a node its address is known.
    pub(crate) Types: D = Command, R = Reply
);

/// What is proposed. Stored in the log, so variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Sets a key.
    Put { key: String, value: Bytes },
    /// Removes a key.
    Delete { key: String },
}

/// What the state machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Whether the key was there before.
    pub(crate) existed: bool,
}

/// A value and the index of the log entry that wrote it: the same on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) value: Bytes,
    pub(crate) modified_index: u64,
}

/// The keys and values. A clone shares them and copies only the map, so that a snapshot or an export can be written
/// from it while entries are applied to the original.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KvState {
    entries: BTreeMap<Arc<str>, Versioned>,
    /// The index of the last entry whose effect is in here.
    applied_index: Option<u64>,
}

impl KvState {
    /// Executes the command of the log entry at `index`.
    pub(crate) fn apply(&mut self, index: u64, command: &Command) -> Reply {
        self.advance(index);
        let existed = match command {
            Command::Put { key, value } => {
                // The entry's bytes may be a part of a large buffer: keep a copy, not the buffer.
                let value = Bytes::copy_from_slice(value);
                let versioned = Versioned { value, modified_index: index };
                match self.entries.get_mut(key.as_str()) {
                    Some(slot) => {
                        *slot = versioned;
                        true
                    }
                    None => self.entries.insert(Arc::from(key.as_str()), versioned).is_some(),
                }
            }
            Command::Delete { key } => self.entries.remove(key.as_str()).is_some(),
        };
        Reply { existed }
    }

    /// Notes that the entry at `index`, which changes no key, is applied.
    pub(crate) fn advance(&mut self, index: u64) {
        debug_assert!(self.applied_index.is_none_or(|applied| index > applied), "entries come in order");
        self.applied_index = Some(index);
    }

    /// Sets one key, as when a snapshot is restored.
    pub(crate) fn restore(&mut self, key: &str, versioned: Versioned) {
        self.entries.insert(Arc::from(key), versioned);
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Versioned> {
        self.entries.get(key)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The index of the last entry applied.
    pub(crate) fn applied_index(&self) -> Option<u64> {
        self.applied_index
    }

    /// The keys that follow `after` in their order, or all of them.
    pub(crate) fn next_after(&self, after: Option<&str>) -> impl Iterator<Item = (&Arc<str>, &Versioned)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<str, _>((from, Bound::Unbounded))
    }
}

/// The state as the state machine, which writes it, and the HTTP handlers, which read it, share it. Locks are held for
/// one look-up, one batch of entries, or one clone of the map, and never across an await.
#[derive(Clone, Default)]
pub(crate) struct SharedState(Arc<RwLock<KvState>>);

impl SharedState {
    /// For reading.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, KvState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For writing; only the state machine does.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, KvState> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state as it is now.
    pub(crate) fn view(&self) -> KvState {
        self.read().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Command {
        Command::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    #[test]
    fn a_put_replaces_and_a_delete_removes_and_both_say_what_was_there() {
        let mut state = KvState::default();
        assert!(!state.apply(1, &put("a", "x")).existed);
        assert!(state.apply(2, &put("a", "y")).existed);
        assert_eq!(state.get("a").unwrap().modified_index, 2);
        assert_eq!(&state.get("a").unwrap().value[..], b"y");
        assert!(state.apply(3, &Command::Delete { key: "a".into() }).existed);
        assert!(!state.apply(4, &Command::Delete { key: "a".into() }).existed);
        assert_eq!((state.len(), state.applied_index()), (0, Some(4)));
    }

    #[test]
    fn a_view_does_not_see_what_is_applied_later() {
        let shared = SharedState::default();
        shared.write().apply(1, &put("a", "x"));
        let view = shared.view();
        shared.write().apply(2, &put("a", "y"));
        assert_eq!(&view.get("a").unwrap().value[..], b"x");
    }

    #[test]
    fn a_stored_value_does_not_keep_the_batch_it_came_in() {
        let batch = Bytes::from(vec![b'x'; 4096]);
        let mut state = KvState::default();
        state.apply(1, &Command::Put { key: "a".into(), value: batch.slice(10..11) });
        assert_ne!(state.get("a").unwrap().value.as_ptr(), batch[10..].as_ptr());
    }
}
