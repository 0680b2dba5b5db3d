//! A scope: where a search begins, what may happen and how often, and what it must come upon.

use std::fmt;

use crate::world::Goal;

/// What happens no more often in a search than its scope says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cost {
    /// A node that does not lead times out.
    Timeout,
    /// A leader's heartbeat falls due.
    Beat,
    /// A leader sleeps so long that it has not heard of its quorum, or that a transfer's deadline passes.
    Sleep,
    /// A leader counts what is under way to a follower as lost.
    GiveUp,
    /// The pause after that ends by itself.
    Retry,
    /// A node crashes, at any time or before its disk completed what a step ordered. It may start again at any time.
    Crash,
    /// A message arrives twice.
    Duplicate,
    /// A message arrives behind one that was sent after it on the same link.
    Reorder,
    /// A disk does not complete at once what a step ordered; later it may, in any part, or a crash comes first.
    Delay,
    /// A leader is asked to take a write.
    Write,
    /// A node is asked for a linearizable read.
    Read,
    /// A leader is asked for the scope's change of membership.
    Change,
    /// A leader is asked to hand leadership over, to the scope's node.
    Transfer,
    /// A node is asked for a snapshot.
    Snapshot,
}

/// How many kinds of [`Cost`] there are.
pub(super) const COSTS: usize = ALL.len();

/// Every kind, in the order of their numbers.
const ALL: [Cost; 14] = [
    Cost::Timeout,
    Cost::Beat,
    Cost::Sleep,
    Cost::GiveUp,
    Cost::Retry,
    Cost::Crash,
    Cost::Duplicate,
    Cost::Reorder,
    Cost::Delay,
    Cost::Write,
    Cost::Read,
    Cost::Change,
    Cost::Transfer,
    Cost::Snapshot,
];

/// Budgets of these; what is not named does not happen.
pub(super) const fn at_most(budgets: &[(Cost, u8)]) -> [u8; COSTS] {
    let mut all = [0; COSTS];
    let mut i = 0;
    while i < budgets.len() {
        all[budgets[i].0 as usize] = budgets[i].1;
        i += 1;
    }
    all
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cost::Timeout => "timeouts",
            Cost::Beat => "beats",
            Cost::Sleep => "sleeps",
            Cost::GiveUp => "give-ups",
            Cost::Retry => "retries",
            Cost::Crash => "crashes",
            Cost::Duplicate => "duplicates",
            Cost::Reorder => "messages overtaken",
            Cost::Delay => "delayed flushes",
            Cost::Write => "writes",
            Cost::Read => "reads",
            Cost::Change => "changes",
            Cost::Transfer => "transfers",
            Cost::Snapshot => "snapshots",
        })
    }
}

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// One word.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How it begins, in the words of a script.
    pub begin: &'static [&'static str],
    /// Whether, where it begins, the nodes differ in nothing but their ids; then the first timeout is the first node's.
    pub symmetric: bool,
    /// How often what may happen, by the number of its [`Cost`].
    pub budgets: [u8; COSTS],
    /// Whether disks are free to complete any prefix of their writes at any time. Otherwise a disk completes at once
    /// what a step ordered, but for as many steps as [`Cost::Delay`] says.
    pub free_disks: bool,
    /// Whether messages arrive in any order. Otherwise those of one link arrive in the order of their sending, but for as
    /// many as [`Cost::Reorder`] says; any may be lost.
    pub free_links: bool,
    /// Whether state machines do their work at any time. Otherwise they do it at once.
    pub free_machines: bool,
    /// A move after which more messages than these would be under way, those that are spent not counted, is not made.
    pub under_way_max: usize,
    /// The change that [`Cost::Change`] asks for, in the words of a script.
    pub change: &'static str,
    /// To whom [`Cost::Transfer`] hands over; `None`: to whoever the leader finds best.
    pub transfer_to: Option<u64>,
    /// What it must come upon.
    pub goals: &'static [Goal],
}

impl Scope {
    /// The same with other budgets, by their names.
    ///
    /// # Errors
    /// If there is no such budget.
    pub fn with(&self, budgets: &[(String, u8)]) -> Result<Self, String> {
        let mut scope = *self;
        for (name, times) in budgets {
            if name == UNDER_WAY {
                scope.under_way_max = usize::from(*times);
                continue;
            }
            let named = ALL.iter().find(|cost| cost.to_string() == *name);
            let cost = named.ok_or_else(|| format!("there is no budget {name:?}; --list names some"))?;
            scope.budgets[*cost as usize] = *times;
        }
        Ok(scope)
    }

    /// The budgets in words.
    pub fn budgets_in_words(&self) -> String {
        let budgets =
            ALL.iter().map(|cost| (cost, self.budgets[*cost as usize])).filter(|(_, times)| *times > 0);
        let counted = budgets.map(|(cost, times)| format!("{times} {cost}"));
        let free = [
            self.free_disks.then(|| "any delay of disks".to_owned()),
            self.free_links.then(|| "any order of messages".to_owned()),
            self.free_machines.then(|| "any delay of state machines".to_owned()),
            (self.under_way_max < usize::MAX).then(|| format!("{} {UNDER_WAY}", self.under_way_max)),
        ];
        counted.chain(free.into_iter().flatten()).collect::<Vec<_>>().join(", ")
    }
}

/// What [`Scope::under_way_max`] is called.
const UNDER_WAY: &str = "messages under way";

/// A scope in which nothing happens, to begin a description with.
pub(super) const NOTHING: Scope = Scope {
    name: "nothing",
    about: "nothing happens",
    begin: &[],
    symmetric: false,
    budgets: [0; COSTS],
    free_disks: false,
    free_links: false,
    free_machines: false,
    under_way_max: usize::MAX,
    change: "",
    transfer_to: None,
    goals: &[],
};
