//! A stream between two threads in reused buffers. Owns the hand-over; must not know what flows.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Buffers on their way between two threads: with [`BUFFER`], what bounds memory.
const DEPTH: usize = 12;
/// Bytes a buffer holds: several fit the cache that the next thread takes them from.
pub(super) const BUFFER: usize = 128 * 1024;

/// The writing end.
#[derive(Debug)]
pub(super) struct Source {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
    made: usize,
}

/// The reading end. The end of the stream is the writing end dropped.
#[derive(Debug)]
pub(super) struct Feed {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    at: usize,
    ended: bool,
}

/// A stream's two ends.
pub(super) fn feed() -> (Source, Feed) {
    let (full, full_out) = sync_channel(DEPTH);
    let (empty, empty_out) = sync_channel(DEPTH + 2);
    let feed = Feed { full: full_out, empty, buffer: Vec::new(), at: 0, ended: false };
    (Source { full, empty: empty_out, made: 0 }, feed)
}

impl Source {
    /// Fills buffers with `fill` (which returns how many bytes it wrote, 0 at the end) and sends them until the
    /// end, an error, or the reader's end.
    pub(super) fn pump(mut self, mut fill: impl FnMut(&mut [u8]) -> io::Result<usize>) {
        while let Some(mut buffer) = self.buffer() {
            buffer.resize(BUFFER, 0);
            let sent = match fill(&mut buffer) {
                Ok(0) => return,
                Ok(n) => {
                    buffer.truncate(n);
                    self.full.send(Ok(buffer))
                }
                Err(error) => {
                    let _ = self.full.send(Err(error));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn buffer(&mut self) -> Option<Vec<u8>> {
        if self.made < DEPTH + 2 {
            self.made += 1;
            return Some(self.empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(BUFFER)));
        }
        self.empty.recv().ok()
    }
}

impl Feed {
    /// The next bytes, at least one; empty at the end.
    pub(super) fn peek(&mut self) -> io::Result<&[u8]> {
        if self.at == self.buffer.len() && !self.ended {
            let fresh = match self.full.recv() {
                Ok(Ok(fresh)) => fresh,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => {
                    self.ended = true;
                    Vec::new()
                }
            };
            let used = std::mem::replace(&mut self.buffer, fresh);
            self.at = 0;
            if used.capacity() > 0 {
                // The other end may be gone: then nobody needs it.
                let _ = self.empty.try_send(used);
            }
        }
        Ok(&self.buffer[self.at..])
    }

    /// Takes `n` bytes of what was peeked.
    pub(super) fn take(&mut self, n: usize) {
        self.at = (self.at + n).min(self.buffer.len());
    }

    /// Fills `out` as far as the stream goes; how far is the result.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let ready = self.peek()?;
            if ready.is_empty() {
                break;
            }
            let n = ready.len().min(out.len() - filled);
            out[filled..filled + n].copy_from_slice(&ready[..n]);
            self.take(n);
            filled += n;
        }
        Ok(filled)
    }
}

impl Read for Feed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.peek()?;
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.take(n);
        Ok(n)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek()
    }

    fn consume(&mut self, n: usize) {
        self.take(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order_in_few_buffers() {
        let total = BUFFER * 40 + 17;
        let (source, mut feed) = feed();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut sent = 0usize;
                source.pump(|buffer| {
                    let n = buffer.len().min(total - sent);
                    for (i, byte) in buffer[..n].iter_mut().enumerate() {
                        *byte = ((sent + i) % 251) as u8;
                    }
                    sent += n;
                    Ok(n)
                });
            });
            let mut got = 0usize;
            let mut out = vec![0; 100_003];
            loop {
                let n = feed.fill(&mut out).unwrap();
                for (i, byte) in out[..n].iter().enumerate() {
                    assert_eq!(*byte, ((got + i) % 251) as u8);
                }
                got += n;
                if n < out.len() {
                    break;
                }
            }
            assert_eq!(got, total);
        });
    }

    #[test]
    fn a_reader_that_leaves_ends_the_writer_and_an_error_arrives() {
        let (source, feed_end) = feed();
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || source.pump(|buffer| Ok(buffer.len())));
            drop(feed_end);
            writer.join().unwrap();
        });
        let (source, mut feed) = feed();
        std::thread::scope(|scope| {
            scope.spawn(move || source.pump(|_| Err(io::Error::from(io::ErrorKind::PermissionDenied))));
            assert_eq!(feed.peek().unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(feed.peek().unwrap(), b"");
        });
    }
}
