//! Reading a folder. Owns walking it without following a link; must not write to it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;

use super::blobs::Body;
use super::error::{BuildError, Fault};
use super::ingest::{Sink, Watch};
use crate::fs::Dir;

const PIECE: usize = 256 * 1024;

/// Reads all that is below `path`.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<(), BuildError> {
    let top = Dir::open(path).map_err(|error| BuildError::io("open folder", path, error))?;
    let mut buffer = vec![0; PIECE];
    walk(&top, path, "", &mut buffer, sink)
}

fn walk(
    dir: &Dir,
    shown: &Path,
    below: &str,
    buffer: &mut [u8],
    sink: &mut Sink<'_>,
) -> Result<(), BuildError> {
    let fail = |error| BuildError::io("read", shown, error);
    let mut entries = dir.entries().map_err(fail)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        sink.watch.tick()?;
        let mut raw = below.as_bytes().to_vec();
        raw.extend_from_slice(entry.name.as_bytes());
        let shown = shown.join(&entry.name);
        let fail = |error| BuildError::io("read", &shown, error);
        match entry.kind {
            FileType::Directory => {
                // Checks depth and name before it goes deeper.
                sink.folder(&raw)?;
                let sub = dir.sub(&entry.name).map_err(fail)?;
                let mut deeper = String::from_utf8_lossy(&raw).into_owned();
                deeper.push('/');
                walk(&sub, &shown, &deeper, buffer, sink)?;
            }
            FileType::Symlink => {
                let target = dir.read_link(&entry.name).map_err(fail)?;
                sink.link(&raw, &target)?;
            }
            FileType::RegularFile => {
                let file = dir.open_file(&entry.name).map_err(fail)?;
                let stat = rustix::fs::fstat(&file).map_err(|error| fail(error.into()))?;
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(BuildError::Changed { source_path: sink.source().to_owned() });
                }
                let size = stat.st_size as u64;
                let watch = sink.watch.clone();
                let mut body = Content { file, watch, shown: &shown, buffer, at: 0, filled: 0, left: size };
                sink.file(&raw, size, stat.st_mode & 0o100 != 0, &mut body)?;
            }
            FileType::BlockDevice | FileType::CharacterDevice => {
                return Err(sink.fault(&raw, Fault::Special("device")));
            }
            FileType::Fifo => return Err(sink.fault(&raw, Fault::Special("pipe"))),
            _ => return Err(sink.fault(&raw, Fault::Special("socket"))),
        }
    }
    Ok(())
}

/// A file's content. It must be as long as it was when it was opened.
struct Content<'a> {
    file: File,
    watch: Watch<'a>,
    shown: &'a Path,
    buffer: &'a mut [u8],
    at: usize,
    filled: usize,
    left: u64,
}

impl Body for Content<'_> {
    fn piece(&mut self) -> Result<&[u8], BuildError> {
        if self.at == self.filled {
            self.watch.tick()?;
            let n = loop {
                match self.file.read(self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other.map_err(|error| BuildError::io("read", self.shown, error))?,
                }
            };
            let changed = || BuildError::Changed { source_path: self.watch.source().to_owned() };
            self.left = self.left.checked_sub(n as u64).ok_or_else(changed)?;
            if n == 0 && self.left != 0 {
                return Err(changed());
            }
            self.watch.add(n as u64);
            (self.at, self.filled) = (0, n);
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    fn done(&mut self, n: usize) {
        self.at += n;
    }
}
