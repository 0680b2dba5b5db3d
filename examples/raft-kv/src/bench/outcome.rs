//! What an answer, or the lack of one, means for the operation. Pure: a history is worth what this is worth.

use crate::client::{Answered, CallError};
use crate::wire::{ErrorBody, ErrorCode, VERSION_HEADER, WriteAnswer};

use super::mix::Op;

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A write took effect; the key has this version since, if the answer was understood.
    Written { version: Option<u64> },
    /// A read found this.
    Found { value: bytes::Bytes, version: Option<u64> },
    /// A read found that the key has no value.
    Absent,
    /// The key had another version than the write asked for, this one if that was told; nothing was changed.
    OtherVersion { current: Option<u64> },
    /// It certainly has no effect, now or later.
    Failed { reason: String },
    /// It may have its effect once, at any time, or never.
    Unknown { reason: String },
}

/// Decides.
pub(super) fn judge(op: Op, result: Result<Answered, CallError>) -> Outcome {
    match result {
        Ok(Answered { answer, .. }) if op == Op::Get => {
            let version = answer.headers.get(VERSION_HEADER);
            let version = version.and_then(|version| version.to_str().ok()?.parse().ok());
            Outcome::Found { value: answer.body, version }
        }
        Ok(Answered { answer, .. }) => {
            let answer: Option<WriteAnswer> = serde_json::from_slice(&answer.body).ok();
            Outcome::Written { version: answer.map(|answer| answer.log_index) }
        }
        Err(CallError::Refused(ErrorBody { code: ErrorCode::NotFound, .. })) if op == Op::Get => {
            Outcome::Absent
        }
        Err(CallError::Refused(ErrorBody { code: ErrorCode::VersionMismatch, version, .. })) => {
            Outcome::OtherVersion { current: version }
        }
        Err(CallError::OutcomeUnknown { reason }) => Outcome::Unknown { reason },
        Err(error @ (CallError::Refused(_) | CallError::Unavailable { .. })) => {
            Outcome::Failed { reason: error.to_string() }
        }
    }
}
