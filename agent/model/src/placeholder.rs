//! Placeholders in plans: `${tree:N} ${port:N} ${dir:N} ${file:N} ${secret:N} ${address:N}`, a closed set.
//! Owns their grammar; must not know what they resolve to. Any other `${…}` passes through; `$${` escapes.

use std::fmt;

/// The kinds of placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A tree's path (in relation data: its digest).
    Tree,
    /// A port's number.
    Port,
    /// A folder's path.
    Dir,
    /// A file's path, or that of a folder of files.
    File,
    /// A secret's value.
    Secret,
    /// The host's address for a binding.
    Address,
}

impl Kind {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "tree" => Self::Tree,
            "port" => Self::Port,
            "dir" => Self::Dir,
            "file" => Self::File,
            "secret" => Self::Secret,
            "address" => Self::Address,
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tree => "tree",
            Self::Port => "port",
            Self::Dir => "dir",
            Self::File => "file",
            Self::Secret => "secret",
            Self::Address => "address",
        })
    }
}

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// As it is.
    Text(&'a str),
    /// To be resolved.
    Hole(Kind, &'a str),
}

/// Splits a text into pieces. An escape `$${` yields the text `${`.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if at > 0 && rest.as_bytes()[at - 1] == b'$' {
            // `$${`: keep what is before the escape and `${`, drop one `$`.
            push(&mut out, &rest[..at - 1]);
            push(&mut out, &rest[at..at + 2]);
            rest = &rest[at + 2..];
            continue;
        }
        let after = &rest[at + 2..];
        let hole = after.find('}').and_then(|end| {
            let (word, name) = after[..end].split_once(':')?;
            Some((Kind::of(word)?, name, end))
        });
        if let Some((kind, name, end)) = hole {
            push(&mut out, &rest[..at]);
            out.push(Piece::Hole(kind, name));
            rest = &after[end + 1..];
        } else {
            push(&mut out, &rest[..at + 2]);
            rest = after;
        }
    }
    push(&mut out, rest);
    out
}

fn push<'a>(out: &mut Vec<Piece<'a>>, text: &'a str) {
    if !text.is_empty() {
        out.push(Piece::Text(text));
    }
}

/// The placeholders of a text.
pub fn holes(text: &str) -> impl Iterator<Item = (Kind, &str)> {
    pieces(text).into_iter().filter_map(|piece| match piece {
        Piece::Hole(kind, name) => Some((kind, name)),
        Piece::Text(_) => None,
    })
}

/// The text with every placeholder replaced by what `resolve` says.
pub fn fill<E>(text: &str, mut resolve: impl FnMut(Kind, &str) -> Result<String, E>) -> Result<String, E> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Hole(kind, name) => out.push_str(&resolve(kind, name)?),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> String {
        fill::<()>(text, |kind, name| Ok(format!("<{kind} {name}>"))).unwrap()
    }

    #[test]
    fn fills_only_its_own() {
        assert_eq!(filled("a ${port:ui}/${tree:x}/y"), "a <port ui>/<tree x>/y");
        assert_eq!(filled("${user.name} ${ENV} ${open ${port:a}"), "${user.name} ${ENV} ${open <port a>");
        assert_eq!(filled("$${port:ui} and ${dir:d}"), "${port:ui} and <dir d>");
        assert_eq!(filled("${other:x}"), "${other:x}");
    }

    proptest! {
        #[test]
        fn text_without_holes_is_kept(text in "[^$]*") {
            prop_assert_eq!(filled(&text), text);
        }

        #[test]
        fn never_panics(text in "[${}:a-z]*") {
            let _ = filled(&text);
        }
    }
}
