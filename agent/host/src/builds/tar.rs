//! Reading tar. Owns what a header means, strictly: where two tools could read an archive in two ways, it is
//! refused. It must not touch the disk; members go to a [`Sink`].

use std::collections::BTreeMap;

use tar::Header;

use super::blobs::Body;
use super::error::{BuildError, Fault};
use super::feed::Feed;
use super::ingest::Sink;

const BLOCK: usize = 512;
/// The most bytes of extended headers before one member.
const EXTENDED: u64 = 256 * 1024;
/// The most padding after the end: the largest record any tool writes.
const PADDING: u64 = 16 * 1024 * 1024;

/// Whether this is a tar's first block: its checksum is right, or it says so.
pub(super) fn is_tar(start: &[u8]) -> bool {
    start.get(..BLOCK).is_some_and(|block| block.iter().any(|b| *b != 0) && checksum_fits(block))
}

/// What extended headers said about the next member.
#[derive(Debug, Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    pax: bool,
    bytes: u64,
    any: bool,
}

/// Reads members until the archive's end, and checks that nothing follows.
pub(super) fn read(feed: &mut Feed, sink: &mut Sink<'_>) -> Result<(), BuildError> {
    let mut reader = Reader { feed, last: Vec::new() };
    let mut extended = Extended::default();
    while let Some(block) = reader.block(sink)? {
        let header = Header::from_byte_slice(&block);
        if !checksum_fits(&block) {
            return Err(reader.corrupt(sink, "a header's checksum is wrong"));
        }
        reader.last = header.path_bytes().into_owned();
        if let Some(what) = odd_fields(&block) {
            return Err(reader.ambiguous(sink, what));
        }
        sink.watch.tick()?;
        let kind = block[156];
        let size =
            number(&block[124..136]).ok_or_else(|| reader.ambiguous(sink, "its size is not a number"))?;
        match kind {
            b'L' | b'K' | b'x' | b'g' => reader.extend(sink, &mut extended, kind, size)?,
            _ => reader.member(sink, std::mem::take(&mut extended), &block, size)?,
        }
    }
    if extended.any {
        return Err(reader.corrupt(sink, "it ends after an extended header"));
    }
    reader.end(sink)
}

struct Reader<'a> {
    feed: &'a mut Feed,
    last: Vec<u8>,
}

