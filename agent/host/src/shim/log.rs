//! Files a child's output goes to: the rotated log, and a task's captured stdout.
//!
//! Writing never fails towards the child: on a full disk output is dropped, since a child must not wait for its log.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The size at which the log is rotated, in bytes.
const LOG_SIZE: u64 = 8 << 20;
/// How many files of the log there are, the current one included.
const LOG_FILES: u32 = 3;
/// The size at which only the end of a captured stdout is kept, in bytes.
const CAPTURE_SIZE: u64 = 1 << 20;
/// What is kept of it: more than the longest result, in bytes.
const CAPTURE_KEPT: u64 = 128 << 10;

/// The log, rotated by size: `log`, `log.1`, `log.2`.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

impl Log {
    pub(crate) fn open(path: &Path) -> Self {
        let mut log = Self { path: path.to_owned(), file: None, size: 0 };
        log.reopen();
        log
    }

    /// Where the next byte goes.
    pub(crate) fn position(&self) -> u64 {
        self.size
    }

    /// Writes all of it, and says whether the log was rotated.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        let rotated = self.size >= LOG_SIZE && self.rotate();
        if self.file.is_none() {
            self.reopen();
        }
        if let Some(file) = &mut self.file {
            match file.write_all(bytes) {
                Ok(()) => self.size += bytes.len() as u64,
                // Part of it may be there.
                Err(_) => self.size = file.metadata().map_or(self.size, |data| data.len()),
            }
        }
        rotated
    }

    /// Writes a line of the keeper's own.
    pub(crate) fn note(&mut self, text: &str) {
        self.write(format!("[stoker] {text}\n").as_bytes());
    }

    fn rotate(&mut self) -> bool {
        let numbered = |n: u32| PathBuf::from(format!("{}.{n}", self.path.display()));
        for n in (1..LOG_FILES - 1).rev() {
            // The older one may not be there yet.
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        if std::fs::rename(&self.path, numbered(1)).is_err() {
            return false;
        }
        self.reopen();
        true
    }

    fn reopen(&mut self) {
        self.file = open(&self.path, true).ok();
        self.size = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
    }
}

/// A task's stdout. Of more than 1 MiB only the end is kept, since the result is its last line.
pub(crate) struct Capture {
    file: File,
    size: u64,
}

impl Capture {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = open(path, false)?;
        file.set_len(0)?;
        Ok(Self { file, size: 0 })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.size + bytes.len() as u64 > CAPTURE_SIZE && self.keep_end().is_err() {
            return;
        }
        if self.file.write_all_at(bytes, self.size).is_ok() {
            self.size += bytes.len() as u64;
        }
    }

    /// Moves the end to the beginning, a piece at a time.
    fn keep_end(&mut self) -> io::Result<()> {
        let from = self.size.saturating_sub(CAPTURE_KEPT);
        let mut at = 0;
        let mut buffer = [0; 4096];
        while from + at < self.size {
            let count = self.file.read_at(&mut buffer, from + at)?;
            if count == 0 {
                break;
            }
            self.file.write_all_at(&buffer[..count], at)?;
            at += count as u64;
        }
        self.file.set_len(at)?;
        self.size = at;
        Ok(())
    }
}

fn open(path: &Path, append: bool) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut options = File::options();
    options.create(true).mode(0o600).custom_flags(nofollow);
    if append {
        options.append(true)
    } else {
        options.read(true).write(true).truncate(false)
    };
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_by_size_and_keeps_three() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::open(&path);
        let block = vec![b'x'; 1 << 20];
        let rotations = (0..40).filter(|_| log.write(&block)).count();
        assert_eq!(rotations, 4);
        let sizes: Vec<u64> = ["log", "log.1", "log.2"]
            .iter()
            .map(|name| std::fs::metadata(dir.path().join(name)).unwrap().len())
            .collect();
        assert_eq!(sizes, [8 << 20, 8 << 20, 8 << 20]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(Log::open(&path).position(), 8 << 20);
    }

    #[test]
    fn a_long_capture_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        let mut capture = Capture::create(&path).unwrap();
        for n in 0..200_000 {
            capture.write(format!("line {n}\n").as_bytes());
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() as u64 <= CAPTURE_SIZE && text.len() as u64 >= CAPTURE_KEPT);
        assert!(text.ends_with("line 199998\nline 199999\n"));
    }
}
