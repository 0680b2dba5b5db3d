//! Entries, and batches of them that log, followers and state machine share without copying.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use openraft_engine::{LogId, Membership, RaftEntry};
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::{LogIdOf, MembershipOf, RaftTypeConfig};

/// What an entry weighs in memory besides its payload, in bytes: the budget's allowance for the entry itself, its
/// place in a batch and its encoded head.
pub const ENTRY_OVERHEAD_BYTES: u64 = 96;

/// What the entry of a proposal will weigh in memory, in bytes: the same as [`RaftEntry::size`] of that entry.
pub fn proposal_weight<C: RaftTypeConfig>(data: &C::D) -> u64 {
    ENTRY_OVERHEAD_BYTES + codec::encoded_size(data)
}

/// Names the attempt of one client, so that a retried write can be recognised. No release writes it yet; the stored
/// form has carried room for it from its first version on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClientSession {
    /// The client.
    pub client_id: u128,
    /// Its count of writes.
    pub sequence: u64,
}

/// One entry of the log.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Entry<C: RaftTypeConfig> {
    pub(crate) flags: u32,
    /// Where it stands and who proposed it.
    pub log_id: LogIdOf<C>,
    /// The client's attempt that proposed it, if it said so.
    pub session: Option<ClientSession>,
    /// What it holds.
    pub payload: EntryPayload<C>,
}

/// What an entry holds.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub enum EntryPayload<C: RaftTypeConfig> {
    /// Nothing: a new leader's first entry, by which it learns what is committed (paper, 8).
    Blank,
    /// A proposal of the application.
    Normal(C::D),
    /// A membership, in force from here on.
    Membership(Membership<C::NodeId, C::Node>),
}

impl<C: RaftTypeConfig> Entry<C> {
    /// An entry without a session.
    pub fn new(log_id: LogIdOf<C>, payload: EntryPayload<C>) -> Self {
        Self { flags: 0, log_id, session: None, payload }
    }
}

impl<C: RaftTypeConfig> RaftEntry<C::NodeId, C::Node> for Entry<C> {
    fn log_id(&self) -> LogId<C::NodeId> {
        self.log_id
    }

    fn size(&self) -> u64 {
        ENTRY_OVERHEAD_BYTES
            + match &self.payload {
                EntryPayload::Blank => 0,
                EntryPayload::Normal(data) => return proposal_weight::<C>(data),
                EntryPayload::Membership(membership) => codec::encoded_size(membership),
            }
    }

    fn membership(&self) -> Option<&MembershipOf<C>> {
        match &self.payload {
            EntryPayload::Membership(membership) => Some(membership),
            _ => None,
        }
    }
}

impl<C: RaftTypeConfig> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.log_id, self.payload)
    }
}

impl<C: RaftTypeConfig> fmt::Debug for EntryPayload<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryPayload::Blank => f.write_str("blank"),
            EntryPayload::Normal(data) => write!(f, "normal {data:?}"),
            EntryPayload::Membership(membership) => write!(f, "membership {membership}"),
        }
    }
}

/// Consecutive entries with their weight and, once somebody needs it, their encoded form. Held in an `Arc` by all who
/// use it and never changed.
pub struct EntryBatch<C: RaftTypeConfig> {
    entries: Vec<Entry<C>>,
    /// `weights[i]` is the weight of the first `i` entries.
    weights: Vec<u64>,
    encoded: OnceLock<EncodedBatch>,
}

/// The encoded entries one after another, and where each begins.
struct EncodedBatch {
    bytes: Bytes,
    /// One more than there are entries: entry `i` is `bytes[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
}

impl<C: RaftTypeConfig> EntryBatch<C> {
    /// A batch of consecutive entries.
    ///
    /// # Panics
    /// If `entries` is empty or its indexes have a gap.
    pub fn new(mut entries: Vec<Entry<C>>) -> Arc<Self> {
        entries.shrink_to_fit();
        Self::with_encoded(entries, OnceLock::new())
    }

