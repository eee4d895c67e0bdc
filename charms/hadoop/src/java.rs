//! Which Java runs Hadoop. Owns the ranges that a Hadoop version works with; the floor is read from its classes.

use stoker_charm::observation::{Facts, Host, Java};
use stoker_charm::serde_json::Value;

/// `getSubject` ends with 24, which Hadoop before 3.5 cannot do without.
const LAST_BEFORE_3_5: u32 = 23;

/// Feature versions of Java that a Hadoop build works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The lowest.
    pub(crate) least: u32,
    /// The highest, if any is known to break.
    pub(crate) most: Option<u32>,
}

/// Major and minor number of a version.
pub(crate) fn line(version: &str) -> (u32, u32) {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// What these facts ask for.
pub(crate) fn range(facts: &Facts) -> Range {
    let floor = match facts.requires.get("java") {
        Some(Value::Number(n)) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
        Some(Value::String(text)) => text.trim_start_matches(">=").trim().parse().ok(),
        _ => None,
    };
    let old = line(&facts.version) < (3, 5);
    Range { least: floor.unwrap_or(if old { 8 } else { 17 }), most: old.then_some(LAST_BEFORE_3_5) }
}

/// The newest Java of the host within the range.
pub(crate) fn choose(host: &Host, range: Range) -> Option<&Java> {
    let fits =
        |java: &&Java| java.version >= range.least && range.most.is_none_or(|most| java.version <= most);
    // Among equal versions the first path wins, whatever the host's order.
    host.java.iter().filter(fits).max_by(|a, b| a.version.cmp(&b.version).then_with(|| b.home.cmp(&a.home)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(version: &str, floor: &str, homes: &[u32]) -> Option<u32> {
        let java = homes.iter().map(|v| Java { home: format!("/j{v}"), version: *v }).collect();
        let facts = Facts {
            version: version.into(),
            requires: [("java".to_owned(), Value::from(floor))].into(),
            ..Facts::default()
        };
        choose(&Host { java, ..Host::default() }, range(&facts)).map(|java| java.version)
    }

    #[test]
    fn newest_within_what_works() {
        assert_eq!(chosen("3.4.1", ">=8", &[25, 17, 11]), Some(17));
        assert_eq!(chosen("3.4.1", ">=8", &[21, 17]), Some(21));
        assert_eq!(chosen("3.5.0", ">=17", &[25, 17]), Some(25));
        assert_eq!(chosen("3.5.0", ">=17", &[11]), None);
        assert_eq!(chosen("3.4.1", ">=8", &[25]), None);
        assert_eq!(chosen("3.3.6", "", &[8]), Some(8));
    }
}
