//! The other readers: Python's, GNU tar and bsdtar. What each makes of an archive is a tree to compare with ours.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use stoker_host::builds::{Builds, Manifest, Node, Source};
use stoker_model::ids::Digest;

/// What is at a path. Names are bytes: a reader may find what is no text.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    Folder,
    File { blob: Digest, exec: bool },
    Link(Vec<u8>),
}

impl fmt::Debug for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("folder"),
            Self::File { blob, exec } => {
                write!(f, "{} {}", if *exec { "program" } else { "file" }, &blob.hex()[..6])
            }
            Self::Link(target) => write!(f, "link to {}", target.escape_ascii()),
        }
    }
}

/// A tree by its paths, without the lone folder that holds everything.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Tree(BTreeMap<Vec<u8>, Thing>);

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(path, thing)| (path.escape_ascii().to_string(), thing)))
            .finish()
    }
}

/// Everything one test needs: our builds, the readers, a place for archives.
pub(crate) struct Bench {
    place: tempfile::TempDir,
    builds: Builds,
    python: Python,
    taken: u32,
}

/// What all made of an archive.
pub(crate) enum Outcome {
    Refused,
    Agreed,
}

impl Bench {
    pub(crate) fn new() -> Self {
        // In memory where that is possible: nothing of it is to last.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() {
            tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())
        } else {
            tempfile::tempdir()
        };
        let place = place.unwrap();
        let python = Python::start(place.path());
        let builds = Builds::open(&place.path().join("builds-0")).unwrap();
        Self { place, builds, python, taken: 0 }
    }

    /// Takes the archive in; where that is done, all others must find the same in it.
    pub(crate) fn compare(&mut self, form: Form, bytes: &[u8]) -> Outcome {
        let path = self.place.path().join("archive");
        std::fs::write(&path, bytes).unwrap();
        let Ok(ingested) = self.builds.ingest(Source::File(&path), &()) else { return Outcome::Refused };
        let manifest = self.builds.manifest(&ingested.digest);
        let ours = of_manifest(&manifest.unwrap_or_else(|error| panic!("{ingested:?}: {error:?}")));
        for (reader, theirs) in self.others(form, &path) {
            let same = theirs.as_ref().is_ok_and(|tree| *tree == ours);
            if !same {
                let kept = std::env::temp_dir().join(format!("stoker-disagreement-{}", std::process::id()));
                std::fs::write(&kept, bytes).unwrap();
                let what = format!(
                    "{reader} reads {} in another way:\n  ours {ours:?}\n  its  {theirs:?}",
                    kept.display()
                );
                panic!("{what}");
            }
        }
        self.taken += 1;
        if self.taken.is_multiple_of(4096) {
            // What is kept of each would fill the memory in a long run.
            let old = self.place.path().join(format!("builds-{}", self.taken - 4096));
            self.builds = Builds::open(&self.place.path().join(format!("builds-{}", self.taken))).unwrap();
            std::fs::remove_dir_all(old).unwrap();
        }
        Outcome::Agreed
    }

    fn others(&mut self, form: Form, path: &Path) -> Vec<(&'static str, Result<Tree, String>)> {
        let gnu = (form == Form::Tar)
            .then(|| Extraction::start("tar", &["--no-same-owner", "-xf"], path, self.place.path()));
        let bsd = Extraction::start(
            "bsdtar",
            &["--no-same-owner", "--no-xattrs", "--no-acls", "--no-fflags", "-xf"],
            path,
            self.place.path(),
        );
        let mut found = vec![("Python", self.python.read(form, path))];
        found.extend(gnu.map(|it| ("GNU tar", it.end())));
        found.push(("bsdtar", bsd.end()));
        found
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Tar,
    Zip,
}

fn of_manifest(manifest: &Manifest) -> Tree {
    let thing = |node: &Node| match node {
        Node::Folder => Thing::Folder,
        Node::File { blob, exec } => Thing::File { blob: blob.clone(), exec: *exec },
        Node::Link(target) => Thing::Link(target.as_bytes().to_vec()),
    };
    Tree(manifest.iter().map(|(path, node)| (path.as_bytes().to_vec(), thing(node))).collect())
}

/// Takes off the one folder that everything is in, as an ingest does.
fn strip_top(tree: Tree) -> Tree {
    let top = match tree.0.first_key_value() {
        Some((top, Thing::Folder)) => [top.as_slice(), b"/"].concat(),
        _ => return tree,
    };
    if !tree.0.keys().all(|path| path.starts_with(&top) || *path == top[..top.len() - 1]) {
        return tree;
    }
    let inside = |(path, thing): (Vec<u8>, Thing)| Some((path.strip_prefix(top.as_slice())?.to_vec(), thing));
    Tree(tree.0.into_iter().filter_map(inside).collect())
}

