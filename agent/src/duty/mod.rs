//! What one agent does for the whole model rather than for a unit of its host. On one host it is this agent; with several
//! a lease will say which. Must not touch the host.

pub(crate) mod rollout;
