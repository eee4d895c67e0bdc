//! Logs as lines: the end of each, then what comes. Owns following a file over its rotation, and the journal's reader
//! while somebody reads; polls only while somebody follows. Must not know who writes them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use stoker_host::services::Output;
use stoker_host::services::journal::Follow;
use tokio::sync::mpsc;

use super::extract::{Path, Query};
use super::stream;
use crate::core::Core;
use crate::problem::{Problem, codes};

/// How often followed files are looked at.
const POLL: Duration = Duration::from_millis(200);
/// After so many polls the list of files is asked for again: services come and go.
const LIST_AGAIN: u32 = 10;
/// So many lines of the journal are handed on at once.
const PIECE: usize = 256;
/// A line is cut here.
const LONGEST: usize = 64 << 10;
/// To find the last lines, no more than this is read from the end.
const END: u64 = 4 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// `APP`, `UNIT` or `UNIT/SERVICE`; nothing for the agent's own log.
    #[serde(default)]
    target: String,
    #[serde(default)]
    follow: bool,
    /// How many lines of the end; all when absent.
    lines: Option<usize>,
}

/// A line of the answer.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Line<'a> {
    source: &'a str,
    line: &'a str,
}

pub(super) async fn show(
    State(core): State<Arc<Core>>,
    Path(model): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let logs = core.logs(&model, &asked.target)?;
    Ok(answer(logs, asked, Some((core, model))))
}

pub(super) async fn debug(
    State(core): State<Arc<Core>>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    if !asked.target.is_empty() {
        return Err(Problem::new(codes::USAGE, "cannot show the agent's log: it has no `target`"));
    }
    Ok(answer(vec![("agent".to_owned(), Output::File(core.debug_log_path()))], asked, None))
}

fn answer(logs: Vec<(String, Output)>, asked: Asked, again: Option<(Arc<Core>, String)>) -> Response {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(follow(logs, asked, again, sender));
    stream::lines(receiver)
}

async fn follow(
    logs: Vec<(String, Output)>,
    asked: Asked,
    again: Option<(Arc<Core>, String)>,
    sender: mpsc::Sender<Vec<u8>>,
) {
    let mut readers: Vec<Reader> = logs
        .into_iter()
        .map(|(name, output)| Reader::start(name, output, asked.lines, asked.follow))
        .collect();
    let mut polls = 0;
    loop {
        for reader in &mut readers {
            // Piece by piece, so that a large log is never in memory as a whole.
            loop {
                let lines = reader.read(!asked.follow).await;
                if lines.is_empty() {
                    break;
                }
                for line in lines {
                    let document = stream::line(&Line { source: &reader.source, line: &line });
                    if sender.send(document).await.is_err() {
                        return;
                    }
                }
            }
        }
        if !asked.follow {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        polls += 1;
        if let Some((core, model)) = again.as_ref().filter(|_| polls % LIST_AGAIN == 0)
            && let Ok(logs) = core.logs(model, &asked.target)
        {
            for (name, output) in logs {
                if !readers.iter().any(|reader| reader.output == output) {
                    readers.push(Reader::start(name, output, None, true));
                }
            }
        }
    }
}

/// One log that is read.
struct Reader {
    source: String,
    output: Output,
    from: From,
}

enum From {
    File(Tail),
    /// None where the journal cannot be read.
    Journal(Option<Box<Follow>>),
}

impl Reader {
    /// Begins with the last `lines`, all where it is `None`.
    fn start(source: String, output: Output, lines: Option<usize>, follow: bool) -> Self {
        let from = match &output {
            Output::File(path) => {
                let mut tail = Tail::new(path.clone());
                // A file that is not there yet is an empty one.
                let _ = tail.start(lines);
                From::File(tail)
            }
            Output::Journal(unit) => {
                let reader = Follow::start(unit, lines, follow);
                if let Err(error) = &reader {
                    tracing::warn!(%error, unit, "cannot read the journal");
                }
                From::Journal(reader.ok().map(Box::new))
            }
        };
        Self { source, output, from }
    }

    /// The next lines, none when there are none now; with `all`, none only at the end.
    async fn read(&mut self, all: bool) -> Vec<String> {
        match &mut self.from {
            From::File(tail) => tail.read(all).unwrap_or_default(),
            From::Journal(None) => Vec::new(),
            From::Journal(Some(reader)) => {
                let wait = if all { Duration::MAX } else { Duration::ZERO };
                // What is there now, by the piece.
                let mut lines = Vec::new();
                while lines.len() < PIECE
                    && let Ok(Ok(Some(line))) = tokio::time::timeout(wait, reader.next()).await
                {
                    lines.push(line);
                }
                lines
            }
        }
    }
}

/// One file that is followed.
struct Tail {
    path: PathBuf,
    file: Option<File>,
    at: u64,
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, at: 0, partial: Vec::new() }
    }

    /// Opens the file where its last `lines` begin.
    fn start(&mut self, lines: Option<usize>) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        self.at = match lines {
            Some(lines) => last_lines(&mut file, lines)?,
            None => 0,
        };
        self.file = Some(file);
        Ok(())
    }

    /// The next whole lines, none when there are none now; with `all`, an unfinished last one too.
    fn read(&mut self, all: bool) -> io::Result<Vec<String>> {
        let mut buffer = vec![0; LONGEST];
        let read = self.fill(&mut buffer)?;
        self.partial.extend_from_slice(&buffer[..read]);
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            lines.push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        if self.partial.len() >= LONGEST || (all && read == 0 && !self.partial.is_empty()) {
            lines.push(String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned());
        }
        // Bytes were read, but no line ended: what follows them is asked for at once.
        if lines.is_empty() && read > 0 { self.read(all) } else { Ok(lines) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.file.is_none() {
            (self.file, self.at) = (Some(File::open(&self.path)?), 0);
        }
        let Some(file) = &mut self.file else { return Ok(0) };
        if file.metadata()?.len() < self.at {
            // It was cut short in place: what is in it now is new.
            self.at = 0;
        }
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.read(buffer)?;
        self.at += read as u64;
        if read > 0 || same(file, &self.path)? {
            return Ok(read);
        }
        // Rotated, and the old file is read to its end.
        self.file = None;
        self.fill(buffer)
    }
}

