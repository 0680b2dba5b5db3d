//! A scope as a model that `stateright` searches.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use openraft_engine::{MembershipChange, ServerState};
use stateright::{Model, Property};

use super::scope::{COSTS, Cost, Scope};
use crate::script::{parse_change, world_after};
use crate::world::{Address, Broken, Goal, Live, Message, Node, Step, World};

/// For so long a leader sleeps that no quorum has answered it within any election timeout.
const LONG: Duration = Duration::from_secs(2);

/// And so long that a transfer's deadline has passed, but check-quorum's not.
const SHORT: Duration = Duration::from_millis(600);

/// No step orders more writes than these, where disks complete at once what the step before ordered.
const LOST_MAX: usize = 4;

/// A scope, ready to be searched.
#[derive(Debug)]
pub struct Search {
    scope: Scope,
    beginning: World,
    change: Option<MembershipChange<u64, Address>>,
    /// The goals that were come upon, a bit each.
    reached: AtomicU8,
    /// Whether the search is to end where it is.
    stop: Arc<AtomicBool>,
}

/// A world, and what of the budgets is spent.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The world.
    pub world: World,
    spent: [u8; COSTS],
    /// Whether the order in which messages were sent matters, and whether those that were overtaken may yet arrive.
    ordered: bool,
    late_arrive: bool,
}

impl Situation {
    /// The messages that may yet matter.
    fn messages(&self) -> impl Iterator<Item = Live> {
        let messages = self.world.live_messages(self.ordered);
        messages.into_iter().filter(|message| self.late_arrive || !message.late)
    }
}

impl PartialEq for Situation {
    fn eq(&self, other: &Self) -> bool {
        self.spent == other.spent
            && self.messages().eq(other.messages())
            && self.world.is_same_but_for_messages(&other.world)
    }
}

impl Hash for Situation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spent.hash(state);
        self.messages().for_each(|message| message.hash(state));
        self.world.hash_all_but_messages(state);
    }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    steps: Vec<Step>,
    /// The node to which it happens.
    node: u64,
    costs: Vec<Cost>,
    /// Whether the node's disk completes at once what the steps ordered.
    flushed: bool,
}

impl Search {
    /// The search of a scope.
    ///
    /// # Errors
    /// If the scope's beginning is no script.
    pub fn new(scope: &Scope) -> Result<Self, String> {
        let mut beginning = world_after(scope.begin)?;
        beginning.hush();
        let change = match scope.change {
            "" => None,
            words => Some(parse_change(words, &beginning)?),
        };
        Ok(Self { scope: *scope, beginning, change, reached: AtomicU8::new(0), stop: Arc::default() })
    }

    /// The goals of the scope that were not come upon so far.
    pub fn missing(&self) -> Vec<Goal> {
        let reached = self.reached.load(Ordering::Relaxed);
        self.scope.goals.iter().copied().filter(|goal| reached & (1 << *goal as u8) == 0).collect()
    }

    /// Set it, and the search goes no further.
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// The steps of these moves as a scenario, at whose end `broken` is found.
    pub fn scenario(&self, moves: &[Move], broken: &Broken) -> String {
        let mut world = self.beginning.clone();
        let mut text =
            format!("Found by the search {}: {}\n\n{}\n\n", self.scope.name, broken.invariant, broken.detail);
        let mut command = |words: &str| text += &format!("> {words}\n");
        self.scope.begin.iter().for_each(|words| command(words));
        // A script's state machines work by themselves unless they are held.
        world.nodes().keys().for_each(|id| command(&format!("hold machine {id}")));
        for taken in moves {
            let told = |world: &World, step: &Step| command(&world.words(step));
            // The last step may end in a panic.
            _ = catch_unwind(AssertUnwindSafe(|| self.carry_out(&mut world, taken, told)));
        }
        text
    }

    /// Carries out a move; `told` hears of every step before it is taken, and of the world in which it is.
    pub fn carry_out(&self, world: &mut World, taken: &Move, mut told: impl FnMut(&World, &Step)) {
        let mut take = |world: &mut World, step: &Step| {
            told(world, step);
            world.take(step);
        };
        for step in &taken.steps {
            take(world, step);
        }
        if self.scope.free_disks && self.scope.free_machines {
            return;
        }
        // What a disk has completed lets the state machine go on, and the other way round.
        while let Some(node) = world.nodes().get(&taken.node).filter(|node| node.engine().is_some()) {
            if taken.flushed && node.disk().pending().len() > 0 {
                take(world, &Step::Flush(taken.node, usize::MAX));
            } else if !self.scope.free_machines && !node.is_idle() {
                take(world, &Step::Work(taken.node));
            } else {
                break;
            }
        }
    }

