//! Hooks: running a charm's program and answering the tools that it calls. Owns the tool socket and the contexts
//! behind it; must not decide when a charm runs or what becomes of its plan.

mod counts;
mod run;
mod socket;

pub(crate) use counts::{HookCounts, Labels};
pub(crate) use run::{AGENT_MARK, HookError, Hooks};
