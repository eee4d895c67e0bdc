//! The sending end. Owns the order of frames and that only what is what its name says is sent; must not decide what
//! the other side needs.

use std::fs::File;
use std::io::{self, Read};

use stoker_model::ids::Digest;

use super::frame::{Kind, Writer};
use super::plan::{Item, PATCHED, plan};
use super::{Exported, Have, Head, Origin, TransferError, patch};
use crate::builds::blobs::{SMALL, file_name};
use crate::builds::manifest::Manifest;
use crate::builds::{BuildError, Builds, Progress};

/// Manifests larger than this are packed alone. In bytes.
pub(super) const MANIFEST_BASE: usize = 8 << 20;
/// How a content is in its frame.
pub(super) const RAW: u8 = 0;
pub(super) const PATCH: u8 = 1;
pub(super) const PACKED: u8 = 2;
/// A patch that is larger than this part of its content is not worth it, in percent.
const WORTH: u64 = 60;
const BUFFER: usize = 256 * 1024;

struct Sender<'a> {
    builds: &'a Builds,
    build: &'a Digest,
    progress: &'a dyn Progress,
    out: Writer<'a>,
    sent: Exported,
    buffer: Vec<u8>,
}

pub(super) fn export(
    builds: &Builds,
    digest: &Digest,
    have: &Have,
    out: &mut dyn io::Write,
    progress: &dyn Progress,
) -> Result<Exported, TransferError> {
    let lease = builds.leases.take(format!("build {digest} is exported"));
    lease.build(digest);
    if let Some(base) = &have.base {
        lease.build(base);
    }
    let manifest = builds.manifest(digest)?;
    let base = have.base.as_ref().filter(|base| *base != digest);
    let base_manifest = base.map(|base| builds.manifest(base)).transpose()?;
    let origin = builds.record(digest)?.map(|record| Origin {
        source: record.source,
        facts: record.facts,
        added: record.added,
    });
    let sent = Exported {
        digest: digest.clone(),
        base: base.cloned(),
        stream_bytes: 0,
        contents: 0,
        patches: 0,
        content_bytes: 0,
    };
    let out = Writer::open(out).map_err(|source| TransferError::Write { build: digest.clone(), source })?;
    let mut sender = Sender { builds, build: digest, progress, out, sent, buffer: vec![0; BUFFER] };
    sender.head(&manifest, base_manifest.as_ref(), origin)?;
    for item in plan(&manifest, base_manifest.as_ref(), have) {
        sender.content(&item)?;
        if progress.cancelled() {
            return Err(TransferError::Cancelled);
        }
    }
    let Sender { out, mut sent, .. } = sender;
    sent.stream_bytes = out.end().map_err(|source| TransferError::Write { build: digest.clone(), source })?;
    progress.step(sent.stream_bytes, Some(sent.stream_bytes));
    Ok(sent)
}

