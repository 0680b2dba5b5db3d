//! The operations on one key as steps of one register: what must take effect, until when, and what need not be looked at.
//!
//! Where a value has a single source, everything follows from who saw it: a write of unknown outcome whose value was
//! seen did take effect, and before whoever saw it returned; one whose value nobody saw makes no difference, and is left
//! out. What remains optional is what has several sources: in a history whose values are unique, only the absence of the
//! key, by deletes of unknown outcome.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::operation::{Op, Operation, Outcome};

/// A value of the register, by number.
pub(super) type ValueId = usize;

/// The key is absent.
const ABSENT: ValueId = 0;

/// Any value that nobody sees: one is as good as another.
pub(super) const UNSEEN: ValueId = 1;

/// What a step does to the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    /// Finds this value.
    See(ValueId),
    /// Stores this value, whatever it finds.
    Store(ValueId),
    /// Finds the first value and stores the second.
    Swap(ValueId, ValueId),
}

impl Effect {
    /// The value that it must find.
    pub(super) fn sees(self) -> Option<ValueId> {
        match self {
            Effect::See(value) | Effect::Swap(value, _) => Some(value),
            Effect::Store(_) => None,
        }
    }

    /// The value that it leaves behind, if it changes anything.
    pub(super) fn stores(self) -> Option<ValueId> {
        match self {
            Effect::Store(value) | Effect::Swap(_, value) => Some(value),
            Effect::See(_) => None,
        }
    }
}

/// An operation that takes effect, once, between two instants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) effect: Effect,
    pub(super) call: u64,
    /// Not after this, `u64::MAX` at any time.
    pub(super) until: u64,
}

/// Operations that do the same and may each take effect once, at any time after their call, or never.
#[derive(Clone, Debug)]
pub(super) struct Optional {
    pub(super) effect: Effect,
    /// The earliest first: whoever uses one uses the earliest that is left.
    pub(super) calls: Vec<u64>,
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Value {
    /// The register comes to hold it once at most.
    pub(super) once: bool,
    /// How many steps see it and change nothing.
    pub(super) seen: u32,
    /// How many steps see it and store another.
    pub(super) swapped: u32,
    /// The latest call of a step that sees it.
    pub(super) last_call: u64,
    /// Whether an optional operation must find it.
    pub(super) optionally_swapped: bool,
}

/// What the register holds at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// The key is absent.
    Absent,
    /// This value.
    Value(&'a str),
    /// A value that no operation knows.
    Other,
}

/// One register, and what is to be put in an order.
#[derive(Debug)]
pub(super) struct Register {
    pub(super) start: ValueId,
    pub(super) steps: Vec<Step>,
    pub(super) optional: Vec<Optional>,
    pub(super) values: Vec<Value>,
}

/// An operation that may have taken effect.
#[derive(Clone, Copy, Debug)]
struct Draft {
    step: Step,
    required: bool,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Nowhere,
    Start,
    One(usize),
    Many,
}

impl Register {
    /// The register of these operations, which are all on one key.
    pub(super) fn new(operations: &[&Operation], start: Start<'_>) -> Self {
        let mut names = Names::default();
        let mut drafts: Vec<Draft> =
            operations.iter().filter_map(|operation| draft(operation, &mut names)).collect();
        let start = match start {
            Start::Absent => ABSENT,
            Start::Value(name) => names.id(Some(name)),
            Start::Other => names.fresh(),
        };
        let mut sources = vec![Source::Nowhere; names.count];
        sources[start] = Source::Start;
        for (index, draft) in drafts.iter().enumerate() {
            if let Some(value) = draft.step.effect.stores() {
                let source = &mut sources[value];
                *source = if *source == Source::Nowhere { Source::One(index) } else { Source::Many };
            }
        }
        hasten(&mut drafts, &sources);
        let wanted = wanted(&drafts, names.count);
        Self::assemble(&drafts, &sources, &wanted, start)
    }

