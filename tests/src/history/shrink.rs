//! What of a history that has no order is enough to see that it has none.
//!
//! Each step keeps what it must: if the whole had an order, the part would have one too.
//! - Up to an instant: what was called later is left out, what returned later may not have happened yet.
//! - From an instant on: the register may have held anything before; what was called before and returned later may have
//!   taken effect before or after.
//! - Without an operation, and without all that saw what it stored.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::operation::{Op, Operation, Outcome};
use super::register::{Homeless, Register, Start};
use super::search::{Verdict, search};

/// A part of a history of one register.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// The operations, in the order of their calls.
    pub(super) operations: Vec<&'a Operation>,
    /// Whether the register may have held anything before them; else the key was absent.
    pub(super) anything_before: bool,
}

/// How many operations are looked at in all before what was found is taken for small enough.
const EFFORT: u64 = 50_000_000;

/// How many returns before and behind the instant at which to look are tried first, then twice as many, and so on.
const AROUND: usize = 8;

/// A small part of `operations` that has no order. It is looked for near the instant `at` first; and at last among all of
/// them, if they are `known` to have none.
pub(super) fn shrink<'a>(operations: &[&'a Operation], at: u64, known: bool) -> Option<Part<'a>> {
    let mut shrinker = Shrinker { effort: EFFORT, stored_again: stored_again(operations) };
    let mut whole: Vec<Piece<'a>> = operations.iter().map(|operation| Piece::whole(operation)).collect();
    whole.sort_by_key(|piece| piece.original.call_ns);
    let unexplained = shrinker.seen_before_it_was_stored(&whole);
    if !unexplained.is_empty() {
        return Some(Part { operations: unexplained, anything_before: false });
    }
    let (pieces, anything_before) = match shrinker.around(&whole, at) {
        Some(pieces) => (pieces, true),
        None if known => (whole.clone(), false),
        None => return None,
    };
    let pieces = shrinker.shortest_beginning(pieces, anything_before);
    let (pieces, mut anything_before) = shrinker.shortest_end(pieces, anything_before);
    let mut pieces = shrinker.fewest(pieces, anything_before);
    if anything_before && let Some(more) = shrinker.with_sources(&pieces, &whole) {
        (pieces, anything_before) = (more, false);
    }
    // Where a part of an operation is enough, the whole of it is.
    let operations = pieces.iter().map(|piece| piece.original).collect();
    Some(Part { operations, anything_before })
}

/// An operation, or what is left of it.
#[derive(Clone, Debug)]
struct Piece<'a> {
    original: &'a Operation,
    left: Cow<'a, Operation>,
}

impl<'a> Piece<'a> {
    fn whole(original: &'a Operation) -> Self {
        Self { original, left: Cow::Borrowed(original) }
    }

    /// What it is if it may not have happened; `None`: nothing.
    fn open(&self) -> Option<Self> {
        if self.left.outcome == Outcome::Unknown {
            return Some(self.clone());
        }
        let changes = !matches!(self.left.op, Op::Get) && self.left.outcome != Outcome::Fail;
        let open = || Operation { outcome: Outcome::Unknown, return_ns: None, ..self.original.clone() };
        changes.then(|| Self { original: self.original, left: Cow::Owned(open()) })
    }

    fn returned_before(&self, instant: u64) -> bool {
        self.left.return_ns.is_some_and(|returned| returned < instant)
    }

    /// What it stores; `Some(None)`: the absence of the key.
    fn stores(&self) -> Option<Option<&'a str>> {
        match self.original.op {
            _ if self.original.outcome == Outcome::Fail => None,
            Op::Get => None,
            Op::Put | Op::Cas => Some(self.original.value.as_deref()),
            Op::Delete => Some(None),
        }
    }

    /// What it saw, or must have seen if it took effect.
    fn sees(&self) -> Option<Option<&'a str>> {
        match (self.original.op, self.original.outcome) {
            (Op::Get, Outcome::Ok) => Some(self.original.read.as_deref()),
            (Op::Cas, Outcome::Fail) => self.original.read.as_deref().map(Some),
            (Op::Cas, _) => Some(self.original.expect.as_deref()),
            _ => None,
        }
    }
}

struct Shrinker<'a> {
    /// What is left of [`EFFORT`].
    effort: u64,
    /// What is stored by more than one operation, which should be nothing. Any other value that an operation of a part
    /// stores is not what there was before that part.
    stored_again: BTreeSet<&'a str>,
}

