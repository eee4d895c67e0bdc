//! Taking a source in: one pass over it, in up to three threads. Owns the order of the steps — read and hash,
//! unpack, sort into blobs, make durable, make visible — and nothing of any format.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sha2::Digest as _;
use stoker_model::ids::Digest;

use super::blobs::{Body, SMALL, Staging};
use super::error::{BuildError, Fault};
use super::feed::{BUFFER, Feed, feed};
use super::inflate::{gunzip, read_full};
use super::likely::Likely;
use super::members::Members;
use super::{Limits, Progress, tar, zip};

/// The largest window a zstd stream may ask for, as a power of two: 16 MiB.
const ZSTD_WINDOW: u32 = 24;
/// Progress is told each so many bytes.
const STEP: u64 = 1024 * 1024;

/// Tells the progress, hears whether to stop, and names the source in errors.
#[derive(Clone)]
pub(super) struct Watch<'a> {
    source: &'a Path,
    progress: &'a dyn Progress,
    done: &'a AtomicU64,
    total: Option<u64>,
    told: &'a Cell<u64>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        source: &'a Path,
        progress: &'a dyn Progress,
        done: &'a AtomicU64,
        total: Option<u64>,
        told: &'a Cell<u64>,
    ) -> Self {
        Self { source, progress, done, total, told }
    }

    pub(super) fn source(&self) -> &'a Path {
        self.source
    }

    pub(super) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn tick(&self) -> Result<(), BuildError> {
        if self.progress.cancelled() {
            return Err(BuildError::Cancelled { source_path: self.source.to_owned() });
        }
        let done = self.done.load(Ordering::Relaxed);
        if done >= self.told.get() + STEP {
            self.told.set(done);
            self.progress.step(done, self.total);
        }
        Ok(())
    }

    /// An error while reading: the disk's, or of what unpacks.
    pub(super) fn unreadable(&self, error: io::Error) -> BuildError {
        if error.raw_os_error().is_some() {
            return BuildError::io("read", self.source, error);
        }
        let detail = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the archive is damaged: it is cut off".to_owned(),
            _ => format!("the archive is damaged: {error}"),
        };
        BuildError::corrupt(self.source, detail)
    }
}

/// Where readers of formats put members.
pub(super) struct Sink<'a> {
    pub(super) watch: Watch<'a>,
    members: Members,
    staging: Staging<'a>,
    likely: &'a Likely,
    /// Files by their number among the files.
    number: u64,
    /// Contents believed to be there that were not: to be read again.
    missed: HashMap<u64, Digest>,
    /// The second reading: only these are stored.
    again: bool,
}

impl<'a> Sink<'a> {
    pub(super) fn new(watch: Watch<'a>, limits: &Limits, staging: Staging<'a>, likely: &'a Likely) -> Self {
        let members = Members::new(watch.source(), limits);
        Self { watch, members, staging, likely, number: 0, missed: HashMap::new(), again: false }
    }

    pub(super) fn into_parts(self) -> (Members, Staging<'a>) {
        (self.members, self.staging)
    }

    pub(super) fn source(&self) -> &Path {
        self.watch.source()
    }

    pub(super) fn limits(&self) -> &Limits {
        self.members.limits()
    }

    pub(super) fn fault(&self, raw: &[u8], fault: Fault) -> BuildError {
        self.members.fault(raw, fault)
    }

    pub(super) fn unreadable(&self, error: io::Error) -> BuildError {
        self.watch.unreadable(error)
    }

    pub(super) fn folder(&mut self, raw: &[u8]) -> Result<(), BuildError> {
        if self.again {
            return Ok(());
        }
        self.members.count()?;
        let path = self.members.clean(raw)?;
        self.members.folder(&path)
    }

    pub(super) fn link(&mut self, raw: &[u8], target: &[u8]) -> Result<(), BuildError> {
        if self.again {
            return Ok(());
        }
        self.members.count()?;
        let path = self.members.clean(raw)?;
        self.members.link(&path, target)
    }

    pub(super) fn hard_link(&mut self, raw: &[u8], to: &[u8]) -> Result<(), BuildError> {
        if self.again {
            return Ok(());
        }
        self.members.count()?;
        let path = self.members.clean(raw)?;
        self.members.hard_link(&path, to)
    }

    /// A file; `body` is read to its end.
    pub(super) fn file(
        &mut self,
        raw: &[u8],
        size: u64,
        exec: bool,
        body: &mut dyn Body,
    ) -> Result<(), BuildError> {
        let number = self.number;
        self.number += 1;
        if self.again {
            return self.file_again(number, size, exec, body);
        }
        self.members.count()?;
        self.members.count_bytes(size, self.watch.total)?;
        let path = self.members.clean(raw)?;
        self.members.check_free(&path)?;
        let expected = if size >= SMALL { self.likely.find(&path, size, exec) } else { None };
        let stored = self.staging.store(size, exec, expected, body)?;
        if stored.missed {
            self.missed.insert(number, stored.blob.clone());
        }
        self.members.file(&path, stored.blob, exec)
    }

    fn file_again(
        &mut self,
        number: u64,
        size: u64,
        exec: bool,
        body: &mut dyn Body,
    ) -> Result<(), BuildError> {
        let Some(expected) = self.missed.remove(&number) else {
            loop {
                let n = body.piece()?.len();
                if n == 0 {
                    return Ok(());
                }
                body.done(n);
            }
        };
        let stored = self.staging.store(size, exec, None, body)?;
        if stored.blob != expected {
            return Err(BuildError::Changed { source_path: self.source().to_owned() });
        }
        Ok(())
    }
}

