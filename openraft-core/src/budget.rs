//! `Budget`: the bytes that entries hold in memory until they are written and applied.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is held and says when it is enough. Shared by callers, peers' messages and the core.
///
/// Held are: writes queued for the core, entries of peers queued for the core, and entries in the tail that are not
/// yet both flushed and applied. Their limit is half of the configured budget; the other half is for the windows of
/// replication. What the tail keeps for followers beyond that gives way first.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    held: AtomicU64,
}

impl Budget {
    pub(crate) fn new(memory_budget_bytes: u64) -> Self {
        Self { limit: memory_budget_bytes / 2, held: AtomicU64::new(0) }
    }

    /// How much may be held.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// How much is held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Holds `bytes`, if that is within the limit or nothing else is held. Nothing always finds room.
    ///
    /// # Errors
    /// How much is held already.
    pub(crate) fn try_hold(&self, bytes: u64) -> Result<(), u64> {
        self.held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (bytes == 0 || held == 0 || held.saturating_add(bytes) <= self.limit)
                    .then(|| held.saturating_add(bytes))
            })
            .map(|_| ())
    }

    /// Holds `bytes` whatever is held: for the few entries that the engine makes itself.
    pub(crate) fn hold(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives `bytes` back.
    pub(crate) fn release(&self, bytes: u64) {
        let before = self.held.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "{bytes} bytes given back of {before} held");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_of_any_size_is_admitted_when_nothing_is_held_and_then_the_limit_counts() {
        let budget = Budget::new(200);
        assert_eq!(budget.try_hold(1_000), Ok(()));
        assert_eq!(budget.try_hold(1), Err(1_000));
        assert_eq!(budget.try_hold(0), Ok(()), "a message without entries needs no room");
        budget.release(1_000);
        assert_eq!(budget.try_hold(60), Ok(()));
        assert_eq!(budget.try_hold(40), Ok(()));
        assert_eq!(budget.try_hold(1), Err(100));
    }
}
