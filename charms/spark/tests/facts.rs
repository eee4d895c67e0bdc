//! Facts of real Spark builds, from the evidence in `tests/fixtures/facts`: what is expected here was read from the
//! builds by other means. Each is inspected as it is, and with jars whose names say nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that runs the charm's program")]

#[path = "../../../tests/fixtures/facts/tree.rs"]
mod tree;

use serde_json::{Value, json};

use self::tree::Evidence;

const PROGRAM: &str = env!("CARGO_BIN_EXE_spark");

/// A row: Spark; Hadoop client, shape, how many of its jars; Scala; py4j; Java of Spark's and of Hadoop's classes;
/// Python, first to last; log4j; ZooKeeper.
type Row = (
    &'static str,
    (&'static str, &'static str, usize),
    &'static str,
    &'static str,
    (u32, u32),
    (&'static str, &'static str),
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("2.1.3", ("2.7.3", "unshaded", 15), "2.11.8", "0.10.7", (7, 7), ("2.7", "3.5"), "1.2.17", "3.4.6"),
    ("2.2.3", ("2.7.3", "unshaded", 15), "2.11.8", "0.10.7", (8, 7), ("2.7", "3.5"), "1.2.17", "3.4.6"),
    ("2.3.4", ("2.7.3", "unshaded", 15), "2.11.8", "0.10.7", (8, 7), ("2.7", "3.7"), "1.2.17", "3.4.6"),
    ("2.4.8", ("2.7.3", "unshaded", 15), "2.11.12", "0.10.7", (8, 7), ("2.7", "3.7"), "1.2.17", "3.4.6"),
    ("3.0.1", ("2.7.4", "unshaded", 15), "2.12.10", "0.10.9", (8, 7), ("2.7", "3.8"), "1.2.17", "3.4.14"),
    ("3.0.2", ("2.7.4", "unshaded", 15), "2.12.10", "0.10.9", (8, 7), ("2.7", "3.9"), "1.2.17", "3.4.14"),
    ("3.0.3", ("3.2.0", "unshaded", 14), "2.12.10", "0.10.9", (8, 8), ("2.7", "3.9"), "1.2.17", "3.4.14"),
    ("3.1.1", ("3.2.0", "unshaded", 14), "2.12.10", "0.10.9", (8, 8), ("3.6", "3.9"), "1.2.17", "3.4.14"),
    ("3.1.3", ("3.2.0", "unshaded", 14), "2.12.10", "0.10.9", (8, 8), ("3.6", "3.9"), "1.2.17", "3.4.14"),
    ("3.2.0", ("3.3.1", "shaded", 4), "2.12.15", "0.10.9.2", (8, 8), ("3.6", "3.9"), "1.2.17", "3.6.2"),
    ("3.2.4", ("3.3.1", "shaded", 4), "2.12.15", "0.10.9.5", (8, 8), ("3.6", "3.9"), "1.2.17", "3.6.2"),
    ("3.3.0", ("3.3.2", "shaded", 4), "2.12.15", "0.10.9.5", (8, 8), ("3.7", "3.10"), "2.17.2", "3.6.2"),
    ("3.3.4", ("3.3.2", "shaded", 4), "2.12.15", "0.10.9.5", (8, 8), ("3.7", "3.10"), "2.17.2", "3.6.2"),
    ("3.4.0", ("3.3.4", "shaded", 4), "2.12.17", "0.10.9.7", (8, 8), ("3.7", "3.11"), "2.19.0", "3.6.3"),
    ("3.4.4", ("3.3.4", "shaded", 4), "2.12.17", "0.10.9.7", (8, 8), ("3.7", "3.11"), "2.19.0", "3.6.3"),
    ("3.5.0", ("3.3.4", "shaded", 4), "2.12.18", "0.10.9.7", (8, 8), ("3.8", "3.11"), "2.20.0", "3.6.3"),
    ("3.5.9", ("3.3.4", "shaded", 4), "2.12.18", "0.10.9.7", (8, 8), ("3.8", "3.11"), "2.20.0", "3.6.3"),
    ("4.0.0", ("3.4.1", "shaded", 2), "2.13.16", "0.10.9.9", (17, 8), ("3.9", "3.13"), "2.24.3", "3.9.3"),
    ("4.0.5", ("3.4.1", "shaded", 2), "2.13.16", "0.10.9.9", (17, 8), ("3.9", "3.13"), "2.24.3", "3.9.3"),
    ("4.1.0", ("3.4.2", "shaded", 2), "2.13.17", "0.10.9.9", (17, 8), ("3.10", "3.14"), "2.24.3", "3.9.4"),
    ("4.1.4", ("3.4.2", "shaded", 2), "2.13.17", "0.10.9.9", (17, 8), ("3.10", "3.14"), "2.24.3", "3.9.4"),
    ("4.2.0", ("3.5.0", "shaded", 2), "2.13.18", "0.10.9.9", (17, 17), ("3.10", "3.14"), "2.25.4", "3.9.5"),
    ("4.3.0", ("3.5.0", "shaded", 2), "2.13.18", "0.10.9.9", (17, 17), ("3.11", "3.14"), "2.25.4", "3.9.5"),
];