/// What a file is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Tar,
    TarGz,
    TarZst,
    Zip,
}

/// Recognises an archive.
pub(super) fn format(file: &File, source: &Path) -> Result<Format, BuildError> {
    let mut start = [0; 512];
    let mut got = 0;
    while got < start.len() {
        match file.read_at(&mut start[got..], got as u64) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BuildError::io("read", source, error)),
        }
    }
    let start = &start[..got];
    let found = match start {
        [0x1f, 0x8b, ..] => return Ok(Format::TarGz),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => return Ok(Format::TarZst),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => return Ok(Format::Zip),
        _ if tar::is_tar(start) => return Ok(Format::Tar),
        [] => ", found an empty file",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ", found xz: unpack it first",
        [b'B', b'Z', b'h', ..] => ", found bzip2: unpack it first",
        [b'<', ..] => ", found a page of HTML or XML",
        [0x7f, b'E', b'L', b'F', ..] => ", found a program",
        _ => "",
    };
    Err(BuildError::NotArchive { source_path: source.to_owned(), found })
}

/// Reads a source with `read` and, where a guess about a large file was wrong, once more for those files. What
/// `read` gives — the archive's digest — must be the same both times.
pub(super) fn read_source<T: PartialEq>(
    sink: &mut Sink<'_>,
    mut read: impl FnMut(&mut Sink<'_>) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let first = read(sink)?;
    if !sink.missed.is_empty() {
        sink.again = true;
        sink.number = 0;
        if read(sink)? != first || !sink.missed.is_empty() {
            return Err(BuildError::Changed { source_path: sink.source().to_owned() });
        }
    }
    Ok(first)
}

/// Reads an archive into the sink; the file's sha256 in hexadecimal comes out.
pub(super) fn read_archive(file: &File, sink: &mut Sink<'_>, done: &AtomicU64) -> Result<String, BuildError> {
    let format = format(file, sink.source())?;
    Ok(hex::encode(read_pass(file, format, sink, done)?))
}

fn read_pass(
    file: &File,
    format: Format,
    sink: &mut Sink<'_>,
    done: &AtomicU64,
) -> Result<[u8; 32], BuildError> {
    if format == Format::Zip {
        let stop = &AtomicBool::new(false);
        return std::thread::scope(|scope| {
            let hash = scope.spawn(move || hash_file(file, || !stop.load(Ordering::Relaxed)));
            zip::read(file, sink).inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
            joined(hash).map_err(|error| BuildError::io("read", sink.source(), error))
        });
    }
    let (raw, mut packed) = feed();
    std::thread::scope(|scope| {
        let hash = scope.spawn(|| {
            let mut sha = sha2::Sha256::new();
            let mut at = 0;
            raw.pump(|buffer| {
                let n = read_retried(file, buffer, at)?;
                sha.update(&buffer[..n]);
                at += n as u64;
                done.store(at, Ordering::Relaxed);
                Ok(n)
            });
            <[u8; 32]>::from(sha.finalize())
        });
        if format == Format::Tar {
            tar::read(&mut packed, sink)?;
            drop(packed);
        } else {
            let (unpacked, mut plain) = feed();
            scope.spawn(move || unpack(format, packed, unpacked));
            check_inside(&mut plain, sink)?;
            tar::read(&mut plain, sink)?;
        }
        // The reader has seen the end of the file: only then do all the stages before report theirs.
        Ok(joined(hash))
    })
}

/// What is packed must be a tar.
fn check_inside(plain: &mut Feed, sink: &Sink<'_>) -> Result<(), BuildError> {
    let start = plain.peek().map_err(|error| sink.unreadable(error))?;
    if tar::is_tar(start) {
        return Ok(());
    }
    let found =
        if start.is_empty() { ", found nothing in it" } else { ", found a packed file that is no tar" };
    Err(BuildError::NotArchive { source_path: sink.source().to_owned(), found })
}

fn joined<T>(handle: std::thread::ScopedJoinHandle<'_, T>) -> T {
    // A panic there is a defect there: it goes on here.
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn unpack(format: Format, packed: Feed, out: super::feed::Source) {
    if format == Format::TarZst {
        let decoder = zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW)?;
            Ok(decoder)
        });
        match decoder {
            Ok(mut decoder) => out.pump(|buffer| read_full(&mut decoder, buffer)),
            Err(error) => {
                let mut error = Some(error);
                out.pump(|_| error.take().map_or(Ok(0), Err));
            }
        }
    } else {
        let mut decoder = gunzip(packed);
        out.pump(|buffer| read_full(&mut decoder, buffer));
    }
}

fn read_retried(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The sha256 of a whole file, as long as `go_on` says so.
pub(super) fn hash_file(file: &File, mut go_on: impl FnMut() -> bool) -> io::Result<[u8; 32]> {
    let mut sha = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while go_on() {
        let n = read_retried(file, &mut buffer, at)?;
        if n == 0 {
            return Ok(sha.finalize().into());
        }
        sha.update(&buffer[..n]);
        at += n as u64;
    }
    Err(io::ErrorKind::Interrupted.into())
}
