//! The scopes that are searched, in two sizes.

use super::scope::Cost::{
    Crash, Delay, Duplicate, GiveUp, Read, Reorder, Retry, Sleep, Snapshot, Timeout, Transfer, Write,
};
use super::scope::{NOTHING, Scope, at_most};
use crate::world::Goal;

/// How far the scopes reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Within two minutes, all of them.
    Ci,
    /// Within some ten minutes each, on a core of its own.
    Full,
}

/// The scopes of a size.
pub fn scopes(size: Size) -> &'static [Scope] {
    match size {
        Size::Ci => CI,
        Size::Full => FULL,
    }
}

const ELECTION: Scope = Scope {
    name: "election",
    about: "three nodes elect a leader, and again",
    begin: &["cluster 1 2 3 bare"],
    symmetric: true,
    goals: &[Goal::Elected],
    ..NOTHING
};

const WRITES: Scope = Scope {
    name: "writes",
    about: "two writes over two terms on three nodes",
    begin: &["cluster 1 2 3 bare", "elect 1"],
    goals: &[Goal::Elected, Goal::Committed],
    ..NOTHING
};

const MEMBERSHIP: Scope = Scope {
    name: "membership",
    about: "the voters change from 1 2 3 to 3 4 5; the leader, 1, and 2 leave",
    begin: &[
        "cluster 1 2 3 bare",
        "node 4 empty",
        "node 5 empty",
        "elect 1",
        "member 1 add 4 5",
        "stabilise",
        "member 1 voters 3 4 5 and remove 1 2",
    ],
    goals: &[Goal::Changed],
    ..NOTHING
};

const SNAPSHOT: Scope = Scope {
    name: "snapshot",
    about: "a leader compacts its log, and a learner that lacks what is gone gets the snapshot",
    begin: &[
        "cluster 1 bare pin=0",
        "node 2 empty",
        "elect 1",
        "propose 1 a",
        "flush all",
        "member 1 add 2",
        "flush all",
    ],
    free_machines: true,
    goals: &[Goal::Committed, Goal::Installed],
    ..NOTHING
};

const TRANSFER: Scope = Scope {
    name: "transfer",
    about: "a leader of three hands over to the best of the others",
    begin: &["cluster 1 2 3 bare", "elect 1"],
    goals: &[Goal::Transferred, Goal::Elected],
    ..NOTHING
};

const READ: Scope = Scope {
    name: "read",
    about: "reads by ReadIndex on every node, while the leader of three is deposed",
    begin: &["cluster 1 2 3 bare", "elect 1"],
    goals: &[Goal::Read, Goal::Elected],
    ..NOTHING
};

const CI: &[Scope] = &[
    Scope { budgets: at_most(&[(Timeout, 2), (Crash, 1)]), ..ELECTION },
    Scope { budgets: at_most(&[(Write, 2), (Timeout, 1)]), ..WRITES },
    Scope {
        name: "writes-crash",
        budgets: at_most(&[(Write, 2), (Timeout, 1), (Crash, 1)]),
        under_way_max: 3,
        ..WRITES
    },
    Scope { budgets: at_most(&[]), ..MEMBERSHIP },
    Scope {
        budgets: at_most(&[(Write, 1), (Snapshot, 2), (Crash, 1), (Timeout, 1), (GiveUp, 1)]),
        ..SNAPSHOT
    },
    Scope { budgets: at_most(&[(Transfer, 1), (Timeout, 1)]), ..TRANSFER },
    Scope {
        name: "transfer-late",
        budgets: at_most(&[(Transfer, 1), (Write, 1), (Sleep, 1)]),
        goals: &[Goal::Transferred, Goal::Elected, Goal::Committed],
        ..TRANSFER
    },
    Scope { budgets: at_most(&[(Read, 1), (Timeout, 1)]), ..READ },
];

const FULL: &[Scope] = &[
    Scope { budgets: at_most(&[(Timeout, 2), (Crash, 1)]), ..ELECTION },
    Scope {
        name: "election-network",
        budgets: at_most(&[(Timeout, 2), (Duplicate, 1), (Reorder, 1)]),
        under_way_max: 5,
        ..ELECTION
    },
    Scope { name: "election-disk", budgets: at_most(&[(Timeout, 1), (Crash, 2), (Delay, 2)]), ..ELECTION },
    Scope { budgets: at_most(&[(Write, 2), (Timeout, 1), (Crash, 1)]), ..WRITES },
    Scope { budgets: at_most(&[(Crash, 1)]), ..MEMBERSHIP },
    Scope {
        name: "membership-timeout",
        budgets: at_most(&[(Timeout, 1)]),
        under_way_max: 5,
        goals: &[Goal::Changed, Goal::Elected],
        ..MEMBERSHIP
    },
    Scope {
        budgets: at_most(&[(Write, 2), (Snapshot, 2), (Crash, 1), (Timeout, 1), (GiveUp, 1), (Retry, 1)]),
        under_way_max: 4,
        ..SNAPSHOT
    },
    Scope {
        budgets: at_most(&[(Transfer, 1), (Write, 1), (Sleep, 1), (Timeout, 1)]),
        under_way_max: 5,
        goals: &[Goal::Transferred, Goal::Elected, Goal::Committed],
        ..TRANSFER
    },
    Scope {
        budgets: at_most(&[(Read, 2), (Write, 1), (Timeout, 1)]),
        under_way_max: 4,
        goals: &[Goal::Read, Goal::Elected, Goal::Committed],
        ..READ
    },
    Scope {
        name: "read-network",
        budgets: at_most(&[(Read, 1), (Timeout, 1), (Duplicate, 1), (Reorder, 1)]),
        under_way_max: 5,
        ..READ
    },
];
