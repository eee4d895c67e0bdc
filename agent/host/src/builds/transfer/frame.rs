//! The stream's bytes: its opening, frames, its end mark. Owns that nothing is read past a frame, that a stream that
//! ends early is told from one that is damaged, and the digest over all. It must not know what frames mean.

use std::io::{self, Read, Write};

use super::TransferError;

/// What every stream begins with.
const OPENING: &[u8; 12] = b"stoker move\n";
/// The form of the rest.
pub(super) const VERSION: u32 = 1;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Head,
    Manifest,
    Content,
    End,
}

impl Kind {
    const ALL: [(Self, u8); 4] =
        [(Self::Head, 1), (Self::Manifest, 2), (Self::Content, 3), (Self::End, 0xff)];

    fn byte(self) -> u8 {
        Self::ALL.into_iter().find_map(|(kind, byte)| (kind == self).then_some(byte)).unwrap_or(0)
    }

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(kind, known)| (known == byte).then_some(kind))
    }
}

/// The writing end.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
    written: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn open(out: &'a mut dyn Write) -> io::Result<Self> {
        let mut writer = Self { out, hasher: blake3::Hasher::new(), written: 0 };
        writer.write(OPENING)?;
        writer.write(&VERSION.to_le_bytes())?;
        Ok(writer)
    }

    /// Begins a frame, whose payload of exactly `length` bytes is then written.
    pub(super) fn frame(&mut self, kind: Kind, length: u64) -> io::Result<()> {
        let mut head = [0; 9];
        head[0] = kind.byte();
        head[1..].copy_from_slice(&length.to_le_bytes());
        self.write(&head)
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes the end mark; how long the stream is comes out.
    pub(super) fn end(mut self) -> io::Result<u64> {
        self.frame(Kind::End, 32)?;
        let digest = *self.hasher.finalize().as_bytes();
        self.out.write_all(&digest)?;
        self.out.flush()?;
        Ok(self.written + 32)
    }
}

/// The reading end. As a `Read` it gives the payload of the frame that was begun last, and not a byte more.
pub(super) struct Reader<'a> {
    from: &'a mut dyn Read,
    hasher: blake3::Hasher,
    at: u64,
    left: u64,
    /// Why reading failed, where it is the stream's doing and not that of what it holds.
    failed: Option<Failed>,
}

enum Failed {
    Cut,
    Broken(io::Error),
}

impl<'a> Reader<'a> {
    pub(super) fn open(from: &'a mut dyn Read) -> Result<Self, TransferError> {
        let mut reader = Self { from, hasher: blake3::Hasher::new(), at: 0, left: 0, failed: None };
        let mut opening = [0; 12];
        match reader.exact(&mut opening) {
            Err(TransferError::Cut { .. }) => return Err(TransferError::Foreign),
            other => other?,
        }
        if opening != *OPENING {
            return Err(TransferError::Foreign);
        }
        let mut version = [0; 4];
        reader.exact(&mut version)?;
        let found = u32::from_le_bytes(version);
        if found > VERSION {
            return Err(TransferError::Newer { found, known: VERSION });
        }
        if found == 0 {
            return Err(TransferError::Foreign);
        }
        Ok(reader)
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the frame that are not read yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    pub(super) fn corrupt(&self, detail: impl Into<String>) -> TransferError {
        TransferError::Corrupt { at: self.at, detail: detail.into() }
    }

    /// What an error while reading a frame is: the stream's end, its source's failure, or what `detail` says.
    pub(super) fn fault(&mut self, detail: impl Into<String>) -> TransferError {
        match self.failed.take() {
            Some(Failed::Cut) => TransferError::Cut { at: self.at },
            Some(Failed::Broken(error)) => TransferError::Read(error),
            None => self.corrupt(detail),
        }
    }

    /// Begins the next frame; the one before must be read to its end.
    pub(super) fn frame(&mut self) -> Result<(Kind, u64), TransferError> {
        if self.left > 0 {
            return Err(self.corrupt(format!("a frame has {} bytes too many", self.left)));
        }
        let mut head = [0; 9];
        self.exact(&mut head)?;
        let Some(kind) = Kind::of(head[0]) else {
            return Err(self.corrupt(format!("there is no frame of kind {}", head[0])));
        };
        let mut length = [0; 8];
        length.copy_from_slice(&head[1..]);
        self.left = u64::from_le_bytes(length);
        Ok((kind, self.left))
    }

    /// Fills `out` from the frame.
    pub(super) fn fill(&mut self, out: &mut [u8]) -> Result<(), TransferError> {
        if (out.len() as u64) > self.left {
            return Err(self.corrupt("a frame is too short"));
        }
        self.left -= out.len() as u64;
        self.exact(out)
    }

    /// Reads the frame's rest away.
    pub(super) fn pass(&mut self, buffer: &mut [u8]) -> Result<(), TransferError> {
        while self.left > 0 {
            let n = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.fill(&mut buffer[..n])?;
        }
        Ok(())
    }

    /// Checks the end mark, whose frame was begun, and that nothing follows.
    pub(super) fn end(&mut self) -> Result<(), TransferError> {
        let digest = self.hasher.finalize();
        let mut mark = [0; 32];
        if self.left != 32 {
            return Err(self.corrupt("its end mark has another length"));
        }
        self.fill(&mut mark)?;
        if digest != mark {
            return Err(self.corrupt("its digest is not the one in its end mark"));
        }
        let mut more = [0; 1];
        match self.some(&mut more) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.corrupt("something follows its end mark")),
            Err(error) => Err(TransferError::Read(error)),
        }
    }

    fn some(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.from.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(n) => {
                    self.hasher.update(&out[..n]);
                    self.at += n as u64;
                    return Ok(n);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn exact(&mut self, out: &mut [u8]) -> Result<(), TransferError> {
        let mut got = 0;
        while got < out.len() {
            match self.some(&mut out[got..]) {
                Ok(0) => return Err(TransferError::Cut { at: self.at }),
                Ok(n) => got += n,
                Err(error) => return Err(TransferError::Read(error)),
            }
        }
        Ok(())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        match self.some(&mut out[..most]) {
            Ok(0) => {
                self.failed = Some(Failed::Cut);
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Ok(n) => {
                self.left -= n as u64;
                Ok(n)
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(Failed::Broken(error));
                Err(kind.into())
            }
        }
    }
}