impl Reader<'_> {
    /// The next header; `None` at the end mark.
    fn block(&mut self, sink: &Sink<'_>) -> Result<Option<[u8; BLOCK]>, BuildError> {
        let mut block = [0; BLOCK];
        let got = self.feed.fill(&mut block).map_err(|error| sink.unreadable(error))?;
        if got < BLOCK {
            return Err(self.corrupt(sink, "it is cut off: there is no end mark"));
        }
        Ok(block.iter().any(|b| *b != 0).then_some(block))
    }

    /// Nothing but zeros up to the end of the stream, which is read so that checksums after it are seen.
    fn end(&mut self, sink: &Sink<'_>) -> Result<(), BuildError> {
        let mut padding = 0u64;
        loop {
            let piece = self.feed.peek().map_err(|error| sink.unreadable(error))?;
            if piece.is_empty() {
                return Ok(());
            }
            padding += piece.len() as u64;
            if padding > PADDING || piece.iter().any(|b| *b != 0) {
                return Err(BuildError::corrupt(
                    sink.source(),
                    "there is something after the end of the archive",
                ));
            }
            let n = piece.len();
            self.feed.take(n);
            sink.watch.tick()?;
        }
    }

    fn corrupt(&self, sink: &Sink<'_>, what: &str) -> BuildError {
        let near = if self.last.is_empty() {
            String::new()
        } else {
            format!(" (near member `{}`)", super::error::printable(&self.last))
        };
        BuildError::corrupt(sink.source(), format!("the archive is damaged: {what}{near}"))
    }

    fn ambiguous(&self, sink: &Sink<'_>, what: &str) -> BuildError {
        sink.fault(&self.last, Fault::Ambiguous(what.to_owned()))
    }

    /// An extended header: what it says is kept for the next member.
    fn extend(
        &mut self,
        sink: &Sink<'_>,
        extended: &mut Extended,
        kind: u8,
        size: u64,
    ) -> Result<(), BuildError> {
        extended.bytes = extended.bytes.saturating_add(size).saturating_add(BLOCK as u64);
        if extended.bytes > EXTENDED {
            return Err(self.ambiguous(sink, "its extended headers are too long"));
        }
        let mut data = vec![0; size as usize];
        let got = self.feed.fill(&mut data).map_err(|error| sink.unreadable(error))?;
        if got < data.len() {
            return Err(self.corrupt(sink, "it is cut off"));
        }
        if !self.pad(sink, size)? {
            return Err(self.ambiguous(sink, "something follows a long name"));
        }
        match kind {
            b'g' => {
                for (key, value) in self.records(sink, &data)? {
                    if matters(&key) {
                        return Err(self.ambiguous(sink, "a global header sets a name, link or size"));
                    }
                    self.check_record(sink, &key, &value)?;
                }
            }
            b'x' => {
                if extended.pax {
                    return Err(self.ambiguous(sink, "two extended headers in a row"));
                }
                extended.pax = true;
                self.pax(sink, extended, &data)?;
            }
            _ => {
                // GNU: the name, ended by a NUL that some writers leave out.
                let text = data.strip_suffix(b"\0").unwrap_or(&data);
                if text.is_empty() || text.contains(&0) {
                    return Err(self.ambiguous(sink, "a long name is empty or has a NUL"));
                }
                let slot = if kind == b'L' { &mut extended.name } else { &mut extended.link };
                if slot.replace(text.to_vec()).is_some() {
                    return Err(self.ambiguous(sink, "two names for one member"));
                }
            }
        }
        extended.any = true;
        Ok(())
    }

    fn pax(&self, sink: &Sink<'_>, extended: &mut Extended, data: &[u8]) -> Result<(), BuildError> {
        for (key, value) in self.records(sink, data)? {
            self.check_record(sink, &key, &value)?;
            let slot = match key.as_slice() {
                b"path" => &mut extended.name,
                b"linkpath" => &mut extended.link,
                b"size" => {
                    let size =
                        std::str::from_utf8(&value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                    extended.size = size.and_then(|v| v.parse().ok());
                    if extended.size.is_none() {
                        return Err(self.ambiguous(sink, "its extended size is not a number"));
                    }
                    continue;
                }
                key if matters(key) => {
                    return Err(self.ambiguous(sink, "it is a sparse file or one of GNU's own"));
                }
                _ => continue,
            };
            if value.is_empty() || value.contains(&0) {
                return Err(self.ambiguous(sink, "an extended name is empty or has a NUL"));
            }
            if slot.replace(value).is_some() {
                return Err(self.ambiguous(sink, "two names for one member"));
            }
        }
        Ok(())
    }

    /// What is not kept must be in order all the same: some readers stop at what they cannot read.
    fn check_record(&self, sink: &Sink<'_>, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        let wrong = match key {
            b"mtime" | b"atime" | b"ctime" if !is_time(value) => "its extended time is not a number",
            b"uid" | b"gid" if !is_id(value) => "its extended owner is not a number",
            b"uname" | b"gname" | b"path" | b"linkpath" if std::str::from_utf8(value).is_err() => {
                "one of its extended texts is not UTF-8"
            }
            b"hdrcharset" if value != b"ISO-IR 10646 2000 UTF-8" => "its names are not marked as UTF-8",
            _ => return Ok(()),
        };
        Err(self.ambiguous(sink, wrong))
    }

    /// `LENGTH KEY=VALUE\n`, each key once.
    fn records(&self, sink: &Sink<'_>, data: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, BuildError> {
        let bad = || self.ambiguous(sink, "an extended header is malformed");
        let mut found = BTreeMap::new();
        let mut rest = data;
        while !rest.is_empty() {
            let space = rest.iter().take(8).position(|b| *b == b' ').ok_or_else(bad)?;
            let digits = &rest[..space];
            if digits.is_empty() || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
                return Err(bad());
            }
            let length = digits.iter().fold(0usize, |n, d| n * 10 + usize::from(d - b'0'));
            let record = rest.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').filter(|at| *at > 0).ok_or_else(bad)?;
            // Some readers pass over blanks in front of a key, or end it at a NUL.
            if !record[..equals].iter().all(u8::is_ascii_graphic) {
                return Err(bad());
            }
            let (key, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
            if found.insert(key, value).is_some() {
                return Err(self.ambiguous(sink, "an extended header says one thing twice"));
            }
            rest = &rest[length..];
        }
        Ok(found)
    }

    /// A member itself, with its content.
    fn member(
        &mut self,
        sink: &mut Sink<'_>,
        extended: Extended,
        block: &[u8; BLOCK],
        size: u64,
    ) -> Result<(), BuildError> {
        let long_name = extended.name.is_some();
        // The oldest form has no type for folders: a name that ends in `/` is one, by some readers' lights whatever
        // an extended header says.
        if long_name && block[156] == 0 && self.last.ends_with(b"/") {
            return Err(self.ambiguous(sink, "its two names are of different kinds"));
        }
        if let Some(name) = extended.name {
            self.last = name;
        }
        let name = self.last.clone();
        if extended.size.is_some_and(|extended| extended != size) {
            return Err(self.ambiguous(sink, "two sizes for one member"));
        }
        let link = match extended.link {
            Some(_) if matches!(block[156], b'1' | b'2') && block[157] == 0 => {
                return Err(self.ambiguous(sink, "only an extended header has its link"));
            }
            Some(link) => link,
            None => block[157..257].split(|b| *b == 0).next().unwrap_or_default().to_vec(),
        };
        let exec =
            number(&block[100..108]).ok_or_else(|| self.ambiguous(sink, "its mode is not a number"))? & 0o100
                != 0;
        let kind = block[156];
        let folder_name = name.ends_with(b"/");
        if !matches!(kind, b'0' | 0) && size != 0 {
            return Err(self.ambiguous(sink, "only a file can have content"));
        }
        match kind {
            0 if folder_name && size == 0 && !long_name => sink.folder(&name),
            b'0' | 0 if folder_name => Err(self.ambiguous(sink, "a file's name ends in `/`")),
            b'0' | 0 => {
                let mut body = Content { feed: self.feed, left: size, sink_source: sink.watch.clone() };
                sink.file(&name, size, exec, &mut body)?;
                self.pad(sink, size).map(|_| ())
            }
            b'5' => sink.folder(&name),
            b'1' | b'2' if folder_name => Err(self.ambiguous(sink, "a link's name ends in `/`")),
            b'1' => sink.hard_link(&name, &link),
            b'2' => sink.link(&name, &link),
            b'3' | b'4' => Err(sink.fault(&name, Fault::Special("device"))),
            b'6' => Err(sink.fault(&name, Fault::Special("pipe"))),
            b'S' => Err(self.ambiguous(sink, "it is a sparse file")),
            other => Err(sink.fault(
                &name,
                Fault::Unsupported(format!("is of the unknown type `{}`", char::from(other).escape_debug())),
            )),
        }
    }

    /// Takes the rest of a content's last block; whether it is empty as it should be.
    fn pad(&mut self, sink: &Sink<'_>, size: u64) -> Result<bool, BuildError> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 {
            return Ok(true);
        }
        let mut rest = [0; BLOCK];
        let rest = &mut rest[over..];
        let got = self.feed.fill(rest).map_err(|error| sink.unreadable(error))?;
        if got < rest.len() {
            return Err(self.corrupt(sink, "it is cut off"));
        }
        Ok(rest.iter().all(|b| *b == 0))
    }
}

