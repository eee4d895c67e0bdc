//! Configuration files in the `*-site.xml` form: written sorted, escaped, one property a line; read as far as properties
//! go. Owns the form; includes are not followed.

use std::collections::BTreeMap;

/// The file's text.
pub fn xml(properties: &BTreeMap<String, String>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<configuration>\n");
    for (name, value) in properties {
        out.push_str("  <property><name>");
        escape(name, &mut out);
        out.push_str("</name><value>");
        escape(value, &mut out);
        out.push_str("</value></property>\n");
    }
    out.push_str("</configuration>\n");
    out
}

/// A text that is no such file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the configuration: {0}")]
pub struct BadSite(String);

/// The properties of a file's text; of several with one name the last counts, unless an earlier one is final.
pub fn read(text: &str) -> Result<BTreeMap<String, String>, BadSite> {
    let bad = |why: &str| BadSite(why.to_owned());
    let text = without_comments(text).ok_or_else(|| bad("a comment has no end"))?;
    if !text.contains("<configuration") {
        return Err(bad("it has no <configuration>"));
    }
    if text.contains("<xi:include") || text.contains("<include") {
        return Err(bad("it includes another file"));
    }
    let (mut all, mut fixed) = (BTreeMap::new(), std::collections::BTreeSet::new());
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("<property>") {
        let (property, after) =
            after.split_once("</property>").ok_or_else(|| bad("a <property> has no end"))?;
        rest = after;
        let name = element(property, "name").and_then(|name| plain(&name));
        let name = name.ok_or_else(|| bad("a <property> has no <name>"))?;
        let Some(value) = element(property, "value") else { continue };
        let value = plain(&value).ok_or_else(|| bad(&format!("the value of `{name}` is no text")))?;
        let last = element(property, "final").is_some_and(|said| said.trim() == "true");
        if fixed.contains(&name) {
            continue;
        }
        if last {
            fixed.insert(name.clone());
        }
        all.insert(name, value);
    }
    Ok(all)
}

fn without_comments(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("<!--") {
        out.push_str(before);
        rest = after.split_once("-->")?.1;
    }
    out.push_str(rest);
    Some(out)
}

/// What stands in an element; none where there is no such.
fn element(text: &str, name: &str) -> Option<String> {
    if text.contains(&format!("<{name}/>")) {
        return Some(String::new());
    }
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    Some(after.split_once(&format!("</{name}>"))?.0.to_owned())
}

/// Character data as the text that it stands for, trimmed.
fn plain(data: &str) -> Option<String> {
    let data = data.trim();
    if let Some(literal) = data.strip_prefix("<![CDATA[").and_then(|data| data.strip_suffix("]]>")) {
        return Some(literal.trim().to_owned());
    }
    // An element where there should be text.
    if data.contains('<') {
        return None;
    }
    let (mut out, mut rest) = (String::new(), data);
    while let Some((before, after)) = rest.split_once('&') {
        let (entity, after) = after.split_once(';')?;
        out.push_str(before);
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let code = number.strip_prefix('#')?;
                let code = match code.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => code.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Kept as a reference: a reader would turn a bare one into a newline.
            '\r' => out.push_str("&#13;"),
            '\n' | '\t' => out.push(c),
            // XML 1.0 has no way to write the other control characters.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_and_sorts() {
        let text = xml(&BTreeMap::from([("b".into(), "x<y & \"z\"".into()), ("a.b".into(), String::new())]));
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<configuration>\n  \
             <property><name>a.b</name><value></value></property>\n  \
             <property><name>b</name><value>x&lt;y &amp; \"z\"</value></property>\n</configuration>\n"
        );
    }

    #[test]
    fn what_others_wrote_is_read() {
        let text = "<?xml version='1.0'?>\n<!-- <property> -->\n<configuration>\n<property>\n <name> a </name>\n \
                    <value>1 &lt; 2&#13;&#x41;</value><final>true</final><source>x</source></property>\n\
                    <property><name>a</name><value>3</value></property><property><name>b</name><value/></property>\
                    <property><name>c</name></property><property><name>d</name><value><![CDATA[x<y]]></value></property>\
                    </configuration>";
        let expected = [("a", "1 < 2\rA"), ("b", ""), ("d", "x<y")];
        assert_eq!(read(text).unwrap(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        for bad in [
            "",
            "<html/>",
            "<configuration><!-- x",
            "<configuration><property><name>a</name>",
            "<configuration><property><value>a</value></property></configuration>",
            "<configuration><property><name>a</name><value>&x;</value></property></configuration>",
            "<configuration><xi:include href='x'/></configuration>",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in proptest::collection::btree_map("[a-z.]{1,8}", "[a-z<>&\";0-9]{0,12}", 0..6)) {
            prop_assert_eq!(read(&xml(&pairs)), Ok(pairs));
        }

        #[test]
        fn reading_never_panics(text in "(<configuration>|<property>|<name>|</name>|<value>|</property>|&|;|<!--|a){0,12}") {
            let _ = read(&text);
        }

        #[test]
        fn values_open_no_tags(name in ".{0,20}", value in ".{0,40}") {
            let text = xml(&BTreeMap::from([(name, value)]));
            prop_assert_eq!(text.matches('<').count(), 1 + 2 + 6);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
