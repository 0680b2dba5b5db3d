//! The search for an order in which the steps on one register may have taken effect.
//!
//! As by Wing and Gong, and Lowe: whatever was called before anything that is left had to be done may be next; what was
//! reached by two ways is looked at once. Five rules keep the search from branching where nothing depends on it:
//! 1. A step that sees what the register holds and changes nothing is taken at once: later is never better.
//! 2. So is one that stores what nobody sees, where the register holds such a value; and it is taken before any other
//!    store, which overwrites it.
//! 3. A value that comes once must not be overwritten while a step is left that sees it. If that step stores something
//!    itself, it is next.
//! 4. What is optional is used only where an operation waits that would see its effect.
//! 5. Where the register holds a value that nothing sees any more, what comes next is a store. If a store of a value that
//!    comes once can be taken now, with all that sees it, and so on to a value that nothing sees any more, this is one
//!    way to begin if there is any: in any order, that block can be moved to the front. No other way is tried then.
//!
//! By rule 5 a history without deletes is decided in one pass. Where deletes make the same value come again and again,
//! the search is one, and has a limit.

use std::collections::BTreeMap;

use super::register::{Effect, Register, UNSEEN, Value, ValueId};

/// What a search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an order.
    Possible,
    /// There is none.
    Impossible,
    /// It was given up.
    Undecided,
}

/// How many states are kept in memory at most: beyond that, what is reached by two ways may be looked at twice.
const KEPT_MAX: usize = 1 << 22;

/// Searches, and looks at no more than `effort` operations that may be next.
pub(super) fn search(register: &Register, effort: u64) -> Verdict {
    search_how_far(register, effort).0
}

/// Searches likewise, and tells how far any way led: all that was found returned before this instant.
pub(super) fn search_how_far(register: &Register, effort: u64) -> (Verdict, u64) {
    let mut search = Search::new(register, effort);
    (search.run(), search.furthest)
}

type Node = u32;
const HEAD: Node = 0;

/// Calls and latest returns of the steps that are left, in the order of time: a list with two links.
struct Events {
    at: Vec<u64>,
    step: Vec<u32>,
    next: Vec<Node>,
    previous: Vec<Node>,
    call: Vec<Node>,
    until: Vec<Node>,
}

struct Search<'a> {
    register: &'a Register,
    events: Events,
    holds: ValueId,
    /// Of each value, the steps left that see it and change nothing, and those that swap it.
    seen_left: Vec<u32>,
    swapped_left: Vec<u32>,
    /// How many of each kind of optional operations were used.
    used: Vec<usize>,
    /// The steps taken, the latest last, and a digest of the set of them.
    taken: Vec<u32>,
    digest: u128,
    frames: Vec<Frame>,
    /// States that were reached, with the fewest of the first kind of optional operations that they took.
    reached: BTreeMap<u128, usize>,
    /// Whether a state can be reached by two ways that are both tried.
    branches: bool,
    /// The steps that may be next, and the instant before which all of them were called.
    enabled: Vec<u32>,
    frontier: u64,
    /// The latest that `frontier` ever was, but for the end of all.
    furthest: u64,
    effort: u64,
}

/// A point at which something had to be chosen.
struct Frame {
    place: Place,
    /// What is still to be tried, the best last.
    moves: Vec<Move>,
    tried: Option<Move>,
    holds: ValueId,
    taken: usize,
}

/// Which kind of point.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing sees any more what the register holds: rule 5.
    Free,
    /// There is one way on: rule 3.
    Bound,
    /// Anything else.
    Open,
}

#[derive(Clone, Copy)]
enum Move {
    /// This step.
    Step(u32),
    /// All steps that may be next and store what nobody sees.
    Unseen,
    /// The next of this kind of optional operations.
    Optional(usize),
}

impl Events {
    fn new(register: &Register) -> Self {
        let steps = register.steps.len();
        // At one instant, calls come first: what only touches may be in either order.
        let calls = register.steps.iter().zip(0u32..).map(|(step, index)| (step.call, false, index));
        let untils = register.steps.iter().zip(0u32..).map(|(step, index)| (step.until, true, index));
        let mut order: Vec<(u64, bool, u32)> = calls.chain(untils).collect();
        order.sort_unstable();
        let nodes =
            Node::try_from(order.len() + 2).expect("fewer than two thousand million operations on a key");
        let mut events = Self {
            at: vec![0; order.len() + 2],
            step: vec![0; order.len() + 2],
            next: (1..=nodes).collect(),
            previous: (0..nodes).map(|node| node.saturating_sub(1)).collect(),
            call: vec![0; steps],
            until: vec![0; steps],
        };
        for ((at, is_until, step), node) in order.into_iter().zip(1..) {
            events.at[node as usize] = at;
            events.step[node as usize] = step;
            let places = if is_until { &mut events.until } else { &mut events.call };
            places[step as usize] = node;
        }
        events
    }

