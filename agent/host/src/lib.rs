//! `stoker-host`: every side effect of stoker on the machine it runs on.
//!
//! Owns builds and their trees ([`builds`]), files ([`fs`]), services and their supervisor ([`services`]), short
//! children ([`exec`]), files from the web ([`fetch`]), ports and [`claims`] on them, users, the facts of the host, and
//! [`notify`], what the agent tells its own service manager, [`peers`], who asks, [`processes`], and [`checks`] of what can be wrong with a host.
//! It decides nothing: what should be is handed in,
//! what is comes back. It must not know the store, the API or any charm.

pub mod builds;
pub mod checks;
pub mod claims;
pub mod exec;
pub mod facts;
pub mod fetch;
pub mod fs;
pub mod notify;
pub mod peers;
pub mod ports;
pub mod processes;
pub mod services;
pub mod users;
