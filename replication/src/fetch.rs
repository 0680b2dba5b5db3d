//! Reading what is to be sent: from the tail at once, or from the log store by and by; and judging whether it may be
//! sent under the task's vote.

use std::sync::Arc;

use openraft_adapters::engine::{AppendPlan, LeaderId, LogIdOptionExt};
use openraft_adapters::{EntryRange, LogIdOf, RaftLogReader, RaftTypeConfig, ReadError, StorageError};

use crate::TailReader;

/// What one message carries.
pub(crate) struct Load<C: RaftTypeConfig> {
    pub(crate) prev: Option<LogIdOf<C>>,
    pub(crate) entries: EntryRange<C>,
}

impl<C: RaftTypeConfig> Load<C> {
    /// The last log id that the follower holds once it has taken the message.
    pub(crate) fn last(&self) -> Option<LogIdOf<C>> {
        self.entries.last_log_id().or(self.prev)
    }
}

/// What a read came to.
pub(crate) enum Fetched<C: RaftTypeConfig> {
    /// The message planned.
    Load(Load<C>),
    /// The log begins only at `first`.
    Compacted { first: u64 },
    /// The probe should begin at `next`.
    ProbeAt { next: u64 },
}

/// Why nothing was read that can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The store failed; it may be asked again.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log is not the one that the task's vote may send.
    #[error("the log is not this leader's: {0}")]
    NotOurs(String),
}

/// Where entries come from, and the leader id that none of them may exceed.
pub(crate) struct Source<C: RaftTypeConfig> {
    pub(crate) tail: Arc<dyn TailReader<C>>,
    pub(crate) log: Arc<dyn RaftLogReader<C>>,
    pub(crate) leader_id: LeaderId<C::NodeId>,
}

impl<C: RaftTypeConfig> Clone for Source<C> {
    fn clone(&self) -> Self {
        Self { tail: self.tail.clone(), log: self.log.clone(), leader_id: self.leader_id }
    }
}

impl<C: RaftTypeConfig> Source<C> {
    /// The message planned, if all of it is in memory.
    pub(crate) fn load_now(&self, plan: &AppendPlan<C::NodeId>) -> Option<Result<Load<C>, FetchError>> {
        let prev = match plan.prev_log_id {
            Some(prev) => prev,
            None => self.prev_in_memory(plan.entries.start)?,
        };
        let entries = self.entries_in_memory(plan)?;
        let load = Load { prev, entries };
        Some(self.judge(&load, plan).map(|()| load))
    }

    /// The message planned, read from the log store as far as it is not in memory.
    pub(crate) async fn load(self, plan: AppendPlan<C::NodeId>) -> Result<Fetched<C>, FetchError> {
        let prev = match plan.prev_log_id.or_else(|| self.prev_in_memory(plan.entries.start)) {
            Some(prev) => prev,
            None => match self.read_log_id(plan.entries.start - 1).await {
                Ok(prev) => Some(prev),
                // The last purged entry is the one that can still precede what is sent.
                Err(Unread::Compacted { first }) => match self.prev_in_memory(plan.entries.start) {
                    Some(prev) => prev,
                    None => return Ok(Fetched::Compacted { first }),
                },
                Err(Unread::Failed(error)) => return Err(error),
            },
        };
        let entries = match self.entries_in_memory(&plan) {
            Some(entries) => entries,
            None => match self.log.read(plan.entries.clone(), plan.max_bytes).await {
                Ok(entries) => entries,
                Err(ReadError::Compacted { first, .. }) => return Ok(Fetched::Compacted { first }),
                Err(ReadError::Storage(error)) => return Err(error.into()),
            },
        };
        let load = Load { prev, entries };
        self.judge(&load, &plan)?;
        self.judge_each(&load)?;
        Ok(Fetched::Load(load))
    }

    /// Whether the probe that begins at `next` follows an entry of a leader id up to `limit`; `None` if that entry is
    /// not in memory.
    pub(crate) fn probe_is_low_enough(&self, next: u64, limit: Option<LeaderId<C::NodeId>>) -> Option<bool> {
        let prev = self.prev_in_memory(next)?;
        Some(prev.map(|id| id.leader_id) <= limit)
    }

