//! Prefixes as ranges of the key order. Must not: know a back end.

/// The smallest string greater than every string that begins with `prefix`; `None`: there is none.
pub(crate) fn upper_bound(prefix: &str) -> Option<String> {
    let mut bound = prefix.to_owned();
    while let Some(last) = bound.pop() {
        // The order of strings is that of their code points; surrogates are not characters, so step over them.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges() {
        assert_eq!(upper_bound(""), None);
        assert_eq!(upper_bound("a/"), Some("a0".into()));
        assert_eq!(upper_bound("a\u{10FFFF}"), Some("b".into()));
        assert_eq!(upper_bound("\u{10FFFF}"), None);
        assert_eq!(upper_bound("\u{D7FF}"), Some("\u{E000}".into()));
    }

    proptest! {
        #[test]
        fn being_below_the_bound_is_having_the_prefix(prefix in "\\PC{0,3}", tail in "\\PC{0,3}", other in "\\PC{0,4}") {
            let within = |key: &str| key >= prefix.as_str() && upper_bound(&prefix).is_none_or(|end| key < end.as_str());
            let joined = format!("{prefix}{tail}");
            prop_assert!(within(&joined));
            prop_assert_eq!(within(&other), other.starts_with(&prefix));
        }
    }
}
