//! Builds as their callers see them: real archives, real folders, a real disk.

mod archives;
mod collected;
mod hostile;
mod kept;
mod repaired;
mod room;
mod unsettled;

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::*;

/// Builds in a folder of their own.
pub(super) struct Place {
    pub(super) temp: tempfile::TempDir,
    pub(super) builds: Builds,
}

pub(super) fn place() -> Place {
    let temp = tempfile::tempdir().unwrap();
    let builds = Builds::open(&temp.path().join("builds")).unwrap();
    Place { temp, builds }
}

impl Place {
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.temp.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(super) fn add(&self, name: &str, bytes: &[u8]) -> Result<Ingested, BuildError> {
        let path = self.write(name, bytes);
        let ingested = self.builds.ingest(Source::File(&path), &())?;
        self.builds.settle(&ingested.digest)?;
        Ok(ingested)
    }

    pub(super) fn record(&self, ingested: &Ingested) {
        let record = Record {
            digest: ingested.digest.clone(),
            source: "a test".into(),
            archive: ingested.archive_sha256.clone().map(|sha256| Archive { sha256, size: 1 }),
            facts: serde_json::json!({"product": "x"}),
            files: ingested.files,
            bytes: ingested.bytes,
            added: "2026-01-01T00:00:00Z".into(),
        };
        self.builds.put_record(&record).unwrap();
    }

    /// The files below the builds' folder, by their paths there.
    pub(super) fn left(&self) -> Vec<String> {
        // What is not durable yet has a folder below `incoming/` for a moment.
        let _ = self.builds.settle(&Digest::of(b"any"));
        let root = self.temp.path().join("builds");
        files_below(&root).into_iter().map(|p| p.strip_prefix(&root).unwrap().display().to_string()).collect()
    }

    pub(super) fn assert_nothing_left(&self, why: &str) {
        assert_eq!(self.left(), Vec::<String>::new(), "{why}");
        let incoming = self.temp.path().join("builds/incoming");
        assert_eq!(std::fs::read_dir(incoming).unwrap().count(), 0, "{why}");
    }
}

pub(super) fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// One member of an archive to be made.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) name: Vec<u8>,
    pub(super) kind: u8,
    pub(super) data: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
}

pub(super) fn file(name: &str, data: &str) -> Member {
    Member { name: name.into(), kind: b'0', data: data.into(), link: Vec::new(), mode: 0o644 }
}

pub(super) fn program(name: &str, data: &str) -> Member {
    Member { mode: 0o6755, ..file(name, data) }
}

pub(super) fn folder(name: &str) -> Member {
    Member { kind: b'5', mode: 0o755, ..file(name, "") }
}

pub(super) fn link(name: &str, to: &str) -> Member {
    Member { kind: b'2', link: to.into(), ..file(name, "") }
}

pub(super) fn hard(name: &str, to: &str) -> Member {
    Member { kind: b'1', link: to.into(), ..file(name, "") }
}

pub(super) fn typed(kind: u8, name: &str) -> Member {
    Member { kind, ..file(name, "") }
}

/// A member's header and content, as they are: nothing is checked, so that anything can be made.
pub(super) fn block(member: &Member) -> Vec<u8> {
    let mut header = [0u8; 512];
    let name = &member.name[..member.name.len().min(100)];
    header[..name.len()].copy_from_slice(name);
    let put = |header: &mut [u8; 512], at: usize, text: String| {
        header[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(&mut header, 100, format!("{:07o}", member.mode));
    put(&mut header, 108, "0000000".into());
    put(&mut header, 116, "0000000".into());
    put(&mut header, 124, format!("{:011o}", member.data.len()));
    put(&mut header, 136, "00000000000".into());
    header[156] = member.kind;
    let link = &member.link[..member.link.len().min(100)];
    header[157..157 + link.len()].copy_from_slice(link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut header);
    let mut out = header.to_vec();
    out.extend_from_slice(&member.data);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

/// Makes a header's checksum right again.
pub(super) fn seal(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header[..512].iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub(super) fn tar_of(members: &[Member]) -> Vec<u8> {
    let mut out: Vec<u8> = members.iter().flat_map(block).collect();
    out.resize(out.len() + 1024, 0);
    out
}

pub(super) fn gz(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

pub(super) fn zip_of(members: &[Member]) -> Vec<u8> {
    let mut out = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for member in members {
        let name = String::from_utf8(member.name.clone()).unwrap();
        let options = ::zip::write::SimpleFileOptions::default()
            .compression_method(::zip::CompressionMethod::Deflated)
            .unix_permissions(member.mode);
        match member.kind {
            b'5' => out.add_directory(name, options).unwrap(),
            b'2' => out.add_symlink(name, String::from_utf8(member.link.clone()).unwrap(), options).unwrap(),
            _ => {
                out.start_file(name, options).unwrap();
                out.write_all(&member.data).unwrap();
            }
        }
    }
    out.finish().unwrap().into_inner()
}

/// What differs from one seed to the next and does not pack.
pub(super) fn noise(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = String::with_capacity(len);
    for _ in 0..len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.push(char::from(b' ' + (state % 95) as u8));
    }
    out
}

/// Members as a distribution has them, below one top folder.
pub(super) fn distribution() -> Vec<Member> {
    vec![
        folder("dist-1.0/"),
        program("dist-1.0/bin/run", "#!/bin/sh\n"),
        file("dist-1.0/jars/a-1.0.jar", &noise(1, 300_000)),
        file("dist-1.0/jars/b-1.0.jar", "small"),
        file("dist-1.0/jars/b-copy.jar", "small"),
        link("dist-1.0/jars/latest.jar", "a-1.0.jar"),
        hard("dist-1.0/lib", "dist-1.0/jars/b-1.0.jar"),
        folder("dist-1.0/logs/"),
        file("dist-1.0/empty", ""),
    ]
}

pub(super) fn assert_clean(builds: &Builds) {
    assert_eq!(builds.verify().unwrap(), vec![]);
}

pub(super) fn mode_and_time(path: &Path) -> (u32, i64) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.permissions().mode() & 0o7777, meta.mtime())
}
