//! Files from the web: `https` only, into a file that counts when its digest is the one that was asked for.
//!
//! Owns what a source's link may be ([`link`]), which addresses may be reached ([`reach`]), the connection to exactly
//! the address that was checked ([`connect`]), and the bytes on their way with redirects, cuts and limits
//! ([`download`]). It must not look into what it fetches.

mod connect;
mod download;
mod error;
mod link;
mod proxy;
mod reach;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landlock::{
    ABI, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
};

pub use self::error::FetchError;
pub use self::link::{Checksum, Link, LinkError};
pub use self::proxy::Proxy;
pub use self::reach::Reach;
use crate::builds::Progress;

/// What is allowed, and for how long.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Private addresses that may be reached all the same.
    pub reach: Reach,
    /// The most bytes of one file.
    pub most_bytes: u64,
    /// How long nothing, or next to nothing, may come before a connection counts as cut.
    pub patience: Duration,
    /// How often in a row a cut connection is made again without getting further.
    pub tries: u32,
    /// How long is waited before the first of these; the others wait longer.
    pub pause: Duration,
    /// How many redirects are followed.
    pub redirects: usize,
    /// The way out, where there is one.
    pub proxy: Option<Proxy>,
    /// Certificates of further authorities, PEM, beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            reach: Reach::default(),
            most_bytes: 16 << 30,
            patience: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_millis(500),
            redirects: 5,
            proxy: None,
            ca_file: None,
        }
    }
}

/// Names to addresses.
pub trait Resolve: Send + Sync + std::fmt::Debug {
    /// All addresses of a name. Blocks.
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct System;

impl Resolve for System {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let found = std::net::ToSocketAddrs::to_socket_addrs(&(host, 0))?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// Fetches files by these rules.
#[derive(Debug)]
pub struct Fetcher {
    rules: Rules,
    resolver: Arc<dyn Resolve>,
    tls: Arc<rustls::ClientConfig>,
}

impl Fetcher {
    /// Reads the certificates of authorities.
    pub fn new(rules: Rules) -> Result<Self, FetchError> {
        Self::with_resolver(rules, Arc::new(System))
    }

    /// The same with another resolver.
    pub fn with_resolver(rules: Rules, resolver: Arc<dyn Resolve>) -> Result<Self, FetchError> {
        let tls = connect::tls(rules.ca_file.as_deref())?;
        Ok(Self { rules, resolver, tls })
    }

    /// Fetches a file to the new file `to`; how many bytes it has comes out. Blocks. What `to` holds after an error is
    /// gone; before the end it is nothing that anybody may use.
    pub fn fetch(&self, link: &Link, to: &Path, progress: &(dyn Progress + Sync)) -> Result<u64, FetchError> {
        let file = File::options().write(true).create_new(true).open(to);
        let file = file.map_err(|source| FetchError::Write { path: to.to_owned(), source })?;
        let unfinished = Unfinished(Some(to));
        // A thread of its own: what confines it does so for good.
        let fetched = std::thread::scope(|scope| {
            let fetching = scope.spawn(|| {
                confine();
                download::run(self, link, &file, to, progress)
            });
            fetching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        unfinished.keep();
        Ok(fetched)
    }
}

/// Removes a file that did not come whole.
struct Unfinished<'a>(Option<&'a Path>);

impl Unfinished<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // What cannot be removed now is removed when the builds are opened next.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// This thread and those it starts open nothing for writing from here on, where the kernel can hold them to it.
fn confine() {
    let write = AccessFs::from_write(ABI::V4);
    let confined = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(write)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.no_new_privs(true).restrict_self());
    if let Err(error) = confined {
        tracing::debug!(%error, "a download is not confined");
    }
}
