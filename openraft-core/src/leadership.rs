//! Leadership hooks: an application is told, in order and without a gap, of every change of leadership that its node sees.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use openraft_adapters::{Env, RaftTypeConfig, VoteOf};
use openraft_engine::{Engine, ServerState};
use tokio::sync::mpsc;

use crate::Raft;
use crate::start::panic_text;

/// A change of leadership, as this node sees it.
///
/// `vote` is a fencing token: committed votes are totally ordered, and a later leadership has a greater one. Whoever acts
/// on the world outside as leader sends it along, and whatever is acted upon refuses a lesser one than it has seen. That
/// is needed: a leader that is cut off or paused does not know yet that another one leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadershipChange<C: RaftTypeConfig> {
    /// The leader that this node knows of is another one, or the same one anew, or nobody. Comes at once, for this node
    /// too: it then leads, but may not have applied yet what earlier leaders committed.
    Changed {
        /// Who leads.
        leader: Option<C::NodeId>,
        /// The vote in force.
        vote: VoteOf<C>,
    },
    /// This node leads, and an entry of its own is committed and applied here: a quorum knew it as leader, and its state
    /// machine holds everything that was committed before. Now an application may act as the leader.
    Gained {
        /// Under this vote.
        vote: VoteOf<C>,
    },
    /// This node leads no more under the vote for which `Gained` came, or has stopped. Always comes between two `Gained`,
    /// and after the last one.
    Lost {
        /// The vote under which it led.
        vote: VoteOf<C>,
    },
}

/// What hooks are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing<C: RaftTypeConfig> {
    leader: Option<C::NodeId>,
    vote: VoteOf<C>,
    /// This node leads, and has applied an entry of its own.
    gained: bool,
}

impl<C: RaftTypeConfig> Default for Standing<C> {
    fn default() -> Self {
        Self { leader: None, vote: VoteOf::<C>::default(), gained: false }
    }
}

impl<C: RaftTypeConfig> Standing<C> {
    pub(crate) fn of(engine: &Engine<C::NodeId, C::Node>) -> Self {
        let vote = engine.vote();
        let own_applied = engine.applied().is_some_and(|applied| applied.leader_id == vote.leader_id());
        let gained = engine.role() == ServerState::Leader && own_applied;
        Self { leader: engine.leader(), vote, gained }
    }

    /// What leads from here to `now`.
    fn changes(&self, now: &Self) -> impl Iterator<Item = LeadershipChange<C>> {
        let same_vote = self.vote == now.vote;
        let lost = self.gained && !(now.gained && same_vote);
        let changed = self.leader != now.leader || (now.leader.is_some() && !same_vote);
        let gained = now.gained && !(self.gained && same_vote);
        let (before, vote, leader) = (self.vote, now.vote, now.leader);
        [
            lost.then_some(LeadershipChange::Lost { vote: before }),
            changed.then_some(LeadershipChange::Changed { leader, vote }),
            gained.then_some(LeadershipChange::Gained { vote }),
        ]
        .into_iter()
        .flatten()
    }
}

/// The hooks of a node. Each has a task of its own, so that none holds up the core or another.
pub(crate) struct Hooks<C: RaftTypeConfig>(Mutex<Inner<C>>);

struct Inner<C: RaftTypeConfig> {
    standing: Standing<C>,
    /// Leadership changes seldom, so the queues have no bound but the node's life.
    queues: BTreeMap<u64, mpsc::UnboundedSender<LeadershipChange<C>>>,
    last_id: u64,
    /// Held by the hooks' tasks: the core's end waits for them. `None`: it has ended.
    using: Option<mpsc::Sender<Infallible>>,
}

