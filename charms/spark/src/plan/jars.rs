//! The user's jars: whether they fit the build, and where they go.
//!
//! They are on the extra class path of drivers and executors and not in `spark.jars`: so filesystems, serializers and
//! listeners find them from a JVM's first moment, and they are read where they lie instead of being sent to every
//! executor of every application. The path is named by content, so an application keeps the jars that it began with.

use serde_json::Value;
use stoker_charm::ids::Digest;
use stoker_charm::observation::Observation;

use super::Stuck;
use super::build::Spark;

/// The resource and its tree.
pub(super) const TREE: &str = "jars";

pub(super) struct Jars {
    pub(super) build: Digest,
    /// Where in the tree they are; empty = at its root.
    pub(super) folder: String,
}

impl Jars {
    /// Where the attached jars are, whether they can be used or not.
    pub(super) fn place(seen: &Observation) -> Option<Self> {
        let resource = seen.resources.get(TREE)?;
        let folder = resource.facts.details.get("folder").and_then(Value::as_str).unwrap_or_default();
        Some(Self { build: resource.build.clone(), folder: folder.to_owned() })
    }

    /// The attached jars, where they can be used.
    pub(super) fn read(seen: &Observation, spark: &Spark, java: u32) -> Result<Option<Self>, Stuck> {
        let Some(resource) = seen.resources.get(TREE) else { return Ok(None) };
        let facts = &resource.facts;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let fix = || format!("stoker attach-resource {} jars=…", seen.app);
        let scala = text(facts.requires.get("scala"));
        if !scala.is_empty() && scala != spark.scala {
            let says = format!(
                "the jars are for Scala {scala}, Spark {} is built with {}",
                spark.version, spark.scala
            );
            return Err(Stuck::blocked(says, fix()));
        }
        let needs = text(facts.requires.get("java"));
        if needs.trim_start_matches(">=").parse::<u32>().is_ok_and(|needs| needs > java) {
            return Err(Stuck::blocked(format!("the jars need Java {needs}, Spark runs on {java}"), fix()));
        }
        let carried: Vec<&str> = facts
            .details
            .get("carries")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if !carried.is_empty() {
            let says = format!("the jars carry {}, which would hide the build's own", carried.join(" and "));
            return Err(Stuck::blocked(says, format!("{}, without it", fix())));
        }
        Ok(Self::place(seen))
    }

    /// Their folder.
    pub(super) fn path(&self) -> String {
        let folder = if self.folder.is_empty() { String::new() } else { format!("/{}", self.folder) };
        format!("${{tree:{TREE}}}{folder}")
    }

    /// As a class path.
    pub(super) fn classpath(&self) -> String {
        format!("{}/*", self.path())
    }
}