    fn tail(&self) -> Node {
        (self.at.len() - 1) as Node
    }

    fn is_call(&self, node: Node) -> bool {
        self.call[self.step[node as usize] as usize] == node
    }

    fn take_out(&mut self, step: u32) {
        for node in [self.call[step as usize], self.until[step as usize]] {
            let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
            self.next[previous as usize] = next;
            self.previous[next as usize] = previous;
        }
    }

    /// Undoes the latest [`take_out`](Self::take_out) that was not undone yet, which was of `step`.
    fn put_back(&mut self, step: u32) {
        for node in [self.until[step as usize], self.call[step as usize]] {
            let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
            self.next[previous as usize] = node;
            self.previous[next as usize] = node;
        }
    }
}

impl<'a> Search<'a> {
    fn new(register: &'a Register, effort: u64) -> Self {
        let values = &register.values;
        let comes_again = values.iter().any(|value| !value.once && value.seen + value.swapped > 0);
        Self {
            register,
            events: Events::new(register),
            holds: register.start,
            seen_left: values.iter().map(|value| value.seen).collect(),
            swapped_left: values.iter().map(|value| value.swapped).collect(),
            used: vec![0; register.optional.len()],
            taken: Vec::new(),
            digest: 0,
            frames: Vec::new(),
            reached: BTreeMap::new(),
            branches: comes_again || !register.optional.is_empty(),
            enabled: Vec::new(),
            frontier: 0,
            furthest: 0,
            effort,
        }
    }

    fn run(&mut self) -> Verdict {
        loop {
            self.settle();
            if self.taken.len() == self.register.steps.len() {
                return Verdict::Possible;
            }
            let (place, moves) = self.moves();
            if place == Place::Free {
                self.commit();
            }
            let taken = self.taken.len();
            self.frames.push(Frame { place, moves, tried: None, holds: self.holds, taken });
            if !self.advance() {
                return Verdict::Impossible;
            }
            if self.effort == 0 {
                return Verdict::Undecided;
            }
        }
    }

    fn effect(&self, step: u32) -> Effect {
        self.register.steps[step as usize].effect
    }

    /// Takes what rules 1 and 2 take at once, and finds what may be next then.
    fn settle(&mut self) {
        self.enabled.clear();
        let tail = self.events.tail();
        let mut node = self.events.next[HEAD as usize];
        let mut looked_at = 1;
        while node != tail && self.events.is_call(node) {
            looked_at += 1;
            let step = self.events.step[node as usize];
            let effect = self.effect(step);
            if effect == Effect::See(self.holds) || (effect, self.holds) == (Effect::Store(UNSEEN), UNSEEN) {
                let previous = self.events.previous[node as usize];
                self.take(step);
                node = self.events.next[previous as usize];
            } else {
                self.enabled.push(step);
                node = self.events.next[node as usize];
            }
        }
        self.frontier = if node == tail { u64::MAX } else { self.events.at[node as usize] };
        if self.frontier < u64::MAX {
            self.furthest = self.furthest.max(self.frontier);
        }
        self.effort = self.effort.saturating_sub(looked_at);
    }

    /// What is worth trying, the best last.
    fn moves(&mut self) -> (Place, Vec<Move>) {
        let holds = self.holds;
        let value = self.register.values[holds];
        let mut place = Place::Open;
        if value.once {
            match (self.seen_left[holds], self.swapped_left[holds]) {
                (0, 0) if value.optionally_swapped => {}
                (0, 0) => place = Place::Free,
                (0, 1) => {
                    let swaps = |step: &u32| self.effect(*step).sees() == Some(holds);
                    return (
                        Place::Bound,
                        self.enabled.iter().copied().find(swaps).map(Move::Step).into_iter().collect(),
                    );
                }
                _ => return (Place::Bound, Vec::new()),
            }
        }
        if self.branches && self.was_reached() {
            return (place, Vec::new());
        }
        let mut moves = self.optional_moves();
        let has = |effect: Effect| self.enabled.iter().any(|step| self.effect(*step) == effect);
        if has(Effect::Store(UNSEEN)) {
            moves.push(Move::Unseen);
        } else {
            moves.extend(self.stores().into_iter().map(Move::Step));
        }
        let swaps = |step: &&u32| matches!(self.effect(**step), Effect::Swap(found, _) if found == holds);
        moves.extend(self.enabled.iter().filter(swaps).map(|step| Move::Step(*step)));
        (place, moves)
    }

    /// Whether this state was reached before, with no more of the optional operations used.
    fn was_reached(&mut self) -> bool {
        let mut key = self.digest ^ digest(0, self.holds);
        for (kind, used) in self.used.iter().enumerate().skip(1) {
            key ^= digest(1 + kind as u64, *used);
        }
        let used = self.used.first().copied().unwrap_or(0);
        let full = self.reached.len() >= KEPT_MAX;
        match self.reached.get_mut(&key) {
            Some(least) if *least <= used => return true,
            Some(least) => *least = used,
            None if full => {}
            None => {
                self.reached.insert(key, used);
            }
        }
        false
    }

