//! What may happen to a message on its way: the hook by which a test loses and delays messages.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageKind {
    /// A vote request.
    Vote,
    /// A heartbeat.
    Heartbeat,
    /// The order to campaign at once.
    TimeoutNow,
    /// A follower's question for the read index.
    ReadIndex,
    /// An append.
    Append,
    /// The beginning, a chunk or the end of a snapshot.
    Snapshot,
}

/// A message about to travel from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transit<NID> {
    /// Who sends it.
    pub from: NID,
    /// Who is to get it.
    pub to: NID,
    /// What it is about.
    pub kind: MessageKind,
    /// Whether it is the answer to a message of that kind.
    pub reply: bool,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at once.
    Deliver,
    /// It arrives after this time, on the sender's clock; on a stream not before what was sent ahead of it.
    Delay(Duration),
    /// It is lost, and with it what follows on the same stream. The sender learns of it by its deadline only.
    Drop,
}

/// Decides what becomes of each message that no cut stops. Asked in the order of sending, under the router's lock: it must not call the
/// router. Closures implement it.
pub trait Faults<NID>: Send + 'static {
    /// The fate of one message.
    fn fate(&mut self, message: &Transit<NID>) -> Fate;
}

impl<NID, F: FnMut(&Transit<NID>) -> Fate + Send + 'static> Faults<NID> for F {
    fn fate(&mut self, message: &Transit<NID>) -> Fate {
        self(message)
    }
}

/// Loses and delays messages at random, the same ones for the same seed and the same order of messages.
#[derive(Debug)]
pub struct RandomFaults {
    rng: SmallRng,
    loss: f64,
    delay: Range<Duration>,
}

impl RandomFaults {
    /// Loses a share `loss` (0 to 1) of the messages, and delays the others by a time drawn from `delay`; an empty
    /// `delay` is none.
    ///
    /// # Panics
    /// If `loss` is not between 0 and 1.
    pub fn new(seed: u64, loss: f64, delay: Range<Duration>) -> Self {
        assert!((0.0..=1.0).contains(&loss), "a share is between 0 and 1, not {loss}");
        Self { rng: SmallRng::seed_from_u64(seed), loss, delay }
    }
}

impl<NID> Faults<NID> for RandomFaults {
    fn fate(&mut self, _message: &Transit<NID>) -> Fate {
        if self.rng.random_bool(self.loss) {
            Fate::Drop
        } else if self.delay.is_empty() {
            Fate::Deliver
        } else {
            Fate::Delay(self.rng.random_range(self.delay.clone()))
        }
    }
}
