//! `PendingWrites`: the proposed writes that wait to be applied, shared by the core and the state machine's task.
//!
//! They stay here until somebody answers them: the state machine's task when it has applied them, the core when their
//! deadline passes or leadership is lost, and the core's end whatever the state machine is doing then. A state machine
//! that blocks, fails or panics takes no caller with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_adapters::RaftTypeConfig;
use openraft_engine::Timestamp;
use tokio::sync::oneshot;

use crate::WriteError;
use crate::message::WriteResult;

/// A write that waits to be applied.
pub(crate) struct PendingWrite<C: RaftTypeConfig> {
    pub(crate) index: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) tx: oneshot::Sender<WriteResult<C>>,
}

impl<C: RaftTypeConfig> PendingWrite<C> {
    /// The caller may have given up: that is its own business.
    pub(crate) fn answer(self, result: WriteResult<C>) {
        let _ = self.tx.send(result);
    }

    /// The write may yet take effect, or has without anybody here having its reply.
    pub(crate) fn unknown(self, reason: &'static str) {
        self.answer(Err(WriteError::OutcomeUnknown { reason }));
    }
}

/// Ascending in index. Clones are the same queue. The lock is taken once for a batch, and never held while a caller is
/// answered.
pub(crate) struct PendingWrites<C: RaftTypeConfig>(Arc<Mutex<VecDeque<PendingWrite<C>>>>);

impl<C: RaftTypeConfig> Clone for PendingWrites<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: RaftTypeConfig> PendingWrites<C> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<PendingWrite<C>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Adds writes, whose indexes follow all that wait.
    pub(crate) fn push(&self, writes: Vec<PendingWrite<C>>) {
        self.lock().extend(writes);
    }

    /// Takes those up to `index`.
    pub(crate) fn take_through(&self, index: u64) -> VecDeque<PendingWrite<C>> {
        let mut held = self.lock();
        let end = held.partition_point(|write| write.index <= index);
        held.drain(..end).collect()
    }

    /// Takes those from `index` on.
    pub(crate) fn take_from(&self, index: u64) -> VecDeque<PendingWrite<C>> {
        let mut held = self.lock();
        let begin = held.partition_point(|write| write.index < index);
        held.split_off(begin)
    }

    /// Takes those whose deadline has come, and says which is the earliest of the others.
    pub(crate) fn take_late(&self, now: Timestamp) -> (Vec<PendingWrite<C>>, Option<Timestamp>) {
        let mut held = self.lock();
        let (mut late, mut earliest) = (Vec::new(), None::<Timestamp>);
        for write in std::mem::take(&mut *held) {
            if write.deadline <= now {
                late.push(write);
            } else {
                earliest = Some(earliest.map_or(write.deadline, |known| known.min(write.deadline)));
                held.push_back(write);
            }
        }
        (late, earliest)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn indexes<'a>(writes: impl IntoIterator<Item = &'a PendingWrite<T>>) -> Vec<u64> {
        writes.into_iter().map(|write| write.index).collect()
    }

    #[test]
    fn each_write_is_taken_once_by_whoever_answers_it_first() {
        let pending = PendingWrites::<T>::new();
        let after = |secs| Timestamp::ZERO + Duration::from_secs(secs);
        let write = |index, secs| PendingWrite { index, deadline: after(secs), tx: oneshot::channel().0 };
        pending.push(vec![write(1, 9), write(2, 3), write(3, 5), write(4, 7)]);
        pending.push(vec![write(5, 7)]);
        assert_eq!(indexes(&pending.take_through(1)), [1]);
        let (late, next) = pending.take_late(after(3));
        assert_eq!((indexes(&late), next), (vec![2], Some(after(5))));
        assert_eq!(indexes(&pending.take_from(4)), [4, 5]);
        assert_eq!(indexes(&pending.take_through(9)), [3]);
        assert!(pending.is_empty());
        assert_eq!(pending.take_late(after(99)).1, None);
    }
}
