//! Configuration files in the `*-site.xml` form: sorted, escaped, one property a line.

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

    proptest! {
        #[test]
        fn values_open_no_tags(name in ".{0,20}", value in ".{0,40}") {
            let text = xml(&BTreeMap::from([(name, value)]));
            prop_assert_eq!(text.matches('<').count(), 1 + 2 + 6);
            prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }
    }
}