/// A member's content, straight from the stream.
struct Content<'a> {
    feed: &'a mut Feed,
    left: u64,
    sink_source: super::ingest::Watch<'a>,
}

impl Body for Content<'_> {
    fn piece(&mut self) -> Result<&[u8], BuildError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        self.sink_source.tick()?;
        let watch = &self.sink_source;
        let piece = self.feed.peek().map_err(|error| watch.unreadable(error))?;
        if piece.is_empty() {
            return Err(BuildError::corrupt(
                watch.source(),
                "the archive is damaged: it is cut off within a member",
            ));
        }
        Ok(&piece[..piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }

    fn done(&mut self, n: usize) {
        self.feed.take(n);
        self.left -= n as u64;
    }
}

/// What of a header's fields some tool reads otherwise than others.
fn odd_fields(block: &[u8; BLOCK]) -> Option<&'static str> {
    let prefix = &block[345..500];
    match &block[257..265] {
        b"ustar\x0000" if cut_by_nul(prefix) => return Some("a NUL cuts its name"),
        b"ustar\x0000" => {}
        // GNU's and the oldest form have no prefix, but some tools read it all the same.
        b"ustar  \0" | b"\0\0\0\0\0\0\0\0" if prefix.iter().all(|b| *b == 0) => {}
        b"ustar  \0" | b"\0\0\0\0\0\0\0\0" => return Some("its form has no place for a prefix"),
        _ => return Some("its form is not known"),
    }
    if cut_by_nul(&block[..100]) {
        return Some("a NUL cuts its name");
    }
    if cut_by_nul(&block[157..257]) {
        return Some("a NUL cuts its link");
    }
    // Owner, group, device and time are not kept; a reader that stumbles over them sees another archive.
    for field in [&block[100..108], &block[108..116], &block[116..124], &block[329..337], &block[337..345]] {
        if !blank(field) && number(field).is_none() {
            return Some("one of its fields is not a number");
        }
    }
    let time = &block[136..148];
    let before_1970 = time[..4] == [0xff; 4] && time[4] & 0x80 != 0;
    if !before_1970 && !blank(time) && number(time).is_none() {
        return Some("its time is not a number");
    }
    None
}