impl<'a> Shrinker<'a> {
    fn has_no_order(&mut self, pieces: &[Piece<'_>], anything_before: bool) -> bool {
        let operations: Vec<&Operation> = pieces.iter().map(|piece| &*piece.left).collect();
        let starts = if anything_before { self.starts(&operations) } else { vec![Start::Absent] };
        starts.into_iter().all(|start| {
            // Every look costs at least as much as to prepare it.
            let spent = 10 * operations.len() as u64 + 100;
            self.effort = self.effort.saturating_sub(spent);
            let effort = (self.effort / 20).max(1);
            let verdict = search(&Register::new(&operations, start), effort);
            self.effort > 0 && verdict == Verdict::Impossible
        })
    }

    /// What the register may have held before `operations`.
    fn starts<'b>(&self, operations: &[&'b Operation]) -> Vec<Start<'b>>
    where
        'a: 'b,
    {
        let homeless = Homeless::new(operations);
        match homeless.seen[..] {
            [] => {
                let named = homeless.perhaps_seen.into_iter().chain(self.stored_again.iter().copied());
                [Start::Absent, Start::Other].into_iter().chain(named.map(Start::Value)).collect()
            }
            [value] => vec![Start::Value(value)],
            // It cannot have held both.
            _ => Vec::new(),
        }
    }

    /// An operation that saw what nobody can have stored before it returned, and whoever stored it; else nothing.
    fn seen_before_it_was_stored(&mut self, pieces: &[Piece<'a>]) -> Vec<&'a Operation> {
        let first_stored = first_stored(pieces);
        for piece in pieces {
            let Some(value @ Some(_)) = piece.sees() else { continue };
            let stored = first_stored.get(&value).copied();
            if stored.is_some_and(|stored| !piece.returned_before(stored.original.call_ns)) {
                continue;
            }
            let both: Vec<Piece<'a>> = [Some(piece), stored].into_iter().flatten().cloned().collect();
            if self.has_no_order(&both, false) {
                return both.iter().map(|piece| piece.original).collect();
            }
        }
        Vec::new()
    }

    /// What happened near an instant, if that has no order.
    fn around(&mut self, whole: &[Piece<'a>], at: u64) -> Option<Vec<Piece<'a>>> {
        let returns = returns(whole);
        let middle = returns.partition_point(|returned| *returned < at);
        let mut near = AROUND;
        while near < returns.len() {
            let (from, until) = (middle.saturating_sub(near), (middle + near).min(returns.len() - 1));
            let part = without_idle(end(&beginning(whole, returns[until]), returns[from]));
            if self.has_no_order(&part, true) {
                return Some(part);
            }
            near *= 2;
        }
        None
    }

    /// What has happened until the first return that has no order.
    fn shortest_beginning(&mut self, whole: Vec<Piece<'a>>, anything_before: bool) -> Vec<Piece<'a>> {
        let returns = returns(&whole);
        let mut shortest = whole.clone();
        let (mut low, mut high) = (0, returns.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let beginning = beginning(&whole, returns[middle]);
            if self.has_no_order(&beginning, anything_before) {
                (high, shortest) = (middle, beginning);
            } else {
                low = middle + 1;
            }
        }
        shortest
    }

    /// The last operations, and what was under way when they began.
    fn shortest_end(&mut self, pieces: Vec<Piece<'a>>, anything_before: bool) -> (Vec<Piece<'a>>, bool) {
        let last = |count: usize| end(&pieces, pieces[pieces.len() - count].original.call_ns);
        let mut enough = 1;
        loop {
            if enough >= pieces.len() {
                return (pieces, anything_before);
            }
            if self.has_no_order(&last(enough), true) {
                break;
            }
            enough *= 2;
        }
        let mut too_few = enough / 2;
        while too_few + 1 < enough {
            let middle = too_few + (enough - too_few) / 2;
            let no_order = self.has_no_order(&last(middle), true);
            *(if no_order { &mut enough } else { &mut too_few }) = middle;
        }
        (last(enough), true)
    }

    /// `pieces` with whoever stored what they saw, if they have no order either and need not be told what there was
    /// before. That is easier to see.
    fn with_sources(&mut self, pieces: &[Piece<'a>], whole: &[Piece<'a>]) -> Option<Vec<Piece<'a>>> {
        let (stored_here, stored) = (first_stored(pieces), first_stored(whole));
        let mut all = pieces.to_vec();
        let mut added = BTreeSet::new();
        for value in pieces.iter().filter_map(Piece::sees) {
            if stored_here.contains_key(&value) || !added.insert(value) {
                continue;
            }
            let source = stored.get(&value).filter(|source| source.original.op == Op::Put)?;
            all.push((*source).clone());
        }
        all.sort_by_key(|piece| piece.original.call_ns);
        let absence_is_seen = pieces.iter().any(|piece| piece.sees() == Some(None));
        (!absence_is_seen && self.has_no_order(&all, false)).then_some(all)
    }

    /// What is left when nothing more can be left out: first half of all at a time, at last one by one.
    fn fewest(&mut self, mut pieces: Vec<Piece<'a>>, anything_before: bool) -> Vec<Piece<'a>> {
        let mut size = pieces.len().div_ceil(2);
        loop {
            let mut from = 0;
            let mut fewer = false;
            while from < pieces.len() {
                let smaller = without(&pieces, from..from.saturating_add(size).min(pieces.len()));
                if self.has_no_order(&smaller, anything_before) {
                    (pieces, fewer) = (smaller, true);
                } else {
                    from += size;
                }
            }
            if size == 1 && !fewer {
                return pieces;
            }
            size = (size / 2).max(1);
        }
    }
}

fn stored_again<'a>(operations: &[&'a Operation]) -> BTreeSet<&'a str> {
    let stored = operations.iter().filter_map(|operation| Piece::whole(operation).stores()?);
    let mut once = BTreeSet::new();
    stored.filter(|value| !once.insert(*value)).collect()
}

/// The instants at which something returned.
fn returns(pieces: &[Piece<'_>]) -> Vec<u64> {
    let mut returns: Vec<u64> = pieces.iter().filter_map(|piece| piece.left.return_ns).collect();
    returns.sort_unstable();
    returns.dedup();
    returns
}

/// Who stored which value first.
fn first_stored<'a, 'b>(pieces: &'b [Piece<'a>]) -> BTreeMap<Option<&'a str>, &'b Piece<'a>> {
    let mut first = BTreeMap::new();
    for piece in pieces {
        if let Some(value) = piece.stores() {
            first.entry(value).or_insert(piece);
        }
    }
    first
}

