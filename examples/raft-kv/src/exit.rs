//! How the program ends: five exit codes, and one line on standard error for every end but the good one.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It failed, or what was asked for is not there: exit code 1.
    Error(String),
    /// The command line makes no sense: exit code 2, which is also what clap uses.
    Usage(String),
    /// A write may or may not have happened, or may yet happen: exit code 3.
    OutcomeUnknown(String),
    /// A condition did not hold, and nothing was changed: exit code 4.
    Refused(String),
}

impl Failure {
    /// A plain error.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }

    /// What the process returns.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Error(_) => 1,
            Self::Usage(_) => 2,
            Self::OutcomeUnknown(_) => 3,
            Self::Refused(_) => 4,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(message)
            | Self::Usage(message)
            | Self::OutcomeUnknown(message)
            | Self::Refused(message) => f.write_str(message),
        }
    }
}

/// Writes `text` to standard output, which may be a pipe whose reader has gone.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| Failure::error(format!("standard output cannot be written: {e}")))
}