fn blank(field: &[u8]) -> bool {
    field.iter().all(|b| *b == 0)
}

fn matters(key: &[u8]) -> bool {
    matches!(key, b"path" | b"linkpath" | b"size" | b"SCHILY.realsize" | b"SUN.holesdata")
        || key.starts_with(b"GNU.")
}

/// Seconds since 1970 as every reader understands them: digits, perhaps with a sign, perhaps with a fraction.
fn is_time(value: &[u8]) -> bool {
    let digits = |text: &[u8]| (1..=12).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let value = value.strip_prefix(b"-").unwrap_or(value);
    match value.iter().position(|b| *b == b'.') {
        Some(dot) => digits(&value[..dot]) && value[dot + 1..].iter().all(u8::is_ascii_digit),
        None => digits(value),
    }
}

fn is_id(value: &[u8]) -> bool {
    value.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(value).is_ok_and(|text| text.parse::<u32>().is_ok())
}

fn cut_by_nul(field: &[u8]) -> bool {
    field.iter().position(|b| *b == 0).is_some_and(|at| field[at..].iter().any(|b| *b != 0))
}

/// A number field: octal digits between spaces, ended by space or NUL, or (first bit set) 8 bytes of binary.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (high, low) = field.split_at(field.len() - field.len().min(8));
        let high_bits = high.iter().enumerate().any(|(i, b)| if i == 0 { b & 0x7f != 0 } else { *b != 0 });
        if high.is_empty() || high_bits {
            return None;
        }
        let value = low.iter().fold(0u64, |n, b| (n << 8) | u64::from(*b));
        return i64::try_from(value).ok().map(|_| value);
    }
    let start = field.iter().position(|b| *b != b' ')?;
    let digits = &field[start..];
    let end = digits.iter().position(|b| !(b'0'..=b'7').contains(b)).unwrap_or(digits.len());
    if digits[end..].iter().any(|b| *b != 0 && *b != b' ') {
        return None;
    }
    Some(digits[..end].iter().fold(0u64, |n, b| (n << 3) | u64::from(b - b'0')))
}

fn checksum_fits(block: &[u8]) -> bool {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { u64::from(b' ') } else { u64::from(*b) })
        .sum();
    number(&block[148..156]) == Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000017\0", Some(15)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\x02\0\0\0\0", Some(0x2_0000_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\xff\0\0\0\0\0\0\0", None),
            (b"12 34567\0", None),
            (b"0000x44\0", None),
            (b"-1\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }
}
