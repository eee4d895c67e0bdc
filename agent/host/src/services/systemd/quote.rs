//! Text on its way into unit files and environment files, so that systemd reads back what was meant.
//!
//! Owns the escapes, nothing of what is said. Pure.

use std::fmt::Write as _;

/// A word of a command, an assignment or a list: quoted, with C escapes and doubled specifiers. `$` stays as it is:
/// commands are run without substitution.
pub(super) fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '%' => out.push_str("%%"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Words with blanks between them.
pub(super) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

/// A value that is taken as it is to the end of its line; `None` where it cannot be written so.
pub(super) fn rest_of_line(text: &str) -> Option<String> {
    let cannot = text.is_empty()
        || text.chars().any(char::is_control)
        || text.trim() != text
        || text.ends_with('\\')
        || text.starts_with(['-', '~', '"', '\'']);
    (!cannot).then(|| text.replace('%', "%%"))
}

/// Words for people: whatever cannot stand in a line is left out.
pub(super) fn prose(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() || c == '\\' { ' ' } else { c }).collect();
    text.trim().replace('%', "%%")
}

/// A line of an environment file.
pub(super) fn assignment(name: &str, value: &str) -> String {
    let mut out = format!("{name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push_str("\"\n");
    out
}

/// Whether systemd passes a variable of this name on; others it drops without a word.
pub(super) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How systemd takes a line of words apart: quotes, C escapes, then specifiers.
    fn read_words(line: &str) -> Vec<String> {
        let mut chars = line.chars().peekable();
        let mut out = Vec::new();
        while let Some(c) = chars.next() {
            if c == ' ' {
                continue;
            }
            assert_eq!(c, '"', "every word is quoted: {line}");
            let mut bytes = String::new();
            loop {
                match chars.next().expect("a closing quote") {
                    '"' => break,
                    '\\' => match chars.next().expect("an escape") {
                        'n' => bytes.push('\n'),
                        't' => bytes.push('\t'),
                        'x' => {
                            let hex: String = chars.by_ref().take(2).collect();
                            bytes.push(char::from(u8::from_str_radix(&hex, 16).expect("two digits")));
                        }
                        c @ ('"' | '\\') => bytes.push(c),
                        c => panic!("systemd knows no \\{c}"),
                    },
                    '\n' => panic!("a line ends within a word"),
                    c => bytes.push(c),
                }
            }
            assert!(chars.peek().is_none_or(|c| *c == ' '), "something follows a closing quote: {line}");
            out.push(specifiers(&bytes));
        }
        out
    }

    fn specifiers(text: &str) -> String {
        let parts: Vec<&str> = text.split("%%").collect();
        assert!(parts.iter().all(|part| !part.contains('%')), "a specifier is left: {text}");
        parts.join("%")
    }

    /// How systemd reads an environment file.
    fn read_file(text: &str) -> Vec<(String, String)> {
        let mut chars = text.chars();
        let mut out = Vec::new();
        loop {
            let name: String = chars.by_ref().take_while(|c| *c != '=').collect();
            if name.is_empty() {
                return out;
            }
            assert_eq!(chars.next(), Some('"'));
            let mut value = String::new();
            loop {
                match chars.next().expect("a closing quote") {
                    '"' => break,
                    '\\' => match chars.next().expect("an escape") {
                        c @ ('"' | '\\' | '$' | '`') => value.push(c),
                        '\n' => {}
                        c => value.extend(['\\', c]),
                    },
                    c => value.push(c),
                }
            }
            assert_eq!(chars.next(), Some('\n'));
            out.push((name, value));
        }
    }

    proptest! {
        #[test]
        fn words_are_read_back(texts in proptest::collection::vec("[^\0]{0,20}", 0..5)) {
            let line = words(texts.iter().map(String::as_str));
            prop_assert!(!line.contains('\n') && !line.contains('\r'));
            prop_assert_eq!(read_words(&line), texts);
        }

        #[test]
        fn files_are_read_back(values in proptest::collection::vec("[^\0]{0,20}", 0..5)) {
            let text: String = values.iter().enumerate().map(|(n, value)| assignment(&format!("V{n}"), value)).collect();
            let read = read_file(&text).into_iter().map(|(_, value)| value).collect::<Vec<_>>();
            prop_assert_eq!(read, values);
        }

        #[test]
        fn lines_stay_lines(text in "[^\0]{0,20}") {
            for line in rest_of_line(&text).into_iter().chain([prose(&text)]) {
                prop_assert!(!line.chars().any(char::is_control) && !line.ends_with('\\'), "{line:?}");
                specifiers(&line);
            }
        }
    }

    #[test]
    fn names_of_variables() {
        assert!(is_name("PATH") && is_name("_a1"));
        assert!(!is_name("") && !is_name("1a") && !is_name("a.b") && !is_name("a-b") && !is_name("ä"));
    }

    #[test]
    fn what_people_know() {
        assert_eq!(words(["a b", "$HOME %i", ";", ""]), r#""a b" "$HOME %%i" ";" """#);
        assert_eq!(word("x\"y\\z\n"), r#""x\"y\\z\n""#);
        assert_eq!(assignment("A", "1 $x `y`\n\"z\""), "A=\"1 \\$x \\`y\\`\n\\\"z\\\"\"\n");
        assert_eq!(rest_of_line("/srv/100% data").as_deref(), Some("/srv/100%% data"));
        assert_eq!(rest_of_line("/srv/a\nExecStartPre=/bin/x"), None);
    }
}
