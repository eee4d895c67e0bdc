//! Which Java runs which Spark with which Hadoop client. Owns the ranges; must not look at a host.

use std::ops::RangeInclusive;

use stoker_charm::observation::Java;

use crate::align::Version;

/// Java versions that run a Spark build with a Hadoop client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// What both projects support.
    pub(crate) supported: RangeInclusive<u32>,
    /// What is known to run beyond that.
    pub(crate) tolerated: RangeInclusive<u32>,
}

/// The range of a Spark version whose class files need at least Java `floor`.
pub(crate) fn of_spark(version: &str, floor: u32) -> Range {
    let read = Version::read(version);
    let at_least = |major, minor| read.as_ref().is_some_and(|v| v.at_least(major, minor));
    let (from, to, known) = if at_least(4, 3) {
        (17, 25, 25)
    } else if at_least(4, 0) {
        (17, 21, 21)
    } else if at_least(3, 3) {
        (8, 17, 21)
    } else if at_least(3, 0) {
        (8, 11, 11)
    } else {
        (8, 8, 8)
    };
    let from = from.max(floor);
    Range { supported: from..=to, tolerated: from..=known }
}

impl Range {
    /// Narrowed to what a Hadoop client runs on: 3.5 needs 17, earlier ones die on 24 and later.
    pub(crate) fn with_client(&self, client: &str) -> Self {
        let newer = Version::read(client).is_some_and(|v| v.at_least(3, 5));
        let limits = if newer { 17..=25 } else { 8..=23 };
        let narrow = |range: &RangeInclusive<u32>| {
            (*range.start()).max(*limits.start())..=(*range.end()).min(*limits.end())
        };
        Self { supported: narrow(&self.supported), tolerated: narrow(&self.tolerated) }
    }

    /// The newest supported Java of the host, else the newest that is known to run.
    pub(crate) fn pick<'a>(&self, host: &'a [Java]) -> Option<&'a Java> {
        let newest = |range: &RangeInclusive<u32>| {
            host.iter().filter(|j| range.contains(&j.version)).max_by_key(|j| j.version)
        };
        newest(&self.supported).or_else(|| newest(&self.tolerated))
    }

    /// The range in words.
    pub(crate) fn words(&self) -> String {
        let (from, to) = (self.supported.start(), self.supported.end());
        if from == to { from.to_string() } else { format!("{from} to {to}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(spark: &str, floor: u32, client: &str, host: &[u32]) -> Option<u32> {
        let host: Vec<Java> = host.iter().map(|v| Java { home: format!("/jdk{v}"), version: *v }).collect();
        of_spark(spark, floor).with_client(client).pick(&host).map(|j| j.version)
    }

    #[test]
    fn picks_the_newest_that_both_support() {
        for (spark, floor, client, host, expected) in [
            ("3.5.9", 8, "3.3.4", &[25, 17][..], Some(17)),
            ("3.5.9", 8, "3.4.1", &[21, 11], Some(11)),
            ("3.5.9", 8, "3.4.1", &[25, 21], Some(21)),
            ("3.5.9", 8, "3.5.0", &[11, 8], None),
            ("3.5.9", 8, "3.5.0", &[17, 8], Some(17)),
            ("3.1.3", 8, "3.2.0", &[17], None),
            ("2.4.8", 8, "2.7.3", &[11, 8], Some(8)),
            ("4.0.5", 17, "3.4.1", &[25, 21, 17], Some(21)),
            ("4.3.0", 17, "3.5.0", &[25, 17], Some(25)),
            ("4.3.0", 17, "3.4.1", &[25, 21], Some(21)),
            ("4.3.0", 17, "3.5.0", &[], None),
        ] {
            assert_eq!(picked(spark, floor, client, host), expected, "{spark} with {client} on {host:?}");
        }
    }
}
