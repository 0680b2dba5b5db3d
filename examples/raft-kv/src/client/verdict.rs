//! What the result of one attempt means for the whole request. Pure: the decision that must never be wrong is here.

use crate::http::{Answer, HttpError};
use crate::wire::{ErrorBody, ErrorCode};

use super::CallError;

/// Whether a request may be sent again when an earlier attempt may have had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Yes: it is a read, or writing the same value once more does no harm to whoever asks.
    Freely,
    /// Only what was certainly not done.
    OnlyIfNotDone,
    /// Yes: it is a write that asks for a version which, once it is gone, never comes back, so that of all attempts one
    /// at most has its effect. But that a later attempt meets another version says nothing of an earlier one whose
    /// outcome is not known: it may have met its work.
    WhileVersionStands,
}

/// What to do after an attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It succeeded.
    Done(Answer),
    /// No other attempt would do better, or none may be made.
    Stop(CallError),
    /// Nothing was done; `leader` leads.
    Ask { leader: String, reason: String },
    /// Ask another node. `maybe_done`: this attempt may have had its effect.
    Next { reason: String, maybe_done: bool },
}

/// Decides. `unknown` says why an earlier attempt's outcome is not known, if there was one. A success that is a redirect
/// of HTTP does not occur: nodes answer `not_leader`.
pub(crate) fn judge(result: Result<Answer, HttpError>, repeat: Repeat, unknown: Option<&str>) -> Verdict {
    let answer = match result {
        Ok(answer) if answer.status.is_success() => return Verdict::Done(answer),
        Ok(answer) => answer,
        Err(error @ HttpError::NotSent { .. }) => {
            return Verdict::Next { reason: error.to_string(), maybe_done: false };
        }
        Err(error @ HttpError::NoAnswer { .. }) => return maybe_done(error.to_string(), repeat),
    };
    let body: ErrorBody = match serde_json::from_slice(&answer.body) {
        Ok(body) => body,
        // Not one of ours: a proxy perhaps, of which it is not known what it passed on.
        Err(_) => return maybe_done(format!("the answer is {} without our JSON", answer.status), repeat),
    };
    match body.code {
        ErrorCode::NotLeader => match body.leader {
            Some(leader) => Verdict::Ask { leader, reason: body.message },
            None => Verdict::Next { reason: body.message, maybe_done: false },
        },
        ErrorCode::NotProposed
        | ErrorCode::Overloaded
        | ErrorCode::Stopped
        | ErrorCode::NotReady
        | ErrorCode::ReadTimedOut => Verdict::Next { reason: body.message, maybe_done: false },
        ErrorCode::OutcomeUnknown => maybe_done(body.message, repeat),
        ErrorCode::VersionMismatch => Verdict::Stop(mismatch(body, unknown)),
        ErrorCode::NotFound
        | ErrorCode::UnknownRoute
        | ErrorCode::MethodNotAllowed
        | ErrorCode::BadKey
        | ErrorCode::ValueTooLarge
        | ErrorCode::BadQuery
        | ErrorCode::BadBody
        | ErrorCode::ChangeRefused
        | ErrorCode::TransferFailed => Verdict::Stop(CallError::Refused(body)),
        ErrorCode::Other if answer.status.is_client_error() => Verdict::Stop(CallError::Refused(body)),
        ErrorCode::Other => maybe_done(body.message, repeat),
    }
}

fn maybe_done(reason: String, repeat: Repeat) -> Verdict {
    match repeat {
        Repeat::Freely | Repeat::WhileVersionStands => Verdict::Next { reason, maybe_done: true },
        Repeat::OnlyIfNotDone => Verdict::Stop(CallError::OutcomeUnknown { reason }),
    }
}

/// The key has another version than was asked for. If no attempt was in doubt, nothing was changed.
fn mismatch(body: ErrorBody, unknown: Option<&str>) -> CallError {
    match unknown {
        None => CallError::Refused(body),
        Some(earlier) => CallError::OutcomeUnknown {
            reason: format!(
                "an attempt may have had its effect ({earlier}), and then the key was found changed, by that attempt or \
                 by another write ({})",
                body.message
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};

    use super::*;

    fn error(code: &str, status: u16, leader: Option<&str>) -> Result<Answer, HttpError> {
        let leader = leader.map_or(String::new(), |l| format!(r#","leader":"{l}""#));
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: format!(r#"{{"code":"{code}","message":"m"{leader}}}"#).into(),
        })
    }

    /// One letter for each verdict: `D`one, `S`top, `U`nknown, `A`sk, `N`ext, next but `M`aybe done.
    fn letter(verdict: &Verdict) -> char {
        match verdict {
            Verdict::Done(_) => 'D',
            Verdict::Stop(CallError::OutcomeUnknown { .. }) => 'U',
            Verdict::Stop(_) => 'S',
            Verdict::Ask { .. } => 'A',
            Verdict::Next { maybe_done: false, .. } => 'N',
            Verdict::Next { maybe_done: true, .. } => 'M',
        }
    }

    #[test]
    fn a_write_is_sent_again_only_if_it_was_certainly_not_done() {
        let lost = Err(HttpError::NoAnswer { target: "t".into(), cause: "c".into() });
        let unsent = Err(HttpError::NotSent { target: "t".into(), cause: "c".into() });
        let html =
            Ok(Answer { status: StatusCode::BAD_GATEWAY, headers: HeaderMap::new(), body: "<html>".into() });
        // Result, verdict on a write that must not be repeated, verdict on what may be.
        let table = [
            (lost, 'U', 'M'),
            (unsent, 'N', 'N'),
            (html, 'U', 'M'),
            (error("not_leader", 421, Some("x:1")), 'A', 'A'),
            (error("not_leader", 421, None), 'N', 'N'),
            (error("not_proposed", 504, None), 'N', 'N'),
            (error("overloaded", 503, None), 'N', 'N'),
            (error("stopped", 503, None), 'N', 'N'),
            (error("not_ready", 503, None), 'N', 'N'),
            (error("read_timed_out", 504, None), 'N', 'N'),
            (error("outcome_unknown", 504, None), 'U', 'M'),
            (error("not_found", 404, None), 'S', 'S'),
            (error("bad_key", 400, None), 'S', 'S'),
            (error("value_too_large", 413, None), 'S', 'S'),
            (error("a_new_refusal", 400, None), 'S', 'S'),
            (error("a_new_failure", 500, None), 'U', 'M'),
        ];
        for (result, write, free) in table {
            let name = format!("{result:?}");
            assert_eq!(letter(&judge(result.clone(), Repeat::OnlyIfNotDone, None)), write, "{name}");
            assert_eq!(letter(&judge(result.clone(), Repeat::WhileVersionStands, None)), free, "{name}");
            assert_eq!(letter(&judge(result, Repeat::Freely, None)), free, "{name}");
        }
    }

    #[test]
    fn another_version_is_a_refusal_only_while_no_earlier_attempt_is_in_doubt() {
        let result = || error("version_mismatch", 409, None);
        assert_eq!(letter(&judge(result(), Repeat::WhileVersionStands, None)), 'S');
        let verdict = judge(result(), Repeat::WhileVersionStands, Some("the node went away"));
        assert_eq!(letter(&verdict), 'U');
        let Verdict::Stop(error) = verdict else { panic!() };
        assert!(error.to_string().contains("the node went away"), "{error}");
    }
}
