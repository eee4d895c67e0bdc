//! The blocking client of the tool socket. Owns how a run's environment names the socket and how one call goes;
//! must not know what tools do.

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use crate::wire::{Bytes, MAX_RESPONSE, MAX_STDIN, Request, Response, WireError};

/// Names the run that a call belongs to.
pub const CONTEXT: &str = "JUJU_CONTEXT_ID";
/// The socket's path, or `@name` in the abstract namespace.
pub const ADDRESS: &str = "JUJU_AGENT_SOCKET_ADDRESS";
/// The socket's kind; only `unix` is known.
pub const NETWORK: &str = "JUJU_AGENT_SOCKET_NETWORK";

/// A tool call that did not reach its answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The environment is not that of a run.
    #[error("{0} not set")]
    Unset(&'static str),
    /// The socket is of a kind that is not spoken.
    #[error("cannot reach the agent by `{0}`: only unix is known")]
    Network(String),
    /// The agent does not answer at the socket.
    #[error("cannot reach the agent at `{address}`")]
    Connect {
        /// The socket.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("cannot finish the call of `{tool}`: the connection to the agent broke")]
    Broken {
        /// The tool.
        tool: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The caller's standard input cannot be read.
    #[error("cannot read the standard input of `{tool}`")]
    Stdin {
        /// The tool.
        tool: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A document that cannot be sent, or an answer that is none.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Where calls go: the run's socket and token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The run's token.
    pub token: String,
    /// The socket's path, or `@name`.
    pub address: String,
}

impl Connection {
    /// From the environment that the agent gives to a run.
    pub fn from_env() -> Result<Self, CallError> {
        let get = |name| std::env::var(name).ok().filter(|v| !v.is_empty()).ok_or(CallError::Unset(name));
        let (token, address, network) = (get(CONTEXT)?, get(ADDRESS)?, get(NETWORK)?);
        if network != "unix" {
            return Err(CallError::Network(network));
        }
        Ok(Self { token, address })
    }

    /// Calls a tool; `stdin` is asked for its bytes (at most [`MAX_STDIN`] of them count) only if the agent needs
    /// them. The working folder is this process's.
    pub fn call(&self, tool: &str, args: &[String], stdin: &mut dyn Read) -> Result<Response, CallError> {
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let mut request = Request { cwd, ..Request::new(&self.token, tool, args.to_vec()) };
        let response = self.exchange(&request)?;
        if !response.needs_stdin {
            return Ok(response);
        }
        let mut data = Vec::new();
        // One byte over the limit is enough to refuse it.
        stdin
            .take(MAX_STDIN as u64 + 1)
            .read_to_end(&mut data)
            .map_err(|source| CallError::Stdin { tool: tool.to_owned(), source })?;
        request.stdin = Some(Bytes(data));
        self.exchange(&request)
    }

    /// Calls a tool with its standard input in hand: one exchange.
    pub fn call_with(&self, tool: &str, args: &[String], stdin: Vec<u8>) -> Result<Response, CallError> {
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        self.exchange(&Request {
            cwd,
            stdin: Some(Bytes(stdin)),
            ..Request::new(&self.token, tool, args.to_vec())
        })
    }

    fn exchange(&self, request: &Request) -> Result<Response, CallError> {
        let line = request.encode()?;
        let mut stream = connect(&self.address)
            .map_err(|source| CallError::Connect { address: self.address.clone(), source })?;
        let broken = |source| CallError::Broken { tool: request.tool.clone(), source };
        stream.write_all(&line).map_err(broken)?;
        let mut answer = Vec::new();
        BufReader::new(stream)
            .take(MAX_RESPONSE as u64 + 1)
            .read_until(b'\n', &mut answer)
            .map_err(broken)?;
        if answer.is_empty() {
            return Err(broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Response::decode(&answer)?)
    }
}

/// An error with all its sources, on one line.
pub fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        said = format!("{said}: {source}");
        next = source.source();
    }
    said
}

/// The longest path that a unix socket address holds, without its closing NUL.
const MAX_PATH: usize = 107;

fn connect(address: &str) -> std::io::Result<UnixStream> {
    if let Some(name) = address.strip_prefix('@') {
        return UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?);
    }
    let path = Path::new(address);
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if address.len() > MAX_PATH => {
            // Too long for an address: by its folder's descriptor.
            let folder = std::fs::File::open(folder)?;
            let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
            UnixStream::connect(short)
        }
        _ => UnixStream::connect(path),
    }
}
