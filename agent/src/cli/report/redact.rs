//! Taking secrets out of what a report shows: by their values, where those are known, and by the names of keys. Owns
//! what counts as secret; what is in doubt is left out. It reads nothing.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

/// What stands in a secret's place.
pub(super) const HIDDEN: &str = "[removed]";
/// A known value that is shorter is taken out only where its key says what it is: it would be found all over.
const SHORTEST: usize = 4;
/// A value that records hold below a key that sounds secret is looked for everywhere from this length on.
const WORD: usize = 6;
/// A line of a long secret counts by itself from this length on.
const LINE: usize = 16;
/// What the name of a key says where its value is a secret. Signs between words do not count.
const WORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "privatekey",
    "sharedkey",
    "authorization",
    "cookie",
    "signature",
];

/// What is known to be secret.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// Longest first, so that none is cut by one that is in it.
    known: Vec<String>,
}

/// Whether a key's name says that its value is a secret.
pub(super) fn sounds_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    WORDS.iter().any(|word| plain.contains(word))
}

/// Whether a value is no word and no number that is said elsewhere for other reasons.
fn is_telling(value: &str) -> bool {
    let mixed = value.contains(|c: char| c.is_ascii_digit()) && value.contains(char::is_alphabetic);
    let odd = |c: char| !c.is_alphanumeric() && !c.is_whitespace() && !".,-_".contains(c);
    value.len() >= 8 && (mixed || value.contains(odd))
}

/// What stands for a secret, or says nothing, and is worth showing.
fn harmless(value: &str) -> bool {
    let value = value.trim();
    value.is_empty()
        || value.starts_with("${")
        || value.strip_prefix("secret").is_some_and(|id| is_id(id) && id.len() == 21)
        || value == HIDDEN
        || ["true", "false", "null", "none", "…"].contains(&value)
}

/// The ways in which a text may be written elsewhere.
fn spellings(value: &str) -> Vec<String> {
    let quoted = Value::from(value).to_string();
    let percent = |keep: &[u8]| -> String {
        let byte = |byte: u8| {
            if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        };
        value.bytes().map(byte).collect()
    };
    let escaped =
        value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let mut all = vec![
        value.to_owned(),
        quoted[1..quoted.len() - 1].to_owned(),
        percent(b"-_.~"),
        percent(b"-_.~/:@+$,;=!*'()"),
        escaped,
        hex::encode(value),
        hex::encode_upper(value),
    ];
    for lead in ["", "x", "xx"] {
        // In front of other bytes base64 looks otherwise: the part that does not depend on them counts.
        for engine in [&STANDARD, &URL_SAFE] {
            let text = engine.encode(format!("{lead}{value}"));
            let text = text.trim_end_matches('=');
            let (from, to) =
                (lead.len() * 4 / 3 + usize::from(!lead.is_empty()), text.len().saturating_sub(2));
            all.extend(text.get(from..to).filter(|part| part.len() >= 8).map(str::to_owned));
        }
    }
    all
}

impl Redactor {
    /// Notes a value that must not be shown.
    pub(super) fn add(&mut self, value: &str) {
        let value = value.trim();
        if harmless(value) || value.len() < SHORTEST {
            return;
        }
        let mut new: BTreeSet<String> = spellings(value).into_iter().collect();
        for line in value.lines().map(str::trim).filter(|line| line.len() >= LINE) {
            new.extend(spellings(line));
        }
        new.retain(|text| text.len() >= SHORTEST);
        self.known.retain(|known| !new.contains(known));
        self.known.extend(new);
        self.known.sort_by_key(|known| std::cmp::Reverse(known.len()));
    }

    /// Notes all values below keys that sound secret.
    pub(super) fn learn(&mut self, document: &Value) {
        self.walk(document, false);
    }

