//! Alignment: how well Spark's Hadoop client fits an HDFS, and what to do about it. Pure functions over versions,
//! shapes, Java and the policy. Must not know observations or plans.

mod ask;
mod decide;
mod gaps;
mod link;
mod server;
mod version;
mod works;

pub(crate) use self::ask::{ALIGN, program as ask};
pub(crate) use self::decide::{Client, Decision, Keep, Policy, Question, Refused, Shape, decide, unasked};
pub(crate) use self::link::{CANDIDATE, CHECKER, Found, LINK, program as link};
pub(crate) use self::version::Version;
pub(crate) use self::works::{Canary, Case, S3a, broken};

/// How a client fits a server, best first; the worst axis wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The same version.
    Exact,
    /// The same major and minor.
    SameMinor,
    /// The same major, the client's minor is lower.
    OlderClient,
    /// The same major, the client's minor is higher.
    NewerClient,
    /// Different majors.
    CrossMajor,
    /// A version that cannot be read.
    Unknown,
    /// The build's client cannot be exchanged.
    ShapeBlocked,
    /// No Java of the host runs it.
    JavaBlocked,
    /// No Python of the host runs it.
    PythonBlocked,
}

impl Level {
    /// The word in verdicts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::SameMinor => "same-minor",
            Self::OlderClient => "older-client",
            Self::NewerClient => "newer-client",
            Self::CrossMajor => "cross-major",
            Self::Unknown => "unknown",
            Self::ShapeBlocked => "shape-blocked",
            Self::JavaBlocked => "java-blocked",
            Self::PythonBlocked => "python-blocked",
        }
    }

    /// Whether the client belongs to the server's minor line.
    pub(crate) fn in_line(self) -> bool {
        self <= Self::SameMinor
    }
}

/// The axes beside the versions: false where nothing fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axes {
    /// The client of this shape of build can talk to the server, or can be exchanged for one that does.
    pub(crate) shape: bool,
    /// A Java of the host runs the build with this client.
    pub(crate) java: bool,
    /// A Python of the host runs the build.
    pub(crate) python: bool,
}

impl Axes {
    /// Nothing stands in the way.
    pub(crate) const CLEAR: Self = Self { shape: true, java: true, python: true };
}

/// The level of a client beside a server.
pub(crate) fn level(client: &str, server: &str, axes: Axes) -> Level {
    let versions = match (Version::read(client), Version::read(server)) {
        (Some(client), Some(server)) => client.beside(&server),
        _ => Level::Unknown,
    };
    let blocked = [
        (axes.shape, Level::ShapeBlocked),
        (axes.java, Level::JavaBlocked),
        (axes.python, Level::PythonBlocked),
    ];
    blocked.into_iter().filter(|(clear, _)| !clear).map(|(_, level)| level).fold(versions, Level::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        for (client, server, expected) in [
            ("3.4.1", "3.4.1", "exact"),
            ("3.4.1", "3.4.3", "same-minor"),
            ("3.4.3", "3.4.1", "same-minor"),
            ("3.3.4", "3.4.1", "older-client"),
            ("3.5.0", "3.4.1", "newer-client"),
            ("3.10.0", "3.9.0", "newer-client"),
            ("2.7.4", "3.4.1", "cross-major"),
            ("3.3.4", "2.7.3", "cross-major"),
            ("3.4.1", "3.4.1-vendor2", "same-minor"),
            ("3.4", "3.4.1", "same-minor"),
            ("3.4.1", "", "unknown"),
            ("trunk", "3.4.1", "unknown"),
        ] {
            assert_eq!(level(client, server, Axes::CLEAR).word(), expected, "{client} beside {server}");
        }
    }

    #[test]
    fn the_worst_axis_wins() {
        for (shape, java, python, expected) in [
            (true, true, true, "exact"),
            (false, true, true, "shape-blocked"),
            (false, false, true, "java-blocked"),
            (true, false, true, "java-blocked"),
            (false, false, false, "python-blocked"),
        ] {
            assert_eq!(level("3.4.1", "3.4.1", Axes { shape, java, python }).word(), expected);
        }
        // Blocked is worse than unknown, unknown than the rest.
        assert_eq!(level("x", "3.4.1", Axes { shape: false, ..Axes::CLEAR }), Level::ShapeBlocked);
        assert!(Level::Unknown > Level::CrossMajor && Level::Unknown < Level::ShapeBlocked);
    }
}