    /// The batch whose entries are encoded in `bytes`, which it keeps so that they need not be encoded again.
    ///
    /// # Errors
    /// If `bytes` is not a sequence of one or more encoded entries with consecutive indexes, of which each has a next one.
    pub fn decode(bytes: Bytes) -> Result<Arc<Self>, CodecError> {
        let (entries, offsets) = codec::decode_entries::<C>(&bytes)?;
        let last = entries.last().ok_or(CodecError::Empty)?.log_id.index;
        for pair in entries.windows(2) {
            if Some(pair[1].log_id.index) != pair[0].log_id.index.checked_add(1) {
                return Err(CodecError::Gap { after: pair[0].log_id.index, found: pair[1].log_id.index });
            }
        }
        // Every index up to here has a next one, or there were a gap.
        if last == u64::MAX {
            return Err(CodecError::NoEnd);
        }
        Ok(Self::with_encoded(entries, OnceLock::from(EncodedBatch { bytes, offsets })))
    }

    fn with_encoded(entries: Vec<Entry<C>>, encoded: OnceLock<EncodedBatch>) -> Arc<Self> {
        assert!(!entries.is_empty(), "a batch holds at least one entry");
        let mut weights = Vec::with_capacity(entries.len() + 1);
        let mut total = 0;
        weights.push(0);
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(entry.log_id.index, entries[0].log_id.index + i as u64, "a batch has no gap");
            total += entry.size();
            weights.push(total);
        }
        Arc::new(Self { entries, weights, encoded })
    }

    /// The entries, at least one.
    pub fn entries(&self) -> &[Entry<C>] {
        &self.entries
    }

    fn first_index(&self) -> u64 {
        self.entries[0].log_id.index
    }

    fn encoded(&self) -> &EncodedBatch {
        self.encoded.get_or_init(|| {
            let mut out = Vec::with_capacity(self.weights[self.entries.len()] as usize);
            let mut offsets = Vec::with_capacity(self.entries.len() + 1);
            offsets.push(0);
            for entry in &self.entries {
                out = codec::encode_entry(entry, out);
                offsets.push(out.len());
            }
            EncodedBatch { bytes: Bytes::from(out), offsets }
        })
    }
}

/// A part of one batch.
struct BatchSlice<C: RaftTypeConfig> {
    batch: Arc<EntryBatch<C>>,
    /// Positions in the batch, not log indexes; never empty.
    range: Range<usize>,
}

impl<C: RaftTypeConfig> Clone for BatchSlice<C> {
    fn clone(&self) -> Self {
        Self { batch: self.batch.clone(), range: self.range.clone() }
    }
}

impl<C: RaftTypeConfig> BatchSlice<C> {
    fn first_index(&self) -> u64 {
        self.batch.first_index() + self.range.start as u64
    }

    fn end_index(&self) -> u64 {
        self.batch.first_index() + self.range.end as u64
    }

    fn entries(&self) -> &[Entry<C>] {
        &self.batch.entries[self.range.clone()]
    }

    fn weight(&self) -> u64 {
        self.batch.weights[self.range.end] - self.batch.weights[self.range.start]
    }

    fn encoded(&self) -> Bytes {
        let encoded = self.batch.encoded();
        encoded.bytes.slice(encoded.offsets[self.range.start]..encoded.offsets[self.range.end])
    }
}

/// A run of consecutive entries made of parts of shared batches. Cloning and cutting it copies no entry.
pub struct EntryRange<C: RaftTypeConfig> {
    parts: Vec<BatchSlice<C>>,
}

impl<C: RaftTypeConfig> Clone for EntryRange<C> {
    fn clone(&self) -> Self {
        Self { parts: self.parts.clone() }
    }
}

impl<C: RaftTypeConfig> Default for EntryRange<C> {
    fn default() -> Self {
        Self { parts: Vec::new() }
    }
}

impl<C: RaftTypeConfig> EntryRange<C> {
    /// The run of no entries.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The run of all entries of one batch.
    pub fn from_batch(batch: Arc<EntryBatch<C>>) -> Self {
        let range = 0..batch.entries.len();
        Self { parts: vec![BatchSlice { batch, range }] }
    }