    fn assemble(drafts: &[Draft], sources: &[Source], wanted: &[bool], start: ValueId) -> Self {
        let unless_unseen = |value: ValueId| if wanted[value] { value } else { UNSEEN };
        let mut values = vec![Value::default(); sources.len()];
        for (value, source) in values.iter_mut().zip(sources) {
            value.once = *source != Source::Many;
        }
        let mut steps = Vec::new();
        let mut optional: BTreeMap<Effect, Vec<u64>> = BTreeMap::new();
        for Draft { step, required } in drafts {
            let effect = match step.effect {
                Effect::See(value) => Effect::See(value),
                Effect::Store(value) => Effect::Store(unless_unseen(value)),
                Effect::Swap(found, value) => Effect::Swap(found, unless_unseen(value)),
            };
            if !required {
                if effect.stores() != Some(UNSEEN) {
                    optional.entry(effect).or_default().push(step.call);
                    if let Some(value) = effect.sees() {
                        values[value].optionally_swapped = true;
                    }
                }
                continue;
            }
            if let Some(value) = effect.sees() {
                let value = &mut values[value];
                value.last_call = value.last_call.max(step.call);
                let count = if effect.stores().is_some() { &mut value.swapped } else { &mut value.seen };
                *count += 1;
            }
            steps.push(Step { effect, ..*step });
        }
        let by_call = |(effect, mut calls): (Effect, Vec<u64>)| {
            calls.sort_unstable();
            Optional { effect, calls }
        };
        let optional = optional.into_iter().map(by_call).collect();
        let mut register = Self { start: unless_unseen(start), steps, optional, values };
        register.delay();
        register
    }

    /// While a value that comes once is there, only who sees it takes effect. So whatever must be done before the last of
    /// them was called must be done before the value is stored: a store that waits long for who sees it, as one of unknown
    /// outcome may, is as good as called then.
    fn delay(&mut self) {
        let mut swap_of = vec![None; self.values.len()];
        for (index, step) in self.steps.iter().enumerate() {
            if let Effect::Swap(found, _) = step.effect {
                swap_of[found] = Some(index);
            }
        }
        let mut done = vec![false; self.steps.len()];
        let mut chain = Vec::new();
        for index in 0..self.steps.len() {
            // From the end of each chain of swaps, because the last of them delays all.
            let mut next = Some(index);
            while let Some(index) = next.filter(|index| !std::mem::replace(&mut done[*index], true)) {
                chain.push(index);
                let stored = self.steps[index].effect.stores();
                next = stored.filter(|value| self.values[*value].once).and_then(|value| swap_of[value]);
            }
            while let Some(index) = chain.pop() {
                self.delay_one(index);
            }
        }
    }

    fn delay_one(&mut self, index: usize) {
        let Step { effect, call, until } = self.steps[index];
        let Some(stored) = effect.stores().filter(|value| self.values[*value].once) else { return };
        let delayed = call.max(self.values[stored].last_call.min(until));
        self.steps[index].call = delayed;
        if let Some(found) = effect.sees() {
            let last_call = &mut self.values[found].last_call;
            *last_call = delayed.max(*last_call);
        }
    }
}

/// Values that are seen, though none of some operations stores them.
#[derive(Debug)]
pub(super) struct Homeless<'a> {
    /// By an operation that certainly saw it.
    pub(super) seen: Vec<&'a str>,
    /// Only by a cas of unknown outcome whose value somebody may have seen.
    pub(super) perhaps_seen: Vec<&'a str>,
}

impl<'a> Homeless<'a> {
    pub(super) fn new(operations: &[&'a Operation]) -> Self {
        let mut seen = BTreeSet::new();
        let mut stored = BTreeSet::new();
        for operation in operations {
            if operation.outcome != Outcome::Fail && matches!(operation.op, Op::Put | Op::Cas) {
                stored.extend(operation.value.as_deref());
            }
            seen.extend(match (operation.op, operation.outcome) {
                (Op::Get, Outcome::Ok) | (Op::Cas, Outcome::Fail) => operation.read.as_deref(),
                (Op::Cas, Outcome::Ok) => operation.expect.as_deref(),
                _ => None,
            });
        }
        let is_open =
            |operation: &&&Operation| (operation.op, operation.outcome) == (Op::Cas, Outcome::Unknown);
        let open: Vec<&'a Operation> = operations.iter().filter(is_open).copied().collect();
        let mut wanted = seen.clone();
        wanted.extend(open.iter().filter_map(|operation| operation.expect.as_deref()));
        let matters =
            |operation: &&&Operation| operation.value.as_deref().is_some_and(|value| wanted.contains(value));
        let perhaps_seen = open.iter().filter(matters).filter_map(|operation| operation.expect.as_deref());
        let perhaps_seen: BTreeSet<&str> =
            perhaps_seen.filter(|value| !stored.contains(value) && !seen.contains(value)).collect();
        let seen = seen.into_iter().filter(|value| !stored.contains(value)).collect();
        Self { seen, perhaps_seen: perhaps_seen.into_iter().collect() }
    }
}

/// The numbers of values.
struct Names<'a> {
    ids: BTreeMap<&'a str, ValueId>,
    count: usize,
}

