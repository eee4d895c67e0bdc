//! Reading zip. Owns what its structures mean, strictly: the central directory and the local headers must say the
//! same, and together they must fill the file without a gap. It must not touch the disk; members go to a [`Sink`].

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use super::blobs::Body;
use super::error::{BuildError, Fault};
use super::ingest::{Sink, Watch};

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const END_LEN: u64 = 22;
/// Sizes follow the content.
const LATE_SIZES: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;
/// Encryption, strong encryption, patches, masked headers.
const FOREIGN: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;
/// The version of a reader of what is taken here: deflate and wide sizes, 4.5.
const NEEDED: u8 = 45;
/// Systems a zip may be written on: MS-DOS, Unix, NTFS, VFAT. Whether macOS' modes are Unix' readers do not agree.
const SYSTEMS: [u8; 4] = [0, 3, 10, 14];
const PIECE: usize = 128 * 1024;

/// Reads all members in the order of the file.
pub(super) fn read(file: &File, sink: &mut Sink<'_>) -> Result<(), BuildError> {
    let zip = Zip { file, source: sink.watch.clone() };
    let end = zip.find_end()?;
    if end.entries > sink.limits().entries {
        return Err(BuildError::Limit {
            source_path: sink.source().to_owned(),
            limit: sink.limits().entries,
            unit: "members",
        });
    }
    let mut directory =
        BufReader::with_capacity(PIECE, Part { file, begin: end.start, end: end.start + end.length });
    let mut next = 0;
    for _ in 0..end.entries {
        sink.watch.tick()?;
        let entry = zip.entry(&mut directory)?;
        if entry.offset != next {
            return Err(zip.ambiguous(&entry.name, "it does not begin where the one before it ends"));
        }
        let content = zip.check_local(&entry)?;
        next = content.checked_add(entry.packed).ok_or_else(|| zip.corrupt("a size is absurd"))?;
        if next > end.start {
            return Err(zip.ambiguous(&entry.name, "it reaches into the directory"));
        }
        zip.member(sink, &entry, content)?;
        next = zip.after_descriptor(&entry, next)?;
        sink.watch.add(next - entry.offset);
    }
    if next != end.start || !directory.fill_buf().map_err(|e| sink.unreadable(e))?.is_empty() {
        return Err(zip.corrupt("there is something between its members and its end"));
    }
    Ok(())
}

struct Zip<'a> {
    file: &'a File,
    source: Watch<'a>,
}

struct End {
    entries: u64,
    start: u64,
    length: u64,
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    size: u64,
    offset: u64,
    /// Unix file mode, 0 where the writer had none.
    mode: u32,
    unix: bool,
    /// MS-DOS says it is a folder.
    folder_bit: bool,
}

