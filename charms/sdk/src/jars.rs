//! Reading jars: only their directory and the entries asked for, never the whole file. Must not write.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

/// The largest entry that is read whole, in bytes.
const MAX_ENTRY: u64 = 64 << 20;
/// The first bytes of every class file.
const CLASS_MAGIC: [u8; 4] = [0xCA, 0xFE, 0xBA, 0xBE];
/// Class file major version = Java feature version + this.
const CLASS_BASE: u16 = 44;

/// A jar whose directory was read.
#[derive(Debug)]
pub struct Jar(ZipArchive<BufReader<File>>);

impl Jar {
    /// Reads a jar's directory.
    pub fn open(jar: &Path) -> io::Result<Self> {
        let file = File::open(jar).map_err(|error| about(jar, &error))?;
        ZipArchive::new(BufReader::new(file)).map(Self).map_err(|error| about(jar, &io::Error::from(error)))
    }

    /// Names of all entries, sorted, folders included (they end with `/`).
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::with_capacity(self.0.len());
        for name in self.0.file_names() {
            names.push(name?.into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// An entry's bytes; none when there is no such entry. Entries over 64 MiB are refused.
    pub fn read(&mut self, entry: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut found) = self.entry(entry)? else { return Ok(None) };
        let mut data = Vec::new();
        found.by_ref().take(MAX_ENTRY + 1).read_to_end(&mut data)?;
        if data.len() as u64 > MAX_ENTRY {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("entry `{entry}` is too large to read"),
            ));
        }
        Ok(Some(data))
    }

    /// The class file major version of an entry (52 = Java 8); none when there is no such entry or it is no class.
    pub fn class_major(&mut self, entry: &str) -> io::Result<Option<u16>> {
        let Some(mut found) = self.entry(entry)? else { return Ok(None) };
        let mut head = [0_u8; 8];
        match found.read_exact(&mut head) {
            Ok(()) if head[..4] == CLASS_MAGIC => Ok(Some(u16::from_be_bytes([head[6], head[7]]))),
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn entry(&mut self, entry: &str) -> io::Result<Option<impl Read>> {
        match self.0.by_name(entry) {
            Ok(found) => Ok(Some(found)),
            Err(ZipError::FileNotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// An entry's bytes; none when there is no such entry.
pub fn read_entry(jar: &Path, entry: &str) -> io::Result<Option<Vec<u8>>> {
    Jar::open(jar)?.read(entry).map_err(|error| about(jar, &error))
}

/// Names of all entries, sorted.
pub fn entries(jar: &Path) -> io::Result<Vec<String>> {
    Jar::open(jar)?.names().map_err(|error| about(jar, &error))
}

/// The class file major version of a class, as `org/x/Y.class`; none when there is no such class.
pub fn class_major(jar: &Path, class: &str) -> io::Result<Option<u16>> {
    Jar::open(jar)?.class_major(class).map_err(|error| about(jar, &error))
}

/// The Java feature version that a class file major version needs.
pub fn java_of(major: u16) -> u32 {
    u32::from(major.saturating_sub(CLASS_BASE))
}

/// Jars in a folder whose names start with `prefix`, sorted; none when the folder cannot be read.
pub fn find(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut jars: Vec<PathBuf> = found
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with(prefix) && Path::new(name.as_ref()).extension().is_some_and(|ext| ext == "jar")
        })
        .map(|entry| entry.path())
        .collect();
    jars.sort_unstable();
    jars
}

/// The main attributes of a jar's manifest; empty when it has none or cannot be read.
pub fn manifest(jar: &Path) -> BTreeMap<String, String> {
    match read_entry(jar, "META-INF/MANIFEST.MF") {
        Ok(Some(bytes)) => attributes(&String::from_utf8_lossy(&bytes)),
        _ => BTreeMap::new(),
    }
}

pub(crate) fn attributes(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        if line.is_empty() {
            // The first section ends here; the others are about single entries.
            break;
        }
        if let Some(more) = line.strip_prefix(' ') {
            if let Some(value) = last.as_ref().and_then(|key| out.get_mut(key)) {
                String::push_str(value, more);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            out.insert(key.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned());
            last = Some(key.to_owned());
        }
    }
    out
}

/// The pairs of a Java `.properties` text.
pub fn properties(text: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while whole.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1 {
            whole.pop();
            match lines.next() {
                Some(next) => whole.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&whole);
        out.insert(unescape(key), unescape(value));
    }
    out
}

/// Cuts a logical line at the first separator that is not escaped: white space, `=` or `:`.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' | ' ' | '\t' | '\x0c' => {
                let rest = line[at..].trim_start_matches([' ', '\t', '\x0c']);
                let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
                return (&line[..at], rest.trim_start_matches([' ', '\t', '\x0c']));
            }
            _ => {}
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    // In UTF-16, since `\uXXXX` names units of it, two of which may make one character.
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => match chars.as_str().get(..4).map(|hex| u16::from_str_radix(hex, 16)) {
                    Some(Ok(unit)) => {
                        units.push(unit);
                        chars.nth(3);
                        continue;
                    }
                    _ => 'u',
                },
                Some(other) => other,
                None => continue,
            },
            c => c,
        };
        units.extend_from_slice(plain.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16_lossy(&units)
}

