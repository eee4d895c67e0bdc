//! What can go wrong while fetching. Owns the errors and their words: no query of a URL is in them.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why a file was not fetched. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The way leads into a private network.
    #[error("cannot fetch `{url}`: {host} is at {address}, {kind}")]
    Private {
        /// What was asked for.
        url: String,
        /// The host, of the link or of a redirect.
        host: String,
        /// Its address.
        address: IpAddr,
        /// What kind of address that is.
        kind: &'static str,
    },
    /// A redirect leads where none may.
    #[error("cannot fetch `{url}`: it redirects to {to}, {why}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Where it leads, made printable.
        to: String,
        /// What is wrong with that.
        why: &'static str,
    },
    /// The server said no.
    #[error("cannot fetch `{url}`: {host} answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Who answered.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// It cannot be reached, or was cut off again and again.
    #[error("cannot fetch `{url}`: {why}, {got} bytes in, {tries} tries without getting further")]
    Cut {
        /// What was asked for.
        url: String,
        /// What happened last.
        why: String,
        /// Bytes received.
        got: u64,
        /// How often it was tried.
        tries: u32,
    },
    /// Who answers is not who was asked.
    #[error("cannot fetch `{url}`: the certificate of {host} is not valid: {why}")]
    Certificate {
        /// What was asked for.
        url: String,
        /// The host.
        host: String,
        /// What TLS says.
        why: String,
    },
    /// More bytes than are allowed.
    #[error("cannot fetch `{url}`: it is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not those that were asked for.
    #[error("cannot use `{url}`: its {algorithm} is {found}")]
    Mismatch {
        /// What was asked for, with the digest that it should have.
        url: String,
        /// `sha256` or `sha512`.
        algorithm: &'static str,
        /// What came.
        found: String,
    },
    /// The disk is full.
    #[error("cannot fetch `{url}`: no space left at `{}`: {needed}", .folder.display())]
    NoSpace {
        /// What was asked for.
        url: String,
        /// Where it was to go.
        folder: PathBuf,
        /// How much is needed and free.
        needed: String,
    },
    /// The file cannot be written.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Certificates of authorities cannot be used.
    #[error("cannot use the certificates in {what}: {why}")]
    Authorities {
        /// A file, or the system's store.
        what: String,
        /// What is wrong with them.
        why: String,
    },
    /// The proxy is not one that can be used.
    #[error("cannot use the proxy: {0}")]
    Proxy(&'static str),
    /// The caller asked to stop.
    #[error("cannot fetch `{url}`: cancelled")]
    Cancelled {
        /// What was asked for.
        url: String,
    },
    /// The machine said no.
    #[error("cannot start fetching")]
    Start(#[source] io::Error),
}
