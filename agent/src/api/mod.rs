//! The agent's API: REST and JSON over a unix socket. One literal route table ([`routes`]), one file a noun, the
//! documents in [`types`]. Handlers are thin: they read the request, call [`crate::core`], and answer. They must
//! not decide anything.

pub(crate) mod access;
mod actions;
pub(crate) mod align;
mod applications;
pub(crate) mod audit;
mod builds;
pub(crate) mod caller;
mod changes;
mod charms;
mod events;
mod extract;
mod kept;
mod logs;
mod metrics;
mod moving;
pub(crate) mod openapi;
mod routes;
pub(crate) mod server;
mod status;
pub(crate) mod stock;
mod stream;
pub(crate) mod types;
mod units;
mod version;

/// Where a long request says how far it is.
pub(crate) type ProgressSink = tokio::sync::mpsc::Sender<types::Progress>;