fn about(jar: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read `{}`: {error}", jar.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    fn jar(path: &Path, entries: &[(&str, &[u8])]) {
        let mut zip = ZipWriter::new(File::create(path).unwrap());
        for (name, data) in entries {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(data).unwrap();
        }
        zip.finish().unwrap();
    }

    #[test]
    fn reads_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-1.0.jar");
        let class = [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61, 9, 9, 9];
        let manifest_text =
            b"Manifest-Version: 1.0\r\nImplementation-Title: a long\r\n er one\r\n\r\nName: x\r\nA: b\r\n";
        let long = vec![b'x'; 100_000];
        jar(
            &path,
            &[
                ("META-INF/MANIFEST.MF", manifest_text),
                ("org/x/Y.class", &class),
                ("org/x/Short.class", &class[..5]),
                ("org/x/Not.class", b"not a class"),
                ("long.txt", &long),
            ],
        );
        assert_eq!(class_major(&path, "org/x/Y.class").unwrap(), Some(61));
        assert_eq!(java_of(61), 17);
        for none in ["org/x/Z.class", "org/x/Short.class", "org/x/Not.class"] {
            assert_eq!(class_major(&path, none).unwrap(), None, "{none}");
        }
        assert_eq!(read_entry(&path, "long.txt").unwrap(), Some(long));
        assert_eq!(read_entry(&path, "absent").unwrap(), None);
        assert_eq!(entries(&path).unwrap().len(), 5);
        let attributes = manifest(&path);
        assert_eq!(attributes["Implementation-Title"], "a longer one");
        assert!(!attributes.contains_key("Name"));

        jar(&folder.path().join("a-0.9.jar"), &[]);
        std::fs::write(folder.path().join("a-1.0.jar.sha1"), "").unwrap();
        let names: Vec<PathBuf> = find(folder.path(), "a-");
        assert_eq!(names, [folder.path().join("a-0.9.jar"), path]);
        assert!(find(&folder.path().join("absent"), "").is_empty());
    }

    #[test]
    fn a_broken_jar_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.jar");
        jar(&path, &[("a", b"aaaa"), ("b", b"bbbb")]);
        let bytes = std::fs::read(&path).unwrap();
        for cut in 0..bytes.len() - 1 {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let error = entries(&path).unwrap_err().to_string();
            assert!(error.contains("broken.jar"), "{error}");
        }
        assert!(manifest(&path).is_empty());
        assert!(read_entry(&folder.path().join("absent.jar"), "a").is_err());
    }

    #[test]
    fn properties_as_java_reads_them() {
        let text = "# no\n! no\na=1\n b : two words \nc d=e\nlong = one,\\\n    two\n\\u00e9\\ \\=x = \\ud83d\\ude00\\t\\q\nend\\";
        let read = properties(text);
        let expected = [
            ("a", "1"),
            ("b", "two words "),
            ("c", "d=e"),
            ("long", "one,two"),
            ("\u{e9} =x", "\u{1f600}\tq"),
            ("end", ""),
        ];
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(read, expected);
    }

    proptest! {
        #[test]
        fn properties_never_panic(text in "[a=: \\\\u0dn\n\u{e9}]{0,40}") {
            let _ = properties(&text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            prop_assert!(entries(file.path()).is_err());
        }
    }
}