    /// What a panic leaves of a world: the one before, and that it happened.
    fn panicked(&self, before: &World, panic: &(dyn std::any::Any + Send)) -> World {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
        let mut world = before.clone();
        world.panicked(text.to_owned());
        world
    }
}

/// Whether a move that is a matter of time alone came to anything: the leader leads no more, or hands over no more.
fn came_to_something(before: &Node, after: &Node) -> bool {
    let leads = |node: &Node| node.engine().map(|engine| (engine.role(), engine.holds_proposals()));
    leads(before) != leads(after)
}

impl Model for Search {
    type State = Situation;
    type Action = Move;

    fn init_states(&self) -> Vec<Situation> {
        vec![self.situation(self.beginning.clone(), [0; COSTS])]
    }

    fn actions(&self, situation: &Situation, moves: &mut Vec<Move>) {
        Moves { search: self, situation, moves }.list();
    }

    fn next_state(&self, before: &Situation, taken: Move) -> Option<Situation> {
        let mut world = before.world.clone();
        // Of the writes that a crash cuts off there must be as many as the move says.
        let mut sensible = true;
        let told = |world: &World, step: &Step| {
            if let (Step::Crash(id, kept), true) = (step, taken.steps.len() > 1) {
                let pending = world.nodes()[id].disk().pending().len();
                sensible = pending > 0 && *kept <= pending;
            }
        };
        let carried_out = catch_unwind(AssertUnwindSafe(|| self.carry_out(&mut world, &taken, told)));
        if !sensible {
            return None;
        }
        if let Err(panic) = carried_out {
            world = self.panicked(&before.world, &*panic);
        }
        self.reached.fetch_or(world.history().reached(), Ordering::Relaxed);
        let mut spent = before.spent;
        for cost in &taken.costs {
            spent[*cost as usize] += 1;
        }
        let next = self.situation(world, spent);
        self.is_worth_it(before, &taken, &next).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("the invariants hold", |_, situation: &Situation| {
            situation.world.check().is_ok()
        })]
    }
}

impl Search {
    fn situation(&self, world: World, spent: [u8; COSTS]) -> Situation {
        let late_arrive = spent[Cost::Reorder as usize] < self.scope.budgets[Cost::Reorder as usize];
        Situation { world, spent, ordered: !self.scope.free_links, late_arrive }
    }

    /// Whether a move leads anywhere that no other one does.
    fn is_worth_it(&self, before: &Situation, taken: &Move, next: &Situation) -> bool {
        if next.world.check().is_err() {
            return true;
        }
        let (was, is) = (&before.world.nodes()[&taken.node], &next.world.nodes()[&taken.node]);
        if matches!(taken.steps.first(), Some(Step::Sleep(..))) && !came_to_something(was, is) {
            return false;
        }
        if taken.costs.contains(&Cost::Delay) && is.disk().pending().len() == 0 {
            return false;
        }
        self.scope.under_way_max == usize::MAX || { next.messages().count() <= self.scope.under_way_max }
    }
}

/// Lists the moves out of a situation.
struct Moves<'a> {
    search: &'a Search,
    situation: &'a Situation,
    moves: &'a mut Vec<Move>,
}

