//! Scenario scripts: a small command language over a [`World`], in files that read as
//! documentation.
//!
//! A scenario's first line is its title. Lines that begin with `> ` are commands; the lines behind a command that are
//! indented by two spaces are what it printed; everything else is prose. Running a scenario carries out its commands
//! and compares what they print with what the file says. After every command the world's invariants are checked
//! ([`Invariant`](crate::world::Invariant)); a broken one fails the scenario whatever the file says.
//!
//! With `SCENARIOS_WRITE=1` in the environment the outputs are written into the files instead of compared; the change
//! is then reviewed like any other.
//!
//! # Commands
//!
//! | command | what it does |
//! |---|---|
//! | `cluster 1 2 3 [bare] [setting=value ...]` | forms a cluster; nobody leads. Settings: [`Settings::set`](crate::world::Settings::set); `bare`: no pre-vote and no promises, the paper's protocol alone, so that an election takes fewer steps |
//! | `node 4 empty` | starts a node on an empty store |
//! | `log 1: 1 1 4 [term 5]` | before anything happened: node 1's log holds entries of these terms behind index 0, and it heard of term 5 |
//! | `campaign 1` | node 1's election timeout passes, and nobody else's |
//! | `elect 1` | `campaign 1` and `stabilise`; node 1 must lead then |
//! | `fire 1` | node 1's next deadline, whichever it is |
//! | `due 1` | the next deadline of node 1's engine, and none of its replication tasks' |
//! | `sleep 1 2s` | node 1's clock moves on while it does nothing, as a suspended machine's: no deadline is seen |
//! | `propose 1 a b` | node 1 is asked to take the writes a and b, in one batch |
//! | `read 1 r` | node 1 is asked for a linearizable read, called r |
//! | `lease-read 1 r` | the same, by the lease if there is one |
//! | `seek-election 1` | node 1 is asked to seek election: its timer is skipped, and nothing else |
//! | `forget-leader 1` | node 1 is told to forget who leads |
//! | `transfer 1 [to 2]` | node 1 is asked to hand leadership over |
//! | `member 1 CHANGE [and CHANGE ...] [if CONDITION ...]` | node 1 is asked to change the membership |
//! | `snapshot 1` | node 1 is asked for a snapshot |
//! | `deliver`, `drop`, `duplicate` `[MESSAGES]` | the messages under way that are meant, all without one |
//! | `flush 1 [2]` | node 1's disk completes its writes, or the 2 oldest; `flush all` |
//! | `crash 1 [keep 2]` | node 1 goes down; of its unflushed writes the 2 oldest happened to be on the disk |
//! | `restart 1`, `wipe 1` | node 1 starts again; or on an empty disk |
//! | `give-up 1->2` | node 1 counts what is under way to node 2 as lost |
//! | `retry 1->2` | node 1's pause after that ends |
//! | `partition {1,2} {3}`, `cut 1->2`, `heal` | messages between the sets, or that way, are lost; no more |
//! | `hold 1->2`, `hold disk 1`, `hold machine 1` | that link, disk or state machine does nothing by itself |
//! | `release ...` | and does again |
//! | `apply 1` | node 1's held state machine does one piece of work |
//! | `stabilise` | delivers, flushes and applies until nothing is left to do |
//! | `advance 600ms [1]` | clocks move on, all or one; nothing is delivered |
//! | `run 600ms` | clocks move on together, and all is delivered, flushed and applied at once |
//! | `state`, `log`, `progress`, `disk`, `members`, `machine`, `promises` `[1]` | prints that, of all nodes or one |
//! | `messages` | prints what is under way |
//! | `tally [MESSAGES]` | prints how many messages of which kind arrived since the last tally |
//!
//! A CHANGE is `add 4` (as learners; `add 4 promote`: to become voters by themselves), `voters 1 2 4` (these and no
//! others), `promote 4`, `demote 2`, `remove 2`, `nodes 1 2 3` (these and no others) or `move 2 host-9`. A CONDITION is
//! `membership T1-N1-3`, `last T1-N1-3` or `leader T1-N1`.
//!
//! MESSAGES are words that all must fit: a link `1->2`, `1->` or `->2`, a kind ([`KINDS`](crate::world::KINDS)), and
//! `#2` for the second of those.

mod change;
mod compare;
mod interpreter;
mod print;
mod scenario;
mod select;

use openraft_engine::MembershipChange;

use crate::world::{Address, World};
pub use compare::difference;
pub use scenario::{Scenario, run_file};

/// The world to which these commands lead.
///
/// # Errors
/// The command that could not be carried out, and why.
pub fn world_after(commands: &[&str]) -> Result<World, String> {
    let mut interpreter = interpreter::Interpreter::default();
    for command in commands {
        interpreter.carry_out(command).map_err(|error| format!("{command}: {error}"))?;
    }
    interpreter.into_world().ok_or_else(|| "no command formed a cluster".to_owned())
}

/// The change of the membership that these words ask for, as `member 1` takes them.
///
/// # Errors
/// If they are none.
pub fn parse_change(words: &str, world: &World) -> Result<MembershipChange<u64, Address>, String> {
    let words: Vec<&str> = words.split_whitespace().collect();
    Ok(change::parse(&words, world)?.change)
}