impl Sender<'_> {
    fn unwritten(&self) -> impl Fn(io::Error) -> TransferError + use<> {
        let build = self.build.clone();
        move |source| TransferError::Write { build: build.clone(), source }
    }

    fn head(
        &mut self,
        manifest: &Manifest,
        base: Option<&Manifest>,
        origin: Option<Origin>,
    ) -> Result<(), TransferError> {
        let text = manifest.text();
        let head = Head {
            build: self.build.clone(),
            base: self.sent.base.clone(),
            manifest_bytes: text.len() as u64,
            origin,
        };
        let unwritten = self.unwritten();
        let head = serde_json::to_vec(&head).map_err(|error| unwritten(error.into()))?;
        let old = base.map(Manifest::text).filter(|old| old.len() <= MANIFEST_BASE);
        let form = if old.is_some() { PATCH } else { PACKED };
        let packed =
            patch::pack(old.as_deref().unwrap_or_default(), &mut &text[..], text.len() as u64, u64::MAX)
                .map_err(&unwritten)?
                .unwrap_or_default();
        self.out.frame(Kind::Head, head.len() as u64).map_err(&unwritten)?;
        self.out.write(&head).map_err(&unwritten)?;
        self.out.frame(Kind::Manifest, packed.len() as u64 + 1).map_err(&unwritten)?;
        self.out.write(&[form]).map_err(&unwritten)?;
        self.out.write(&packed).map_err(&unwritten)
    }

    fn damaged(blob: &Digest, exec: bool, detail: impl Into<String>) -> TransferError {
        let name = file_name(blob, exec);
        BuildError::damaged(format!("blobs/{}/{name}", &name[..2]), detail).into()
    }

    fn open(&self, blob: &Digest, exec: bool) -> Result<(File, u64), TransferError> {
        let found = self.builds.blobs.open_blob(blob, exec).and_then(|file| {
            let size = file.metadata()?.len();
            Ok((file, size))
        });
        found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Self::damaged(blob, exec, "it is missing"),
            _ => BuildError::io("read", &self.builds.blobs.path().join(file_name(blob, exec)), error).into(),
        })
    }

    fn content(&mut self, item: &Item<'_>) -> Result<(), TransferError> {
        let (file, size) = self.open(item.blob, item.exec)?;
        self.sent.contents += 1;
        self.sent.content_bytes += size;
        if size <= PATCHED {
            // The likeliest one that gives a patch worth sending.
            for (like, exec) in &item.like {
                let Some(old) = self.whole(like, *exec)? else { continue };
                if let Some(packed) = self.pack(item, &old, size)? {
                    self.sent.patches += 1;
                    let mut head = Self::key(item, PATCH, size);
                    head.extend_from_slice(like.bytes());
                    head.push(u8::from(*exec));
                    return self.frame(&head, &packed);
                }
            }
            // Large files are mostly packed already.
            if size < SMALL
                && let Some(packed) = self.pack(item, &[], size)?
            {
                let head = Self::key(item, PACKED, size);
                return self.frame(&head, &packed);
            }
        }
        self.raw(item, file, size)
    }

    /// A content in memory, true to its name; `None` where it is too large.
    fn whole(&self, blob: &Digest, exec: bool) -> Result<Option<Vec<u8>>, TransferError> {
        let (mut file, size) = self.open(blob, exec)?;
        if size > PATCHED {
            return Ok(None);
        }
        let mut old = Vec::with_capacity(size as usize);
        file.read_to_end(&mut old)
            .map_err(|error| Self::damaged(blob, exec, format!("it cannot be read: {error}")))?;
        if Digest::of(&old) != *blob {
            return Err(Self::damaged(blob, exec, "its content is another"));
        }
        Ok(Some(old))
    }

    fn pack(&self, item: &Item<'_>, old: &[u8], size: u64) -> Result<Option<Vec<u8>>, TransferError> {
        let (file, _) = self.open(item.blob, item.exec)?;
        let mut hashed = Hashed { file, hasher: blake3::Hasher::new() };
        let packed = patch::pack(old, &mut hashed, size, size * WORTH / 100)
            .map_err(|error| Self::damaged(item.blob, item.exec, format!("it cannot be packed: {error}")))?;
        if packed.is_some() && hashed.hasher.finalize() != *item.blob.bytes() {
            return Err(Self::damaged(item.blob, item.exec, "its content is another"));
        }
        Ok(packed)
    }

    fn key(item: &Item<'_>, form: u8, size: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(80);
        head.extend_from_slice(item.blob.bytes());
        head.push(u8::from(item.exec));
        head.push(form);
        head.extend_from_slice(&size.to_le_bytes());
        head
    }

    fn frame(&mut self, head: &[u8], body: &[u8]) -> Result<(), TransferError> {
        let unwritten = self.unwritten();
        self.out.frame(Kind::Content, (head.len() + body.len()) as u64).map_err(&unwritten)?;
        self.out.write(head).map_err(&unwritten)?;
        self.out.write(body).map_err(&unwritten)?;
        self.progress.step(self.out.written(), None);
        Ok(())
    }

    fn raw(&mut self, item: &Item<'_>, mut file: File, size: u64) -> Result<(), TransferError> {
        let unwritten = self.unwritten();
        let head = Self::key(item, RAW, size);
        self.out.frame(Kind::Content, head.len() as u64 + size).map_err(&unwritten)?;
        self.out.write(&head).map_err(&unwritten)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        while left > 0 {
            let most = BUFFER.min(usize::try_from(left).unwrap_or(BUFFER));
            let n = match file.read(&mut self.buffer[..most]) {
                Ok(0) => return Err(Self::damaged(item.blob, item.exec, "it became shorter")),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(Self::damaged(item.blob, item.exec, format!("it cannot be read: {error}")));
                }
            };
            hasher.update(&self.buffer[..n]);
            self.out.write(&self.buffer[..n]).map_err(&unwritten)?;
            left -= n as u64;
            if self.progress.cancelled() {
                return Err(TransferError::Cancelled);
            }
        }
        self.progress.step(self.out.written(), None);
        if hasher.finalize() == *item.blob.bytes() {
            Ok(())
        } else {
            // The stream has no end mark then: whoever reads it refuses it.
            Err(Self::damaged(item.blob, item.exec, "its content is another"))
        }
    }
}

/// A file that is hashed as it is read.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
}

impl Read for Hashed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(out)?;
        self.hasher.update(&out[..n]);
        Ok(n)
    }
}
