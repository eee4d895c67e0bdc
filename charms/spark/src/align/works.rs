//! Which workloads run with a Hadoop client beside an HDFS, and how that is known. Owns what linking cannot see: rules by
//! version. Must not decide which client is taken.

use std::collections::BTreeMap;

use stoker_charm::plan::Work;

use super::gaps::WORKLOADS;
use super::link::{Found, Harm};
use super::{Level, Version};

/// What came to a build for S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct S3a {
    /// The version of `hadoop-aws`; none = it is not there.
    pub(crate) aws: Option<String>,
    /// Major versions of AWS' SDK that are there.
    pub(crate) sdks: Vec<u32>,
}

impl S3a {
    /// With what is among the user's jars, which come first.
    pub(crate) fn with(mut self, found: Option<&Found>) -> Self {
        if let Some(found) = found {
            self.aws = found.aws.clone().or(self.aws);
            self.sdks.extend(&found.sdks);
        }
        self
    }

    /// Why it does not work with a client. It uses what is private to its own version of Hadoop, and writes settings in the
    /// forms of that version (`60s` where 3.3 reads a number): nothing of that is a link.
    fn unfit(&self, client: &str) -> Option<String> {
        let Some(aws) = &self.aws else { return Some("hadoop-aws is not there".to_owned()) };
        let (own, theirs) = (Version::read(aws), Version::read(client));
        let line = |version: &Version| (version.major, version.minor);
        if own.as_ref().map(line) != theirs.as_ref().map(line) || own.is_none() {
            return Some(format!(
                "hadoop-aws {aws} needs a Hadoop client of its own version, this one is {client}"
            ));
        }
        let needs = if own.is_some_and(|own| own.at_least(3, 4)) { 2 } else { 1 };
        (!self.sdks.contains(&needs))
            .then(|| format!("version {needs} of AWS' SDK, which hadoop-aws {aws} needs, is not there"))
    }
}

/// What breaks with a client, as far as jars and versions tell: workload and why.
pub(crate) fn broken(client: &str, harm: Option<&Harm>, s3a: &S3a) -> Harm {
    let mut all = harm.cloned().unwrap_or_default();
    if let Some(why) = s3a.unfit(client) {
        all.insert("s3a".to_owned(), why);
    }
    all
}

/// How plain reading and writing was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Canary {
    /// Nobody tried.
    Unknown,
    /// It was tried.
    Passed,
    /// It failed, so.
    Failed(String),
}

/// All that a verdict's workloads depend on.
pub(crate) struct Case<'a> {
    /// The client's level beside the HDFS, by versions.
    pub(crate) level: Level,
    /// The client's version.
    pub(crate) client: &'a str,
    /// The HDFS's.
    pub(crate) server: &'a str,
    /// Why no Java runs it.
    pub(crate) java: Option<String>,
    /// Why the client does not hold together: then no program gets as far as its first call.
    pub(crate) torn: Option<String>,
    /// Why its Python programs do not run.
    pub(crate) python: Option<String>,
    /// Whether the build can talk to YARN.
    pub(crate) yarn: bool,
    /// What breaks with this client, where jars were looked at.
    pub(crate) harm: Option<&'a Harm>,
    /// Whether those were all of the build's; else only what came to it.
    pub(crate) whole: bool,
    /// For S3.
    pub(crate) s3a: &'a S3a,
    /// Reading and writing, tried.
    pub(crate) canary: Canary,
}