/// A program that unpacks, and where it does so.
struct Extraction {
    to: PathBuf,
    child: Child,
}

impl Extraction {
    fn start(program: &str, words: &[&str], path: &Path, place: &Path) -> Self {
        let to = place.join(program);
        std::fs::create_dir(&to).unwrap();
        let child = Command::new(program)
            .args(words)
            .arg(path)
            .arg("-C")
            .arg(&to)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} (of the package tar or libarchive-tools): {error}"));
        Self { to, child }
    }

    fn end(self) -> Result<Tree, String> {
        let out = self.child.wait_with_output().unwrap();
        let mut tree = Tree::default();
        walk(&self.to, b"", &mut tree);
        std::fs::remove_dir_all(&self.to).unwrap();
        if out.status.success() {
            Ok(strip_top(tree))
        } else {
            Err(format!("{}: {} with {tree:?}", out.status, String::from_utf8_lossy(&out.stderr)))
        }
    }
}

fn walk(folder: &Path, below: &[u8], tree: &mut Tree) {
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let mut at = below.to_vec();
        at.extend_from_slice(entry.file_name().as_bytes());
        let meta = std::fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            tree.0.insert(at.clone(), Thing::Folder);
            at.push(b'/');
            walk(&path, &at, tree);
        } else if meta.is_symlink() {
            tree.0.insert(at, Thing::Link(std::fs::read_link(&path).unwrap().into_os_string().into_vec()));
        } else {
            let exec = meta.permissions().mode() & 0o100 != 0;
            if meta.permissions().mode() & 0o400 == 0 {
                // Of several names of one file each is to show the same bits: set back at once.
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
            }
            let blob = Digest::of(&std::fs::read(&path).unwrap());
            std::fs::set_permissions(&path, meta.permissions()).unwrap();
            tree.0.insert(at, Thing::File { blob, exec });
        }
    }
}

/// Python, started once.
struct Python {
    _child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Members(Vec<(serde_json::Value, String, serde_json::Value, String, bool)>),
    Error(String),
}

impl Python {
    fn start(place: &Path) -> Self {
        let script = place.join("readers.py");
        std::fs::write(&script, include_str!("readers.py")).unwrap();
        let mut child = Command::new("/usr/bin/python3")
            .arg("-I")
            .arg(script)
            .env("PYTHONUTF8", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, ask, answers: BufReader::new(answers) }
    }

    fn read(&mut self, form: Form, path: &Path) -> Result<Tree, String> {
        let word = if form == Form::Tar { "tar" } else { "zip" };
        writeln!(self.ask, "{word} {}", path.display()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        // A surrogate is no character of JSON here: an answer with one is not what we would have taken in.
        let members = match serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))? {
            Answer::Members(members) => members,
            Answer::Error(why) => return Err(why),
        };
        let mut tree = Tree::default();
        for (name, kind, link, content, exec) in members {
            let (name, link) = (name.as_str().ok_or("no name")?, link.as_str().ok_or("no link")?);
            let path = plain(name);
            if path.is_empty() {
                if kind == "folder" {
                    continue;
                }
                return Err(format!("{kind} at the top"));
            }
            let thing = match kind.as_str() {
                "folder" => Thing::Folder,
                "file" => Thing::File { blob: Digest::of(&base64(&content)), exec },
                "link" => Thing::Link(link.as_bytes().to_vec()),
                "hard" => {
                    tree.0.get(plain(link).as_bytes()).cloned().ok_or(format!("no {link} for {name}"))?
                }
                other => return Err(format!("{name} is a {other}")),
            };
            let mut above = String::new();
            for part in path.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev() {
                if !above.is_empty() {
                    above.push('/');
                }
                above.push_str(part);
                if *tree.0.entry(above.clone().into_bytes()).or_insert(Thing::Folder) != Thing::Folder {
                    return Err(format!("{name} lies below {above}"));
                }
            }
            match tree.0.insert(path.as_bytes().to_vec(), thing.clone()) {
                Some(before) if before != Thing::Folder || thing != Thing::Folder => {
                    return Err(format!("{name} is there twice"));
                }
                _ => {}
            }
        }
        Ok(strip_top(tree))
    }
}

/// A name without what all take off.
fn plain(name: &str) -> &str {
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    if name == "." { "" } else { name }
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let used = four.iter().filter(|b| **b != b'=').count();
        let bits = four
            .iter()
            .fold(0u32, |bits, b| (bits << 6) | ALPHABET.iter().position(|a| a == b).unwrap_or(0) as u32);
        out.extend_from_slice(&bits.to_be_bytes()[1..used]);
    }
    out
}
