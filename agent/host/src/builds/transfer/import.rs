//! The receiving end. Owns that nothing is believed: the manifest counts when it is the build's, a content when it is
//! one that the manifest names, and the build when all of it is there. Memory is bounded by what is allowed, not by
//! what the stream says.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use stoker_model::ids::Digest;

use super::export::{MANIFEST_BASE, PACKED, PATCH, RAW};
use super::frame::{Kind, Reader};
use super::plan::{PATCHED, contents};
use super::{Head, Imported, Keeping, TransferError, patch};
use crate::builds::blobs::{Body, Staging};
use crate::builds::error::BuildError;
use crate::builds::manifest::Manifest;
use crate::builds::{Builds, Limits, Progress};
use crate::fs::failpoint::hit;

/// The longest head: facts are small.
const HEAD: u64 = 256 * 1024;
const BUFFER: usize = 256 * 1024;
/// Bytes of a manifest's line beside its path: kind, digest, separators.
const LINE: u64 = 80;

pub(super) fn import(
    builds: &Builds,
    from: &mut dyn Read,
    keeping: &Keeping,
    progress: &dyn Progress,
) -> Result<Imported, TransferError> {
    let mut stream = Reader::open(from)?;
    let head = read_head(&mut stream)?;
    let known = whole(builds, &head.build)?;
    let base = match &head.base {
        None => None,
        Some(base) => match builds.manifest(base) {
            Ok(manifest) => Some(manifest),
            // Of what is here already, the rest is only read.
            Err(BuildError::Unknown(_)) if known.is_some() => None,
            Err(BuildError::Unknown(_)) => {
                return Err(TransferError::NoBase { build: head.build.clone(), base: base.clone() });
            }
            Err(error) => return Err(error.into()),
        },
    };
    let (kind, _) = stream.frame()?;
    if kind != Kind::Manifest {
        return Err(stream.corrupt("its manifest is missing"));
    }
    let mut buffer = vec![0; BUFFER];
    let manifest = match known {
        Some(manifest) => {
            stream.pass(&mut buffer)?;
            manifest
        }
        None => read_manifest(&mut stream, &head, base.as_ref(), &builds.limits)?,
    };
    hit("builds.import.opened");
    let lease = builds.leases.take(format!("build {} is imported", head.build));
    lease.build(&head.build);
    if let Some(base) = &head.base {
        lease.build(base);
    }
    // Said before any of them is looked for: what is found then stays, whoever collects.
    contents(&manifest).for_each(|(blob, _)| lease.blob(blob));
    let mut receiver = Receiver {
        builds,
        head: &head,
        base: base.as_ref(),
        wanted: contents(&manifest).enumerate().map(|(n, key)| (key, n)).collect(),
        next: 0,
        total: 0,
        staging: None,
        got: Got::default(),
        buffer,
        progress,
    };
    let read = receiver.contents(&mut stream, keeping);
    if let Err(TransferError::Cut { .. } | TransferError::Read(_)) = &read {
        // What is verified stays for the next try; the first error is the one to tell.
        if let Err(error) = receiver.keep() {
            tracing::debug!(%error, "what was received is not kept");
        }
    }
    read?;
    receiver.check_missing()?;
    hit("builds.import.received");
    let imported = receiver.finish(&manifest, &stream)?;
    progress.step(stream.at(), Some(stream.at()));
    Ok(imported)
}