fn same(file: &File, path: &FilePath) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, std::fs::metadata(path));
    match named {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        // Between the rename and the new file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Where the last `lines` lines begin.
fn last_lines(file: &mut File, lines: usize) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let from = len.saturating_sub(END);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if lines == 0 {
        return Ok(from + bytes.len() as u64);
    }
    let start = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').nth(lines - 1);
    Ok(from + start.map_or(0, |(at, _)| at as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn all(tail: &mut Tail, whole: bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let more = tail.read(whole).unwrap();
            if more.is_empty() {
                return lines;
            }
            lines.extend(more);
        }
    }

    #[test]
    fn the_last_lines_then_what_comes_over_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1\n2\n3\n4").unwrap();
        let mut tail = Tail::new(path.clone());
        tail.start(Some(2)).unwrap();
        assert_eq!(all(&mut tail, false), ["3"], "an unfinished line is not shown yet");
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"4\n5\n").unwrap();
        assert_eq!(all(&mut tail, false), ["44", "5"]);
        file.write_all(b"last of the old\n").unwrap();
        std::fs::rename(&path, dir.path().join("log.1")).unwrap();
        assert_eq!(all(&mut tail, false), ["last of the old"]);
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(all(&mut tail, false), ["new"]);
        std::fs::write(&path, "").unwrap();
        assert!(all(&mut tail, false).is_empty());
        std::fs::write(&path, "x\n").unwrap();
        assert_eq!(all(&mut tail, false), ["x"]);
    }

    #[test]
    fn without_follow_the_unfinished_line_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "1\n2").unwrap();
        let mut tail = Tail::new(path);
        tail.start(None).unwrap();
        assert_eq!(all(&mut tail, true), ["1", "2"]);
    }

    #[test]
    fn long_lines_are_cut_and_bytes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, [vec![b'x'; LONGEST * 2 + 10], vec![b'\n', 0xff, b'\n']].concat()).unwrap();
        let mut tail = Tail::new(path);
        let lines = all(&mut tail, true);
        assert_eq!(lines.iter().map(String::len).filter(|&n| n > 3).sum::<usize>(), LONGEST * 2 + 10);
        assert_eq!(lines.last().unwrap(), "\u{fffd}");
    }

    #[test]
    fn no_lines_is_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\nb\n").unwrap();
        assert_eq!(last_lines(&mut file, 0).unwrap(), 4);
        assert_eq!(last_lines(&mut file, 1).unwrap(), 2);
        assert_eq!(last_lines(&mut file, 9).unwrap(), 0);
    }
}
