//! Records kept in the store.
