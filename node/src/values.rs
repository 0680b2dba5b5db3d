//! How the application's values travel and are kept: in postcard, and what to say of bytes that do not decode.

use std::any::type_name;

pub(crate) use openraft_adapters::codec::decode_value as decode;

/// What types postcard cannot read back, although serde derives for them.
const UNSUITABLE: &str = "its types must say what follows, so there is no serde_json::Value, #[serde(untagged)], \
                          #[serde(flatten)], #[serde(tag)] or skip_serializing_if in them";

/// What to say of a value that does not decode from its own bytes.
pub(crate) fn unreadable<T>(cause: &str) -> String {
    format!(
        "a value of type {} does not decode from what it was encoded to ({cause}). It travels and is kept in postcard: \
         {UNSUITABLE}",
        type_name::<T>()
    )
}

/// What to say of a command that a peer sent and that does not decode here.
pub(crate) fn foreign_command<T>(cause: &str) -> String {
    format!(
        "the leader does not understand the command as {} ({cause}): its program is of another version. Upgrade all nodes \
         before new commands are used",
        type_name::<T>()
    )
}

/// What to say of a reply that does not decode here.
pub(crate) fn foreign_reply<T>(cause: &str) -> String {
    format!(
        "the write took effect, but its reply does not decode as {} ({cause}): the leader's program is of another version, \
         or the type is not one for postcard ({UNSUITABLE})",
        type_name::<T>()
    )
}

/// What to say of a state that does not decode.
pub(crate) fn foreign_state<T>(cause: &str) -> String {
    format!(
        "it does not decode as {} ({cause}): the type was changed, or is not one for postcard ({UNSUITABLE})",
        type_name::<T>()
    )
}