    fn walk(&mut self, document: &Value, secret: bool) {
        match document {
            Value::Object(object) => {
                let named = named_secret(object);
                for (key, value) in object {
                    self.walk(value, secret_below(key, value, secret, named));
                }
            }
            Value::Array(list) => list.iter().for_each(|value| self.walk(value, secret)),
            // Short words would be taken out of every sentence: they go where they stand alone.
            Value::String(text)
                if secret && text.len() < WORD && !text.contains(|c: char| c.is_ascii_digit()) => {}
            Value::String(text) if secret => self.add(text),
            // What texts have in them as NAME=VALUE may be anything.
            Value::String(text) => {
                for (_, value) in pairs(text).into_iter().filter(|(_, value)| is_telling(value)) {
                    self.add(value);
                }
            }
            _ => {}
        }
    }

    /// Whether a known value is in `bytes`: how the report's own work is checked. Words and numbers may be there by chance.
    pub(super) fn found_in(&self, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes);
        self.known.iter().any(|known| is_telling(known) && text.contains(known.as_str()))
    }

    /// A text without what is secret.
    pub(super) fn text(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for known in &self.known {
            if out.contains(known.as_str()) {
                out = out.replace(known.as_str(), HIDDEN);
            }
        }
        let out = without_keys(&without_users(&out));
        let mut shown = String::with_capacity(out.len());
        let mut from = 0;
        for (at, value) in pairs(&out) {
            if at >= from {
                shown.push_str(&out[from..at]);
                shown.push_str(HIDDEN);
                from = at + value.len();
            }
        }
        shown.push_str(&out[from..]);
        shown
    }

    /// A document without what is secret.
    pub(super) fn document(&self, document: &Value) -> Value {
        self.hide(document, false)
    }

    fn hide(&self, document: &Value, secret: bool) -> Value {
        match document {
            Value::Object(object) => {
                let named = named_secret(object);
                let one = |(key, value): (&String, &Value)| {
                    (self.text(key), self.hide(value, secret_below(key, value, secret, named)))
                };
                Value::Object(object.iter().map(one).collect())
            }
            Value::Array(list) => Value::Array(list.iter().map(|value| self.hide(value, secret)).collect()),
            Value::String(text) if secret && !harmless(text) => HIDDEN.into(),
            Value::Number(_) if secret => HIDDEN.into(),
            Value::String(text) => self.text(text).into(),
            other => other.clone(),
        }
    }
}

/// `{"name": "admin-password", "value": …}`: the value's key is told beside it.
fn named_secret(object: &serde_json::Map<String, Value>) -> bool {
    ["name", "key", "option"]
        .iter()
        .any(|key| object.get(*key).and_then(Value::as_str).is_some_and(sounds_secret))
}

/// Whether what is below a key is secret. What lists secrets by their names tells nothing by that.
fn secret_below(key: &str, value: &Value, above: bool, named: bool) -> bool {
    let list = value.is_object() && matches!(key, "secrets" | "secret");
    let here = sounds_secret(key) && !list;
    above || here || (named && matches!(key, "value" | "default" | "set" | "from" | "to"))
}

/// Private keys as PEM, whole; also where the end is missing.
fn without_keys(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("-----BEGIN ") {
        let body = &rest[at..];
        let first = body.lines().next().unwrap_or_default();
        if !first.contains("PRIVATE KEY") {
            out.push_str(&rest[..at + 11]);
            rest = &rest[at + 11..];
            continue;
        }
        out.push_str(&rest[..at]);
        out.push_str(HIDDEN);
        let after = body.find("-----END ").and_then(|end| {
            let tail = &body[end + 9..];
            Some(end + 9 + tail.find("-----")? + 5)
        });
        rest = &body[after.unwrap_or(body.len())..];
    }
    out.push_str(rest);
    out
}

