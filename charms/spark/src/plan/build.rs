//! The attached Spark build, as its facts tell.

use std::collections::BTreeMap;

use serde_json::Value;
use stoker_charm::ids::Digest;
use stoker_charm::observation::Observation;

use super::Stuck;
use crate::align::{S3a, Shape, Version};
use crate::java::{self, Range};

/// What the plan needs to know of the build.
pub(super) struct Spark {
    /// The build.
    pub(super) build: Digest,
    /// Spark's version.
    pub(super) version: String,
    /// How it carries its Hadoop client.
    pub(super) shape: Shape,
    /// The shipped client's version; empty where there is none.
    pub(super) client: String,
    /// The shipped client's jars, as paths in the tree.
    pub(super) client_jars: Vec<String>,
    /// Why those do not fit each other.
    pub(super) torn: Option<String>,
    /// Scala's binary version.
    pub(super) scala: String,
    /// Major version of log4j.
    pub(super) log4j: u64,
    /// All of Hadoop's jars, likewise.
    pub(super) hadoop_jars: Vec<String>,
    /// Jars that came to it, by name, as paths in the tree.
    pub(super) companions: BTreeMap<String, String>,
    /// What it has for S3.
    pub(super) s3a: S3a,
    /// Whether it can talk to YARN.
    pub(super) yarn: bool,
    /// Java versions that run it.
    pub(super) java: Range,
    /// The least Python: `3.8`.
    pub(super) python_floor: String,
    /// Python versions that it was released for.
    pub(super) pythons: Vec<String>,
}

impl Spark {
    /// The attached build.
    pub(super) fn read(seen: &Observation) -> Result<Self, Stuck> {
        let Some(resource) = seen.resources.get("spark") else {
            return Err(Stuck::blocked(
                "attach a Spark build",
                format!("stoker attach-resource {} spark=recipe:3.5.9", seen.app),
            ));
        };
        let facts = &resource.facts;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let texts = |value: Option<&Value>| -> Vec<String> {
            let items = value.and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        let shape = match facts.shape.as_deref() {
            Some("shaded") => Shape::Shaded,
            Some("provided") => Shape::Provided,
            _ => Shape::Unshaded,
        };
        let floor = facts.details.get("java-floor").and_then(Value::as_u64).unwrap_or(8) as u32;
        Ok(Self {
            build: resource.build.clone(),
            version: facts.version.clone(),
            shape,
            client: text(facts.provides.get("hadoop-client")),
            client_jars: texts(facts.details.get("client-jars")),
            torn: facts.details.get("client-torn").and_then(Value::as_str).map(ToOwned::to_owned),
            scala: text(facts.details.get("scala-binary")),
            log4j: facts.details.get("log4j").and_then(Value::as_u64).unwrap_or(2),
            companions: facts
                .details
                .get("companion-jars")
                .and_then(|jars| serde_json::from_value(jars.clone()).ok())
                .unwrap_or_default(),
            hadoop_jars: texts(facts.details.get("hadoop-jars")),
            s3a: S3a {
                aws: facts.details.get("hadoop-aws").and_then(Value::as_str).map(ToOwned::to_owned),
                sdks: [1, 2]
                    .into_iter()
                    .filter(|major| facts.details.contains_key(&format!("aws-sdk-{major}")))
                    .collect(),
            },
            yarn: facts.details.get("yarn").and_then(Value::as_bool).unwrap_or(false),
            java: java::of_spark(&facts.version, floor),
            python_floor: text(facts.requires.get("python")).trim_start_matches(">=").trim().to_owned(),
            pythons: texts(facts.details.get("python")),
        })
    }

    /// Whether an HDFS's own client could stand in for the shipped one, and is another.
    pub(super) fn takes(&self, server: &str) -> bool {
        self.shape == Shape::Shaded
            && self.client != server
            && Version::read(server).is_some_and(|version| version.at_least(3, 0))
    }
}
