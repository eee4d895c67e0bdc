//! Facts of small builds of the real layouts; what real ones say is in `tests/facts.rs`.

use std::io::Write;
use std::path::PathBuf;

use super::*;

const CLASS_8: &[u8] = &[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 52];
const HADOOP: &str = "common-version-info.properties";
const FILE_SYSTEM: &str = "org/apache/hadoop/fs/FileSystem.class";
const HDFS_CLIENT: &str = "org/apache/hadoop/hdfs/DistributedFileSystem.class";
const RUNTIME: &str = "org/apache/hadoop/shaded/org/apache/commons/configuration2/Configuration.class";

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

    fn zip(&self, path: &str, entries: &[(&str, &[u8])]) -> &Self {
        let path: PathBuf = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut jar = zip::ZipWriter::new(fs::File::create(path).unwrap());
        for (entry, bytes) in entries {
            jar.start_file(*entry, zip::write::SimpleFileOptions::default()).unwrap();
            jar.write_all(bytes).unwrap();
        }
        jar.finish().unwrap();
        self
    }

    fn jar(&self, name: &str, entries: &[(&str, &[u8])]) -> &Self {
        self.zip(&format!("jars/{name}"), entries)
    }

    /// A Spark 3.5 without any Hadoop.
    fn spark(&self) -> &Self {
        self.jar("spark-core.jar", &[(CORE, CLASS_8)])
            .jar("spark-common-utils.jar", &[(SPARK_VERSION, b"version=3.5.9\nrevision=abc\n")])
            .jar("spark-launcher.jar", &[(JAVA_CLASSES[0], CLASS_8)])
            .jar("scala-library.jar", &[(SCALA, CLASS_8), (SCALA_PROPERTIES, b"version.number=2.12.18\n")])
            .jar("log4j-core.jar", &[(LOG4J_2, CLASS_8)])
    }

    fn shaded(&self) -> &Self {
        let api: &[(&str, &[u8])] =
            &[(HADOOP, b"# comment\nversion=3.3.4\n"), (FILE_SYSTEM, CLASS_8), (HDFS_CLIENT, CLASS_8)];
        self.jar("a.jar", api).jar("b.jar", &[(RUNTIME, CLASS_8)])
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
    fake.spark().shaded().jar("yarn.jar", &[(YARN, CLASS_8)]);
    fake.zip("python/lib/some.zip", &[("py4j/version.py", b"__version__ = '0.10.9.7'\n")]);
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
    assert_eq!(facts.details["client-jars"], json!(["jars/a.jar", "jars/b.jar"]));
    assert_eq!(facts.details["scala-binary"], "2.12");
    assert_eq!(
        (&facts.details["python"], &facts.details["layout"]),
        (&json!(["3.8", "3.11"]), &json!("pypi"))
    );
    assert_eq!((&facts.details["yarn"], facts.details.get("hadoop-aws")), (&json!(true), None));
}

/// One of the client's two jars was exchanged, the other forgotten; whatever they are called.
#[test]
fn half_a_swap_is_told() {
    let link = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/link");
    let class =
        |jar: &str, entry: &str| jars::read_entry(&Path::new(link).join(jar), entry).unwrap().unwrap();
    let protos = "org/apache/hadoop/fs/FSProtos.class";
    let third = ["File", "Generic"]
        .map(|kind| format!("org/apache/hadoop/thirdparty/protobuf/Descriptors${kind}Descriptor.class"));
    let api = class("api-3.4.1.jar", protos);
    let torn = |jar: &str| {
        let fake = Fake::new();
        let api: &[(&str, &[u8])] =
            &[(HADOOP, b"version=3.4.1\n"), (FILE_SYSTEM, CLASS_8), (HDFS_CLIENT, CLASS_8), (protos, &api)];
        let [file, generic] = third.each_ref().map(|entry| class(jar, entry));
        let runtime: &[(&str, &[u8])] = &[(RUNTIME, CLASS_8), (&third[0], &file), (&third[1], &generic)];
        fake.spark().jar("a.jar", api).jar("b.jar", runtime);
        fake.facts().details.get("client-torn").map(|why| why.as_str().unwrap().to_owned())
    };
    assert_eq!(torn("runtime-3.4.1.jar"), None);
    let why = torn("runtime-3.3.4.jar").unwrap();
    assert!(
        why.starts_with("a.jar and b.jar are of different Hadoops: org.apache.hadoop.fs.FSProtos uses"),
        "{why}"
    );
}