    /// Where to probe: after the last entry in `low - 1..high` of a leader id up to `limit`, `low` if there is none.
    /// Leader ids never fall along a log, so this needs few reads however long the leader's own terms are. What is
    /// purged counts as low enough: only a probe there shows whether the follower needs a snapshot.
    pub(crate) async fn probe_at(
        self,
        mut low: u64,
        mut high: u64,
        limit: Option<LeaderId<C::NodeId>>,
    ) -> Result<Fetched<C>, FetchError> {
        while low < high {
            let middle = low + (high - low) / 2;
            let found = match self.tail.log_id_at(middle) {
                Some(id) => Ok(id),
                None => self.read_log_id(middle).await,
            };
            let low_enough = match found {
                Ok(id) => Some(id.leader_id) <= limit,
                Err(Unread::Compacted { .. }) => true,
                Err(Unread::Failed(error)) => return Err(error),
            };
            if low_enough {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Fetched::ProbeAt { next: low })
    }

    /// The log id before `next`: `Some(None)` before the first entry, `None` if it is not in memory.
    fn prev_in_memory(&self, next: u64) -> Option<Option<LogIdOf<C>>> {
        match next.checked_sub(1) {
            None => Some(None),
            Some(index) => self.tail.log_id_at(index).map(Some),
        }
    }

    fn entries_in_memory(&self, plan: &AppendPlan<C::NodeId>) -> Option<EntryRange<C>> {
        if plan.entries.is_empty() {
            return Some(EntryRange::empty());
        }
        self.tail.read(plan.entries.clone(), plan.max_bytes)
    }

    async fn read_log_id(&self, index: u64) -> Result<LogIdOf<C>, Unread> {
        match self.log.read(index..index + 1, 1).await {
            Ok(entries) => match entries.first_log_id() {
                Some(id) if id.index == index => Ok(id),
                found => Err(Unread::Failed(FetchError::NotOurs(format!("{found:?} at index {index}")))),
            },
            Err(ReadError::Compacted { first, .. }) => Err(Unread::Compacted { first }),
            Err(ReadError::Storage(error)) => Err(Unread::Failed(error.into())),
        }
    }

    /// The entries are those planned, follow `prev`, and neither end exceeds our leader id. The log of a node that no
    /// longer leads may be truncated and written anew while its old task still reads; whoever wrote it then has a
    /// greater leader id.
    fn judge(&self, load: &Load<C>, plan: &AppendPlan<C::NodeId>) -> Result<(), FetchError> {
        let not_ours = |what: &str| {
            let (first, last) = (load.entries.first_log_id(), load.entries.last_log_id());
            Err(FetchError::NotOurs(format!(
                "{what}: {first:?} to {last:?} after {:?}, under leader id {}, for indexes {:?}",
                load.prev, self.leader_id, plan.entries
            )))
        };
        if load.prev.next_index() != plan.entries.start {
            return not_ours("the entry before the first one sent stands elsewhere");
        }
        if load.last().is_some_and(|last| last.leader_id > self.leader_id)
            || load.prev.is_some_and(|prev| prev.leader_id > self.leader_id)
        {
            return not_ours("a later leader wrote it");
        }
        if plan.entries.is_empty() {
            return if load.entries.is_empty() { Ok(()) } else { not_ours("entries were not asked for") };
        }
        let Some((first, end)) = load.entries.first_log_id().zip(load.entries.end_index()) else {
            return not_ours("there are no entries");
        };
        if first.index != plan.entries.start || end > plan.entries.end {
            return not_ours("other entries than those asked for");
        }
        if load.prev.is_some_and(|prev| first.leader_id < prev.leader_id) {
            return not_ours("leader ids fall");
        }
        Ok(())
    }

    /// What the log store returned is judged entry by entry; what is in the tail has been, when it was accepted.
    fn judge_each(&self, load: &Load<C>) -> Result<(), FetchError> {
        let mut before = load.prev;
        for entry in load.entries.iter() {
            let id = entry.log_id;
            if id.index != before.next_index() || Some(id.leader_id) < before.map(|id| id.leader_id) {
                return Err(FetchError::NotOurs(format!("{id} follows {before:?}")));
            }
            before = Some(id);
        }
        Ok(())
    }
}

enum Unread {
    Compacted { first: u64 },
    Failed(FetchError),
}
