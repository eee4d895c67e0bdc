//! A jar's class files, one after the other or one by one. Owns how they are found and inflated; must not look into them.
//!
//! A Spark has a hundred thousand of them, most of a few kilobytes. So whole jars are read at once, and one inflater with
//! its memory serves all. Checksums are not compared: a build's files were hashed when it was taken in.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek};
use std::path::Path;

use flate2::{Decompress, FlushDecompress, Status};
use zip::{CompressionMethod, ZipArchive};

/// The largest class file that is read, in bytes: the format itself could hold more, real ones are below 2 MiB.
const MAX_CLASS: u64 = 16 << 20;

/// Memory for one class file after the other.
#[derive(Debug)]
pub(super) struct Inflater {
    packed: Vec<u8>,
    plain: Vec<u8>,
    state: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { packed: Vec::new(), plain: Vec::new(), state: Decompress::new(false) }
    }
}

/// A jar that is open.
#[derive(Debug)]
pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
}

/// Whether an entry is a class that every runtime loads: those for newer runtimes alone (`META-INF/versions`) are not.
fn is_class(name: &[u8]) -> bool {
    name.ends_with(b".class") && !name.starts_with(b"META-INF/") && !name.ends_with(b"module-info.class")
}

fn about(jar: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read `{}`: {error}", jar.display()))
}

/// Reads a jar whole and hands every class file of it to `take`.
pub(super) fn each_class(jar: &Path, inflater: &mut Inflater, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let whole = std::fs::read(jar).map_err(|error| about(jar, &error))?;
    let mut archive =
        Archive { zip: ZipArchive::new(Cursor::new(&whole[..])).map_err(|error| about(jar, &error.into()))? };
    for index in 0..archive.zip.len() {
        if let Some(bytes) = archive.class(index, inflater).map_err(|error| about(jar, &error))? {
            take(bytes);
        }
    }
    Ok(())
}

impl Archive<BufReader<File>> {
    /// Opens a jar and hands the names of its classes, with slashes, and their places to `take`.
    pub(super) fn open(jar: &Path, mut take: impl FnMut(&[u8], usize)) -> io::Result<Self> {
        let mut open = || -> io::Result<Self> {
            let mut zip = ZipArchive::new(BufReader::new(File::open(jar)?))?;
            for index in 0..zip.len() {
                let entry = zip.by_index_raw(index)?;
                let name = entry.name_raw();
                if is_class(name) {
                    take(&name[..name.len() - b".class".len()], index);
                }
            }
            Ok(Self { zip })
        };
        open().map_err(|error| about(jar, &error))
    }
}

impl<R: Read + Seek> Archive<R> {
    /// The class file at a place; none where it is none.
    pub(super) fn class<'a>(
        &mut self,
        index: usize,
        inflater: &'a mut Inflater,
    ) -> io::Result<Option<&'a [u8]>> {
        let entry = self.zip.by_index_raw(index)?;
        if !is_class(entry.name_raw()) {
            return Ok(None);
        }
        let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let (method, size) = (entry.compression(), entry.size().min(MAX_CLASS));
        let size = usize::try_from(size).map_err(|_| bad("an entry is too large"))?;
        let Inflater { packed, plain, state } = inflater;
        packed.clear();
        entry.take(MAX_CLASS).read_to_end(packed)?;
        match method {
            CompressionMethod::Stored => Ok(Some(&packed[..])),
            CompressionMethod::Deflated => {
                // What an entry says of its size is believed as far as it has bytes for it: deflate's best is 1 to 1032.
                let size = size.min(packed.len().saturating_mul(1040));
                if plain.len() < size {
                    plain.resize(size, 0);
                }
                state.reset(false);
                let done = state
                    .decompress(packed, &mut plain[..size], FlushDecompress::Finish)
                    .map_err(|_| bad("an entry is damaged"))?;
                let whole = usize::try_from(state.total_out()).unwrap_or(usize::MAX);
                match done {
                    Status::StreamEnd => Ok(plain.get(..whole)),
                    Status::Ok | Status::BufError => Err(bad("an entry is damaged")),
                }
            }
            _ => Err(bad("an entry is compressed by a method that jars do not have")),
        }
    }
}
