//! Unknown keys are errors with "did you mean". Owns the wording; must not know any document.

/// The known name nearest to `word`, when near enough to be a slip: distance at most 2, or a third of its length.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 2.max(word.chars().count() / 3);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, name)| *distance <= limit && *distance < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// Adds "did you mean" to serde's message about an unknown field or variant; other messages pass unchanged.
pub fn explain(message: &str) -> String {
    let Some(rest) =
        message.split("unknown field `").nth(1).or_else(|| message.split("unknown variant `").nth(1))
    else {
        return message.to_owned();
    };
    let mut quoted = rest.split('`');
    let word = quoted.next().unwrap_or_default();
    // After the word, every second piece between backquotes is a known name.
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    match nearest(word, known) {
        Some(name) => format!("{message} (did you mean `{name}`?)"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_near_names() {
        assert_eq!(nearest("sevices", ["services", "files"]), Some("services"));
        assert_eq!(nearest("zzz", ["services", "files"]), None);
        assert_eq!(nearest("ab", ["cd"]), None);
    }

    #[test]
    fn explains_serde_messages() {
        let said = explain("unknown field `sevices`, expected one of `services`, `files`");
        assert!(said.ends_with("(did you mean `services`?)"), "{said}");
        assert_eq!(explain("missing field `x`"), "missing field `x`");
    }
}
