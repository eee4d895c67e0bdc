//! Which Hadoop client Spark is to have. Owns the policies; must not know trees or relations.

use std::collections::BTreeMap;

use super::{Axes, Level, Version, level};

/// What `hadoop-alignment` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Policy {
    /// The least change that makes everything work.
    #[default]
    Auto,
    /// The HDFS's own client, whenever it can be had.
    Exact,
    /// The client that the build came with.
    Shipped,
}

/// How a Spark build carries its Hadoop client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Two shaded jars: they can be exchanged.
    Shaded,
    /// Hadoop's jars and what they need lie among Spark's: they cannot.
    Unshaded,
    /// It has none and takes the HDFS's.
    Provided,
}

/// A Hadoop client taken from a Hadoop build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its version.
    pub(crate) version: String,
    /// The build, `b3:…`.
    pub(crate) build: String,
    /// Jars of that build that go with it where Spark's has such: name and path.
    pub(crate) companions: BTreeMap<String, String>,
    /// Its own two jars, as paths in that build, where they are not where Hadoop's releases have them.
    pub(crate) jars: Vec<String>,
}

impl Client {
    /// What stands for the build of an HDFS that offers none.
    pub(crate) const NOWHERE: &str = "none";

    /// Whether a Spark without a client can run on it: that takes the whole of a Hadoop.
    pub(crate) fn provides(&self) -> bool {
        self.there() && self.jars.iter().all(|jar| jar.starts_with("share/hadoop/client/"))
    }

    /// Whether there is a build to take it from.
    pub(crate) fn there(&self) -> bool {
        self.build != Self::NOWHERE
    }
}

/// A client that does not work on this Spark, Java and HDFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused<'a> {
    /// The Hadoop build that it came from.
    pub(crate) build: &'a str,
    /// Its canary's one line, or the gap.
    pub(crate) why: &'a str,
    /// Whether it was run; else it does not link.
    pub(crate) run: bool,
}

/// All that the decision depends on.
pub(crate) struct Question<'a> {
    /// The policy.
    pub(crate) policy: Policy,
    /// How Spark carries its client.
    pub(crate) shape: Shape,
    /// The shipped client's version; empty where there is none.
    pub(crate) shipped: &'a str,
    /// The client in use, where it is not the shipped one.
    pub(crate) current: Option<&'a Client>,
    /// The HDFS's version, and the build that its own client would come from.
    pub(crate) server: &'a Client,
    /// Whether some Java of the host runs this Spark with that client.
    pub(crate) java: &'a dyn Fn(&str) -> bool,
    /// A client that failed its canary, or does not link.
    pub(crate) refused: Option<Refused<'a>>,
    /// Whether something works with the HDFS's own client that does not with the one in use.
    pub(crate) asked: bool,
}

/// Which client is kept or taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The one that the build came with.
    Shipped,
    /// One from a Hadoop build, in place of the shipped one.
    Swap(Client),
    /// One from a Hadoop build, where none was shipped.
    Provide(Client),
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The client.
    pub(crate) keep: Keep,
    /// Its level beside the HDFS.
    pub(crate) level: Level,
    /// One sentence.
    pub(crate) says: String,
    /// What would mend it, or empty.
    pub(crate) fix: String,
}

/// Decides which client Spark is to have for an HDFS.
pub(crate) fn decide(q: &Question<'_>) -> Decision {
    let server = q.server;
    if q.shape == Shape::Provided {
        return provided(q);
    }
    let current = match (q.policy, q.current) {
        (Policy::Auto, Some(client)) if q.refused.is_none_or(|refused| refused.build != client.build) => {
            Keep::Swap(client.clone())
        }
        _ => Keep::Shipped,
    };
    let now = level(version_of(&current, q), &server.version, Axes::CLEAR);
    let enough = match q.policy {
        Policy::Shipped => true,
        Policy::Auto => now == Level::Exact || now.in_line() && !q.asked,
        Policy::Exact => now == Level::Exact,
    };
    if enough {
        return kept(q, current, now, String::new(), String::new());
    }
    let shipped = level(q.shipped, &server.version, Axes::CLEAR);
    // Newer clients know all that an older HDFS does: going down would only lose what is new.
    let down = q.policy == Policy::Auto && shipped == Level::NewerClient && !q.asked;
    if shipped == Level::Exact || down {
        return kept(q, Keep::Shipped, shipped, String::new(), String::new());
    }
    match obstacle(q) {
        None => kept(q, Keep::Swap(server.clone()), Level::Exact, String::new(), String::new()),
        Some((why, fix)) => {
            // A client of an earlier HDFS is no better than the shipped one unless it is nearer.
            let keep = if now <= shipped { current } else { Keep::Shipped };
            kept(q, keep, now.min(shipped), why, fix)
        }
    }
}

