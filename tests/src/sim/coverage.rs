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

// The minima are about a third of what is usual.
reached! {
    MessageLost, "message lost", 1_000;
    MessageTwice, "message delivered twice", 1_000;
    MessageLate, "message delayed by 100 ms or more", 1_000;
    LinkCutOneWay, "link cut one way", 30;
    Partition, "partition, whole or partial", 30;
    SlowLink, "slow link", 30;
    StreamBroken, "append stream broken mid-frame", 100;
    SnapshotBroken, "snapshot stream broken", 10;
    Crash, "crash between two steps of a process", 100;
    CrashAnywhere, "crash in the midst of a process's work", 100;
    CrashLosesWrites, "crash that loses unflushed writes", 30;
    CrashTearsRecord, "crash that tears the record being written", 10;
    Pause, "process paused", 30;
    Suspend, "machine suspended, its clock too", 3;
    RollingRestart, "rolling restart", 3;
    DiskStall, "disk stands still for seconds", 30;
    WriteError, "write error", 10;
    FullDisk, "full disk", 10;
    ReadError, "read error", 10;
    BitRot, "bit rot in a stored record", 3;
    CorruptRecordMet, "corrupt record met and reported", 1;
    Wipe, "disk of a voter wiped", 3;
    WipeIdle, "disk of a node that is no member wiped", 3;
    WipedDiskRefused, "wiped disk refused", 3;
    Readmitted, "node removed and admitted again on another store", 1;
    Election, "leader elected", 300;
    VoteRefused, "vote refused", 30;
    PreVoteRefused, "pre-vote refused", 30;
    PromiseExpired, "vote granted after a promise to another had ended", 100;
    CheckQuorum, "leader steps down for want of a quorum, or of progress", 30;
    ConflictRepaired, "conflicting entries truncated", 30;
    SnapshotCaughtUp, "follower caught up by a snapshot", 30;
    SnapshotBuilt, "snapshot built", 300;
    Purged, "log purged", 300;
    ChangeFinished, "change of membership finished", 30;
    JointByAnother, "joint change finished by another leader", 1;
    LearnerPromoted, "learner promoted by itself", 10;
    Transferred, "leadership handed over", 30;
    TransferFailed, "leadership not handed over in time", 3;
    WriteAcknowledged, "write acknowledged", 3_000;
    WriteRefused, "write refused, certainly not proposed", 300;
    WriteUnknown, "write of unknown outcome", 300;
    ReadIndexRead, "read by ReadIndex served", 300;
    LeaseRead, "read by lease served", 100;
    FollowerRead, "read by a follower served", 100;
    LeaseBeyondDrift, "read by lease served while clocks drift beyond the bound", 30;
    HealedQuorum, "a quorum alone was healed and served", 90;
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