/// The manifest of a build that is here with all its contents.
fn whole(builds: &Builds, build: &Digest) -> Result<Option<Manifest>, TransferError> {
    let manifest = match builds.manifest(build) {
        Ok(manifest) => manifest,
        Err(BuildError::Unknown(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(builds.missing(&manifest)?.is_empty().then_some(manifest))
}

fn open_staging<'a>(builds: &'a Builds, build: &Digest) -> Result<Staging<'a>, BuildError> {
    // What errors name in place of a file.
    let source = PathBuf::from(format!("the stream of build {build}"));
    let lease = builds.leases.take(format!("build {build} is imported"));
    Staging::new(&builds.blobs, &builds.incoming, &source, lease)
}

fn read_head(stream: &mut Reader<'_>) -> Result<Head, TransferError> {
    let (kind, length) = stream.frame()?;
    if kind != Kind::Head {
        return Err(stream.corrupt("it does not begin with its head"));
    }
    if length > HEAD {
        return Err(TransferError::Limit { limit: HEAD, unit: "bytes of its head" });
    }
    let mut text = vec![0; length as usize];
    stream.fill(&mut text)?;
    serde_json::from_slice(&text).map_err(|error| stream.corrupt(format!("its head: {error}")))
}

fn read_manifest(
    stream: &mut Reader<'_>,
    head: &Head,
    base: Option<&Manifest>,
    limits: &Limits,
) -> Result<Manifest, TransferError> {
    let most = limits.name_bytes.saturating_add(limits.entries.saturating_mul(LINE));
    if head.manifest_bytes > most {
        return Err(TransferError::Limit { limit: most, unit: "bytes of its manifest" });
    }
    let mut form = [0; 1];
    stream.fill(&mut form)?;
    let old = match (form[0], base) {
        (PACKED, _) => Vec::new(),
        (PATCH, Some(base)) => base.text(),
        _ => return Err(stream.corrupt("its manifest is of an unknown form")),
    };
    if old.len() > MANIFEST_BASE {
        return Err(stream.corrupt("its manifest builds on one that is too large"));
    }
    let (manifest, found, counted) = {
        let unpacker = match patch::unpack(&old, &mut *stream) {
            Ok(unpacker) => unpacker,
            Err(error) => return Err(stream.fault(format!("its manifest: {error}"))),
        };
        let lines =
            Lines { from: unpacker, bytes: 0, ends: 0, most: head.manifest_bytes, entries: limits.entries };
        let mut lines = BufReader::with_capacity(64 * 1024, lines);
        let read = Manifest::read(&mut lines);
        let counted = lines.into_inner();
        match read {
            Ok((manifest, found)) => (manifest, found, Ok((counted.bytes, counted.ends))),
            Err(error) if counted.ends > limits.entries + 1 => {
                drop(error);
                return Err(TransferError::Limit { limit: limits.entries, unit: "members" });
            }
            Err(error) => (Ok(Manifest::default()), head.build.clone(), Err(error)),
        }
    };
    if let Err(error) = counted {
        return Err(stream.fault(format!("its manifest: {error}")));
    }
    if stream.left() > 0 || found != head.build {
        return Err(stream.fault(format!("its manifest is not that of build {}", head.build)));
    }
    let manifest = manifest.map_err(|error| stream.corrupt(format!("its manifest: {error}")))?;
    let odd = |what: String| stream.corrupt(format!("its manifest: {what}"));
    if manifest.iter().any(|(path, _)| path.len() > limits.path_bytes) {
        return Err(odd("a path is too long".into()));
    }
    if manifest.files().next().is_none() {
        return Err(odd("there are no files in it".into()));
    }
    manifest.check_links().map_err(|(path, fault)| {
        odd(format!("`{}` {fault}", crate::builds::error::printable(path.as_bytes())))
    })?;
    Ok(manifest)
}

/// A manifest's text on its way, no longer than it is said to be and with no more lines than are allowed.
struct Lines<R> {
    from: R,
    bytes: u64,
    ends: u64,
    most: u64,
    entries: u64,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.from.read(out)?;
        self.bytes += n as u64;
        self.ends += out[..n].split(|byte| *byte == b'\n').count() as u64 - 1;
        // The first line is the form's.
        if self.bytes > self.most || self.ends > self.entries.saturating_add(1) {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is longer than is said"));
        }
        Ok(n)
    }
}

#[derive(Default)]
struct Got {
    contents: u64,
    passed: u64,
    new_bytes: u64,
}

struct Receiver<'a> {
    builds: &'a Builds,
    head: &'a Head,
    base: Option<&'a Manifest>,
    wanted: HashMap<(&'a Digest, bool), usize>,
    /// The number of the first content that may still come.
    next: usize,
    /// Bytes of contents so far, unpacked.
    total: u64,
    staging: Option<Staging<'a>>,
    got: Got,
    buffer: Vec<u8>,
    progress: &'a dyn Progress,
}