impl<C: RaftTypeConfig> Hooks<C> {
    pub(crate) fn new(using: mpsc::Sender<Infallible>) -> Arc<Self> {
        let (standing, queues) = (Standing::default(), BTreeMap::new());
        Arc::new(Self(Mutex::new(Inner { standing, queues, last_id: 0, using: Some(using) })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells every hook what has changed.
    pub(crate) fn tell(&self, now: Standing<C>) {
        let mut inner = self.lock();
        for change in inner.standing.changes(&now) {
            for queue in inner.queues.values() {
                // A hook whose task was ended from without hears nothing more.
                let _ = queue.send(change);
            }
        }
        inner.standing = now;
    }

    /// The node has stopped: leadership is lost, nobody is known to lead, and that is the last that hooks are told.
    pub(crate) fn end(&self) {
        let vote = self.lock().standing.vote;
        self.tell(Standing { leader: None, vote, gained: false });
        let mut inner = self.lock();
        inner.queues.clear();
        inner.using = None;
    }

    fn add(
        self: &Arc<Self>,
        env: &Env,
        mut hook: impl FnMut(LeadershipChange<C>) + Send + 'static,
    ) -> LeadershipGuard<C> {
        let ended = Arc::new(AtomicBool::new(false));
        let (tx, mut changes) = mpsc::unbounded_channel();
        let (id, using) = {
            let mut inner = self.lock();
            inner.last_id += 1;
            let id = inner.last_id;
            let Some(using) = inner.using.clone() else {
                return LeadershipGuard { hooks: Weak::new(), id, ended };
            };
            for change in Standing::default().changes(&inner.standing) {
                let _ = tx.send(change);
            }
            inner.queues.insert(id, tx);
            (id, using)
        };
        let dropped = ended.clone();
        env.spawn("leadership-hook", async move {
            while let Some(change) = changes.recv().await {
                if dropped.load(Ordering::Acquire) {
                    break;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(change))) {
                    let panic = panic_text(&*panic);
                    tracing::error!(?change, %panic, "a leadership hook panicked; it is called again at the next change");
                }
            }
            drop(using);
        });
        LeadershipGuard { hooks: Arc::downgrade(self), id, ended }
    }
}

/// Ends a leadership hook when it is dropped: the hook is not called again, though a call under way ends by itself.
#[must_use = "the hook ends when this is dropped"]
pub struct LeadershipGuard<C: RaftTypeConfig> {
    hooks: Weak<Hooks<C>>,
    id: u64,
    ended: Arc<AtomicBool>,
}

impl<C: RaftTypeConfig> fmt::Debug for LeadershipGuard<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeadershipGuard({})", self.id)
    }
}

impl<C: RaftTypeConfig> Drop for LeadershipGuard<C> {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(hooks) = self.hooks.upgrade() {
            hooks.lock().queues.remove(&self.id);
        }
    }
}

impl<C: RaftTypeConfig> Raft<C> {
    /// Calls `hook` for every [`LeadershipChange`] from now on, in order, none missed, until the returned guard is
    /// dropped or the node has stopped; and first for what holds already. `shutdown` returns after the hooks were told.
    ///
    /// Hooks run on tasks of their own, a moment after the event: what they are told may have been overtaken, which is
    /// what the fencing token is for. A hook that panics is called again at the next change. It must not block, and must
    /// not hold a handle of this node, which would keep the node alive.
    pub fn on_leadership_change(
        &self,
        hook: impl FnMut(LeadershipChange<C>) + Send + 'static,
    ) -> LeadershipGuard<C> {
        self.shared.hooks.add(&self.shared.env, hook)
    }
}

#[cfg(test)]
mod tests {
    use openraft_engine::Vote;

    use super::*;

    openraft_adapters::declare_raft_types!(T: D = String);

    fn standing(leader: Option<u64>, vote: Vote<u64>, gained: bool) -> Standing<T> {
        Standing { leader, vote, gained }
    }

    #[test]
    fn every_step_between_two_standings_is_told_and_nothing_twice() {
        use LeadershipChange::{Changed, Gained, Lost};
        let (old, new) = (Vote::new_committed(2, 1), Vote::new_committed(5, 1));
        let follows = standing(Some(3), Vote::new_committed(4, 3), false);
        let (leads, settled) = (standing(Some(1), old, false), standing(Some(1), old, true));
        let of = |from: Standing<T>, to: Standing<T>| from.changes(&to).collect::<Vec<_>>();
        assert_eq!(of(Standing::default(), leads), [Changed { leader: Some(1), vote: old }]);
        assert_eq!(of(leads, settled), [Gained { vote: old }]);
        assert_eq!(of(settled, settled), []);
        let to_other = [Lost { vote: old }, Changed { leader: Some(3), vote: follows.vote }];
        assert_eq!(of(settled, follows), to_other);
        assert_eq!(of(leads, follows), to_other[1..], "what was not gained is not lost");
        let anew = [Lost { vote: old }, Changed { leader: Some(1), vote: new }, Gained { vote: new }];
        assert_eq!(of(settled, standing(Some(1), new, true)), anew);
        let campaigns = standing(None, Vote::new(9, 1), false);
        assert_eq!(of(campaigns, standing(None, Vote::new(10, 1), false)), [], "nobody leads, as before");
    }
}
