//! The smallest HTTP client: one request, one answer, to a service or to the agent's socket. Owns what is sent byte
//! by byte, so that a test can send what no proper client would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its head, as it came.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// GETs from a service; nothing where nobody answers.
pub(crate) fn get(address: &str, port: u16, path: &str) -> Option<Answer> {
    ask(address, port, "GET", path, "")
}

/// One request to a service; nothing where nobody answers.
pub(crate) fn ask(address: &str, port: u16, method: &str, path: &str, body: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect((address, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request(method, path, body).as_bytes()).ok()?;
    read(&mut stream)
}

/// One request to the agent's socket.
pub(crate) fn over_socket(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = UnixStream::connect(socket).expect("the agent's socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
    // A request that is refused before all of it is read is answered all the same.
    let _ = stream.write_all(request(method, path, body).as_bytes());
    read(&mut stream).expect("an answer of the agent")
}

/// HTTP/1.0: an answer ends where the connection does, and is never in chunks.
fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.0\r\nHost: stoker\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

fn read(stream: &mut impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    // Some servers cut the connection hard once all is sent: what came is the answer.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
