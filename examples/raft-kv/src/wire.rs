//! What server and client say to each other: paths, headers and JSON bodies, written once for both sides.

use clap::ValueEnum;
pub(crate) use openraft_node::{MembersAnswer, NodeStatus, SnapshotAnswer, TransferAnswer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Where keys live: this path, then the key, percent-encoded.
pub(crate) const KV_PATH: &str = "/v1/kv/";
/// The status of a node.
pub(crate) const STATUS_PATH: &str = "/v1/status";
/// All keys and values of a node as lines.
pub(crate) const EXPORT_PATH: &str = "/v1/export";
/// Where leadership is handed over.
pub(crate) const TRANSFER_PATH: &str = "/v1/transfer-leader";
/// Where members are: this path, then a node's id.
pub(crate) const MEMBERS_PATH: &str = "/v1/members/";
/// Where a node is told to take a snapshot.
pub(crate) const SNAPSHOT_PATH: &str = "/v1/snapshot";

/// A request with this header is answered by the node that receives it or by `not_leader`; without it, a node that
/// does not lead passes the request on. Nodes set it on what they pass on, so that a request hops once; the client
/// sets it because it finds the leader itself.
pub(crate) const NO_FORWARD_HEADER: &str = "x-raft-kv-no-forward";
/// The version of the value: the log index of the entry that wrote it.
pub(crate) const VERSION_HEADER: &str = "x-raft-kv-version";
/// The log index of the last write in what the answering node exports.
pub(crate) const APPLIED_INDEX_HEADER: &str = "x-raft-kv-applied-index";

/// Letters, digits and these stay as they are in a path.
const KEY_SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The path of a key.
pub(crate) fn key_path(key: &str) -> String {
    format!("{KV_PATH}{}", utf8_percent_encode(key, KEY_SET))
}

/// The path of a key, for a write that happens only if the key has this version.
pub(crate) fn key_path_if(key: &str, if_version: Option<u64>) -> String {
    let path = key_path(key);
    if_version.map_or(path.clone(), |version| format!("{path}?if_version={version}"))
}

/// How fresh a read must be: `?consistency=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consistency {
    /// It sees every write that was acknowledged before it began. The client asks the leader.
    #[default]
    Linearizable,
    /// The same, without a round of messages while the followers' promises to the leader stand: trusts clocks, and is
    /// `linearizable` unless the leader runs with --lease-reads.
    Lease,
    /// The same, but the client asks any node, which asks the leader how far it must be.
    Follower,
    /// It sees what the node that is asked has applied, which may be old.
    Stale,
}

impl Consistency {
    /// `path` with this consistency asked for.
    pub(crate) fn on(self, path: &str) -> String {
        let name = self.to_possible_value().expect("no value is skipped");
        format!("{path}?consistency={}", name.get_name())
    }
}

/// The key in a path that begins with [`KV_PATH`]; `None` if it is not UTF-8.
pub(crate) fn key_of_path(path: &str) -> Option<String> {
    let encoded = path.strip_prefix(KV_PATH)?;
    percent_decode_str(encoded).decode_utf8().ok().map(|key| key.into_owned())
}

/// What kind of error it is. Clients decide by this, people read the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    /// The key has no value.
    NotFound,
    /// No such path.
    UnknownRoute,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The key is empty, too long or not UTF-8.
    BadKey,
    /// The value is too long.
    ValueTooLarge,
    /// The query string is not understood.
    BadQuery,
    /// The request's body could not be read, or not be understood by the leader.
    BadBody,
    /// This node does not lead and was asked not to forward. Nothing was proposed.
    NotLeader,
    /// The write was certainly not proposed within its time. It may be sent again.
    NotProposed,
    /// The node has no memory left for proposals. Nothing was proposed.
    Overloaded,
    /// The write may or may not have happened, or may yet happen.
    OutcomeUnknown,
    /// A read could not be confirmed in time.
    ReadTimedOut,
    /// The node has failed or is stopping. Nothing was proposed.
    Stopped,
    /// The node is not ready to serve.
    NotReady,
    /// Leadership was not handed over; the leader leads on.
    TransferFailed,
    /// The members are not changed as was asked.
    ChangeRefused,
    /// The key has another version than the write asks for. Nothing was changed.
    VersionMismatch,
    /// A code this version does not know.
    #[serde(other)]
    Other,
}

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// The kind.
    pub(crate) code: ErrorCode,
    /// A sentence for people: what happened and what to do.
    pub(crate) message: String,
    /// The address of the leader, where it is known and is not the answering node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leader: Option<String>,
    /// With `version_mismatch`: the version that the key has; 0 if it has no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
}

/// The answer to an applied write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WriteAnswer {
    /// The index of the log entry; after a put, the key's version.
    pub(crate) log_index: u64,
    /// Whether the key had a value before.
    pub(crate) existed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_survives_the_way_through_a_path() {
        for key in ["a", "a/b", "with space", "100%", "ä€", "?x=1#y", "..", "\n"] {
            let path = key_path(key);
            assert!(path.is_ascii() && !path.contains(['?', '#', ' ']), "{path}");
            assert_eq!(key_of_path(&path).as_deref(), Some(key));
        }
        assert_eq!(key_of_path("/v1/kv/a/b").as_deref(), Some("a/b"));
        assert_eq!(key_of_path("/v1/kv/%ff"), None);
    }

    #[test]
    fn an_error_code_of_a_newer_server_is_still_an_error() {
        let body: ErrorBody = serde_json::from_str(r#"{"code":"brand_new","message":"m"}"#).unwrap();
        assert_eq!((body.code, body.leader), (ErrorCode::Other, None));
    }

    #[test]
    fn a_consistency_is_asked_for_by_the_name_that_is_understood() {
        for consistency in Consistency::value_variants() {
            let path = consistency.on("/p");
            let name = path.strip_prefix("/p?consistency=").unwrap();
            assert_eq!(serde_json::from_str::<Consistency>(&format!("{name:?}")).unwrap(), *consistency);
        }
    }
}
