//! What came to a build beside Spark and its Hadoop client: filesystems of clouds, their libraries, the shuffle
//! service for YARN. Owns how each is recognised.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use stoker_charm::shelf::Shelf;

/// Where the first SDK says its version; builds of it by other hands have no Maven properties.
const AWS_VERSION: &str = "com/amazonaws/sdk/versionInfo.properties";
/// A fact's name, a class that only this has, whom Maven takes it for.
const KNOWN: [(&str, &str, &[&str]); 8] = [
    ("hadoop-aws", "org/apache/hadoop/fs/s3a/S3AFileSystem.class", &["org.apache.hadoop/hadoop-aws"]),
    (
        "hadoop-azure",
        "org/apache/hadoop/fs/azurebfs/AzureBlobFileSystem.class",
        &["org.apache.hadoop/hadoop-azure"],
    ),
    (
        "gcs-connector",
        "com/google/cloud/hadoop/fs/gcs/GoogleHadoopFileSystem.class",
        &["com.google.cloud.bigdataoss/gcs-connector"],
    ),
    (
        "hadoop-aliyun",
        "org/apache/hadoop/fs/aliyun/oss/AliyunOSSFileSystem.class",
        &["org.apache.hadoop/hadoop-aliyun"],
    ),
    (
        "hadoop-cloud",
        "org/apache/spark/internal/io/cloud/PathOutputCommitProtocol.class",
        &["org.apache.spark/spark-hadoop-cloud_2.12", "org.apache.spark/spark-hadoop-cloud_2.13"],
    ),
    (
        "aws-sdk-1",
        "com/amazonaws/services/s3/AmazonS3.class",
        &["com.amazonaws/aws-java-sdk-bundle", "com.amazonaws/aws-java-sdk-s3", AWS_VERSION],
    ),
    (
        "aws-sdk-2",
        "software/amazon/awssdk/services/s3/S3Client.class",
        &["software.amazon.awssdk/bundle", "software.amazon.awssdk/s3"],
    ),
    (
        "web-proxy",
        "org/apache/hadoop/yarn/server/webproxy/amfilter/AmIpFilter.class",
        &["org.apache.hadoop/hadoop-yarn-server-web-proxy"],
    ),
];
const SHUFFLE: &str = "org/apache/spark/network/yarn/YarnShuffleService.class";

/// What is looked for in jars.
pub(super) fn marks() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(_, class, _)| *class)
}

/// Versions by name; an empty one where a jar does not say it.
pub(super) fn of(tree: &Path, shelf: &Shelf) -> Result<BTreeMap<String, Value>> {
    let (mut out, mut jars) = (BTreeMap::new(), BTreeMap::new());
    for (name, class, artefacts) in KNOWN {
        if let Some(jar) = shelf.with(class).first() {
            let version = shelf.version(class, artefacts)?.unwrap_or_default();
            out.insert(name.to_owned(), json!(version));
            let file = jar.file_name().unwrap_or_default().to_string_lossy();
            jars.insert(name, format!("jars/{file}"));
        }
    }
    if !jars.is_empty() {
        out.insert("companion-jars".to_owned(), json!(jars));
    }
    // Tarballs have it in a folder of its own, since it belongs on the class path of YARN and not of Spark.
    let yarn = Shelf::of(&tree.join("yarn"), &[SHUFFLE])?;
    if let Some(jar) = yarn.with(SHUFFLE).first() {
        let name = jar.file_name().unwrap_or_default().to_string_lossy();
        out.insert("yarn-shuffle".to_owned(), json!(format!("yarn/{name}")));
    }
    Ok(out)
}
