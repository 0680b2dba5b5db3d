//! What a run must come upon lest it has shown nothing: a counter for each fault and each path of the protocol.

use std::fmt;
use std::ops::AddAssign;

macro_rules! reached {
    ($($name:ident, $words:literal, $minimum:literal;)*) => {
        /// A fault that was made, or a path of the protocol that was taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reached {
            $(#[doc = $words] $name,)*
        }

        /// All of them, with words and with how many 100 seeds of 20,000 steps must come to.
        const ALL: &[(Reached, &str, u64)] = &[$((Reached::$name, $words, $minimum),)*];
    };
}

// The minima are about a third of what 100 seeds came to.
reached! {
    MessageLost, "message lost", 25_000;
    MessageTwice, "message delivered twice", 3_000;
    MessageLate, "message delayed by 100 ms or more", 1_000;
    LinkCutOneWay, "link cut one way", 700;
    Partition, "partition, whole or partial", 1_000;
    SlowLink, "slow link", 300;
    StreamBroken, "append stream broken mid-frame", 8_000;
    SnapshotBroken, "snapshot stream broken", 40;
    Crash, "crash between two steps of a process", 1_000;
    CrashAnywhere, "crash in the midst of a process's work", 600;
    CrashLosesWrites, "crash that loses unflushed writes", 100;
    CrashTearsRecord, "crash that tears the record being written", 90;
    Pause, "process paused", 500;
    Suspend, "machine suspended, its clock too", 60;
    RollingRestart, "rolling restart", 70;
    DiskStall, "disk stands still for seconds", 300;
    WriteError, "write error", 100;
    FullDisk, "full disk", 200;
    ReadError, "read error", 40;
    BitRot, "bit rot in a stored record", 50;
    CorruptRecordMet, "corrupt record met and reported", 40;
    Wipe, "disk of a voter wiped", 100;
    WipeIdle, "disk of a node that is no member wiped", 100;
    WipedDiskRefused, "wiped disk refused", 1_000;
    Readmitted, "node removed and admitted again on another store", 60;
    Election, "leader elected", 700;
    VoteRefused, "vote refused", 1_000;
    PreVoteRefused, "pre-vote refused", 3_000;
    PromiseExpired, "vote granted after a promise to another had ended", 1_000;
    CheckQuorum, "leader steps down for want of a quorum, or of progress", 300;
    ConflictRepaired, "conflicting entries truncated", 50;
    SnapshotCaughtUp, "follower caught up by a snapshot", 100;
    SnapshotBuilt, "snapshot built", 2_000;
    Purged, "log purged", 3_000;
    ChangeFinished, "change of membership finished", 300;
    JointByAnother, "joint change finished by another leader", 30;
    LearnerPromoted, "learner promoted by itself", 100;
    Transferred, "leadership handed over", 60;
    TransferFailed, "leadership not handed over in time", 10;
    WriteAcknowledged, "write acknowledged", 26_000;
    WriteRefused, "write refused, certainly not proposed", 55_000;
    WriteUnknown, "write of unknown outcome", 10_000;
    ReadIndexRead, "read by ReadIndex served", 5_000;
    LeaseRead, "read by lease served", 4_000;
    FollowerRead, "read by a follower served", 6_000;
    LeaseBeyondDrift, "read by lease served while clocks drift beyond the bound", 1_000;
    HealedQuorum, "a quorum alone was healed and served", 50;
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALL[*self as usize].1)
    }
}

/// How often each was come upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Self([0; ALL.len()])
    }
}

impl Coverage {
    pub(super) fn count(&mut self, reached: Reached) {
        self.0[reached as usize] += 1;
    }

    /// How often this was come upon.
    pub fn of(&self, reached: Reached) -> u64 {
        self.0[reached as usize]
    }

    /// What was come upon too seldom by `steps` steps in all, with how often it was and should have been; nothing if the
    /// steps are too few to say.
    pub fn lacking(&self, steps: u64) -> Vec<(Reached, u64, u64)> {
        let needed = |minimum: u64| minimum.saturating_mul(steps) / 2_000_000;
        let all = ALL.iter().map(|(reached, _, minimum)| (*reached, self.of(*reached), needed(*minimum)));
        all.filter(|(_, found, needed)| found < needed).collect()
    }
}

impl AddAssign<&Coverage> for Coverage {
    fn add_assign(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (reached, words, _) in ALL {
            writeln!(f, "{:>9}  {words}", self.of(*reached))?;
        }
        Ok(())
    }
}
