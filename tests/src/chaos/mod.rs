//! Chaos on real processes: nodes of `raft-kv` in network namespaces, under load, while they are killed, paused, cut off,
//! filled up, restarted, added and removed; and then a verdict on everything that the clients saw.
//!
//! - [`fault`]: the kinds of faults, drawn from a seed; [`inflict`]: carries them out, never more than the protocol
//!   survives.
//! - [`cluster`]: the processes; [`net`]: where they live and how links are cut; [`disk`]: their disks; `shell`: commands
//!   of the system.
//! - [`load`]: `raft-kv bench`, whose histories are judged; [`verdict`]: the judgement; [`windows`]: when nothing was
//!   acknowledged, and what went on then.
//! - [`run`]: a whole run, and its report.
//!
//! `bin/chaos` runs it; `docs/chaos.md` says how to read what it prints.

// Real processes keep real time.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod cluster;
pub mod disk;
pub mod fault;
pub mod inflict;
pub mod load;
pub mod net;
pub mod run;
mod shell;
pub mod verdict;
pub mod windows;

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, in nanoseconds since 1970 as this machine's clock was when this was first asked: the clock of the histories,
/// whose writers count in the same way.
pub fn clock_ns() -> u64 {
    static STARTED: OnceLock<(Instant, u64)> = OnceLock::new();
    let (instant, ns) = STARTED.get_or_init(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        (Instant::now(), nanos(since_1970))
    });
    ns + nanos(instant.elapsed())
}

/// Centuries fit.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
