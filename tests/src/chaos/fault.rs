//! What can go wrong: the kinds of faults, and how one is drawn. Pure: what is drawn depends on the seed alone; whom it
//! meets is seen when it begins.

use std::fmt;

use rand::Rng;
use rand::rngs::SmallRng;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL to one node; started again with its data.
    Kill,
    /// SIGKILL to all nodes at once; started again with their data.
    KillAll,
    /// SIGSTOP to one node, SIGCONT later.
    Pause,
    /// One node is cut off from all others, both ways; perhaps from the clients too.
    CutNode,
    /// One node hears nothing of the others, or they hear nothing of it.
    CutOneWay,
    /// The link of two nodes is cut, one way or both.
    CutLink,
    /// The nodes are cut into two halves that do not hear each other; the clients reach both. Of an even number, in one
    /// of two ways neither half is a majority.
    Split,
    /// The disk of one node is filled, freed later, and the node started again if it has ended.
    DiskFull,
    /// A node joins: a new one, or one that was removed and comes back wiped.
    Join,
    /// A member is removed and loses its directory.
    Remove,
    /// Leadership is handed over.
    Transfer,
    /// The nodes are stopped in order and started again, one after the other.
    RollingRestart,
}

impl Kind {
    /// All kinds, each with how often it is drawn relative to the others.
    pub const ALL: [(Self, u32); 12] = [
        (Self::Kill, 6),
        (Self::KillAll, 1),
        (Self::Pause, 5),
        (Self::CutNode, 3),
        (Self::CutOneWay, 3),
        (Self::CutLink, 2),
        (Self::Split, 2),
        (Self::DiskFull, 4),
        (Self::Join, 5),
        (Self::Remove, 3),
        (Self::Transfer, 2),
        (Self::RollingRestart, 1),
    ];

    /// Whether it needs links that can be cut.
    pub fn cuts(self) -> bool {
        matches!(self, Self::CutNode | Self::CutOneWay | Self::CutLink | Self::Split)
    }

    /// Whether it may meet any number of nodes, so that no other fault goes on beside it.
    pub fn is_alone(self) -> bool {
        matches!(self, Self::KillAll | Self::Split | Self::RollingRestart)
    }

    /// Whether it changes who the members are. One such fault goes on at a time.
    pub fn changes_members(self) -> bool {
        matches!(self, Self::Join | Self::Remove)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Pause => "pause",
            Self::CutNode => "cut-node",
            Self::CutOneWay => "cut-one-way",
            Self::CutLink => "cut-link",
            Self::Split => "split",
            Self::DiskFull => "disk-full",
            Self::Join => "join",
            Self::Remove => "remove",
            Self::Transfer => "transfer",
            Self::RollingRestart => "rolling-restart",
        })
    }
}

/// A fault as it is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// What happens.
    pub kind: Kind,
    /// How long before it the cluster is left as it is, in milliseconds.
    pub pause_ms: u64,
    /// How long it lasts, in milliseconds.
    pub length_ms: u64,
    /// Whether it meets the leader, where it may.
    pub leader: bool,
    /// Which of the nodes it meets otherwise, and in which order: each number is taken modulo what is left.
    pub choices: [usize; 8],
    /// One of two ways in which the kind may go: see there.
    pub variant: bool,
    /// Whether it may begin while others go on.
    pub beside: bool,
}

impl Draw {
    /// Draws the next one of `kinds`, which has some. Every draw takes the same from `rng`.
    pub fn next(rng: &mut SmallRng, kinds: &[(Kind, u32)]) -> Self {
        let total: u32 = kinds.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random_range(0..total);
        let mut kind = kinds[0].0;
        for (drawn, weight) in kinds {
            if left < *weight {
                kind = *drawn;
                break;
            }
            left -= weight;
        }
        // Most are over before a leader is missed for long, some last for many election timeouts.
        let length_ms = match rng.random_range(0..4) {
            0 => rng.random_range(100..800),
            1 | 2 => rng.random_range(800..4_000),
            _ => rng.random_range(4_000..10_000),
        };
        Self {
            kind,
            pause_ms: rng.random_range(500..3_000),
            length_ms,
            leader: rng.random_range(0..5) < 2,
            choices: std::array::from_fn(|_| rng.random_range(0..1_000)),
            variant: rng.random_range(0..2) == 0,
            beside: rng.random_range(0..5) < 2,
        }
    }

    /// `ids` in the order in which this fault takes them: the leader first if it is meant and among them.
    pub fn order(&self, ids: &[u64], leader: Option<u64>) -> Vec<u64> {
        let mut left = ids.to_vec();
        let mut order = Vec::new();
        if let Some(leader) = leader.filter(|leader| self.leader && left.contains(leader)) {
            left.retain(|id| *id != leader);
            order.push(leader);
        }
        for choice in self.choices {
            if !left.is_empty() {
                order.push(left.remove(choice % left.len()));
            }
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn draws(seed: u64) -> Vec<Draw> {
        let mut rng = SmallRng::seed_from_u64(seed);
        (0..500).map(|_| Draw::next(&mut rng, &Kind::ALL)).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_and_every_kind_is_drawn() {
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        let drawn: BTreeSet<Kind> = draws(7).into_iter().map(|draw| draw.kind).collect();
        assert_eq!(drawn.len(), Kind::ALL.len());
    }

    #[test]
    fn the_leader_comes_first_where_it_is_meant_and_every_node_comes_once() {
        for draw in draws(3) {
            let order = draw.order(&[1, 2, 3, 5, 6], Some(5));
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 5, "{order:?}");
            assert!(!draw.leader || order[0] == 5, "{order:?}");
            assert_eq!(draw.order(&[1, 2], Some(5)).len(), 2);
        }
        assert!(draws(3).iter().any(|draw| !draw.leader && draw.order(&[1, 2, 3, 5, 6], Some(5))[0] != 5));
    }

    #[test]
    fn what_is_left_out_is_not_drawn() {
        let kinds: Vec<_> = Kind::ALL.into_iter().filter(|(kind, _)| !kind.cuts()).collect();
        let mut rng = SmallRng::seed_from_u64(1);
        assert!((0..500).all(|_| !Draw::next(&mut rng, &kinds).kind.cuts()));
    }
}
