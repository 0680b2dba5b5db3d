//! Whether the checker of histories tells those that are linearizable from those that are not.
//!
//! - [`stories`]: short histories, known good and known bad.
//! - [`twin`]: random small ones, compared with a slow obvious twin.
//! - [`long`]: long concurrent ones of a real register, and what is found when one operation of them is made wrong.
//! - [`lines`]: reading and writing; [`command`]: `check-history`.

mod command;
mod lines;
mod long;
mod make;
mod stories;
mod twin;