impl Zip<'_> {
    fn corrupt(&self, what: &str) -> BuildError {
        BuildError::corrupt(self.source.source(), format!("the archive is damaged: {what}"))
    }

    fn ambiguous(&self, name: &[u8], what: &str) -> BuildError {
        self.fault(name, Fault::Ambiguous(what.to_owned()))
    }

    fn fault(&self, name: &[u8], fault: Fault) -> BuildError {
        BuildError::member(self.source.source(), name, fault)
    }

    fn bytes(&self, at: u64, out: &mut [u8]) -> Result<(), BuildError> {
        self.file.read_exact_at(out, at).map_err(|error| self.source.unreadable(error))
    }

    /// The end record: exactly one, and nothing after its comment.
    fn find_end(&self) -> Result<End, BuildError> {
        let meta = self.file.metadata().map_err(|error| self.source.unreadable(error))?;
        let length = meta.len();
        let tail_len = length.min(END_LEN + 0xffff);
        let mut tail = vec![0; tail_len as usize];
        self.bytes(length - tail_len, &mut tail)?;
        let fits = |at: usize| tail.len() - at == END_LEN as usize + usize::from(u16_at(&tail, at + 20));
        let mut ends = (0..tail.len().saturating_sub(END_LEN as usize - 1))
            .filter(|at| u32_at(&tail, *at) == END && fits(*at));
        let at = ends.next().ok_or_else(|| self.corrupt("it has no directory, or something follows it"))?;
        if ends.next().is_some() {
            return Err(self.corrupt("it has two ends"));
        }
        let end_at = length - tail_len + at as u64;
        let record = &tail[at..];
        if u16_at(record, 4) != 0 || u16_at(record, 6) != 0 || u16_at(record, 8) != u16_at(record, 10) {
            return Err(self.corrupt("it is one of several disks"));
        }
        let mut end = End {
            entries: u64::from(u16_at(record, 10)),
            length: u64::from(u32_at(record, 12)),
            start: u64::from(u32_at(record, 16)),
        };
        let mut stop = end_at;
        if let Some((found, begins)) = self.find_end64(end_at)? {
            let agrees = |short: u64, wide: u64, all: u64| short == all || short == wide;
            if !agrees(end.entries, found.entries, 0xffff)
                || !agrees(end.length, found.length, 0xffff_ffff)
                || !agrees(end.start, found.start, 0xffff_ffff)
            {
                return Err(self.corrupt("its two ends disagree"));
            }
            end = found;
            stop = begins;
        }
        if end.start.checked_add(end.length) != Some(stop) {
            return Err(self.corrupt("its directory is not where its end says"));
        }
        Ok(end)
    }

    /// The wide end record, where its locator stands right before the end, and where it begins.
    fn find_end64(&self, end_at: u64) -> Result<Option<(End, u64)>, BuildError> {
        const LOCATOR_LEN: u64 = 20;
        const RECORD_LEN: u64 = 56;
        let Some(at) = end_at.checked_sub(LOCATOR_LEN) else { return Ok(None) };
        let mut locator = [0; LOCATOR_LEN as usize];
        self.bytes(at, &mut locator)?;
        if u32_at(&locator, 0) != LOCATOR64 {
            return Ok(None);
        }
        let begins = u64_at(&locator, 8);
        if begins.checked_add(RECORD_LEN) != Some(at) {
            return Err(self.corrupt("its wide end is not where its locator says"));
        }
        let mut record = [0; RECORD_LEN as usize];
        self.bytes(begins, &mut record)?;
        if u32_at(&record, 0) != END64
            || u64_at(&record, 4) != RECORD_LEN - 12
            || u64_at(&record, 24) != u64_at(&record, 32)
        {
            return Err(self.corrupt("its wide end is malformed"));
        }
        let end =
            End { entries: u64_at(&record, 32), length: u64_at(&record, 40), start: u64_at(&record, 48) };
        Ok(Some((end, begins)))
    }

    /// The next entry of the central directory.
    fn entry(&self, directory: &mut impl Read) -> Result<Entry, BuildError> {
        let mut head = [0; 46];
        directory.read_exact(&mut head).map_err(|error| self.source.unreadable(error))?;
        if u32_at(&head, 0) != CENTRAL {
            return Err(self.corrupt("its directory is malformed"));
        }
        let mut take = |len: u16| -> Result<Vec<u8>, BuildError> {
            let mut bytes = vec![0; usize::from(len)];
            directory.read_exact(&mut bytes).map_err(|error| self.source.unreadable(error))?;
            Ok(bytes)
        };
        let (name, extra) = (take(u16_at(&head, 28))?, take(u16_at(&head, 30))?);
        take(u16_at(&head, 32))?;
        let made_by_unix = head[5] == 3;
        let attributes = u32_at(&head, 38);
        let mut entry = Entry {
            flags: u16_at(&head, 8),
            method: u16_at(&head, 10),
            crc: u32_at(&head, 16),
            packed: u64::from(u32_at(&head, 20)),
            size: u64::from(u32_at(&head, 24)),
            offset: u64::from(u32_at(&head, 42)),
            mode: if made_by_unix { attributes >> 16 } else { 0 },
            unix: made_by_unix,
            folder_bit: attributes & 0x10 != 0,
            name,
        };
        let mut wide = self.extra(&entry.name, &extra)?.into_iter();
        for field in [&mut entry.size, &mut entry.packed, &mut entry.offset] {
            if *field == 0xffff_ffff {
                *field = wide.next().ok_or_else(|| self.corrupt("a wide size is missing"))?;
            }
        }
        if wide.next().is_some() {
            return Err(self.ambiguous(&entry.name, "it has a wide size that nothing asks for"));
        }
        if u16_at(&head, 34) != 0 {
            return Err(self.corrupt("it is one of several disks"));
        }
        if !SYSTEMS.contains(&head[5]) || !readable(head[6], head[7]) {
            return Err(self.fault(
                &entry.name,
                Fault::Unsupported("needs a reader for another system or a newer one".into()),
            ));
        }
        Ok(entry)
    }

    /// The wide fields of an extra block; a second name is refused.
    fn extra(&self, name: &[u8], mut extra: &[u8]) -> Result<Vec<u64>, BuildError> {
        let mut wide = None;
        // Some writers pad with fewer bytes than a header has.
        while extra.len() >= 4 {
            let (id, len) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
            let data =
                extra.get(4..4 + len).ok_or_else(|| self.ambiguous(name, "an extra field is cut off"))?;
            match id {
                1 if wide.is_some() || len % 8 != 0 => {
                    return Err(self.ambiguous(name, "its wide sizes are malformed"));
                }
                1 => wide = Some(data.chunks_exact(8).map(|chunk| u64_at(chunk, 0)).collect()),
                0x7075 if data.get(5..) != Some(name) => {
                    return Err(self.ambiguous(name, "two names for one member"));
                }
                // libarchive's own copy of what the directory says, which it believes more.
                0x6c78 => return Err(self.ambiguous(name, "it has a second kind")),
                // Times, of which the directory may have the first alone.
                0x5455 if !matches!(len, 1 | 5 | 9 | 13) => {
                    return Err(self.ambiguous(name, "its times are malformed"));
                }
                _ => {}
            }
            extra = &extra[4 + len..];
        }
        Ok(wide.unwrap_or_default())
    }

    /// Checks the local header against the directory; where the content begins comes out.
    fn check_local(&self, entry: &Entry) -> Result<u64, BuildError> {
        let mut head = [0; 30];
        self.bytes(entry.offset, &mut head)?;
        let (name_len, extra_len) = (u16_at(&head, 26), u16_at(&head, 28));
        let mut rest = vec![0; usize::from(name_len) + usize::from(extra_len)];
        self.bytes(entry.offset + 30, &mut rest)?;
        let (name, extra) = rest.split_at(usize::from(name_len));
        if u32_at(&head, 0) != LOCAL || name != entry.name {
            return Err(self.ambiguous(&entry.name, "the directory and the member have different names"));
        }
        if !readable(head[4], head[5]) {
            return Err(self.fault(&entry.name, Fault::Unsupported("needs another reader".into())));
        }
        if u16_at(&head, 6) != entry.flags || u16_at(&head, 8) != entry.method {
            return Err(self.ambiguous(&entry.name, "the directory and the member have different kinds"));
        }
        let mut sizes = [u64::from(u32_at(&head, 22)), u64::from(u32_at(&head, 18))];
        let mut wide = self.extra(&entry.name, extra)?.into_iter();
        for size in &mut sizes {
            if *size == 0xffff_ffff {
                *size = wide.next().ok_or_else(|| self.corrupt("a wide size is missing"))?;
            }
        }
        let late = entry.flags & LATE_SIZES != 0;
        let same = sizes == [entry.size, entry.packed] && u32_at(&head, 14) == entry.crc;
        let unset = sizes == [0, 0] && u32_at(&head, 14) == 0;
        let agree = same || (late && unset);
        if !agree {
            return Err(self.ambiguous(&entry.name, "the directory and the member have different sizes"));
        }
        Ok(entry.offset + 30 + rest.len() as u64)
    }

    /// Where the next member begins: after the sizes, where they follow the content.
    fn after_descriptor(&self, entry: &Entry, at: u64) -> Result<u64, BuildError> {
        if entry.flags & LATE_SIZES == 0 {
            return Ok(at);
        }
        let mut narrow = Vec::new();
        narrow.extend_from_slice(&entry.crc.to_le_bytes());
        let mut wide = narrow.clone();
        narrow.extend_from_slice(&(entry.packed as u32).to_le_bytes());
        narrow.extend_from_slice(&(entry.size as u32).to_le_bytes());
        wide.extend_from_slice(&entry.packed.to_le_bytes());
        wide.extend_from_slice(&entry.size.to_le_bytes());
        let fits_narrow = u32::try_from(entry.packed).is_ok() && u32::try_from(entry.size).is_ok();
        let marked = |form: &[u8]| [&DESCRIPTOR.to_le_bytes(), form].concat();
        for form in [marked(&wide), marked(&narrow), wide.clone(), narrow.clone()] {
            if !fits_narrow && form.len() < wide.len() {
                continue;
            }
            let mut found = vec![0; form.len()];
            // The directory follows in any case, so that reading ahead stays in the file; what is cut off differs.
            if self.file.read_exact_at(&mut found, at).is_ok() && found == form {
                return Ok(at + form.len() as u64);
            }
        }
        Err(self.ambiguous(&entry.name, "the sizes after its content differ"))
    }

    fn member(&self, sink: &mut Sink<'_>, entry: &Entry, content: u64) -> Result<(), BuildError> {
        let name = &entry.name;
        if entry.flags & FOREIGN != 0 {
            return Err(self.fault(name, Fault::Unsupported("is encrypted".into())));
        }
        if !matches!(entry.method, 0 | 8) {
            let what = format!("is packed in a way ({}) that is not known here", entry.method);
            return Err(self.fault(name, Fault::Unsupported(what)));
        }
        // Other systems' names some readers take for their own alphabet's, marked or not.
        if !name.is_ascii() && (entry.flags & UTF8 == 0 || !entry.unix) {
            return Err(self.fault(name, Fault::NotUtf8));
        }
        let folder_name = name.ends_with(b"/");
        let kind = entry.mode & 0o170_000;
        match kind {
            0o020_000 | 0o060_000 => return Err(self.fault(name, Fault::Special("device"))),
            0o010_000 => return Err(self.fault(name, Fault::Special("pipe"))),
            0o140_000 => return Err(self.fault(name, Fault::Special("socket"))),
            0 | 0o100_000 | 0o120_000 if !folder_name => {}
            // Old Maven sets every bit of some folders' modes; every reader goes by the name.
            0 | 0o040_000 | 0o100_000 | 0o170_000 if folder_name => {}
            _ => return Err(self.ambiguous(name, "its name and its mode disagree on what it is")),
        }
        if folder_name {
            if entry.size != 0 {
                return Err(self.ambiguous(name, "a folder has content"));
            }
            self.body(entry, content).drain()?;
            return sink.folder(name);
        }
        if entry.folder_bit && entry.mode == 0 {
            return Err(self.ambiguous(name, "its name and its mode disagree on what it is"));
        }
        let mut body = self.body(entry, content);
        if kind == 0o120_000 {
            let limit = sink.limits().path_bytes;
            if entry.size > limit as u64 {
                return Err(self.fault(name, Fault::LongName));
            }
            let target = body.drain()?;
            return sink.link(name, &target);
        }
        sink.file(name, entry.size, entry.mode & 0o100 != 0, &mut body)
    }

    fn body(&self, entry: &Entry, content: u64) -> Content<'_> {
        let packed = BufReader::with_capacity(
            PIECE.min(entry.packed as usize + 1),
            Part { file: self.file, begin: content, end: content + entry.packed },
        );
        let unpack = match entry.method {
            0 => Unpack::Stored(packed),
            _ => Unpack::Deflated(flate2::bufread::DeflateDecoder::new(packed)),
        };
        Content {
            source: self.source.clone(),
            name: entry.name.clone(),
            unpack,
            buffer: vec![0; PIECE.min(entry.size as usize + 1)],
            at: 0,
            filled: 0,
            left: entry.size,
            packed: entry.packed,
            crc: flate2::Crc::new(),
            expected_crc: entry.crc,
            ended: false,
        }
    }
}

