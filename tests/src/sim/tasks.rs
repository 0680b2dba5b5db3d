//! A simulated process: its tasks run in an order drawn from the seed, stand still together, and end together, at any
//! point at which one of them waits.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use openraft_adapters::{Spawn, TaskHandle};
use tokio::sync::Notify;

use super::chance::Chance;

/// The tasks of one life of a node.
#[derive(Clone)]
pub(super) struct Process {
    chance: Chance,
    /// A task that could run lets others go first once in so many times.
    yield_one_in: u32,
    /// Told when the process dies by itself.
    died: Arc<Notify>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    tasks: Vec<tokio::task::AbortHandle>,
    dead: bool,
    paused: bool,
    /// Who wanted to run while the process stood still.
    waiting: Vec<Waker>,
    /// After so many more polls of its tasks the process dies.
    fuse: Option<u32>,
}

impl Process {
    pub(super) fn new(chance: Chance, yield_one_in: u32, died: Arc<Notify>) -> Self {
        Self { chance, yield_one_in, died, state: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every task where it stands.
    pub(super) fn kill(&self) {
        let mut state = self.lock();
        state.dead = true;
        state.tasks.drain(..).for_each(|task| task.abort());
    }

    /// Lets the process die after `polls` more steps of its tasks, wherever that is.
    pub(super) fn light_fuse(&self, polls: u32) {
        self.lock().fuse = Some(polls);
    }

    /// Whether it has died by its fuse, or was killed.
    pub(super) fn is_dead(&self) -> bool {
        self.lock().dead
    }

    pub(super) fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// From now on none of its tasks runs.
    pub(super) fn pause(&self) {
        self.lock().paused = true;
    }

    /// Its tasks go on.
    pub(super) fn resume(&self) {
        let waiting = {
            let mut state = self.lock();
            state.paused = false;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether a task may take a step now.
    fn admits(&self, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        if state.dead {
            return false;
        }
        if state.paused {
            state.waiting.push(context.waker().clone());
            return false;
        }
        match &mut state.fuse {
            Some(0) => {
                state.dead = true;
                drop(state);
                self.died.notify_one();
                return false;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        drop(state);
        if self.chance.one_in(self.yield_one_in) {
            context.waker().wake_by_ref();
            return false;
        }
        true
    }
}

/// Starts a task that belongs to no process: a message under way, a client.
#[allow(clippy::disallowed_methods)] // This is the spawn that others go through.
pub(super) fn start(task: impl Future<Output = ()> + Send + 'static) -> tokio::task::AbortHandle {
    tokio::spawn(task).abort_handle()
}

impl Spawn for Process {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        let abort = start(Step { task, process: self.clone() });
        let mut state = self.lock();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(abort.clone());
        TaskHandle::new(abort)
    }
}

/// A runtime of one thread polls tasks in the order in which they were woken and would never show a race between
/// them. This one lets others go first, now and then.
struct Step {
    task: BoxFuture<'static, ()>,
    process: Process,
}

impl Future for Step {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.process.admits(context) {
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