impl Receiver<'_> {
    fn contents(&mut self, stream: &mut Reader<'_>, keeping: &Keeping) -> Result<(), TransferError> {
        loop {
            if self.progress.cancelled() {
                return Err(TransferError::Cancelled);
            }
            match stream.frame()? {
                (Kind::Content, _) => self.content(stream)?,
                (Kind::End, _) => return stream.end(),
                (Kind::Head | Kind::Manifest, _) => {
                    return Err(stream.corrupt("its head or manifest comes twice"));
                }
            }
            self.progress.step(stream.at(), None);
            if self.staging.as_ref().is_some_and(|staging| staging.new_bytes() >= keeping.every_bytes) {
                self.keep()?;
            }
        }
    }

    /// Makes what is verified so far durable and visible.
    fn keep(&mut self) -> Result<(), TransferError> {
        if let Some(staging) = self.staging.take() {
            self.got.new_bytes += staging.new_bytes();
            self.builds.publish(staging)?;
            hit("builds.import.kept");
        }
        Ok(())
    }

    fn content(&mut self, stream: &mut Reader<'_>) -> Result<(), TransferError> {
        let mut key = [0; 42];
        stream.fill(&mut key)?;
        let (blob, exec) = (digest(&key), flag(stream, key[32])?);
        let form = key[33];
        let mut size = [0; 8];
        size.copy_from_slice(&key[34..]);
        let size = u64::from_le_bytes(size);
        let Some(number) = self.wanted.get(&(&blob, exec)).copied() else {
            return Err(stream.corrupt(format!("content {blob} is not of this build")));
        };
        if number < self.next {
            return Err(stream.corrupt(format!("content {blob} comes twice or too late")));
        }
        self.next = number + 1;
        self.total = self.total.saturating_add(size);
        if self.total > self.builds.limits.bytes {
            return Err(TransferError::Limit { limit: self.builds.limits.bytes, unit: "bytes" });
        }
        if form == RAW && stream.left() != size {
            return Err(stream.corrupt(format!("content {blob} has another length than is said")));
        }
        self.got.contents += 1;
        // The import's own lease names it already: what is seen here stays.
        if self.builds.has_content(&blob, exec)? {
            self.got.passed += 1;
            return stream.pass(&mut self.buffer);
        }
        let old = match form {
            RAW | PACKED => Vec::new(),
            PATCH if size <= PATCHED => self.old(stream)?,
            _ => return Err(stream.corrupt(format!("content {blob} is of an unknown form"))),
        };
        let staging = match &mut self.staging {
            Some(staging) => staging,
            none => none.insert(open_staging(self.builds, &self.head.build)?),
        };
        let stored = {
            let raw;
            let mut packed;
            let from: &mut dyn Read = if form == RAW {
                raw = &mut *stream;
                raw
            } else {
                match patch::unpack(&old, &mut *stream) {
                    Ok(unpacker) => {
                        packed = unpacker;
                        &mut packed
                    }
                    Err(error) => return Err(stream.fault(format!("content {blob}: {error}"))),
                }
            };
            let mut body = Arriving {
                from,
                left: size,
                filled: 0,
                buffer: &mut self.buffer,
                wrong: None,
                progress: self.progress,
            };
            let stored = staging.store(size, exec, None, &mut body);
            match body.wrong {
                Some(wrong) => Err(wrong),
                None => Ok(stored?),
            }
        };
        match stored {
            Err(Wrong::Cancelled) => Err(TransferError::Cancelled),
            Err(Wrong::Unreadable(detail)) => Err(stream.fault(format!("content {blob}: {detail}"))),
            Ok(stored) if stored.blob != blob || stream.left() > 0 => {
                // It lies in the staging under its true name: that goes away with all that is in it.
                self.staging = None;
                Err(stream.corrupt(format!("content {blob} is {}", stored.blob)))
            }
            Ok(_) => {
                hit("builds.import.content");
                Ok(())
            }
        }
    }

    /// The content that a patch builds on: of the base, here, and what its name says.
    fn old(&self, stream: &mut Reader<'_>) -> Result<Vec<u8>, TransferError> {
        let mut key = [0; 33];
        stream.fill(&mut key)?;
        let (blob, exec) = (digest(&key), flag(stream, key[32])?);
        let Some(base) = self.base else { return Err(stream.corrupt("a patch builds on nothing")) };
        if !base.files().any(|(_, known, mode)| *known == blob && mode == exec) {
            return Err(stream.corrupt(format!("a patch builds on content {blob}, which is not of its base")));
        }
        let no_base = || TransferError::NoBase {
            build: self.head.build.clone(),
            base: self.head.base.clone().unwrap_or_else(|| self.head.build.clone()),
        };
        let file = match self.builds.blobs.open_blob(&blob, exec) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(no_base()),
            other => other.map_err(|error| BuildError::io("read", self.builds.blobs.path(), error))?,
        };
        let mut old = Vec::new();
        file.take(PATCHED + 1)
            .read_to_end(&mut old)
            .map_err(|error| BuildError::io("read", self.builds.blobs.path(), error))?;
        if old.len() as u64 > PATCHED {
            return Err(stream.corrupt(format!("a patch builds on content {blob}, which is too large")));
        }
        if Digest::of(&old) != blob {
            let what = format!("blobs/{}/{}", &blob.hex()[..2], blob.hex());
            return Err(BuildError::damaged(what, "its content is another").into());
        }
        Ok(old)
    }

    /// Makes the build visible: its contents, and last its manifest.
    fn finish(self, manifest: &Manifest, stream: &Reader<'_>) -> Result<Imported, TransferError> {
        let Self { builds, head, staging, got, .. } = self;
        let mut staging = match staging {
            Some(staging) => staging,
            None => open_staging(builds, &head.build)?,
        };
        let bytes = staging.size_of(manifest)?;
        let new_bytes = got.new_bytes + staging.new_bytes();
        let (digest, _) = staging.store_manifest(manifest)?;
        staging.lease(&digest);
        builds.publish(staging)?;
        hit("builds.import.published");
        Ok(Imported {
            digest,
            base: head.base.clone(),
            files: manifest.files().count() as u64,
            bytes,
            new_bytes,
            contents: got.contents,
            passed: got.passed,
            stream_bytes: stream.at(),
            origin: head.origin.clone(),
        })
    }

    /// Fails where a content is neither here nor received.
    fn check_missing(&self) -> Result<(), TransferError> {
        let mut missing = 0;
        for (blob, exec) in self.wanted.keys() {
            let staged = match &self.staging {
                Some(staging) => staging.known(blob, *exec)?,
                None => self.builds.has_content(blob, *exec)?,
            };
            missing += u64::from(!staged);
        }
        match (missing, &self.head.base) {
            (0, _) => Ok(()),
            (_, Some(base)) => {
                Err(TransferError::NoBase { build: self.head.build.clone(), base: base.clone() })
            }
            (missing, None) => Err(TransferError::Missing { build: self.head.build.clone(), missing }),
        }
    }
}

