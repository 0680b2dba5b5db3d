//! Placeholder line until the crate lands in this same change.
