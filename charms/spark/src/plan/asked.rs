//! The decision for a build that nobody has attached: the plan's own, on an observation made for it. Owns that
//! observation; must not decide.

use serde_json::json;
use stoker_charm::Facts;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Java, Observation, Python};
use stoker_charm::plan::Verdict;

use super::alignment::{self, Ground};
use super::build::Spark;
use super::hdfs::Hdfs;
use super::{Stuck, python};
use crate::align::{Client, Found, LINK};
use crate::config::Config;

/// What is asked about.
pub(crate) struct Asked<'a> {
    /// The Spark build.
    pub(crate) build: &'a Digest,
    /// Its facts.
    pub(crate) facts: &'a Facts,
    /// The HDFS's version.
    pub(crate) version: &'a str,
    /// The build that its own client would come from, where there is one.
    pub(crate) server: Option<Digest>,
    /// The user's jars.
    pub(crate) jars: Option<(&'a Digest, &'a Facts)>,
    /// The Javas that there are.
    pub(crate) java: Vec<Java>,
    /// The Pythons that there are.
    pub(crate) python: Vec<Python>,
    /// What linking found.
    pub(crate) found: Option<&'a Found>,
}

/// The answer.
pub(crate) struct Judged {
    /// The verdict.
    pub(crate) verdict: Verdict,
    /// The shipped client's version; empty where there is none.
    pub(crate) shipped: String,
    /// The version of the client that Spark would have.
    pub(crate) chosen: String,
    /// The version of a client that is thought of in the shipped one's place.
    pub(crate) client: Option<String>,
    /// What the link check's result holds for, where there is something to link.
    pub(crate) key: Option<String>,
    /// The shipped client's jars, as paths in the tree.
    pub(crate) shipped_jars: Vec<String>,
}

/// Judges; what stands in the way of any decision is the error.
pub(crate) fn judge(asked: &Asked<'_>) -> Result<Judged, String> {
    let server = asked.server.as_ref().map_or(Client::NOWHERE.to_owned(), Digest::to_string);
    let mut seen: Observation = serde_json::from_value(json!({
        "format": 1, "app": "spark", "unit": "spark/0", "units": ["spark/0"], "leader": true, "release": 1,
        "resources": {"spark": {"revision": 1, "build": asked.build, "facts": asked.facts}},
        "relations": [{"id": 1, "endpoint": "hdfs", "interface": "hdfs", "remote": "hdfs", "life": "alive",
            "app": {"version": asked.version, "build": server}}],
    }))
    .map_err(|error| error.to_string())?;
    seen.host.java.clone_from(&asked.java);
    seen.host.python.clone_from(&asked.python);
    if let Some((build, facts)) = asked.jars {
        let resource = json!({"revision": 1, "build": build, "facts": facts});
        let resource = serde_json::from_value(resource).map_err(|error| error.to_string())?;
        seen.resources.insert("jars".to_owned(), resource);
    }
    let first = decided(&seen).map_err(|stuck| stuck.says().to_owned())?;
    let (Some(key), Some(found)) = (&first.key, asked.found) else { return Ok(first) };
    let task = json!({"key": key, "state": "done", "exit": 0, "result": found, "reason": ""});
    let task = serde_json::from_value(task).map_err(|error| error.to_string())?;
    seen.tasks.insert(LINK.to_owned(), task);
    decided(&seen).map_err(|stuck| stuck.says().to_owned())
}

fn decided(seen: &Observation) -> Result<Judged, Stuck> {
    let config = Config::read(seen).map_err(|bad| Stuck::waiting(bad.to_string()))?;
    let spark = Spark::read(seen)?;
    let hdfs = Hdfs::of(seen)?;
    let python = python::choose(seen, &spark, &[]);
    let unfit = python::unfit(&spark, python.as_ref());
    let ground = Ground { seen, config: &config, spark: &spark, python: unfit };
    let aligned = alignment::align(&ground, hdfs.as_ref())?;
    Ok(Judged {
        verdict: aligned.verdict.ok_or_else(|| Stuck::waiting("there is no HDFS"))?,
        chosen: aligned.client_version,
        client: aligned
            .link
            .as_ref()
            .and_then(|link| link.client.as_ref())
            .map(|client| client.version.clone()),
        shipped_jars: aligned.link.as_ref().map(|link| link.shipped.clone()).unwrap_or_default(),
        key: aligned.link.map(|link| link.key),
        shipped: spark.client,
    })
}