/// `https://user:password@host`: without the user and the password.
fn without_users(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || "/\"'<>?#,;|`".contains(c)).unwrap_or(after.len());
        if let Some(user) = after[..end].rfind('@').filter(|at| *at > 0) {
            out.push_str(HIDDEN);
            rest = &after[user..];
        } else {
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// Values whose names sound secret, with where they begin: `NAME=VALUE`, `NAME: VALUE`, `"NAME": "VALUE"`,
/// `<name>NAME</name><value>VALUE</value>`, `--NAME VALUE`, `some.NAME VALUE`, `Bearer VALUE`.
fn pairs(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(of_name).map(|begin| at + begin) {
        let end = text[begin..].find(|c| !of_name(c)).map_or(text.len(), |end| begin + end);
        let name = &text[begin..end];
        at = end;
        let scheme = matches!(name, "Bearer" | "Basic" | "Negotiate");
        // `${secret:NAME}` and `secret:ID` stand for one.
        let stands = name == "secret" && (text[..begin].ends_with("${") || is_id(&text[end..]));
        if stands || (!scheme && !sounds_secret(name)) {
            continue;
        }
        if let Some(value) = value_after(text, name, end, scheme).filter(|(_, value)| !harmless(value)) {
            at = value.0 + value.1.len();
            found.push(value);
        }
    }
    found
}

/// What follows `secret` where that is the id of one.
fn is_id(rest: &str) -> bool {
    let Some(id) = rest.strip_prefix(':') else { return false };
    let end = id.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(id.len());
    end == 20
}

fn value_after<'a>(text: &'a str, name: &str, end: usize, scheme: bool) -> Option<(usize, &'a str)> {
    let rest = &text[end..];
    let mut skipped = rest.trim_start_matches(['"', '\'', '\\', ']']);
    if let Some(value) = skipped.strip_prefix("</name>") {
        skipped = value.trim_start().strip_prefix("<value>")?;
        let from = text.len() - skipped.len();
        return Some((from, &skipped[..skipped.find('<').unwrap_or(skipped.len())]));
    }
    let spaced = skipped.trim_start_matches([' ', '\t']);
    let joined = spaced.strip_prefix(['=', ':']).map(|value| value.strip_prefix('>').unwrap_or(value));
    // A word after a name is a value only where the name is one of an option: `token expired` is none.
    let option = name.starts_with("--") || name.trim_matches('.').contains('.') || scheme;
    let value = match joined {
        Some(value) => value,
        None if option && spaced.len() < skipped.len() => spaced,
        None => return None,
    };
    let value = value.trim_start_matches([' ', '\t']);
    let value = value.strip_prefix("\\\"").unwrap_or(value);
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (value, until): (&str, &[char]) = match quote {
        Some('"') => (&value[1..], &['"', '\\', '\n']),
        Some(_) => (&value[1..], &['\'', '\n']),
        None => (value, &[' ', '\t', '\n', '\r', '"', '\'', ',', ';', '&', '<', '>', ')', ']', '}', '\\']),
    };
    if value.starts_with(['{', '[']) {
        return None;
    }
    // `Authorization: Bearer VALUE`: the second word is what counts.
    for word in ["Bearer ", "Basic ", "Negotiate ", "Token "] {
        if let Some(value) = value.strip_prefix(word).filter(|value| !value.starts_with(HIDDEN)) {
            return Some((text.len() - value.len(), &value[..value.find(until).unwrap_or(value.len())]));
        }
    }
    if ["Bearer [", "Basic [", "Negotiate [", "Token ["].iter().any(|word| value.starts_with(word)) {
        return None;
    }
    let from = text.len() - value.len();
    let value = &value[..value.find(until).unwrap_or(value.len())];
    (!value.is_empty()).then_some((from, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_go_by_what_their_keys_are_called() {
        let redactor = Redactor::default();
        for (text, shown) in [
            ("password=Xq7", "password=[removed]"),
            ("deploy --config s3-secret-key='Xq 7' x", "deploy --config s3-secret-key='[removed]' x"),
            ("spark.hadoop.fs.s3a.secret.key   Xq7/+", "spark.hadoop.fs.s3a.secret.key   [removed]"),
            (
                "<name>a.password</name>\n <value>Xq7</value>",
                "<name>a.password</name>\n <value>[removed]</value>",
            ),
            (r#"{"apiKey": "Xq7", "n": 1}"#, r#"{"apiKey": "[removed]", "n": 1}"#),
            (r#"said {\"token\":\"Xq7\"}"#, r#"said {\"token\":\"[removed]\"}"#),
            ("GET /lab?token=Xq7&x=1", "GET /lab?token=[removed]&x=1"),
            ("Authorization: Bearer Xq7.a", "Authorization: Bearer [removed]"),
            ("java --keystore-password Xq7 -jar", "java --keystore-password [removed] -jar"),
            ("https://ann:Xq7@host/x @y", "https://[removed]@host/x @y"),
            ("AWS_SECRET_ACCESS_KEY=Xq7 ls", "AWS_SECRET_ACCESS_KEY=[removed] ls"),
            ("a\n-----BEGIN RSA PRIVATE KEY-----\nXq7\n-----END RSA PRIVATE KEY-----\nb", "a\n[removed]\nb"),
            ("-----BEGIN PRIVATE KEY-----\nXq7", "[removed]"),
        ] {
            assert_eq!(redactor.text(text), shown);
            assert_eq!(redactor.text(shown), shown, "once is enough");
        }
        for text in [
            "the token expired, ask again",
            "token: ${secret:auth}, secret=secret:0123456789abcdef0123, password=",
            "use_token=true",
            "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
            "http://127.0.0.1:8080/x@y author=ann",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn documents_keep_their_shape() {
        let document = json!({"secrets": {"auth": {"generate": "hex32"}}, "env": {"DB_PASSWORD": "Xq7", "A": "b"},
            "options": [{"name": "admin-token", "value": "Xq7", "default": ""}], "tokens": ["Xq7", "${secret:x}"],
            "auth_secret": 1234, "enabled_token": true});
        let shown = json!({"secrets": {"auth": {"generate": "hex32"}}, "env": {"DB_PASSWORD": HIDDEN, "A": "b"},
            "options": [{"name": "admin-token", "value": HIDDEN, "default": ""}], "tokens": [HIDDEN, "${secret:x}"],
            "auth_secret": HIDDEN, "enabled_token": true});
        assert_eq!(Redactor::default().document(&document), shown);
    }

    #[test]
    fn words_of_sentences_stay() {
        let mut redactor = Redactor::default();
        redactor.learn(
            &json!({"log": "cannot log in: password: missing", "pin_token": "1234", "a_secret": "color"}),
        );
        assert_eq!(redactor.text("what is missing has a color"), "what is missing has a color");
        assert_eq!(redactor.text("token: missing"), "token: [removed]");
        assert!(!redactor.found_in(b"pid 12345, color"), "there by chance");
        redactor.learn(&json!({"log": "password: m1ss!ng-x"}));
        assert_eq!(redactor.text("so m1ss!ng-x"), "so [removed]");
    }

    #[test]
    fn a_known_value_goes_in_every_spelling() {
        let secret = "pl4nted/\"<canary>\" of & many signs";
        let mut redactor = Redactor::default();
        redactor.learn(&json!({"config": {"some-password": secret}}));
        let base64 = |text: String| STANDARD.encode(text);
        for text in [
            secret.to_owned(),
            json!({ "x": secret }).to_string(),
            format!("%{}", "70%6C"),
            base64(format!("user:{secret}")),
            base64(secret.to_owned()),
            base64(format!("a{secret}")),
            hex::encode(secret),
            "pl4nted%2F%22%3Ccanary%3E%22%20of%20%26%20many%20signs".to_owned(),
        ] {
            let shown = redactor.text(&text);
            assert!(!shown.contains("canary") && !redactor.found_in(shown.as_bytes()), "{shown}");
        }
        assert!(redactor.found_in(format!("x{secret}y").as_bytes()));
        // Long secrets are known by their lines, too.
        redactor.add("-----BEGIN-----\n0123456789abcdefghij\n-----END-----");
        assert_eq!(redactor.text("line 0123456789abcdefghij"), "line [removed]");
    }
}
