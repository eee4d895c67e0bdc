//! The tool socket's documents: one JSON object per line, a [`Request`] and then a [`Response`]. Owns their
//! spelling and limits; must not open sockets.
//!
//! A connection carries one request and one response. Standard input is lazy: the first request goes without
//! it, and only when the response says `needs_stdin` does the client read its standard input to the end and
//! ask again, on a new connection, with `stdin` set. So tools can be called inside `while read` loops.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of these documents.
pub const VERSION: u32 = 1;
/// The largest standard input of a tool, in bytes.
pub const MAX_STDIN: usize = 1 << 20;
/// The largest line of a request, in bytes, its newline included.
pub const MAX_REQUEST: usize = 4 << 20;
/// The largest line of a response, in bytes, its newline included.
pub const MAX_RESPONSE: usize = 16 << 20;

/// A line that is no document of this socket.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than allowed.
    #[error("cannot send or read `{what}`: it has {size} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its bytes.
        size: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("cannot read `{what}`: it is not as it should be")]
    Shape {
        /// Which document.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Of another version.
    #[error("cannot read `{what}`: it is of version {version}, this side speaks {VERSION}")]
    Version {
        /// Which document.
        what: &'static str,
        /// Its version.
        version: u32,
    },
}

/// Bytes that are usually text: a JSON string where they are, else `{"base64": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelled<'a> {
    Text(std::borrow::Cow<'a, str>),
    Coded { base64: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Control characters cost six bytes each as JSON text; base64 bounds a line's length.
        let plain = |text: &str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        let spelled = match std::str::from_utf8(&self.0) {
            Ok(text) if plain(text) => Spelled::Text(text.into()),
            _ => Spelled::Coded { base64: STANDARD.encode(&self.0) },
        };
        spelled.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Ok(Self(text.into_owned().into_bytes())),
            Spelled::Coded { base64 } => STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// Which run it belongs to: the value of `JUJU_CONTEXT_ID`.
    pub token: String,
    /// The tool's name.
    pub tool: String,
    /// Its arguments, without the tool's name.
    pub args: Vec<String>,
    /// The caller's folder, absolute; relative paths in `args` start there.
    pub cwd: String,
    /// The caller's standard input, once asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Bytes>,
}

/// The answer to a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`].
    pub version: u32,
    /// The tool's exit status.
    pub code: i32,
    /// What it prints.
    pub stdout: Bytes,
    /// What it says.
    pub stderr: Bytes,
    /// Nothing was done yet: ask again with standard input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_stdin: bool,
}

impl Request {
    /// A call of `tool` without standard input.
    pub fn new(token: impl Into<String>, tool: impl Into<String>, args: Vec<String>) -> Self {
        let (token, tool) = (token.into(), tool.into());
        Self { version: VERSION, token, tool, args, cwd: String::new(), stdin: None }
    }

    /// The line to send, newline included.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        let size = self.stdin.as_ref().map_or(0, |stdin| stdin.0.len());
        if size > MAX_STDIN {
            return Err(WireError::TooLarge { what: "standard input", size, limit: MAX_STDIN });
        }
        encode("request", self, MAX_REQUEST)
    }

    /// Reads a line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, WireError> {
        let request: Self = decode("request", line, MAX_REQUEST)?;
        let size = request.stdin.as_ref().map_or(0, |stdin| stdin.0.len());
        if size > MAX_STDIN {
            return Err(WireError::TooLarge { what: "standard input", size, limit: MAX_STDIN });
        }
        Ok(request)
    }
}

impl Response {
    /// The tool did it and prints this.
    pub fn done(stdout: impl Into<Bytes>) -> Self {
        Self { version: VERSION, stdout: stdout.into(), ..Self::default() }
    }

    /// The tool failed: `ERROR <message>` on standard error, exit status `code` (1 failed, 2 wrong usage).
    pub fn failed(code: i32, message: impl std::fmt::Display) -> Self {
        Self { version: VERSION, code, stderr: format!("ERROR {message}\n").into(), ..Self::default() }
    }

