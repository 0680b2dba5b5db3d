//! Every error of the interface: JSON with a code, a sentence and the leader where it is known.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::limits::LimitError;
use crate::state::NO_VERSION;
use crate::wire::{ErrorBody, ErrorCode};

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError(pub(crate) ErrorBody);

impl ApiError {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody { code, message: message.into(), leader: None, version: None })
    }

    /// The same, naming the leader's address.
    pub(super) fn with_leader(mut self, leader: Option<String>) -> Self {
        self.0.leader = leader;
        self
    }

    /// The key has the version `current`, not `wanted`.
    pub(super) fn version_mismatch(key: &str, wanted: u64, current: u64) -> Self {
        let wanted = match wanted {
            NO_VERSION => "no value".to_owned(),
            version => format!("version {version}"),
        };
        let found = match current {
            NO_VERSION => "no value".to_owned(),
            version => format!("version {version}"),
        };
        let message = format!("the key {key:?} has {found}, not {wanted}; nothing was changed");
        Self(ErrorBody { code: ErrorCode::VersionMismatch, message, leader: None, version: Some(current) })
    }
}

/// The status for each code. Whoever reads only the status is misled in no important matter: 504 for what took too
/// long, 503 for what will pass, 4xx for what the caller must change.
pub(super) fn http_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::NotFound | ErrorCode::UnknownRoute => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::BadKey | ErrorCode::BadQuery | ErrorCode::BadBody => StatusCode::BAD_REQUEST,
        ErrorCode::ValueTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NotLeader => StatusCode::MISDIRECTED_REQUEST,
        ErrorCode::TransferFailed | ErrorCode::ChangeRefused | ErrorCode::VersionMismatch => {
            StatusCode::CONFLICT
        }
        ErrorCode::NotProposed | ErrorCode::OutcomeUnknown | ErrorCode::ReadTimedOut => {
            StatusCode::GATEWAY_TIMEOUT
        }
        ErrorCode::Overloaded | ErrorCode::Stopped | ErrorCode::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Other => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<LimitError> for ApiError {
    fn from(error: LimitError) -> Self {
        let code = match error {
            LimitError::EmptyKey | LimitError::KeyTooLarge(_) => ErrorCode::BadKey,
            LimitError::ValueTooLarge(_) => ErrorCode::ValueTooLarge,
        };
        Self::new(code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (http_status(self.0.code), Json(self.0)).into_response()
    }
}