/// What stays where a changed HDFS is followed only when that is asked for: the client in use, as it fits now.
pub(crate) fn unasked(q: &Question<'_>, wanted: Decision, fix: String) -> Decision {
    let keep = match q.current {
        Some(client) if q.shape == Shape::Provided => Keep::Provide(client.clone()),
        Some(client) => Keep::Swap(client.clone()),
        None => Keep::Shipped,
    };
    if wanted.keep == keep {
        return wanted;
    }
    let now = level(version_of(&keep, q), &q.server.version, Axes::CLEAR);
    kept(q, keep, now, "a changed HDFS is followed when asked for".to_owned(), fix)
}

fn version_of<'a>(keep: &'a Keep, q: &'a Question<'_>) -> &'a str {
    match keep {
        Keep::Shipped => q.shipped,
        Keep::Swap(client) | Keep::Provide(client) => &client.version,
    }
}

fn kept(q: &Question<'_>, keep: Keep, level: Level, why: String, fix: String) -> Decision {
    let mut says = match &keep {
        Keep::Shipped => format!("shipped client {} beside HDFS {}", q.shipped, q.server.version),
        Keep::Swap(client) | Keep::Provide(client) => {
            format!(
                "client {} in place of the shipped {} beside HDFS {}",
                client.version, q.shipped, q.server.version
            )
        }
    };
    if !why.is_empty() {
        says = format!("{says}: {why}");
    }
    if let Some(lost) = lost(level) {
        says = format!("{says}; {lost}");
    }
    Decision { keep, level, says, fix }
}

/// What a level costs, in words.
fn lost(level: Level) -> Option<&'static str> {
    match level {
        Level::OlderClient => {
            Some("calls that only newer clients know, and companions of the HDFS's version, are lost")
        }
        Level::NewerClient => Some("calls that this HDFS does not know yet fail one by one"),
        Level::CrossMajor => Some("nothing is promised across major versions but plain reading and writing"),
        Level::Unknown => Some("nothing is known of this pair"),
        _ => None,
    }
}

/// Why the HDFS's own client cannot be taken, and what mends that.
fn obstacle(q: &Question<'_>) -> Option<(String, String)> {
    let server = q.server;
    if q.shape == Shape::Unshaded {
        return Some((
            "this build carries Hadoop's jars unshaded, so its client cannot be exchanged".to_owned(),
            format!("attach a Spark of 3.2 or later, or one built with Hadoop {}", server.version),
        ));
    }
    let Some(version) = Version::read(&server.version) else {
        return Some(("the HDFS's version cannot be read".to_owned(), String::new()));
    };
    if version.major < 3 {
        return Some((
            format!("Hadoop {} has no shaded client to take", server.version),
            format!("attach a Spark built with Hadoop {}, or a newer Hadoop", server.version),
        ));
    }
    if !server.there() {
        return Some((
            format!("client {} cannot be had: the HDFS offers no build of it", server.version),
            "attach that client to the application of the HDFS (its resource `client`)".to_owned(),
        ));
    }
    if !(q.java)(&server.version) {
        return Some((
            format!("no Java of this host runs both this Spark and client {}", server.version),
            "install a Java that both support".to_owned(),
        ));
    }
    // Whoever asks for `exact` gets the client, and the canary's answer as a blocked move.
    match q.refused {
        Some(refused) if refused.build == server.build && q.policy == Policy::Auto && refused.run => Some((
            format!("client {} failed its canary ({})", server.version, refused.why),
            "attach another Hadoop or Spark build, or set hadoop-alignment=exact to try it again".to_owned(),
        )),
        Some(refused) if refused.build == server.build && q.policy == Policy::Auto => Some((
            format!("client {} does not link ({})", server.version, refused.why),
            "attach jars of the HDFS's version or another Spark build, or set hadoop-alignment=exact to take it all the same"
                .to_owned(),
        )),
        _ => None,
    }
}

/// A build without a client has but one: the HDFS's.
fn provided(q: &Question<'_>) -> Decision {
    let server = q.server.clone();
    let java = (q.java)(&server.version);
    let level = level(&server.version, &server.version, Axes { java, ..Axes::CLEAR });
    Decision {
        level,
        says: format!(
            "this build has no Hadoop client of its own and uses {} of the HDFS's build",
            server.version
        ),
        fix: if java { String::new() } else { "install a Java that both support".to_owned() },
        keep: Keep::Provide(server),
    }
}

#[cfg(test)]
mod tests;
