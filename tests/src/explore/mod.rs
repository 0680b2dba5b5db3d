//! Exhaustive search of the real code: every order of events within stated bounds, over the real
//! [`Engine`](openraft_engine::Engine) and [`Progress`](openraft_engine::Progress) values of a
//! [`World`](crate::world::World).
//!
//! A [`Scope`] says how a search begins, what may happen in it and how often, and what it must come upon. Within it
//! *every* sequence of moves is tried: any message that is under way may arrive next, or never (that is its loss), in
//! any order; messages are duplicated, nodes crash at any point with any prefix of their unflushed writes on the disk
//! and start again, any armed deadline comes at any time. After every step all of
//! [`Invariant`](crate::world::Invariant) must hold. `stateright` keeps what was visited. What is found broken is told by
//! one of the shortest sequences of moves that lead to it, in the words of a scenario script, and can be saved as one.
//!
//! # Time
//!
//! A search lets any armed deadline come whatever the clocks say. Leases and promises rest on time, so they are
//! switched off here (`bare`) and belong to the simulation. What remains of time in the protocol's decisions is asked
//! both ways: a leader that has heard of its quorum just now, and one that has slept so long that it has not
//! ([`Cost::Sleep`]). Clocks thus need not be compared.
//!
//! # What is left out, and why nothing is missed
//!
//! - *Losing a message is no move.* A message that never arrives is lost; whatever can happen after its loss can happen
//!   while it is under way.
//! - *Spent messages do not arrive.* See [`World::is_spent`](crate::world::World::is_spent).
//! - *Equal messages are one choice*, and the order of sending is forgotten: any of them may arrive next.
//! - *The first to time out is the first node*, where a scope begins with nodes that differ in nothing but their ids
//!   ([`Scope::symmetric`]): the engine compares ids only for being equal there.
//! - *State machines apply at once* unless a scope says otherwise: no other node sees when a node applies, and a read
//!   that is served later shows no less.
//!
//! What a budget leaves out is left out; each scope prints its budgets.
//!
//! # Layout
//!
//! - [`Scope`], [`Cost`]: what a search is, as data; `scopes` holds those that are run.
//! - [`Search`]: a scope as a `stateright` model: [`Move`]s out of a [`Situation`].
//! - [`run`]: searches one scope and says what came of it: an [`Outcome`].

mod model;
mod run;
mod scope;
mod scopes;

pub use model::{Move, Search, Situation};
pub use run::{Order, Outcome, Violation, run};
pub use scope::{Cost, Scope};
pub use scopes::{Size, scopes};
