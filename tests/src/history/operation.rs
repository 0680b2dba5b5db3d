//! One operation of a client as it is written down, and lines of JSON of them.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// One operation of one client on one key. Instants are nanoseconds on one clock of the process that made the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked.
    pub client: u64,
    /// What was asked.
    pub op: Op,
    /// What it is about: operations on different keys are independent.
    pub key: String,
    /// What a put or a cas is to store. No two writes of a history store the same.
    #[serde(default)]
    pub value: Option<String>,
    /// What a cas expects to find; `None`: that the key is absent.
    #[serde(default)]
    pub expect: Option<String>,
    /// When it was asked.
    pub call_ns: u64,
    /// When the answer came; `None` if none came.
    #[serde(default)]
    pub return_ns: Option<u64>,
    /// What became of it.
    pub outcome: Outcome,
    /// What a get returned; `None`, with [`Outcome::Ok`]: the key is absent. Of a cas that failed because of its
    /// condition: what it found, if that was told.
    #[serde(default)]
    pub read: Option<String>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// Store a value.
    Put,
    /// Return the value.
    Get,
    /// Store a value if another one is found.
    Cas,
    /// Remove the value.
    Delete,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It took effect, once, between call and return.
    Ok,
    /// It certainly never takes effect.
    Fail,
    /// It may take effect once at any time after the call, or never.
    Unknown,
}

/// Why lines are no history.
#[derive(Debug)]
pub struct ReadError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ReadError {}

/// Reads a history: one JSON object a line. Empty lines are left out.
///
/// # Errors
/// Where a line cannot be read, is no operation, or contradicts itself.
pub fn read_lines(from: impl BufRead) -> Result<Vec<Operation>, ReadError> {
    let mut operations = Vec::new();
    for (index, text) in from.lines().enumerate() {
        let wrong = |what: String| ReadError { line: index + 1, what };
        let text = text.map_err(|error| wrong(error.to_string()))?;
        if text.trim().is_empty() {
            continue;
        }
        let operation: Operation = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        operation.contradiction().map_or(Ok(()), |what| Err(wrong(what.to_owned())))?;
        operations.push(operation);
    }
    Ok(operations)
}

/// Writes a history as [`read_lines`] reads it.
///
/// # Errors
/// If `to` takes no more.
pub fn write_lines<'a>(
    mut to: impl Write,
    operations: impl IntoIterator<Item = &'a Operation>,
) -> io::Result<()> {
    for operation in operations {
        serde_json::to_writer(&mut to, operation)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

impl Operation {
    /// What in it cannot be.
    fn contradiction(&self) -> Option<&'static str> {
        if self.return_ns.is_some_and(|returned| returned < self.call_ns) {
            return Some("it returned before it was called");
        }
        if self.outcome == Outcome::Ok && self.return_ns.is_none() {
            return Some("it is ok, but no answer came");
        }
        let stores = matches!(self.op, Op::Put | Op::Cas);
        (stores && self.value.is_none()).then_some("it stores something, but it is not said what")
    }
}

/// As in a sentence: `put "c3-17"`, `get -> absent`, `cas "a" to "b": failed, found "c"`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |value: &Option<String>| match value {
            Some(value) => format!("{value:?}"),
            None => "absent".to_owned(),
        };
        match self.op {
            Op::Put => write!(f, "put {}", name(&self.value))?,
            Op::Get => f.write_str("get")?,
            Op::Cas => write!(f, "cas {} to {}", name(&self.expect), name(&self.value))?,
            Op::Delete => f.write_str("delete")?,
        }
        match (self.outcome, self.op, &self.read) {
            (Outcome::Ok, Op::Get, read) => write!(f, " -> {}", name(read)),
            (Outcome::Ok, ..) => Ok(()),
            (Outcome::Fail, Op::Cas, Some(found)) => write!(f, ": failed, found {found:?}"),
            (Outcome::Fail, ..) => f.write_str(": failed"),
            (Outcome::Unknown, ..) => f.write_str(": outcome unknown"),
        }
    }
}
