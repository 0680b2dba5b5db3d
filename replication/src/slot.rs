//! `Slot`: a place for one value between a writer and a reader, where a second value is joined to the first.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A value to which a newer one can be added so that neither is lost.
pub trait Join {
    /// Takes in a value written later.
    fn join(&mut self, newer: Self);
}

/// Holds at most one value. Writing never waits and never grows: a value that has not been taken yet is joined with the
/// next one, so that a slow reader finds the sum and not a queue.
///
/// Any number of tasks may write; one may wait in [`recv`](Slot::recv).
pub struct Slot<T> {
    value: Mutex<Option<T>>,
    filled: Notify,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), filled: Notify::new() }
    }
}

impl<T: Join> Slot<T> {
    /// An empty slot.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `value`, joining it to what has not been taken yet. Answers whether the slot was empty: then, and only
    /// then, a reader that sleeps outside [`recv`](Slot::recv) has to be woken.
    pub fn put(&self, value: T) -> bool {
        let mut held = self.lock();
        if let Some(held) = held.as_mut() {
            held.join(value);
            return false;
        }
        *held = Some(value);
        drop(held);
        self.filled.notify_one();
        true
    }

    /// Takes what is there, without waiting.
    pub fn take(&self) -> Option<T> {
        self.lock().take()
    }

    /// Waits until there is something and takes it.
    ///
    /// # Cancellation
    /// Safe: nothing is taken unless it is returned.
    pub async fn recv(&self) -> T {
        loop {
            if let Some(value) = self.take() {
                return value;
            }
            self.filled.notified().await;
        }
    }

    /// The lock guards plain assignments: what a panicking holder left behind is a whole value or none.
    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    impl Join for Vec<u32> {
        fn join(&mut self, newer: Self) {
            self.extend(newer);
        }
    }

    #[test]
    fn a_value_that_was_not_taken_is_joined_and_only_the_first_finds_the_slot_empty() {
        let slot = Slot::new();
        assert!(slot.put(vec![1]));
        assert!(!slot.put(vec![2]));
        assert_eq!(slot.take(), Some(vec![1, 2]));
        assert_eq!(slot.take(), None);
        assert!(slot.put(vec![3]));
    }

    #[test]
    fn a_reader_that_gives_up_waiting_loses_nothing() {
        let slot = Slot::new();
        assert_eq!(slot.recv().now_or_never(), None);
        slot.put(vec![1]);
        slot.put(vec![2]);
        assert_eq!(slot.recv().now_or_never(), Some(vec![1, 2]));
        assert_eq!(slot.recv().now_or_never(), None);
    }
}
