//! The replicated state: a map from keys to values, and the commands that change it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use openraft_node::{App, LogId};
use serde::{Deserialize, Serialize};

use crate::snapshot_format::{Chunks, restore};

/// What is proposed. Stored in the log, so variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Sets a key.
    Put { key: String, value: Bytes },
    /// Removes a key.
    Delete { key: String },
    /// Sets a key, if its version is `if_version` when the entry is applied.
    PutIf { key: String, value: Bytes, if_version: u64 },
    /// Removes a key, if its version is `if_version` when the entry is applied.
    DeleteIf { key: String, if_version: u64 },
}

/// What the state machine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// It was done; `existed`: the key was there before.
    Done { existed: bool },
    /// The key has the version `current`, not the one that was asked for: nothing was changed.
    OtherVersion { current: u64 },
}

/// The version of a key that is not there. No key that is there has it: the entry at index 0 is the membership.
pub(crate) const NO_VERSION: u64 = 0;

/// A value and its version: the index of the log entry that wrote it, the same on every node, and never the same twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versioned {
    pub(crate) value: Bytes,
    pub(crate) version: u64,
}

/// The keys and values. A clone shares them and copies only the map, so that a snapshot or an export can be written
/// from it while entries are applied to the original.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KvState {
    entries: BTreeMap<Arc<str>, Versioned>,
    /// The index of the last command whose effect is in here.
    applied_index: Option<u64>,
}

impl App for KvState {
    type Command = Command;
    type Reply = Reply;
    /// A key.
    type Query = String;
    type Answer = Option<Versioned>;

    fn apply(&mut self, log_id: LogId<u64>, command: &Command) -> Reply {
        KvState::apply(self, log_id.index, command)
    }

    fn query(&self, key: String) -> Option<Versioned> {
        self.get(&key).cloned()
    }

    fn snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        Chunks::new(self.clone()).try_for_each(|chunk| out.write_all(&chunk))
    }

    fn restore(input: &mut dyn Read) -> io::Result<Self> {
        restore(input)
    }
}

impl KvState {
    /// Executes the command of the log entry at `index`.
    pub(crate) fn apply(&mut self, index: u64, command: &Command) -> Reply {
        self.advance(index);
        let (key, value, wanted) = match command {
            Command::Put { key, value } => (key, Some(value), None),
            Command::Delete { key } => (key, None, None),
            Command::PutIf { key, value, if_version } => (key, Some(value), Some(*if_version)),
            Command::DeleteIf { key, if_version } => (key, None, Some(*if_version)),
        };
        let current = self.get(key).map_or(NO_VERSION, |found| found.version);
        if wanted.is_some_and(|wanted| wanted != current) {
            return Reply::OtherVersion { current };
        }
        let existed = match value {
            Some(value) => self.put(index, key, value),
            None => self.entries.remove(key.as_str()).is_some(),
        };
        Reply::Done { existed }
    }

    /// Sets a key and says whether it was there before.
    fn put(&mut self, index: u64, key: &str, value: &Bytes) -> bool {
        // The entry's bytes may be a part of a large buffer: keep a copy, not the buffer.
        let versioned = Versioned { value: Bytes::copy_from_slice(value), version: index };
        match self.entries.get_mut(key) {
            Some(slot) => {
                *slot = versioned;
                true
            }
            None => self.entries.insert(Arc::from(key), versioned).is_some(),
        }
    }

    /// Notes that the command of the entry at `index` is applied.
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

    /// The index of the last command applied.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &str) -> Command {
        Command::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) }
    }

    #[test]
    fn a_put_replaces_and_a_delete_removes_and_both_say_what_was_there() {
        let mut state = KvState::default();
        assert_eq!(state.apply(1, &put("a", "x")), Reply::Done { existed: false });
        assert_eq!(state.apply(2, &put("a", "y")), Reply::Done { existed: true });
        assert_eq!(state.get("a").unwrap().version, 2);
        assert_eq!(&state.get("a").unwrap().value[..], b"y");
        assert_eq!(state.apply(3, &Command::Delete { key: "a".into() }), Reply::Done { existed: true });
        assert_eq!(state.apply(4, &Command::Delete { key: "a".into() }), Reply::Done { existed: false });
        assert_eq!((state.len(), state.applied_index()), (0, Some(4)));
    }

    #[test]
    fn a_condition_on_the_version_decides_whether_anything_changes() {
        let put_if = |value: &'static str, if_version| Command::PutIf {
            key: "a".to_owned(),
            value: Bytes::from_static(value.as_bytes()),
            if_version,
        };
        let delete_if = |if_version| Command::DeleteIf { key: "a".to_owned(), if_version };
        // The command, the answer, and the version of the key afterwards.
        let story = [
            (delete_if(5), Reply::OtherVersion { current: NO_VERSION }, None),
            (put_if("x", 5), Reply::OtherVersion { current: NO_VERSION }, None),
            (put_if("x", NO_VERSION), Reply::Done { existed: false }, Some(3)),
            (put_if("y", NO_VERSION), Reply::OtherVersion { current: 3 }, Some(3)),
            (put_if("y", 3), Reply::Done { existed: true }, Some(5)),
            (put_if("z", 3), Reply::OtherVersion { current: 5 }, Some(5)),
            (delete_if(3), Reply::OtherVersion { current: 5 }, Some(5)),
            (delete_if(5), Reply::Done { existed: true }, None),
            (delete_if(NO_VERSION), Reply::Done { existed: false }, None),
        ];
        let mut state = KvState::default();
        for (index, (command, reply, version)) in (1..).zip(story) {
            assert_eq!(state.apply(index, &command), reply, "{command:?} at {index}");
            assert_eq!(state.get("a").map(|found| found.version), version, "{command:?} at {index}");
            assert_eq!(state.applied_index(), Some(index));
        }
    }

    #[test]
    fn a_view_does_not_see_what_is_applied_later() {
        let mut state = KvState::default();
        state.apply(1, &put("a", "x"));
        let view = state.clone();
        state.apply(2, &put("a", "y"));
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
