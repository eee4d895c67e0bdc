//! Placeholder header, replaced by the crate documentation.