impl Case<'_> {
    /// Workload by workload, with the evidence.
    pub(crate) fn works(&self) -> BTreeMap<String, Work> {
        WORKLOADS.iter().map(|name| ((*name).to_owned(), self.work(name))).collect()
    }

    fn work(&self, name: &str) -> Work {
        let no = |by: &str, why: String| Work { ok: false, by: by.to_owned(), why };
        if let Some(why) = &self.java {
            return no("read", why.clone());
        }
        if let Some(why) = &self.torn {
            return no("linked", why.clone());
        }
        if let Some(why) = self.harm.and_then(|harm| harm.get(name)) {
            return no("linked", why.clone());
        }
        let read = |why: Option<String>| match why {
            Some(why) => no("read", why),
            None => Work { ok: true, by: "read".to_owned(), why: String::new() },
        };
        let looked = self.harm.is_some() && (self.whole || matches!(name, "s3a" | "user_jars"));
        let linked = |why: Option<String>| match (why, looked) {
            (None, true) => Work { ok: true, by: "linked".to_owned(), why: String::new() },
            (why, _) => read(why),
        };
        match name {
            "list_open_files" => read(self.newer(name, 2, 9)),
            "erasure_coding" => read(self.newer(name, 3, 0)),
            "python_udf" if self.python.is_some() => read(self.python.clone()),
            "s3a" => linked(self.s3a.unfit(self.client)),
            "user_jars" => linked(None),
            "yarn" => linked((!self.yarn).then(|| "the build has no YARN client".to_owned())),
            _ => match &self.canary {
                Canary::Failed(why) => no("run", why.clone()),
                Canary::Passed if name == "text" => {
                    Work { ok: true, by: "run".to_owned(), why: String::new() }
                }
                _ => linked((self.level == Level::Unknown).then(|| {
                    format!("nothing is known of client {} beside HDFS {}", self.client, self.server)
                })),
            },
        }
    }

    /// Why calls that came with a version of Hadoop cannot be made: both sides have to know them.
    fn newer(&self, name: &str, major: u32, minor: u32) -> Option<String> {
        let lacks = |version: &str| !Version::read(version).is_some_and(|v| v.at_least(major, minor));
        let what = name.replace('_', " ");
        if lacks(self.client) {
            return Some(format!(
                "client {} does not know {what}, which came with {major}.{minor}",
                self.client
            ));
        }
        lacks(self.server)
            .then(|| format!("HDFS {} does not know {what}, which came with {major}.{minor}", self.server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works(client: &str, server: &str, s3a: &S3a, harm: Option<&Harm>) -> BTreeMap<String, Work> {
        let level = super::super::level(client, server, super::super::Axes::CLEAR);
        Case {
            level,
            client,
            server,
            java: None,
            torn: None,
            python: None,
            yarn: true,
            harm,
            whole: true,
            s3a,
            canary: Canary::Unknown,
        }
        .works()
    }

    fn bad(works: &BTreeMap<String, Work>) -> Vec<&str> {
        works.iter().filter(|(_, work)| !work.ok).map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn each_workload_is_judged_by_what_it_depends_on() {
        let none = S3a::default();
        let with = |aws: &str, sdks: &[u32]| S3a { aws: Some(aws.to_owned()), sdks: sdks.to_vec() };
        for (client, server, s3a, expected) in [
            ("3.3.4", "3.4.1", &none, &["s3a"][..]),
            ("3.3.4", "2.7.4", &none, &["erasure_coding", "list_open_files", "s3a"]),
            ("3.3.4", "2.10.2", &none, &["erasure_coding", "s3a"]),
            ("2.7.4", "3.4.1", &none, &["erasure_coding", "list_open_files", "s3a"]),
            ("3.3.4", "3.4.1", &with("3.3.4", &[1]), &[]),
            ("3.4.1", "3.4.1", &with("3.3.4", &[1]), &["s3a"]),
            ("3.4.1", "3.4.1", &with("3.4.1", &[2]), &[]),
            ("3.4.1", "3.4.1", &with("3.4.1", &[1]), &["s3a"]),
            ("3.4.1", "3.4.1", &with("", &[2]), &["s3a"]),
        ] {
            let works = works(client, server, s3a, None);
            assert_eq!(bad(&works), expected, "{client} beside {server} with {s3a:?}");
            assert!(works.values().all(|work| work.ok == work.why.is_empty()));
        }
        // The rule by version is named, since no gap would be.
        let said = &works("3.4.1", "3.4.1", &with("3.3.4", &[1]), None)["s3a"];
        assert!(said.why.contains("hadoop-aws 3.3.4") && said.by == "read", "{said:?}");
    }

    #[test]
    fn evidence_is_told() {
        let none = S3a::default();
        let harm = Harm::from([("parquet".to_owned(), "parquet.jar: …".to_owned())]);
        let linked = works("3.4.1", "3.4.1", &none, Some(&harm));
        assert_eq!((linked["parquet"].ok, linked["parquet"].by.as_str()), (false, "linked"));
        assert_eq!((linked["orc"].ok, linked["orc"].by.as_str()), (true, "linked"));
        assert_eq!(linked["erasure_coding"].by, "read");
        let unknown = works("3.4.1", "trunk", &none, None);
        assert!(bad(&unknown).contains(&"text"));
        let case = |java: Option<&str>, python: Option<&str>, canary: Canary| {
            Case {
                level: Level::Exact,
                client: "3.4.1",
                server: "3.4.1",
                java: java.map(str::to_owned),
                torn: None,
                python: python.map(str::to_owned),
                yarn: false,
                harm: None,
                whole: false,
                s3a: &none,
                canary,
            }
            .works()
        };
        assert_eq!(bad(&case(Some("needs Java 17"), None, Canary::Unknown)).len(), WORKLOADS.len());
        assert_eq!(bad(&case(None, Some("no"), Canary::Passed)), ["python_udf", "s3a", "yarn"]);
        assert_eq!(case(None, None, Canary::Passed)["text"].by, "run");
        let failed = case(None, None, Canary::Failed("IllegalAccessError".into()));
        assert!(failed["text"].why.contains("IllegalAccess") && !failed["parquet"].ok);
    }
}