impl Moves<'_> {
    fn scope(&self) -> &Scope {
        &self.search.scope
    }

    fn list(&mut self) {
        if self.situation.world.check().is_err() || self.search.stop.load(Ordering::Relaxed) {
            return;
        }
        self.messages();
        for node in self.situation.world.nodes().values() {
            match node.engine().map(|engine| engine.role()) {
                None => self.push(node.id, vec![Step::Restart(node.id)], &[]),
                Some(ServerState::Leader) => self.of_leader(node),
                Some(_) => self.of_others(node),
            }
            if node.engine().is_some() {
                self.of_any(node);
            }
        }
    }

    fn left(&self, cost: Cost) -> bool {
        self.situation.spent[cost as usize] < self.search.scope.budgets[cost as usize]
    }

    /// Adds a move; and the same with a disk that takes its time, and with a crash before the disk has completed it.
    fn push(&mut self, node: u64, steps: Vec<Step>, costs: &[Cost]) {
        if !costs.iter().all(|cost| self.left(*cost)) {
            return;
        }
        let free = self.scope().free_disks;
        if !free && self.left(Cost::Delay) {
            let costs = costs.iter().copied().chain([Cost::Delay]).collect();
            self.moves.push(Move { steps: steps.clone(), node, costs, flushed: false });
        }
        if !free && self.left(Cost::Crash) {
            let costs: Vec<Cost> = costs.iter().copied().chain([Cost::Crash]).collect();
            for kept in 0..=LOST_MAX {
                let steps = steps.iter().cloned().chain([Step::Crash(node, kept)]).collect();
                self.moves.push(Move { steps, node, costs: costs.clone(), flushed: false });
            }
        }
        self.moves.push(Move { steps, node, costs: costs.to_vec(), flushed: !free });
    }

    /// Adds a move of a disk or a crash, which says itself what is completed.
    fn push_as_is(&mut self, node: u64, step: Step, costs: &[Cost]) {
        if costs.iter().all(|cost| self.left(*cost)) {
            self.moves.push(Move { steps: vec![step], node, costs: costs.to_vec(), flushed: false });
        }
    }

    fn messages(&mut self) {
        let world = &self.situation.world;
        let messages = world.messages();
        for (at, envelope) in messages.iter().enumerate() {
            let to = envelope.to;
            let Some(engine) = world.nodes().get(&to).and_then(|node| node.engine()) else { continue };
            let late = self.situation.ordered && world.is_late(envelope);
            let known = messages[..at].iter().any(|other| {
                other.fingerprint() == envelope.fingerprint()
                    && (!self.situation.ordered || world.is_late(other) == late)
            });
            if known || world.is_spent(envelope) {
                continue;
            }
            let costs = if late { &[Cost::Reorder][..] } else { &[] };
            self.push(to, vec![Step::Deliver(at)], costs);
            if self.left(Cost::Duplicate) {
                let costs = [costs, &[Cost::Duplicate]].concat();
                self.push(to, vec![Step::Repeat(at), Step::Deliver(at)], &costs);
            }
            let asks = matches!(&envelope.message, Message::VoteRequest(_));
            if asks && engine.role() == ServerState::Leader {
                let costs = [costs, &[Cost::Sleep]].concat();
                self.push(to, vec![Step::Sleep(to, LONG), Step::Deliver(at)], &costs);
            }
        }
    }

    fn of_leader(&mut self, node: &Node) {
        let id = node.id;
        self.push(id, vec![Step::Due(id)], &[Cost::Beat]);
        self.push(id, vec![Step::Sleep(id, LONG), Step::Due(id)], &[Cost::Sleep]);
        if node.engine().is_some_and(|engine| engine.holds_proposals()) {
            self.push(id, vec![Step::Sleep(id, SHORT), Step::Due(id)], &[Cost::Sleep]);
        }
        for (to, task) in node.tasks() {
            if task.waits() {
                self.push(id, vec![Step::GiveUp(id, to)], &[Cost::GiveUp]);
            }
            if task.is_paused() {
                self.push(id, vec![Step::Retry(id, to)], &[Cost::Retry]);
            }
        }
        // Writes are told apart by their number.
        let text = format!("w{}", self.situation.spent[Cost::Write as usize] + 1);
        self.push(id, vec![Step::Propose(id, text)], &[Cost::Write]);
        if let Some(change) = &self.search.change {
            self.push(id, vec![Step::Change(id, change.clone())], &[Cost::Change]);
        }
        self.push(id, vec![Step::Transfer(id, self.scope().transfer_to)], &[Cost::Transfer]);
    }

    fn of_others(&mut self, node: &Node) {
        let armed = node.engine().is_some_and(|engine| engine.next_deadline().is_some());
        let begins = self.scope().symmetric && self.situation.spent[Cost::Timeout as usize] == 0;
        let first = self.situation.world.nodes().keys().next() == Some(&node.id);
        if armed && (first || !begins) {
            self.push(node.id, vec![Step::Due(node.id)], &[Cost::Timeout]);
        }
    }

    fn of_any(&mut self, node: &Node) {
        let id = node.id;
        let pending = node.disk().pending().len();
        for count in 1..=pending {
            self.push_as_is(id, Step::Flush(id, count), &[]);
        }
        for kept in 0..=pending {
            self.push_as_is(id, Step::Crash(id, kept), &[Cost::Crash]);
        }
        if !node.is_idle() {
            self.push(id, vec![Step::Work(id)], &[]);
        }
        let name = format!("r{}", self.situation.spent[Cost::Read as usize] + 1);
        self.push(id, vec![Step::Read(id, name)], &[Cost::Read]);
        self.push(id, vec![Step::Snapshot(id)], &[Cost::Snapshot]);
    }
}
