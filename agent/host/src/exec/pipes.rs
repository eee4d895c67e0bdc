//! The reading ends of a child's pipes: kept up to a cap, or handed over line by line.
//!
//! They are always emptied, so that a child never waits for its reader. They must not outlive the child: what it
//! left behind may hold the other end for ever.

use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

/// The longest line of progress; longer ones are cut.
const LINE: usize = 64 * 1024;

/// Output that is kept up to a cap.
pub(super) struct Capture {
    pipe: Option<Receiver>,
    cap: usize,
    pub(super) bytes: Vec<u8>,
    pub(super) truncated: bool,
}

impl Capture {
    pub(super) fn new(pipe: Option<impl TryIntoFd>, cap: usize) -> Self {
        let pipe = pipe.and_then(|pipe| Receiver::from_owned_fd(pipe.into_fd()?).ok());
        Self { pipe, cap, bytes: Vec::new(), truncated: false }
    }

    /// Reads once, when there is something; never returns after the end.
    pub(super) async fn more(&mut self) {
        ready(self.pipe.as_ref()).await;
        self.take_once();
    }

    /// Reads what is there, without waiting.
    pub(super) fn rest(&mut self) {
        while self.take_once() {}
    }

    fn take_once(&mut self) -> bool {
        let mut buffer = [0; 8192];
        let count = take(&mut self.pipe, &mut buffer);
        self.keep(&buffer[..count]);
        count > 0
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.cap - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Progress that is handed over line by line.
pub(crate) struct Lines<F> {
    pipe: Option<Receiver>,
    on_line: Option<F>,
    begun: Vec<u8>,
}

impl<F: FnMut(String)> Lines<F> {
    pub(crate) fn new(pipe: Option<Receiver>, on_line: Option<F>) -> Self {
        Self { pipe, on_line, begun: Vec::new() }
    }

    /// Reads once, when there is something; never returns after the end.
    pub(crate) async fn more(&mut self) {
        ready(self.pipe.as_ref()).await;
        self.take_once();
    }

    /// Reads what is there, without waiting, and ends the last line.
    pub(crate) fn rest(&mut self) {
        while self.take_once() {}
        self.emit();
    }

    fn take_once(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = take(&mut self.pipe, &mut buffer);
        self.split(&buffer[..count]);
        count > 0
    }

    fn split(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let room = LINE - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if part.ends_with(b"\n") {
                self.emit();
            }
        }
    }

    fn emit(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if let (false, Some(on_line)) = (line.is_empty(), &mut self.on_line) {
            on_line(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// A pipe of tokio's that gives its descriptor.
pub(super) trait TryIntoFd {
    fn into_fd(self) -> Option<OwnedFd>;
}

impl TryIntoFd for tokio::process::ChildStdout {
    fn into_fd(self) -> Option<OwnedFd> {
        self.into_owned_fd().ok()
    }
}

impl TryIntoFd for tokio::process::ChildStderr {
    fn into_fd(self) -> Option<OwnedFd> {
        self.into_owned_fd().ok()
    }
}

/// Waits until there is something to read, or the end; for ever once the end was read.
async fn ready(pipe: Option<&Receiver>) {
    match pipe {
        // An error is found again by the reading.
        Some(pipe) => drop(pipe.readable().await),
        None => std::future::pending().await,
    }
}

/// How much was read without waiting; the end closes the pipe.
fn take(pipe: &mut Option<Receiver>, buffer: &mut [u8]) -> usize {
    let Some(receiver) = pipe else { return 0 };
    match receiver.try_read(buffer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
        Ok(0) | Err(_) => {
            *pipe = None;
            0
        }
        Ok(count) => count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_lines() {
        let mut seen = Vec::new();
        let mut lines = Lines::new(None, Some(|line| seen.push(line)));
        lines.split(b"a\nb");
        lines.split(b"c\n\nd");
        lines.split(&vec![b'x'; LINE * 2]);
        lines.rest();
        assert_eq!(seen[..2], ["a", "bc"]);
        assert_eq!((seen.len(), seen[2].len()), (3, LINE));
    }

    #[test]
    fn keeps_up_to_the_cap() {
        let mut capture = Capture::new(None::<tokio::process::ChildStdout>, 5);
        capture.keep(b"abc");
        assert!(!capture.truncated);
        capture.keep(b"defg");
        assert_eq!((capture.bytes.as_slice(), capture.truncated), (&b"abcde"[..], true));
    }
}