/// What of the facts a row tells.
fn told(facts: &Value) -> Value {
    let tested = facts["details"]["python"].as_array().unwrap();
    let version = |floor: &Value| floor.as_u64().unwrap();
    let java = (version(&facts["details"]["java-floor"]), version(&facts["details"]["hadoop-java-floor"]));
    json!({
        "spark": [facts["product"], facts["version"]],
        "hadoop": [facts["provides"]["hadoop-client"], facts["shape"], facts["details"]["hadoop-jars"].as_array().unwrap().len()],
        "scala": [facts["provides"]["scala"], facts["details"]["scala-binary"]],
        "py4j": [facts["provides"]["py4j"], facts["details"]["py4j-jar"]],
        "java": [java.0, java.1, facts["requires"]["java"]],
        "python": [tested.first(), tested.last()],
        "log4j": [facts["details"]["log4j"], facts["details"]["log4j-version"]],
        "zookeeper": facts["details"]["zookeeper"],
        "yarn": facts["details"]["yarn"],
    })
}

fn expected(row: &Row) -> Value {
    let (spark, hadoop, scala, py4j, java, python, log4j, zookeeper) = row;
    let binary = scala.rsplit_once('.').unwrap().0;
    json!({
        "spark": ["spark", spark],
        "hadoop": hadoop,
        "scala": [scala, binary],
        "py4j": [py4j, py4j],
        "java": [java.0, java.1, format!(">={}", java.0.max(java.1))],
        "python": python,
        "log4j": [u32::from(!log4j.starts_with('1')) + 1, log4j],
        "zookeeper": zookeeper,
        "yarn": true,
    })
}

#[test]
fn every_release_line() {
    for row in TABLE {
        let evidence = Evidence::read(&format!("spark-{}", row.0));
        let plain = evidence.facts(PROGRAM, "spark", str::to_owned);
        assert_eq!(told(&plain), expected(row), "{}", row.0);
        // Connect's server came into the build with 4.0; servers' classes of HDFS went with Hadoop 2.
        assert_eq!(plain["details"]["connect-server"], json!(row.0.starts_with('4')), "{}", row.0);
        assert_eq!(plain["details"]["hdfs-server-classes"], json!(row.1.0.starts_with('2')), "{}", row.0);
    }
}

#[test]
fn names_of_jars_say_nothing() {
    for row in TABLE {
        let evidence = Evidence::read(&format!("spark-{}", row.0));
        let plain = evidence.facts(PROGRAM, "-", str::to_owned);
        let names = tree::meaningless(&evidence.jars());
        let mut renamed = evidence.facts(PROGRAM, "-", |path| names[path].clone());
        // Paths are as they are now; everything else is the same.
        for key in ["client-jars", "hadoop-jars"] {
            let mut mapped: Vec<String> = plain["details"][key]
                .as_array()
                .unwrap()
                .iter()
                .map(|path| names[path.as_str().unwrap()].clone())
                .collect();
            if key == "hadoop-jars" {
                mapped.sort_unstable();
            }
            assert_eq!(renamed["details"][key], json!(mapped), "{} {key}", row.0);
            renamed["details"][key] = plain["details"][key].clone();
        }
        for (name, jar) in plain["details"]["companion-jars"].as_object().into_iter().flatten() {
            let renamed = &mut renamed["details"]["companion-jars"][name];
            assert_eq!(*renamed, json!(names[jar.as_str().unwrap()]), "{} {name}", row.0);
            *renamed = jar.clone();
        }
        assert_eq!(renamed, plain, "{}", row.0);
    }
}

/// Without Hadoop's jars it is what Apache calls `bin-without-hadoop`.
#[test]
fn a_build_without_hadoop() {
    let mut evidence = Evidence::read("spark-3.5.9");
    evidence.change(|all| {
        all["jars"].as_object_mut().unwrap().retain(|path, _| !path.contains("/hadoop-"));
        all["files"]["RELEASE"] =
            json!("Spark 3.5.9 built for Hadoop 3.3.4\nBuild flags: -Phadoop-provided\n");
    });
    let facts = evidence.facts(PROGRAM, "spark", str::to_owned);
    assert_eq!((&facts["shape"], &facts["details"]["layout"]), (&json!("provided"), &json!("tarball")));
    assert!(facts["provides"].get("hadoop-client").is_none() && facts["details"]["hadoop-jars"] == json!([]));
}

/// A vendor's builds: versions with a tail of their own are told as they are.
#[test]
fn a_vendors_build() {
    let mut evidence = Evidence::read("spark-3.2.4");
    evidence.change(|all| {
        let text =
            |body: &mut Value, from: &str, to: &str| *body = json!(body.as_str().unwrap().replace(from, to));
        for entries in all["jars"].as_object_mut().unwrap().values_mut() {
            for (entry, body) in entries.as_object_mut().unwrap() {
                match entry.as_str() {
                    "common-version-info.properties" => {
                        text(body, "version=3.3.1", "version=3.3.1.7.2.18.0-641");
                    }
                    "spark-version-info.properties" => {
                        text(body, "version=3.2.4", "version=3.2.4.7.2.18.0-641");
                    }
                    _ => {}
                }
            }
        }
    });
    let names = tree::meaningless(&evidence.jars());
    let facts = evidence.facts(PROGRAM, "spark", |path| names[path].clone());
    assert_eq!(facts["version"], "3.2.4.7.2.18.0-641");
    assert_eq!(facts["provides"]["hadoop-client"], "3.3.1.7.2.18.0-641");
    assert_eq!((&facts["shape"], &facts["details"]["java"]), (&json!("shaded"), &json!("8 to 11")));
}

/// Half a swap: two APIs, or a runtime that is gone, is no build to run.
#[test]
fn a_torn_client_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut evidence = Evidence::read("spark-4.0.5");
    evidence.change(|all| {
        all["jars"].as_object_mut().unwrap().remove("jars/hadoop-client-runtime-3.4.1.jar").unwrap();
    });
    evidence.lay(folder.path(), str::to_owned);
    let output = tree::inspect(PROGRAM, "-", folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("hadoop-client-api-3.4.1.jar"), "{said}");
}
