//! Facts of small builds of the real layouts.

use std::io::Write;

use super::*;

struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        fake.file("bin/spark-class", "#!/bin/sh\n").file("bin/spark-submit", "#!/bin/sh\n");
        fake
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn jar(&self, name: &str, entries: &[(&str, &[u8])]) -> &Self {
        let path = self.0.path().join("jars").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut jar = zip::ZipWriter::new(fs::File::create(path).unwrap());
        for (entry, bytes) in entries {
            jar.start_file(*entry, zip::write::SimpleFileOptions::default()).unwrap();
            jar.write_all(bytes).unwrap();
        }
        jar.finish().unwrap();
        self
    }

    /// A Spark 3.5 without any Hadoop.
    fn spark(&self) -> &Self {
        self.jar("spark-core_2.12-3.5.9.jar", &[])
            .jar("spark-common-utils_2.12-3.5.9.jar", &[(SPARK_VERSION, b"version=3.5.9\nrevision=abc\n")])
            .jar(
                "spark-launcher_2.12-3.5.9.jar",
                &[("org/apache/spark/launcher/SparkLauncher.class", &[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52])],
            )
            .jar("scala-library-2.12.18.jar", &[])
            .jar("log4j-core-2.20.0.jar", &[])
    }

    fn hadoop(&self, name: &str) -> &Self {
        self.jar(name, &[(HADOOP_VERSION, b"# comment\nversion=3.3.4\n")])
    }

    fn facts(&self) -> Facts {
        inspect("spark", self.0.path()).unwrap().unwrap()
    }

    fn error(&self) -> String {
        format!("{:#}", inspect("spark", self.0.path()).unwrap_err())
    }
}

#[test]
fn a_shaded_sdist() {
    let fake = Fake::new();
    fake.spark().hadoop("hadoop-client-api-3.3.4.jar").jar("hadoop-client-runtime-3.3.4.jar", &[]);
    fake.jar("spark-yarn_2.12-3.5.9.jar", &[]).file("python/lib/py4j-0.10.9.7-src.zip", "");
    fake.file(
        "PKG-INFO",
        "Name: pyspark\nClassifier: Programming Language :: Python :: 3.8\nClassifier: Programming Language :: \
         Python :: 3.11\nRequires-Python: >=3.8\n\nRequires-Python: not a header\n",
    );
    let facts = fake.facts();
    assert_eq!((facts.version.as_str(), facts.shape.as_deref()), ("3.5.9", Some("shaded")));
    assert_eq!(facts.provides["hadoop-client"], "3.3.4");
    assert_eq!((&facts.provides["scala"], &facts.provides["py4j"]), (&json!("2.12.18"), &json!("0.10.9.7")));
    assert_eq!((&facts.requires["java"], &facts.requires["python"]), (&json!(">=8"), &json!(">=3.8")));
    assert_eq!(
        facts.details["client-jars"],
        json!(["jars/hadoop-client-api-3.3.4.jar", "jars/hadoop-client-runtime-3.3.4.jar"])
    );
    assert_eq!(
        (&facts.details["python"], &facts.details["layout"]),
        (&json!(["3.8", "3.11"]), &json!("pypi"))
    );
    assert_eq!((&facts.details["yarn"], facts.details.get("hadoop-aws")), (&json!(true), None));
}

#[test]
fn an_apache_tarball_with_a_companion() {
    let fake = Fake::new();
    fake.spark().hadoop("hadoop-client-api-3.3.4.jar").jar("hadoop-client-runtime-3.3.4.jar", &[]);
    fake.file("RELEASE", "Spark 3.5.9").jar("hadoop-aws-3.3.4.jar", &[]);
    let facts = fake.facts();
    assert_eq!(
        (&facts.details["layout"], &facts.details["hadoop-aws"]),
        (&json!("tarball"), &json!("3.3.4"))
    );
    assert_eq!(facts.requires.get("python"), None);
}

#[test]
fn builds_without_and_with_an_unshaded_client() {
    let fake = Fake::new();
    let facts = fake.spark().facts();
    assert_eq!((facts.shape.as_deref(), facts.provides.get("hadoop-client")), (Some("provided"), None));
    let facts = fake.hadoop("hadoop-common-3.3.4.jar").facts();
    assert_eq!(
        (facts.shape.as_deref(), &facts.provides["hadoop-client"]),
        (Some("unshaded"), &json!("3.3.4"))
    );
}

#[test]
fn the_class_file_sets_the_floor() {
    let fake = Fake::new();
    fake.jar("spark-core_2.13-4.0.5.jar", &[(SPARK_VERSION, b"version=4.0.5\n")]);
    fake.jar(
        "spark-launcher_2.13-4.0.5.jar",
        &[("org/apache/spark/launcher/SparkLauncher.class", &[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61])],
    );
    let facts = fake.facts();
    assert_eq!((&facts.requires["java"], &facts.details["java"]), (&json!(">=17"), &json!("17 to 21")));
}

#[test]
fn what_is_no_spark_home_is_refused_with_what_was_looked_for() {
    let fake = Fake(tempfile::tempdir().unwrap());
    fake.file("README", "");
    let said = fake.error();
    assert!(said.contains("jars/spark-core_*.jar") && said.contains("README"), "{said}");
    assert_eq!(inspect("-", fake.0.path()).unwrap(), None);
    assert_eq!(inspect("hadoop", fake.0.path()).unwrap(), None);
    fake.spark();
    assert!(fake.error().contains("bin/spark-class"), "{}", fake.error());
    let half = Fake::new();
    half.spark().hadoop("hadoop-client-api-3.3.4.jar");
    assert!(half.error().contains("hadoop-client-runtime"), "{}", half.error());
    let torn = Fake::new();
    torn.spark()
        .file("jars/hadoop-client-api-3.3.4.jar", "PK not a jar")
        .jar("hadoop-client-runtime-3.3.4.jar", &[]);
    assert!(torn.error().contains("hadoop-client-api-3.3.4.jar"), "{}", torn.error());
}
