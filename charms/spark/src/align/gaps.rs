//! What a gap means: which workload it breaks, or why it breaks none. Owns both tables; must not find gaps.

use stoker_charm::link::Gap;

use super::link::SPARK;

/// What is judged one by one, in every verdict.
pub(crate) const WORKLOADS: [&str; 11] = [
    "text",
    "parquet",
    "orc",
    "python_udf",
    "event_log",
    "streaming",
    "s3a",
    "list_open_files",
    "erasure_coding",
    "yarn",
    "user_jars",
];

/// Reading and writing files, which all else rests on.
const PLAIN: &[&str] = &["text", "parquet", "orc", "python_udf", "event_log", "streaming"];

/// Workloads by the class that refers: the first that fits counts. Of other classes gaps are shown and break nothing that is
/// judged here.
const BREAKS: &[(&str, &[&str])] = &[
    ("org.apache.hadoop.fs.s3a.", &["s3a"]),
    ("org.apache.parquet.", &["parquet"]),
    ("org.apache.spark.sql.execution.datasources.parquet.", &["parquet"]),
    ("org.apache.orc.", &["orc"]),
    ("org.apache.spark.sql.execution.datasources.orc.", &["orc"]),
    ("org.apache.spark.deploy.history.", &["event_log"]),
    ("org.apache.spark.scheduler.EventLoggingListener", &["event_log"]),
    ("org.apache.spark.sql.execution.streaming.", &["streaming"]),
    ("org.apache.spark.deploy.yarn.", &["yarn"]),
    ("org.apache.spark.network.yarn.", &["yarn"]),
    ("org.apache.hadoop.yarn.", &["yarn"]),
    ("org.apache.spark.deploy.k8s.", &[]),
    ("org.apache.spark.scheduler.cluster.k8s.", &[]),
    ("org.apache.spark.internal.io.cloud.", &["s3a"]),
    ("org.apache.spark.sql.hive.", &[]),
    ("org.apache.spark.streaming.", &[]),
    ("org.apache.spark.", PLAIN),
];

/// Gaps that are known to do no harm: the class that refers, what it refers to (both by their beginning), and why.
const HARMLESS: &[(&str, &str, &str)] = &[
    (
        "org.apache.hadoop.fs.s3a.auth.RoleModel",
        "org.apache.hadoop.util.JsonSerialization.getMapper",
        "shaded clients of every version lack it; roles that are assumed alone ask for it",
    ),
    (
        "org.apache.spark.sql.execution.streaming.checkpointing.Checked",
        "org.apache.hadoop.fs.PositionedReadable.readVectored",
        "in a forwarder that Scala's compiler makes of an interface's method; who would call it is not there either",
    ),
];

/// The workloads that a gap breaks; `users` = its jar is one that the user gave.
pub(crate) fn breaks(gap: &Gap, users: bool) -> &'static [&'static str] {
    if harmless(gap).is_some() {
        return &[];
    }
    let known = BREAKS.iter().find(|(class, _)| gap.class.starts_with(class));
    match known {
        Some((_, breaks @ ["s3a"])) => breaks,
        _ if users => &["user_jars"],
        Some((_, breaks)) => breaks,
        None => &[],
    }
}

/// Why a gap does no harm, where that is known.
pub(crate) fn harmless(gap: &Gap) -> Option<&'static str> {
    let known = |(class, target, _): &&(&str, &str, &str)| {
        gap.class.starts_with(class) && gap.target.starts_with(target)
    };
    HARMLESS.iter().find(known).map(|(_, _, why)| *why)
}

/// A gap in one line.
pub(crate) fn words(gap: &Gap) -> String {
    let whose = if gap.target.starts_with(SPARK) { "this Spark" } else { "the client" };
    format!("{}: {} uses {}, which {whose} does not have", gap.jar, gap.class, gap.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(class: &str) -> Gap {
        Gap { jar: "x.jar".into(), class: class.into(), target: "org.x.Y".into(), before: false, after: true }
    }

    #[test]
    fn gaps_break_what_their_class_is_for() {
        for (class, users, expected) in [
            ("org.apache.parquet.hadoop.util.H2SeekableInputStream", false, &["parquet"][..]),
            ("org.apache.hadoop.fs.s3a.S3AFileSystem", false, &["s3a"]),
            ("org.apache.hadoop.fs.s3a.S3AFileSystem", true, &["s3a"]),
            ("org.apache.spark.util.HadoopFSUtils", false, PLAIN),
            ("org.apache.hadoop.hive.ql.exec.Utilities", false, &[]),
            ("com.example.Job", true, &["user_jars"]),
            ("org.apache.parquet.hadoop.Own", true, &["user_jars"]),
        ] {
            assert_eq!(breaks(&gap(class), users), expected, "{class}");
        }
        for (_, breaks) in BREAKS {
            assert!(breaks.iter().all(|workload| WORKLOADS.contains(workload)));
        }
    }
}
