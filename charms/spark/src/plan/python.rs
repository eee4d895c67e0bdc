//! The Python of submitted drivers and their executors.

use serde_json::Value;
use stoker_charm::observation::Observation;

use super::build::Spark;
use super::notebooks::Notebook;
use crate::align::Version;

/// An interpreter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Python {
    /// Its path, with a placeholder where it lies in a tree.
    pub(super) path: String,
    /// The tree.
    pub(super) tree: Option<String>,
    /// Major and minor; empty where that is not known.
    pub(super) minor: String,
}

/// The resource's, else a related notebook's, else the host's newest that the build was released for, else the
/// host's newest that it accepts.
pub(super) fn choose(seen: &Observation, spark: &Spark, notebooks: &[Notebook<'_>]) -> Option<Python> {
    let tree = |name: String, minor: String| Python {
        path: format!("${{tree:{name}}}/bin/python3"),
        tree: Some(name),
        minor,
    };
    if let Some(resource) = seen.resources.get("python") {
        let version = match resource.facts.details.get("python").and_then(Value::as_str) {
            Some(version) => version,
            None => &resource.facts.version,
        };
        return Some(tree("python".to_owned(), minor(version)));
    }
    if let Some(notebook) = notebooks.iter().find(|n| n.python.is_some()) {
        return Some(tree(notebook.tree(), String::new()));
    }
    let floor = number(&spark.python_floor).unwrap_or((3, 0));
    let accepted = || seen.host.python.iter().filter(|p| number(&p.version).is_some_and(|v| v >= floor));
    let tested =
        accepted().filter(|p| spark.pythons.contains(&minor(&p.version))).max_by_key(|p| number(&p.version));
    let any = || accepted().max_by_key(|p| number(&p.version));
    tested.or_else(any).map(|p| Python { path: p.path.clone(), tree: None, minor: minor(&p.version) })
}

/// Why programs in it do not run, or why there is none.
pub(super) fn unfit(spark: &Spark, python: Option<&Python>) -> Option<String> {
    let Some(python) = python else {
        return Some(format!("there is no Python from {} on", spark.python_floor));
    };
    let (own, floor) = (number(&python.minor)?, number(&spark.python_floor));
    if floor.is_some_and(|floor| own < floor) {
        return Some(format!(
            "Spark {} needs Python {} or later, this is {}",
            spark.version, spark.python_floor, python.minor
        ));
    }
    let tested = spark.pythons.iter().filter_map(|version| number(version)).max()?;
    // Functions travel as code objects, whose makers changed with 3.8 and 3.11; what is newer than that is read by 3.4.
    let at_least = |major, minor| Version::read(&spark.version).is_some_and(|v| v.at_least(major, minor));
    let known = if at_least(3, 4) {
        (u32::MAX, 0)
    } else if at_least(3, 0) {
        (3, 10)
    } else {
        (3, 7)
    };
    (own > tested.max(known)).then(|| {
        let (major, minor) = tested;
        format!("Spark {} runs Python up to {major}.{minor}, this is {}", spark.version, python.minor)
    })
}

fn number(version: &str) -> Option<(u32, u32)> {
    Version::read(version).map(|v| (v.major, v.minor))
}

fn minor(version: &str) -> String {
    number(version).map(|(major, minor)| format!("{major}.{minor}")).unwrap_or_default()
}