    /// The tool needs the caller's standard input.
    pub fn ask_stdin() -> Self {
        Self { version: VERSION, needs_stdin: true, ..Self::default() }
    }

    /// The line to send, newline included.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        encode("response", self, MAX_RESPONSE)
    }

    /// Reads a line, with or without its newline.
    pub fn decode(line: &[u8]) -> Result<Self, WireError> {
        decode("response", line, MAX_RESPONSE)
    }
}

fn encode<T: Serialize>(what: &'static str, document: &T, limit: usize) -> Result<Vec<u8>, WireError> {
    let mut line = serde_json::to_vec(document).map_err(|source| WireError::Shape { what, source })?;
    line.push(b'\n');
    if line.len() > limit {
        return Err(WireError::TooLarge { what, size: line.len(), limit });
    }
    Ok(line)
}

fn decode<T: DeserializeOwned>(what: &'static str, line: &[u8], limit: usize) -> Result<T, WireError> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    if line.len() > limit {
        return Err(WireError::TooLarge { what, size: line.len(), limit });
    }
    let shape = |source| WireError::Shape { what, source };
    // The version first: a newer document's shape may be anything.
    let Head { version } = serde_json::from_slice(line).map_err(shape)?;
    if version != VERSION {
        return Err(WireError::Version { what, version });
    }
    serde_json::from_slice(line).map_err(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes),
            ".{0,80}".prop_map(|text| Bytes::from(text.as_str())),
        ]
    }

    proptest! {
        #[test]
        fn requests_come_back(
            token in ".{0,20}",
            tool in "[a-z-]{1,12}",
            args in proptest::collection::vec(".{0,30}", 0..5),
            cwd in ".{0,20}",
            stdin in proptest::option::of(bytes()),
        ) {
            let request = Request { cwd, stdin, ..Request::new(token, tool, args) };
            let line = request.encode().unwrap();
            prop_assert_eq!(line.iter().position(|b| *b == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(Request::decode(&line).unwrap(), request);
        }

        #[test]
        fn responses_come_back(code in any::<i32>(), stdout in bytes(), stderr in bytes(), ask in any::<bool>()) {
            let response = Response { version: VERSION, code, stdout, stderr, needs_stdin: ask };
            let line = response.encode().unwrap();
            prop_assert_eq!(line.iter().position(|b| *b == b'\n'), Some(line.len() - 1));
            prop_assert_eq!(Response::decode(&line).unwrap(), response);
        }

        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&line);
            let _ = Response::decode(&line);
        }

        #[test]
        fn a_line_stays_within_its_bound(data in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let length = data.len();
            let line = Response::done(data).encode().unwrap();
            prop_assert!(line.len() <= 2 * length + 200);
        }
    }

    #[test]
    fn text_stays_readable() {
        let line = Response::done("{\"a\":1}\n").encode().unwrap();
        let line = String::from_utf8(line).unwrap();
        assert!(line.contains(r#""stdout":"{\"a\":1}\n""#), "{line}");
    }

    #[test]
    fn refuses_other_versions_and_sizes() {
        let newer = br#"{"version":2,"surprise":true}"#;
        assert!(matches!(Request::decode(newer), Err(WireError::Version { version: 2, .. })));
        let mut request = Request::new("t", "plan", vec![]);
        request.stdin = Some(vec![b'x'; MAX_STDIN + 1].into());
        assert!(matches!(request.encode(), Err(WireError::TooLarge { what: "standard input", .. })));
        request.stdin = Some(vec![b'"'; MAX_STDIN].into());
        assert_eq!(Request::decode(&request.encode().unwrap()).unwrap(), request);
        assert!(matches!(Request::decode(&vec![b' '; MAX_REQUEST + 1]), Err(WireError::TooLarge { .. })));
    }
}
