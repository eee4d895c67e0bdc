//! Facts of real Hadoop builds, from the evidence in `tests/fixtures/facts`: what is expected here was read from the
//! builds by other means. Those of 3.3.6, 3.4.1 and 3.5.0 are whole, as the recipe makes them; the others are the parts
//! that facts come from, laid out as in Apache's archives. Each is inspected as it is, and with jars whose names say
//! nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that runs the charm's program")]

#[path = "../../../tests/fixtures/facts/tree.rs"]
mod tree;

use serde_json::{Value, json};
use stoker_charm::serde_json;

use self::tree::Evidence;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hadoop");

/// A row: version; Java of its classes; layouts of NameNode and DataNode; ZooKeeper; whether it has the shaded client.
type Row = (&'static str, u32, (i64, i64), &'static str, bool);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("2.7.7", 7, (-63, -56), "3.4.6", false),
    ("2.10.2", 7, (-63, -57), "3.4.14", false),
    ("3.0.3", 8, (-64, -57), "3.4.9", true),
    ("3.1.4", 8, (-64, -57), "3.4.13", false),
    ("3.2.4", 8, (-65, -57), "3.4.14", true),
    ("3.3.4", 8, (-66, -57), "3.6.3", true),
    ("3.3.6", 8, (-66, -57), "3.6.3", true),
    ("3.4.1", 8, (-67, -57), "3.8.4", true),
    ("3.4.3", 8, (-67, -57), "3.8.4", true),
    ("3.5.0", 17, (-67, -57), "3.8.6", true),
];

#[test]
fn every_release_line() {
    for (version, java, layouts, zookeeper, client) in TABLE {
        let evidence = Evidence::read(&format!("hadoop-{version}"));
        let names = tree::meaningless(&evidence.jars());
        let plain = evidence.facts(PROGRAM, "-", str::to_owned);
        let mut renamed = evidence.facts(PROGRAM, "hadoop", |path| names[path].clone());
        let told = |name: &str| plain["provides"][name].clone();
        assert_eq!((&plain["product"], &plain["version"]), (&json!("hadoop"), &json!(version)));
        assert_eq!(plain["requires"]["java"], json!(format!(">={java}")), "{version}");
        assert_eq!(
            (told("layout-namenode"), told("layout-datanode")),
            (json!(layouts.0), json!(layouts.1)),
            "{version}"
        );
        assert_eq!(
            (told("hdfs"), told("yarn"), told("mapreduce")),
            (json!(version), json!(true), json!(true))
        );
        assert_eq!(plain["details"]["zookeeper"], json!(zookeeper), "{version}");
        let expected = if *client { json!(version) } else { Value::Null };
        assert_eq!(told("hadoop-client"), expected, "{version}");
        if *client {
            let jars = plain["details"]["client-jars"].as_array().unwrap();
            let mapped: Vec<&String> = jars.iter().map(|jar| &names[jar.as_str().unwrap()]).collect();
            assert_eq!(renamed["details"]["client-jars"], json!(mapped), "{version}");
            renamed["details"]["client-jars"] = json!(jars);
        }
        for (name, jar) in plain["details"]["companion-jars"].as_object().into_iter().flatten() {
            let renamed = &mut renamed["details"]["companion-jars"][name];
            assert_eq!(*renamed, json!(names[jar.as_str().unwrap()]), "{version} {name}");
            *renamed = jar.clone();
        }
        assert_eq!(renamed, plain, "{version}");
    }
}

#[test]
fn companions() {
    let companion = |version: &str, name: &str| {
        Evidence::read(&format!("hadoop-{version}")).facts(PROGRAM, "hadoop", str::to_owned)["details"][name]
            .clone()
    };
    assert_eq!(
        (companion("2.7.7", "hadoop-aws"), companion("2.7.7", "aws-sdk-1")),
        (json!("2.7.7"), json!("1.7.4"))
    );
    assert_eq!(
        (companion("3.3.4", "hadoop-aws"), companion("3.3.4", "aws-sdk-1")),
        (json!("3.3.4"), json!("1.12.262"))
    );
    assert_eq!(
        (companion("3.4.3", "hadoop-aws"), companion("3.4.3", "aws-sdk-2")),
        (json!("3.4.3"), json!("2.29.52"))
    );
    assert_eq!((companion("3.5.0", "hadoop-aws"), companion("2.7.7", "native")), (Value::Null, json!(true)));
}

/// What a vendor's version means is the vendor's affair: it is told whole.
#[test]
fn a_vendors_build() {
    let mut evidence = Evidence::read("hadoop-3.2.4");
    evidence.change(|all| {
        for entries in all["jars"].as_object_mut().unwrap().values_mut() {
            if let Some(body) = entries.get_mut("common-version-info.properties") {
                *body = json!(body.as_str().unwrap().replace("version=3.2.4", "version=3.1.1.7.1.9.0-387"));
            }
        }
    });
    let names = tree::meaningless(&evidence.jars());
    let facts = evidence.facts(PROGRAM, "hadoop", |path| names[path].clone());
    assert_eq!(
        (&facts["version"], &facts["provides"]["hadoop-client"]),
        (&json!("3.1.1.7.1.9.0-387"), &json!("3.1.1.7.1.9.0-387"))
    );
}