    /// Rule 4.
    fn optional_moves(&self) -> Vec<Move> {
        let useful = |kind: &usize| {
            let optional = &self.register.optional[*kind];
            let due = optional.calls.get(self.used[*kind]).is_some_and(|call| *call <= self.frontier);
            let possible = !matches!(optional.effect, Effect::Swap(found, _) if found != self.holds);
            due && possible
                && optional.effect.stores().is_some_and(|value| {
                    let sees = |step: &u32| self.effect(*step).sees() == Some(value);
                    let awaited =
                        self.enabled.iter().any(sees) || self.register.values[value].optionally_swapped;
                    value != self.holds && awaited
                })
        };
        (0..self.used.len()).filter(useful).map(Move::Optional).collect()
    }

    /// The stores that may be next. The best last: values that come once, and of these the one that is seen for the last
    /// time first.
    fn stores(&self) -> Vec<u32> {
        let store = |step: &u32| match self.effect(*step) {
            Effect::Store(value) => {
                let Value { once, last_call, .. } = self.register.values[value];
                Some(((once, std::cmp::Reverse(last_call)), *step))
            }
            _ => None,
        };
        let mut stores: Vec<_> = self.enabled.iter().filter_map(store).collect();
        stores.sort_unstable();
        stores.into_iter().map(|(_, step)| step).collect()
    }

    /// Rule 5, now that nothing sees any more what the register holds.
    fn commit(&mut self) {
        let Some(frame) = self.frames.iter_mut().rev().find(|frame| frame.place != Place::Bound) else {
            return;
        };
        let once = match frame.tried {
            Some(Move::Unseen) => true,
            Some(Move::Step(step)) => {
                let effect = self.register.steps[step as usize].effect;
                effect.stores().is_some_and(|value| self.register.values[value].once)
            }
            _ => false,
        };
        if frame.place == Place::Free && once {
            frame.moves.clear();
        }
    }

    /// Makes the best move that was not tried, going back as far as it must. `false`: there is none.
    fn advance(&mut self) -> bool {
        let mut went_back = false;
        loop {
            let Some(frame) = self.frames.last_mut() else { return false };
            if let Some(Move::Optional(kind)) = frame.tried {
                self.used[kind] -= 1;
            }
            self.holds = frame.holds;
            frame.tried = frame.moves.pop();
            let (tried, taken) = (frame.tried, frame.taken);
            while self.taken.len() > taken {
                went_back = true;
                self.untake();
            }
            let Some(tried) = tried else {
                self.frames.pop();
                continue;
            };
            if went_back {
                // What may be next is as it was when the frame was made.
                self.settle();
            }
            self.make(tried);
            return true;
        }
    }

    fn make(&mut self, chosen: Move) {
        match chosen {
            Move::Step(step) => {
                self.holds = self.effect(step).stores().expect("what changes nothing is taken at once");
                self.take(step);
            }
            Move::Unseen => {
                for index in 0..self.enabled.len() {
                    let step = self.enabled[index];
                    if self.effect(step) == Effect::Store(UNSEEN) {
                        self.take(step);
                    }
                }
                self.holds = UNSEEN;
            }
            Move::Optional(kind) => {
                self.holds = self.register.optional[kind].effect.stores().expect("what is optional stores");
                self.used[kind] += 1;
            }
        }
    }

    fn take(&mut self, step: u32) {
        self.events.take_out(step);
        self.count(step, u32::wrapping_sub);
        self.taken.push(step);
    }

    fn untake(&mut self) {
        let step = self.taken.pop().expect("more was taken");
        self.count(step, u32::wrapping_add);
        self.events.put_back(step);
    }

    fn count(&mut self, step: u32, change: fn(u32, u32) -> u32) {
        self.digest ^= digest(u64::MAX, step as usize);
        let left = match self.effect(step) {
            Effect::See(value) => &mut self.seen_left[value],
            Effect::Swap(value, _) => &mut self.swapped_left[value],
            Effect::Store(_) => return,
        };
        *left = change(*left, 1);
    }
}

/// A number drawn for this member of this family. Sets are compared by the sum of their members' numbers: that two of the
/// states of one search have the same is less likely than a fault of the machine.
fn digest(family: u64, member: usize) -> u128 {
    let half = |seed: u64| {
        let mut mixed = (family ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (member as u64);
        mixed = (mixed ^ (mixed >> 30)).wrapping_add(seed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (u128::from(half(0x243f_6a88_85a3_08d3)) << 64) | u128::from(half(0x1319_8a2e_0370_7344))
}