    /// The run of the given entries.
    ///
    /// # Panics
    /// If their indexes have a gap.
    pub fn from_entries(entries: Vec<Entry<C>>) -> Self {
        if entries.is_empty() { Self::empty() } else { Self::from_batch(EntryBatch::new(entries)) }
    }

    /// Adds the entries that follow.
    ///
    /// # Panics
    /// If `next` does not begin where this run ends.
    pub fn push(&mut self, next: EntryRange<C>) {
        if let (Some(end), Some(first)) = (self.end_index(), next.first_index()) {
            assert_eq!(end, first, "a run of entries has no gap");
        }
        self.parts.extend(next.parts);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.range.len()).sum()
    }

    /// What they weigh in memory, in bytes: the sum of [`RaftEntry::size`].
    pub fn weight(&self) -> u64 {
        self.parts.iter().map(BatchSlice::weight).sum()
    }

    /// The index of the first.
    pub fn first_index(&self) -> Option<u64> {
        self.parts.first().map(BatchSlice::first_index)
    }

    /// One more than the index of the last.
    pub fn end_index(&self) -> Option<u64> {
        self.parts.last().map(BatchSlice::end_index)
    }

    /// The log id of the first.
    pub fn first_log_id(&self) -> Option<LogIdOf<C>> {
        self.iter().next().map(|entry| entry.log_id)
    }

    /// The log id of the last.
    pub fn last_log_id(&self) -> Option<LogIdOf<C>> {
        self.parts.last().and_then(|part| part.entries().last()).map(|entry| entry.log_id)
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry<C>> + Clone {
        self.parts.iter().flat_map(|part| part.entries())
    }

    /// The entries whose index lies in `indexes`, as far as they are in this run.
    pub fn slice(&self, indexes: Range<u64>) -> Self {
        let mut parts = Vec::new();
        for part in &self.parts {
            let from = indexes.start.max(part.first_index());
            let to = indexes.end.min(part.end_index());
            if from < to {
                let base = part.batch.first_index();
                parts.push(BatchSlice {
                    batch: part.batch.clone(),
                    range: (from - base) as usize..(to - base) as usize,
                });
            }
        }
        Self { parts }
    }

    /// As many entries from the first on as weigh no more than `max_bytes` together, and at least one of them.
    pub fn limit(&self, max_bytes: u64) -> Self {
        let mut parts = Vec::new();
        let mut left = max_bytes;
        for part in &self.parts {
            if part.weight() <= left {
                left -= part.weight();
                parts.push(part.clone());
                continue;
            }
            let base = part.batch.weights[part.range.start];
            let fits = part.range.clone().take_while(|i| part.batch.weights[i + 1] - base <= left).count();
            let take = if parts.is_empty() { fits.max(1) } else { fits };
            if take > 0 {
                let range = part.range.start..part.range.start + take;
                parts.push(BatchSlice { batch: part.batch.clone(), range });
            }
            break;
        }
        Self { parts }
    }

    /// The encoded entries one after another, as disk and wire carry them. Each batch is encoded at most once, by
    /// whoever asks first; the pieces are shared.
    pub fn encoded(&self) -> Vec<Bytes> {
        self.parts.iter().map(BatchSlice::encoded).collect()
    }
}