fn beginning<'a>(pieces: &[Piece<'a>], until: u64) -> Vec<Piece<'a>> {
    let called = pieces.iter().filter(|piece| piece.original.call_ns <= until);
    let happened = |piece: &Piece<'a>| {
        if piece.left.return_ns.is_none_or(|returned| returned > until) {
            piece.open()
        } else {
            Some(piece.clone())
        }
    };
    called.filter_map(happened).collect()
}

fn end<'a>(pieces: &[Piece<'a>], from: u64) -> Vec<Piece<'a>> {
    let relevant = pieces.iter().filter(|piece| !piece.returned_before(from));
    let happens = |piece: &Piece<'a>| {
        if piece.original.call_ns < from { piece.open() } else { Some(piece.clone()) }
    };
    relevant.filter_map(happens).collect()
}

/// Without what is of unknown outcome and stores what nothing here sees.
fn without_idle(mut pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let seen: BTreeSet<Option<&str>> = pieces.iter().filter_map(Piece::sees).collect();
    let is_seen = |piece: &Piece<'_>| piece.stores().is_some_and(|value| seen.contains(&value));
    pieces.retain(|piece| piece.left.outcome != Outcome::Unknown || is_seen(piece));
    pieces
}

/// All but those at `out`, and but those that see what one that was left out stores.
fn without<'a>(pieces: &[Piece<'a>], out: std::ops::Range<usize>) -> Vec<Piece<'a>> {
    let mut left: Vec<Piece<'a>> = Vec::with_capacity(pieces.len());
    let mut gone = BTreeSet::new();
    for (index, piece) in pieces.iter().enumerate() {
        if out.contains(&index) {
            gone.extend(piece.stores());
        } else {
            left.push(piece.clone());
        }
    }
    loop {
        let before = left.len();
        left.retain(|piece| {
            let stays = piece.sees().is_none_or(|value| !gone.contains(&value));
            if !stays {
                gone.extend(piece.stores());
            }
            stays
        });
        if left.len() == before {
            return left;
        }
    }
}
