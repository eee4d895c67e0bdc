//! Hadoop's version numbers. Owns how they are read and compared; must not know what a difference means to Spark.

use super::Level;

/// `MAJOR.MINOR[.PATCH][-SUFFIX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The first number.
    pub(crate) major: u32,
    /// The second.
    pub(crate) minor: u32,
    patch: Option<u32>,
    suffix: String,
}

impl Version {
    /// Reads a version; none where it does not begin with two numbers.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse::<u32>);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        let patch = numbers.next().and_then(Result::ok);
        Some(Self { major, minor, patch, suffix: text[end..].to_owned() })
    }

    /// The level of this client beside that server, by version alone.
    pub(super) fn beside(&self, server: &Self) -> Level {
        if self.major != server.major {
            return Level::CrossMajor;
        }
        match self.minor.cmp(&server.minor) {
            std::cmp::Ordering::Less => Level::OlderClient,
            std::cmp::Ordering::Greater => Level::NewerClient,
            std::cmp::Ordering::Equal if self == server => Level::Exact,
            std::cmp::Ordering::Equal => Level::SameMinor,
        }
    }

    /// Whether it is at least `major.minor`.
    pub(crate) fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_or_refuses() {
        let read = Version::read("3.4.1-SNAPSHOT").unwrap();
        assert_eq!((read.major, read.minor, read.patch, read.suffix.as_str()), (3, 4, Some(1), "-SNAPSHOT"));
        for bad in ["", "3", "v3.4", "3.x", "-", "99999999999.1"] {
            assert_eq!(Version::read(bad), None, "{bad}");
        }
        assert!(read.at_least(3, 4) && read.at_least(2, 10) && !read.at_least(3, 5));
    }
}