/// A part of a file, read without moving its position.
struct Part<'a> {
    file: &'a File,
    begin: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(usize::try_from(self.end - self.begin).unwrap_or(usize::MAX));
        if n == 0 {
            return Ok(0);
        }
        match self.file.read_at(&mut out[..n], self.begin)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.begin += n as u64;
                Ok(n)
            }
        }
    }
}

enum Unpack<'a> {
    Stored(BufReader<Part<'a>>),
    Deflated(flate2::bufread::DeflateDecoder<BufReader<Part<'a>>>),
}

/// A member's content, unpacked and checked.
struct Content<'a> {
    source: Watch<'a>,
    name: Vec<u8>,
    unpack: Unpack<'a>,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    left: u64,
    packed: u64,
    crc: flate2::Crc,
    expected_crc: u32,
    ended: bool,
}

impl Content<'_> {
    fn fill(&mut self) -> Result<(), BuildError> {
        self.source.tick()?;
        let read = match &mut self.unpack {
            Unpack::Stored(reader) => reader.read(&mut self.buffer),
            Unpack::Deflated(reader) => reader.read(&mut self.buffer),
        };
        let n = read.map_err(|error| self.source.unreadable(error))?;
        (self.at, self.filled) = (0, n);
        self.crc.update(&self.buffer[..n]);
        let wrong = |what: &str| {
            BuildError::member(self.source.source(), &self.name, Fault::Ambiguous(what.to_owned()))
        };
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| wrong("it is longer than it says"))?;
        if n == 0 {
            self.ended = true;
            let used = match &self.unpack {
                Unpack::Stored(_) => self.packed,
                Unpack::Deflated(reader) => reader.total_in(),
            };
            if self.left != 0 || used != self.packed {
                return Err(wrong("its content is not as long as it says"));
            }
            if self.crc.sum() != self.expected_crc {
                return Err(wrong("its checksum is wrong"));
            }
        }
        Ok(())
    }

    /// All of it; for what is known to be short.
    fn drain(&mut self) -> Result<Vec<u8>, BuildError> {
        let mut all = Vec::new();
        loop {
            let piece = self.piece()?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend_from_slice(piece);
            let n = piece.len();
            self.done(n);
        }
    }
}

impl Body for Content<'_> {
    fn piece(&mut self) -> Result<&[u8], BuildError> {
        if self.at == self.filled && !self.ended {
            self.fill()?;
        }
        Ok(&self.buffer[self.at..self.filled])
    }

    fn done(&mut self, n: usize) {
        self.at += n;
    }
}

/// Whether the version and system that a member needs are at hand.
fn readable(version: u8, system: u8) -> bool {
    version <= NEEDED && SYSTEMS.contains(&system)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
