//! `Batches`: how entries are cut for the state machine, by weight and at the indexes where all nodes hash their state.

use openraft_adapters::{EntryRange, RaftTypeConfig};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batches {
    /// A batch weighs no more, unless it is one entry.
    pub(crate) max_bytes: u64,
    /// A batch ends at every multiple of this index.
    pub(crate) state_hash_every: Option<u64>,
}

impl Batches {
    /// Whether the state is hashed once the entry at `index` is applied: on every node at the same ones.
    pub(crate) fn is_hashed(&self, index: u64) -> bool {
        self.state_hash_every.is_some_and(|every| index.is_multiple_of(every))
    }

    /// Cuts `entries`, in order, into batches without gaps.
    pub(crate) fn cut<C: RaftTypeConfig>(
        self,
        entries: EntryRange<C>,
    ) -> impl Iterator<Item = EntryRange<C>> + Send {
        let mut rest = entries;
        std::iter::from_fn(move || {
            let first = rest.first_index()?;
            let mut batch = std::mem::replace(&mut rest, EntryRange::empty());
            let end = batch.end_index()?;
            let agreed = self.state_hash_every.and_then(|every| first.checked_next_multiple_of(every));
            let hashed = agreed.and_then(|index| index.checked_add(1)).filter(|hashed| *hashed < end);
            let whole = batch.clone();
            if let Some(hashed) = hashed {
                batch = batch.slice(first..hashed);
            }
            if batch.weight() > self.max_bytes {
                batch = batch.limit(self.max_bytes);
            }
            let next = batch.end_index()?;
            if next < end {
                rest = whole.slice(next..end);
            }
            Some(batch)
        })
    }
}

#[cfg(test)]
mod tests {
    use openraft_adapters::{Entry, EntryPayload};
    use openraft_engine::LogId;

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn run(sizes: &[usize]) -> EntryRange<T> {
        let mut all = EntryRange::empty();
        for (i, size) in sizes.iter().enumerate() {
            let payload = EntryPayload::Normal("x".repeat(*size));
            all.push(EntryRange::from_entries(vec![Entry::new(LogId::new(1, 1, i as u64 + 1), payload)]));
        }
        all
    }

    fn ends(batches: Batches, entries: EntryRange<T>) -> Vec<u64> {
        batches.cut(entries).map(|batch| batch.last_log_id().expect("never empty").index).collect()
    }

    #[test]
    fn a_batch_weighs_no_more_than_the_limit_unless_it_is_one_entry() {
        let one = run(&[100]).weight();
        let batches = Batches { max_bytes: 2 * one, state_hash_every: None };
        assert_eq!(ends(batches, run(&[100, 100, 100, 5_000, 100, 10])), [2, 3, 4, 6]);
        assert_eq!(ends(batches, run(&[100, 100])), [2]);
        assert!(ends(batches, EntryRange::empty()).is_empty());
    }

    #[test]
    fn a_batch_ends_wherever_the_state_is_hashed() {
        let batches = Batches { max_bytes: u64::MAX, state_hash_every: Some(3) };
        assert_eq!(ends(batches, run(&[1; 10])), [3, 6, 9, 10]);
        assert_eq!(ends(batches, run(&[1; 10]).slice(3..7)), [3, 6]);
        let every = (0..10).filter(|index| batches.is_hashed(*index));
        assert_eq!(every.collect::<Vec<_>>(), [0, 3, 6, 9]);
    }
}
