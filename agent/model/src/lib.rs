//! `stoker-model`: what stoker is about, and every decision that can be made without touching anything.
//!
//! Owns the contract's documents ([`charm`], [`observation`], [`plan`]), the records kept in the store
//! ([`record`]), and the pure decisions over them. It must not do I/O, read a clock, use randomness or
//! be async: the same input gives the same output, always.

pub mod charm;
pub mod concern;
pub mod digest;
pub mod echo;
pub mod exposure;
pub mod generation;
pub mod ids;
pub mod keys;
pub mod local;
pub mod next;
pub mod observation;
pub mod observe;
pub mod placeholder;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod resolve;
pub mod rollout;
pub mod size;
pub mod snapshot;
pub mod status;
pub mod strict;
