//! Known gaps, in class files cut out of the real jars (`tests/fixtures/link`).

use super::super::{S3a, broken};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/link");

fn fixture(name: &str) -> PathBuf {
    Path::new(FIXTURES).join(name)
}

/// The user's jars, in a folder of their own.
fn users(folder: &Path, name: &str) -> Vec<PathBuf> {
    let to = folder.join(name);
    std::fs::copy(fixture(name), &to).unwrap();
    vec![to]
}

fn targets(found: &Found) -> Vec<(&str, bool, bool, bool)> {
    let gap = |named: &Named| (named.gap.before, named.gap.after, named.harmless.is_empty());
    let told = found.gaps.iter().map(|named| {
        let (before, after, harms) = gap(named);
        (named.gap.target.as_str(), before, after, harms)
    });
    told.collect()
}

/// What `hadoop-aws` 3.3.4 misses on client 3.4.1 is no link (settings as `60s`, an SDK of another major): its version tells.
#[test]
fn hadoop_aws_of_another_line_is_found_by_its_version() {
    let at = tempfile::tempdir().unwrap();
    let jars = Jars {
        shipped: vec![fixture("client-3.3.6.jar")],
        candidate: vec![fixture("client-3.4.1.jar")],
        users: users(at.path(), "aws-3.3.4.jar"),
        ..Jars::default()
    };
    let found = jars.check().unwrap();
    assert_eq!(found.aws.as_deref(), Some("3.3.4"));
    let mapper =
        "org.apache.hadoop.util.JsonSerialization.getMapper()Lcom/fasterxml/jackson/databind/ObjectMapper;";
    assert_eq!(targets(&found), [(mapper, true, true, false)], "named, with why it does no harm");
    assert!(found.before.is_empty() && found.after.is_empty());
    let s3a = S3a { sdks: vec![1, 2], ..S3a::default() }.with(Some(&found));
    assert_eq!(broken("3.3.4", Some(&found.before), &s3a), Harm::new());
    let why = broken("3.4.1", Some(&found.after), &s3a);
    assert!(why["s3a"].contains("hadoop-aws 3.3.4") && why["s3a"].contains("3.4.1"), "{why:?}");
}

/// `validateRangeRequest` returned nothing until 3.3.6, and returns its range from 3.4 on: another method to a JVM.
#[test]
fn a_result_that_changed_is_a_gap() {
    let at = tempfile::tempdir().unwrap();
    let jars = Jars {
        shipped: vec![fixture("client-3.3.6.jar")],
        candidate: vec![fixture("client-3.4.3.jar")],
        users: users(at.path(), "aws-3.3.6.jar"),
        ..Jars::default()
    };
    let found = jars.check().unwrap();
    let changed =
        "org.apache.hadoop.fs.VectoredReadUtils.validateRangeRequest(Lorg/apache/hadoop/fs/FileRange;)V";
    assert!(targets(&found).contains(&(changed, false, true, true)), "{found:?}");
    assert!(found.after["s3a"].contains("S3AInputStream") && found.before.is_empty());
}

/// Spark 4.3.0 refers to what its own client, 3.5.0, has and 3.4.1 has not: a swap down would leave it without.
#[test]
fn what_only_newer_clients_have_is_a_gap_after_a_swap_down() {
    let jars = Jars {
        build: vec![fixture("spark-4.3.0.jar")],
        shipped: vec![fixture("client-3.5.0.jar")],
        candidate: vec![fixture("client-3.4.1.jar")],
        ..Jars::default()
    };
    let found = jars.check().unwrap();
    let read = "readVectored(Ljava/util/List;Ljava/util/function/IntFunction;Ljava/util/function/Consumer;)V";
    let told = targets(&found);
    let gap = told.iter().find(|(target, ..)| target.ends_with(read));
    let gap = gap.map(|(_, before, after, harms)| (*before, *after, *harms));
    assert_eq!(gap, Some((false, true, false)), "{told:?}");
}

/// A jar that was made for another Spark, whatever the Hadoop client.
#[test]
fn what_the_users_jars_use_of_spark_is_looked_at_too() {
    let at = tempfile::tempdir().unwrap();
    let with = |spark: &str| {
        let client = fixture("client-3.3.6.jar");
        let jars = Jars {
            build: vec![fixture(spark), client.clone()],
            shipped: vec![client],
            users: users(at.path(), "avro-3.5.1.jar"),
            ..Jars::default()
        };
        jars.check().unwrap()
    };
    assert_eq!(with("spark-3.5.9.jar").before, Harm::new());
    let found = with("spark-3.3.4.jar");
    let why = &found.before["user_jars"];
    assert!(why.contains("AvroDataToCatalyst") && why.ends_with("which this Spark does not have"), "{why}");
    assert_eq!(found.before, found.after, "no client mends it");
}

#[test]
fn results_of_another_checker_are_not_ours_and_failures_hold_nothing_back() {
    let at = tempfile::tempdir().unwrap();
    std::fs::create_dir(at.path().join("jars")).unwrap();
    std::fs::write(at.path().join("jars/torn.jar"), "PK").unwrap();
    std::fs::create_dir(at.path().join(CANDIDATE)).unwrap();
    std::fs::write(at.path().join(CANDIDATE).join("torn.jar"), "PK").unwrap();
    let args = [at.path().display().to_string(), "jars/torn.jar".to_owned()];
    assert!(program(&args).is_ok());
    assert!(program(&args[..1]).is_err());
}