impl<C: RaftTypeConfig> fmt::Debug for EntryRange<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first_log_id(), self.last_log_id()) {
            (Some(first), Some(last)) => write!(f, "[{first}..={last}]"),
            _ => f.write_str("[]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::declare_raft_types!(T: D = String, R = ());
    crate::declare_raft_types!(Pairs: D = (u8, bool));

    fn batch(first: u64, data: &[&str]) -> EntryRange<T> {
        EntryRange::from_entries(
            data.iter()
                .enumerate()
                .map(|(i, d)| {
                    Entry::new(LogId::new(1, 1, first + i as u64), EntryPayload::Normal((*d).to_owned()))
                })
                .collect(),
        )
    }

    fn indexes(range: &EntryRange<T>) -> Vec<u64> {
        range.iter().map(|e| e.log_id.index).collect()
    }

    #[test]
    fn a_run_is_cut_by_index_across_batches() {
        let mut run = batch(3, &["a", "b"]);
        run.push(batch(5, &["c", "d", "e"]));
        assert_eq!(indexes(&run), [3, 4, 5, 6, 7]);
        assert_eq!(indexes(&run.slice(4..7)), [4, 5, 6]);
        assert_eq!(indexes(&run.slice(0..100)), [3, 4, 5, 6, 7]);
        assert!(run.slice(8..9).is_empty());
        assert_eq!((run.first_index(), run.end_index(), run.len()), (Some(3), Some(8), 5));
    }

    #[test]
    fn a_limit_in_bytes_always_lets_one_entry_through() {
        let mut run = batch(0, &["a", "b"]);
        run.push(batch(2, &["c"]));
        let one = run.slice(0..1).weight();
        assert_eq!(indexes(&run.limit(0)), [0]);
        assert_eq!(indexes(&run.limit(2 * one)), [0, 1]);
        assert_eq!(indexes(&run.limit(3 * one - 1)), [0, 1]);
        assert_eq!(indexes(&run.limit(3 * one)), [0, 1, 2]);
    }

    #[test]
    fn what_is_encoded_once_is_decoded_as_it_was_and_shares_its_bytes() {
        let run = batch(7, &["first", "second", "third"]);
        let part = run.slice(8..10).encoded().remove(0);
        let back = EntryRange::from_batch(EntryBatch::<T>::decode(part.clone()).unwrap());
        assert_eq!(indexes(&back), [8, 9]);
        assert_eq!(back.encoded()[0].as_ptr(), part.as_ptr());
        assert!(matches!(&back.iter().next().unwrap().payload, EntryPayload::Normal(d) if d == "second"));
    }

    #[test]
    fn a_proposal_of_another_type_is_an_error_that_names_the_entry_and_the_type() {
        let words = batch(7, &["first"]).encoded().remove(0);
        let Err(error @ CodecError::Proposal { .. }) = EntryBatch::<Pairs>::decode(words) else {
            panic!("it decodes, or nobody knows why not")
        };
        let said = error.to_string();
        assert!(said.contains("entry T1-N1-7 proposes does not decode as (u8, bool)"), "{said}");
    }

    #[test]
    fn an_entry_that_nothing_can_follow_is_refused() {
        let last = batch(u64::MAX, &["last"]).encoded().remove(0);
        assert_eq!(EntryBatch::<T>::decode(last).err(), Some(CodecError::NoEnd));
        let last_but_one = batch(u64::MAX - 1, &["last but one"]).encoded().remove(0);
        let run = EntryRange::from_batch(EntryBatch::<T>::decode(last_but_one).unwrap());
        assert_eq!(run.end_index(), Some(u64::MAX));
    }

    #[test]
    fn bytes_that_are_not_entries_are_an_error() {
        let good = batch(0, &["a"]).encoded().remove(0);
        let mut gap = good.to_vec();
        gap.extend_from_slice(&batch(5, &["b"]).encoded()[0]);
        assert_eq!(EntryBatch::<T>::decode(gap.into()).err(), Some(CodecError::Gap { after: 0, found: 5 }));
        assert_eq!(EntryBatch::<T>::decode(Bytes::new()).err(), Some(CodecError::Empty));
        let mut end = batch(u64::MAX, &["last"]).encoded()[0].to_vec();
        end.extend_from_slice(&good);
        assert_eq!(
            EntryBatch::<T>::decode(end.into()).err(),
            Some(CodecError::Gap { after: u64::MAX, found: 0 })
        );
        assert!(EntryBatch::<T>::decode(good.slice(..good.len() - 1)).is_err());
        let mut flagged = good.to_vec();
        flagged[4] = 1;
        assert_eq!(EntryBatch::<T>::decode(flagged.into()).err(), Some(CodecError::UnknownFlags(1)));
    }
}