fn digest(key: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&key[..32]);
    Digest::new(bytes)
}

fn flag(stream: &Reader<'_>, byte: u8) -> Result<bool, TransferError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(stream.corrupt("a content is of an unknown mode")),
    }
}

enum Wrong {
    Unreadable(String),
    Cancelled,
}

/// A content as it arrives: exactly as many bytes as are said, in pieces.
struct Arriving<'a> {
    from: &'a mut dyn Read,
    left: u64,
    filled: usize,
    buffer: &'a mut Vec<u8>,
    wrong: Option<Wrong>,
    progress: &'a dyn Progress,
}

impl Arriving<'_> {
    fn stop(&mut self, wrong: Wrong) -> BuildError {
        self.wrong = Some(wrong);
        // The caller tells `wrong` in its place.
        BuildError::Cancelled { source_path: PathBuf::new() }
    }
}

impl Body for Arriving<'_> {
    fn piece(&mut self) -> Result<&[u8], BuildError> {
        if self.progress.cancelled() {
            return Err(self.stop(Wrong::Cancelled));
        }
        loop {
            let read = self.from.read(&mut self.buffer[..]);
            match read {
                Ok(0) if self.left == 0 => return Ok(&[]),
                Ok(0) => return Err(self.stop(Wrong::Unreadable("it is too short".into()))),
                Ok(n) if n as u64 > self.left => {
                    return Err(self.stop(Wrong::Unreadable("it is too long".into())));
                }
                Ok(n) => {
                    self.left -= n as u64;
                    self.filled = n;
                    return Ok(&self.buffer[..n]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.stop(Wrong::Unreadable(error.to_string()))),
            }
        }
    }

    fn done(&mut self, _n: usize) {}
}
