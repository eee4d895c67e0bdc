//! Names of members. Owns which names a build may hold; must not touch the disk.

use icu_normalizer::ComposingNormalizerBorrowed;

use super::error::Fault;

/// The most parts a name may have.
pub(super) const DEPTH: usize = 128;
/// The most bytes one part may have: what file systems take.
const PART: usize = 255;

/// What all of a name or link's target must be: text without control characters, in the one form that Unicode has for
/// it (some readers make it that).
fn text(raw: &[u8]) -> Result<&str, Fault> {
    let text = std::str::from_utf8(raw).map_err(|_| Fault::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(Fault::Control);
    }
    if !ComposingNormalizerBorrowed::new_nfc().is_normalized(text) {
        return Err(Fault::NotComposed);
    }
    Ok(text)
}

/// A member's clean relative path, or why it is refused. `./` in front and `/` at the end (of folders) are taken
/// off; the archive's own root comes out as the empty string.
pub(super) fn clean(raw: &[u8], longest: usize) -> Result<&str, Fault> {
    if raw.is_empty() {
        return Err(Fault::NoName);
    }
    if raw.len() > longest {
        return Err(Fault::LongName);
    }
    let name = text(raw)?;
    if name.contains('\\') {
        return Err(Fault::Backslash);
    }
    if name.starts_with('/') {
        return Err(Fault::Absolute);
    }
    if name == "." || name == "./" {
        return Ok("");
    }
    let name = name.strip_prefix("./").unwrap_or(name);
    let name = name.strip_suffix('/').unwrap_or(name);
    check_parts(name)?;
    Ok(name)
}

/// Checks a relative path that must be clean already.
pub(super) fn check(name: &str, longest: usize) -> Result<(), Fault> {
    if clean(name.as_bytes(), longest)? == name && !name.is_empty() { Ok(()) } else { Err(Fault::OddPart) }
}

fn check_parts(name: &str) -> Result<(), Fault> {
    let mut depth = 0;
    for part in name.split('/') {
        depth += 1;
        match part {
            ".." => return Err(Fault::Parent),
            "" | "." => return Err(Fault::OddPart),
            // Some readers take it off in front, and any part comes to be in front when the top is taken off.
            part if matches!(part.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()) => {
                return Err(Fault::Drive);
            }
            part if part.len() > PART => return Err(Fault::LongName),
            _ => {}
        }
    }
    if depth > DEPTH { Err(Fault::LongName) } else { Ok(()) }
}

/// Checks a symbolic link's target as text; whether it leaves the tree is asked of the whole tree later.
pub(super) fn check_target(raw: &[u8], longest: usize) -> Result<&str, Fault> {
    if raw.is_empty() {
        return Err(Fault::NoName);
    }
    if raw.len() > longest {
        return Err(Fault::LongName);
    }
    let target = text(raw)?;
    if target.starts_with('/') || target.contains('\\') {
        return Err(Fault::LinkOutside(super::error::printable(raw)));
    }
    Ok(target)
}

/// The folder a path lies in; `None` at the top.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// Whether `path` is `folder` or lies below it.
pub(super) fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_names_come_out_clean() {
        for (raw, name) in [
            ("a", "a"),
            ("./a/b", "a/b"),
            ("a/b/", "a/b"),
            (".", ""),
            ("./", ""),
            ("..a/b..", "..a/b.."),
            ("\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(clean(raw.as_bytes(), 4096), Ok(name), "{raw}");
        }
    }

    #[test]
    fn bad_names_are_refused_each_for_its_reason() {
        for (raw, fault) in [
            (&b""[..], Fault::NoName),
            (b"/etc/passwd", Fault::Absolute),
            (b"//a", Fault::Absolute),
            (b"C:/a", Fault::Drive),
            (b"top/c:a", Fault::Drive),
            (b"..", Fault::Parent),
            (b"./../a", Fault::Parent),
            (b"a/../b", Fault::Parent),
            (b"a//b", Fault::OddPart),
            (b"a/./b", Fault::OddPart),
            (b"././a", Fault::OddPart),
            (b"a//", Fault::OddPart),
            (b"a\\b", Fault::Backslash),
            (b"a\0b", Fault::Control),
            (b"a\nb", Fault::Control),
            (b"a\x7f", Fault::Control),
            ("a\u{85}".as_bytes(), Fault::Control),
            (b"a\xff", Fault::NotUtf8),
            ("e\u{301}".as_bytes(), Fault::NotComposed),
        ] {
            assert_eq!(clean(raw, 4096), Err(fault), "{raw:?}");
        }
        assert_eq!(clean(&[b'a'; 256], 4096), Err(Fault::LongName));
        assert_eq!(clean("a/".repeat(200).as_bytes(), 4096), Err(Fault::LongName));
        assert_eq!(clean(&[b'a'; 40], 30), Err(Fault::LongName));
    }
}
