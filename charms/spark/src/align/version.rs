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
        // What a vendor adds is its own: told apart, never compared.
        let suffix = text.splitn(4, '.').nth(3).map_or(text[end..].to_owned(), |rest| format!(".{rest}"));
        Some(Self { major, minor, patch, suffix })
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

    /// Whether it is one that Apache releases: of others nobody but the vendor has builds.
    pub(crate) fn released(&self) -> bool {
        let known = ["-alpha", "-beta", "-rc", "-snapshot"];
        let suffix = self.suffix.to_ascii_lowercase();
        suffix.is_empty() || known.iter().any(|known| suffix.starts_with(known))
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
        for (vendor, line) in [
            ("3.3.6.7.1.8.0-801", (3, 3)),
            ("2.7.3.2.6.5.0-292", (2, 7)),
            ("3.0.0-cdh6.3.2", (3, 0)),
            ("3.3.3-amzn-1", (3, 3)),
        ] {
            let version = Version::read(vendor).unwrap();
            assert_eq!(
                (version.major, version.minor, version.released()),
                (line.0, line.1, false),
                "{vendor}"
            );
            assert_eq!(version.beside(&version), Level::Exact);
        }
        let beside = |a: &str, b: &str| Version::read(a).unwrap().beside(&Version::read(b).unwrap());
        assert_eq!(beside("3.3.6.7.1.8.0", "3.3.6.7.1.9.0"), Level::SameMinor);
        assert_eq!(beside("3.3.6", "3.3.6.7.1.8.0-801"), Level::SameMinor);
        assert!(
            Version::read("3.3.6").unwrap().released() && Version::read("3.0.0-beta1").unwrap().released()
        );
        assert!(read.at_least(3, 4) && read.at_least(2, 10) && !read.at_least(3, 5));
    }
}