impl Default for Names<'_> {
    fn default() -> Self {
        Self { ids: BTreeMap::new(), count: UNSEEN + 1 }
    }
}

impl<'a> Names<'a> {
    fn id(&mut self, name: Option<&'a str>) -> ValueId {
        let Some(name) = name else { return ABSENT };
        let count = &mut self.count;
        *self.ids.entry(name).or_insert_with(|| {
            *count += 1;
            *count - 1
        })
    }

    /// A value that has no name.
    fn fresh(&mut self) -> ValueId {
        self.count += 1;
        self.count - 1
    }
}

/// What an operation may have done; `None`: nothing that can be told from doing nothing.
fn draft<'a>(operation: &'a Operation, names: &mut Names<'a>) -> Option<Draft> {
    let mut id = |name: &'a Option<String>| names.id(name.as_deref());
    let effect = match (operation.op, operation.outcome) {
        (Op::Get, Outcome::Ok) => Effect::See(id(&operation.read)),
        (Op::Cas, Outcome::Fail) => {
            operation.read.as_ref()?;
            if operation.read == operation.expect {
                // It found what it expected, and failed all the same: nothing explains that.
                Effect::See(names.fresh())
            } else {
                Effect::See(id(&operation.read))
            }
        }
        (Op::Get, Outcome::Unknown) | (_, Outcome::Fail) => return None,
        (Op::Put, _) => Effect::Store(id(&operation.value)),
        (Op::Delete, _) => Effect::Store(ABSENT),
        (Op::Cas, _) => Effect::Swap(id(&operation.expect), id(&operation.value)),
    };
    let required = operation.outcome != Outcome::Unknown;
    let until = operation.return_ns.filter(|_| required).unwrap_or(u64::MAX);
    Some(Draft { step: Step { effect, call: operation.call_ns, until }, required })
}

/// Whoever sees a value that has one source sees it after it was stored: the source took effect, and before that.
fn hasten(drafts: &mut [Draft], sources: &[Source]) {
    let required = drafts.iter().enumerate().filter(|(_, draft)| draft.required);
    let mut queue: BinaryHeap<_> =
        required.map(|(index, draft)| Reverse((draft.step.until, index))).collect();
    while let Some(Reverse((until, index))) = queue.pop() {
        if until > drafts[index].step.until {
            continue;
        }
        let Some(Source::One(source)) = drafts[index].step.effect.sees().map(|value| sources[value]) else {
            continue;
        };
        let draft = &mut drafts[source];
        if !draft.required || until < draft.step.until {
            draft.required = true;
            draft.step.until = until;
            queue.push(Reverse((until, source)));
        }
    }
}

/// Which values are seen by a step that takes effect, or by an optional one that helps to explain such a step.
fn wanted(drafts: &[Draft], values: usize) -> Vec<bool> {
    let mut wanted = vec![false; values];
    let mut optional: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
    let mut queue = Vec::new();
    for Draft { step, required } in drafts {
        match step.effect {
            effect if *required => queue.extend(effect.sees()),
            Effect::Swap(found, value) => optional.entry(value).or_default().push(found),
            _ => {}
        }
    }
    while let Some(value) = queue.pop() {
        if !std::mem::replace(&mut wanted[value], true) {
            queue.extend(optional.remove(&value).into_iter().flatten());
        }
    }
    wanted
}