#[test]
fn an_apache_tarball_with_companions() {
    let fake = Fake::new();
    fake.spark().shaded();
    fake.file("RELEASE", "Spark 3.5.9").jar(
        "aws.jar",
        &[
            ("org/apache/hadoop/fs/s3a/S3AFileSystem.class", CLASS_8),
            ("META-INF/maven/org.apache.hadoop/hadoop-aws/pom.properties", b"version=3.3.4\n"),
        ],
    );
    fake.zip("yarn/x.jar", &[("org/apache/spark/network/yarn/YarnShuffleService.class", CLASS_8)]);
    fake.file(
        "python/setup.py",
        "    python_requires='>=3.8',\n    classifiers=[\n    'Programming Language :: Python :: 3.8',\n    'Programming \
         Language :: Python :: Implementation :: CPython',\n",
    );
    let facts = fake.facts();
    let details = |name: &str| facts.details[name].clone();
    assert_eq!((details("layout"), details("hadoop-aws")), (json!("tarball"), json!("3.3.4")));
    assert_eq!((details("yarn-shuffle"), details("python")), (json!("yarn/x.jar"), json!(["3.8"])));
    assert_eq!((&facts.requires["python"], details("connect-default")), (&json!(">=3.8"), json!(false)));
    fake.file(
        "bin/spark-submit",
        "#!/usr/bin/env bash\nexport SPARK_CONNECT_MODE=${SPARK_CONNECT_MODE:-1}\n",
    );
    assert_eq!(fake.facts().details["connect-default"], json!(true));
}

#[test]
fn builds_without_and_with_an_unshaded_client() {
    let fake = Fake::new();
    let facts = fake.spark().facts();
    assert_eq!((facts.shape.as_deref(), facts.provides.get("hadoop-client")), (Some("provided"), None));
    // A vendor's: its classes need a newer Java than Spark's.
    let class: &[u8] = &[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61];
    fake.jar("c.jar", &[(HADOOP, b"version=3.1.1.7.1.9.0-387\n"), (FILE_SYSTEM, class)]);
    let facts = fake.facts();
    assert_eq!(facts.shape.as_deref(), Some("unshaded"));
    assert_eq!(facts.provides["hadoop-client"], "3.1.1.7.1.9.0-387");
    assert_eq!((&facts.requires["java"], &facts.details["java-floor"]), (&json!(">=17"), &json!(8)));
    assert_eq!(facts.details["client-jars"], json!([]));
}

#[test]
fn the_class_file_sets_the_floor() {
    let fake = Fake::new();
    fake.jar("core.jar", &[(CORE, CLASS_8), ("META-INF/MANIFEST.MF", b"Implementation-Version: 4.0.5\n")]);
    fake.jar("launcher.jar", &[(JAVA_CLASSES[0], &[0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 61])]);
    fake.jar("scala.jar", &[(SCALA, CLASS_8), (SCALA_PROPERTIES, b"version.number=2.13.16\n")]);
    let facts = fake.facts();
    assert_eq!((facts.version.as_str(), &facts.requires["java"]), ("4.0.5", &json!(">=17")));
    assert_eq!(facts.details["java"], json!("17 to 21"));
}

#[test]
fn what_is_no_spark_home_is_refused_with_what_was_looked_for() {
    let fake = Fake(tempfile::tempdir().unwrap());
    fake.file("README", "");
    let said = fake.error();
    assert!(said.contains("org/apache/spark/SparkContext.class") && said.contains("README"), "{said}");
    assert_eq!(inspect("-", fake.0.path()).unwrap(), None);
    assert_eq!(inspect("hadoop", fake.0.path()).unwrap(), None);
    fake.spark();
    assert!(fake.error().contains("bin/spark-class"), "{}", fake.error());
    let half = Fake::new();
    half.spark().shaded();
    fs::remove_file(half.0.path().join("jars/b.jar")).unwrap();
    assert!(half.error().contains("no jar is its runtime"), "{}", half.error());
    let twice = Fake::new();
    twice.spark().shaded().jar("c.jar", &[(FILE_SYSTEM, CLASS_8)]);
    assert!(twice.error().contains("a.jar, c.jar, b.jar"), "{}", twice.error());
    let torn = Fake::new();
    torn.spark().file("jars/torn.jar", "PK not a jar");
    assert!(torn.error().contains("torn.jar"), "{}", torn.error());
    let nameless = Fake::new();
    nameless.spark().shaded().jar(
        "a.jar",
        &[(HADOOP, b"version=${pom.version}\n"), (FILE_SYSTEM, CLASS_8), (HDFS_CLIENT, CLASS_8)],
    );
    assert!(nameless.error().contains("cannot find a version"), "{}", nameless.error());
    let client = Fake(tempfile::tempdir().unwrap());
    client.file("pyspark/__init__.py", "");
    assert!(client.error().contains("Spark Connect client"), "{}", client.error());
}
