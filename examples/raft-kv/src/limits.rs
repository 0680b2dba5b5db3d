//! How long keys and values may be, and what is said of those that are longer.

/// The longest key, in bytes of UTF-8.
pub(crate) const MAX_KEY_BYTES: usize = 1024;

/// The longest value, in bytes.
pub(crate) const MAX_VALUE_BYTES: usize = 1024 * 1024;

/// What a proposal may weigh besides its key and value: tags and lengths.
pub(crate) const COMMAND_OVERHEAD_BYTES: usize = 64;

/// A key or value that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitError {
    #[error("the key is empty; name the key in the path, as in /v1/kv/my-key")]
    EmptyKey,
    #[error("the key has {0} bytes and {MAX_KEY_BYTES} are allowed; choose a shorter key")]
    KeyTooLarge(usize),
    #[error("the value has {0} bytes and {MAX_VALUE_BYTES} are allowed; split it over several keys")]
    ValueTooLarge(u64),
}

/// Checks the length of a key.
pub(crate) fn check_key(key: &str) -> Result<(), LimitError> {
    match key.len() {
        0 => Err(LimitError::EmptyKey),
        n if n > MAX_KEY_BYTES => Err(LimitError::KeyTooLarge(n)),
        _ => Ok(()),
    }
}

/// Checks the length of a value.
pub(crate) fn check_value(bytes: u64) -> Result<(), LimitError> {
    if bytes > MAX_VALUE_BYTES as u64 { Err(LimitError::ValueTooLarge(bytes)) } else { Ok(()) }
}
