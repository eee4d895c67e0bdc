//! Keys and values that a user sets in a charm's option, applied over what the charm makes. Owns their spelling.
//!
//! A text with a line end in it is lines of `key=value` (blank lines and those that start with `#` are skipped);
//! without one it is pairs with commas between them. In the second form, and in a list option, a piece without `=` belongs to the value
//! before it, so that values may hold commas: `a=1,2,b=3` is `a` → `1,2` and `b` → `3`. Keys and values are
//! trimmed; an empty value is kept (it sets the key to nothing); the last of several equal keys wins.

use std::collections::BTreeMap;

use serde_json::Value;

/// A piece that is no pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not KEY=VALUE")]
pub struct BadOverride(pub String);

/// Reads a text; pieces that are no pairs are left out. See [`check`] to refuse them.
pub fn parse(text: &str) -> BTreeMap<String, String> {
    pairs(&pieces(text)).0
}

/// Reads a text, all or nothing.
pub fn check(text: &str) -> Result<BTreeMap<String, String>, BadOverride> {
    match pairs(&pieces(text)) {
        (found, None) => Ok(found),
        (_, Some(bad)) => Err(BadOverride(bad)),
    }
}

/// Reads an option's observed value: a text, or a list of texts; anything else is empty.
pub fn of(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::String(text) => parse(text),
        Value::Array(items) => {
            let pieces: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            pairs(&Pieces { pieces, joined: true }).0
        }
        _ => BTreeMap::new(),
    }
}

struct Pieces<'a> {
    pieces: Vec<&'a str>,
    /// Pieces were cut at commas, so that one without `=` continues the value before it.
    joined: bool,
}

fn pieces(text: &str) -> Pieces<'_> {
    if text.contains('\n') || text.starts_with('#') {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Pieces { pieces: lines.collect(), joined: false }
    } else {
        Pieces { pieces: text.split(',').collect(), joined: true }
    }
}

/// The pairs, and the first piece that is none.
fn pairs(cut: &Pieces<'_>) -> (BTreeMap<String, String>, Option<String>) {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let (mut last, mut bad): (Option<&str>, Option<String>) = (None, None);
    for piece in &cut.pieces {
        match piece.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some((key, value)) if !key.is_empty() => {
                out.insert(key.to_owned(), value.to_owned());
                last = Some(key);
            }
            None if cut.joined && last.is_some() => {
                if let Some(value) = last.and_then(|key| out.get_mut(key)) {
                    value.push(',');
                    value.push_str(piece.trim());
                }
            }
            None if piece.trim().is_empty() => {}
            _ => bad = bad.or_else(|| Some(piece.trim().to_owned())),
        }
    }
    // A comma at the end of a list ends it and is no part of a value.
    if let Some(value) = last.filter(|_| cut.joined).and_then(|key| out.get_mut(key)) {
        value.truncate(value.trim_end_matches(',').len());
    }
    (out, bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn lines_and_lists() {
        assert_eq!(parse("a.b = 1 \n# no\n\n c=-Dx=y,-Dz\n"), map(&[("a.b", "1"), ("c", "-Dx=y,-Dz")]));
        assert_eq!(parse("a=1,2,b=3"), map(&[("a", "1,2"), ("b", "3")]));
        assert_eq!(parse("a=1,a=2,"), map(&[("a", "2")]));
        assert_eq!(parse("a="), map(&[("a", "")]));
        assert_eq!(parse("a=-Dx=1,-Dy=2\n"), map(&[("a", "-Dx=1,-Dy=2")]));
        assert_eq!(parse("  "), map(&[]));
        assert_eq!(of(&json!(["a=1", "2", "b=3"])), map(&[("a", "1,2"), ("b", "3")]));
        assert_eq!(of(&json!(7)), map(&[]));
    }

    #[test]
    fn refuses_what_is_no_pair() {
        assert_eq!(check("a=1\nb"), Err(BadOverride("b".into())));
        assert_eq!(check("b,a=1"), Err(BadOverride("b".into())));
        assert_eq!(check("=1"), Err(BadOverride("=1".into())));
        assert_eq!(check("a=1,b=2"), Ok(map(&[("a", "1"), ("b", "2")])));
    }

    proptest! {
        #[test]
        fn lines_come_back(pairs in proptest::collection::btree_map("[a-z.]{1,8}", "[a-z0-9=, -]{0,8}", 0..6)) {
            let lines: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let trimmed: BTreeMap<String, String> = pairs.into_iter().map(|(k, v)| (k, v.trim().to_owned())).collect();
            let text = format!("# pairs\n{}\n", lines.join("\n"));
            prop_assert_eq!(check(&text), Ok(trimmed));
        }

        #[test]
        fn never_panics(text in "[a=,\n# ]{0,30}") {
            let _ = parse(&text);
        }
    }
}
