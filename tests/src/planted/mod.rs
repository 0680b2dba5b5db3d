//! Planted defects: small changes that are known to be bad, put in force one at a time in a copy of the workspace, to
//! see which checks notice them. It is the checks that are tested here, not the library.
//!
//! ```text
//! cargo run -p openraft-tests --bin planted -- --list
//! cargo run -p openraft-tests --bin planted -- --only commit-of-an-earlier-term --checks scenarios,walks
//! cargo run -p openraft-tests --bin planted -- --first        # stop at the first check that notices
//! cargo run -p openraft-tests --bin planted -- --write        # docs/planted-defects.md
//! ```
//!
//! - [`defect`]: what is planted. It is data, in `tests/planted/*.toml`: which file, what to find there, what to put in
//!   its place. What is to be found must be there exactly once; a change that no longer applies is an error, never
//!   passed over. An ordinary test (`tests/tests/planted.rs`) says so to whoever edits the engine.
//! - [`twins`]: how all of them are compiled at once, and one is in force.
//! - [`scratch`]: the copy of the workspace, and its own directory of what is built. Both are kept from run to run.
//! - [`check`]: the groups of checks, how each is built and run.
//! - [`process`]: running a program with limits of time and memory, and what its output says of a failure.
//! - [`report`]: what came of it, kept from run to run, and the table.
//!
//! Every group of checks is asked about every defect, whether another one has noticed it or not. A defect that does not
//! compile is an error in the data. Before any is in force all checks run, and must pass.

pub mod check;
pub mod defect;
pub mod process;
pub mod report;
pub mod scratch;
pub mod twins;
