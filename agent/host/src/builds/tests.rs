//! Builds as their callers see them: real archives, real folders.
