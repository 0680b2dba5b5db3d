//! The history of a run: one JSON object a line, one line an operation, for a checker to judge.
//!
//! Every value is written once: `c3-17`, the seventeenth of client 3, filled up with dots to the length that was asked
//! for. The history leaves out the dots, and only where all of them are there: a value that is cut or damaged shows.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;

use crate::exit::Failure;

use super::mix::Op;
use super::outcome::Outcome;

/// Long enough for the name of every value that one run can write.
pub(super) const MIN_VALUE_BYTES: usize = 24;

const FILLING: u8 = b'.';

/// The bytes that are stored for the value `name`. One that is too long is cut; [`MIN_VALUE_BYTES`] never are.
pub(super) fn value_bytes(name: &str, size: usize) -> Bytes {
    let mut value = Vec::with_capacity(size.max(name.len()));
    value.extend_from_slice(name.as_bytes());
    value.resize(size, FILLING);
    value.into()
}

/// The name of a value that was read, or all of it where it is none of [`value_bytes`].
pub(super) fn value_name(value: &[u8], size: usize) -> String {
    let end = value.iter().position(|byte| *byte == FILLING).unwrap_or(value.len());
    let whole = value.len() == size && value[end..].iter().all(|byte| *byte == FILLING);
    String::from_utf8_lossy(if whole { &value[..end] } else { value }).into_owned()
}

/// Nanoseconds that only grow, counted from 1970 as this machine's clock was when the run began, so that the times of
/// other records of the same machine can be compared with them.
pub(super) struct Clock {
    started: Instant,
    started_ns: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_ns: nanos(since_1970) }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.started_ns + nanos(self.started.elapsed())
    }
}

/// Centuries fit.
fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is known of an operation before it ends.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) client: usize,
    pub(super) op: Op,
    pub(super) key: String,
    /// What a write is to store.
    pub(super) value: Option<String>,
    /// What a cas expects to find; `None` is no value.
    pub(super) expect: Option<String>,
    pub(super) call_ns: u64,
}

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    client: usize,
    op: &'a str,
    key: &'a str,
    value: Option<&'a str>,
    expect: Option<&'a str>,
    call_ns: u64,
    return_ns: Option<u64>,
    outcome: &'a str,
    read: Option<&'a str>,
}

/// A history that is being written.
pub(super) struct History {
    path: PathBuf,
    file: Mutex<Result<BufWriter<File>, io::Error>>,
}

impl History {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|e| Self::failure(path, &e))?;
        let file = Mutex::new(Ok(BufWriter::with_capacity(1 << 20, file)));
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the operation that has just ended at `return_ns`. `read`: what a get found, or what a cas found in the
    /// place of what it expected, if that is known.
    pub(super) fn add(&self, begun: &Begun, outcome: &Outcome, return_ns: u64, read: Option<&str>) {
        let (name, answered) = match outcome {
            Outcome::Written { .. } | Outcome::Found { .. } | Outcome::Absent => ("ok", true),
            Outcome::OtherVersion { .. } | Outcome::Failed { .. } => ("fail", true),
            Outcome::Unknown { .. } => ("unknown", false),
        };
        let line = Line {
            client: begun.client,
            op: begun.op.name(),
            key: &begun.key,
            value: begun.value.as_deref(),
            expect: begun.expect.as_deref(),
            call_ns: begun.call_ns,
            return_ns: answered.then_some(return_ns),
            outcome: name,
            read,
        };
        self.with(|file| {
            serde_json::to_writer(&mut *file, &line).map_err(io::Error::from)?;
            file.write_all(b"\n")
        });
    }

    /// Hands what was written so far to the system.
    pub(super) fn flush(&self) {
        self.with(BufWriter::flush);
    }

    /// Whether every operation so far could be written. A history with holes would be judged wrongly.
    pub(super) fn check(&self) -> Result<(), Failure> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map(|_| ()).map_err(|error| Self::failure(&self.path, error))
    }

    fn with(&self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(open) = &mut *file
            && let Err(error) = write(open)
        {
            *file = Err(error);
        }
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        Failure::error(format!("the history {} cannot be written: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_name_and_its_length_and_gives_the_name_back() {
        for (name, size) in [("c3-17", 24), ("c65535-99999999999999999", 24), ("c1-1", 256)] {
            let value = value_bytes(name, size);
            assert_eq!((value.len(), value_name(&value, size).as_str()), (size, name));
        }
        assert_eq!(&value_bytes("c3-17", 3)[..], b"c3-");
    }

    #[test]
    fn a_value_that_is_cut_or_damaged_is_told_from_a_whole_one() {
        let value = value_bytes("c3-17", 24);
        assert_ne!(value_name(&value[..23], 24), "c3-17");
        let mut damaged = value.to_vec();
        damaged[20] = b'x';
        assert_ne!(value_name(&damaged, 24), "c3-17");
    }

    #[test]
    fn every_operation_is_a_line_in_the_form_that_checkers_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history");
        let history = History::create(&path).unwrap();
        let begun = |op, value: Option<&str>, expect: Option<&str>| Begun {
            client: 3,
            op,
            key: "k".to_owned(),
            value: value.map(str::to_owned),
            expect: expect.map(str::to_owned),
            call_ns: 5,
        };
        history.add(&begun(Op::Put, Some("c3-1"), None), &Outcome::Written { version: Some(9) }, 7, None);
        let unknown = Outcome::Unknown { reason: "r".to_owned() };
        history.add(&begun(Op::Delete, None, None), &unknown, 8, None);
        let other = Outcome::OtherVersion { current: Some(9) };
        history.add(&begun(Op::Cas, Some("c3-2"), Some("c1-1")), &other, 9, Some("c3-1"));
        history.add(&begun(Op::Get, None, None), &Outcome::Absent, 10, None);
        history.flush();
        history.check().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"client":3,"op":"put","key":"k","value":"c3-1","expect":null,"call_ns":5,"return_ns":7,"outcome":"ok","read":null}"#,
                r#"{"client":3,"op":"delete","key":"k","value":null,"expect":null,"call_ns":5,"return_ns":null,"outcome":"unknown","read":null}"#,
                r#"{"client":3,"op":"cas","key":"k","value":"c3-2","expect":"c1-1","call_ns":5,"return_ns":9,"outcome":"fail","read":"c3-1"}"#,
                r#"{"client":3,"op":"get","key":"k","value":null,"expect":null,"call_ns":5,"return_ns":10,"outcome":"ok","read":null}"#,
            ]
        );
    }

    #[test]
    fn a_history_that_could_not_be_written_whole_is_said_to_be_so() {
        let history = History::create(Path::new("/dev/full")).unwrap();
        history.flush();
        history.check().unwrap();
        let begun =
            Begun { client: 0, op: Op::Get, key: "k".to_owned(), value: None, expect: None, call_ns: 0 };
        history.add(&begun, &Outcome::Absent, 1, None);
        history.flush();
        let Err(Failure::Error(message)) = history.check() else { panic!("it was written") };
        assert!(message.contains("/dev/full cannot be written"), "{message}");
    }
}
