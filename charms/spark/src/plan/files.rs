//! Configuration files. Owns their formats; their contents are decided elsewhere.

use std::collections::BTreeMap;

use stoker_charm::plan::File;
use stoker_charm::site;

use super::defaults::{self, over};
use super::{Scene, USER};
use crate::config::Pairs;

/// How much rather than others executors are killed: as if they took half of all memory more than they do.
const EXPENDABLE: u32 = 500;

/// Folders of files: `daemon` (master, worker), `history`, `driver`, `hadoop`, `executor` (the Java of executors).
pub(super) fn files(scene: &Scene<'_>) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    let java = File {
        text: executor_java(&scene.java.home),
        mode: Some("0750".to_owned()),
        user: Some(USER.to_owned()),
        live: false,
    };
    files.insert("executor/bin/java".to_owned(), java);
    let mut add = |name: String, text: String| {
        let mode = if text.contains("${secret:") { "0600" } else { "0640" };
        files.insert(
            name,
            File { text, mode: Some(mode.to_owned()), user: Some(USER.to_owned()), live: false },
        );
    };
    let (log_name, log_text) = log4j(scene);
    let mut folder = |name: &str, properties: &Pairs| {
        add(format!("{name}/spark-defaults.conf"), spark_properties(properties));
        add(format!("{name}/{log_name}"), log_text.clone());
    };
    folder("daemon", &defaults::daemon(scene));
    folder("driver", &defaults::driver(scene));
    if scene.cluster.master_here() {
        folder("history", &defaults::history(scene));
    }
    add("hadoop/core-site.xml".to_owned(), site::xml(&core_site(scene)));
    add("hadoop/hdfs-site.xml".to_owned(), site::xml(&hdfs_site(scene)));
    files
}

/// What a worker takes for Java where it starts an executor. Executors, and the Pythons below them, are what the kernel
/// is to kill where memory runs short: not their worker, which is in the same group, nor what else the host runs.
fn executor_java(home: &str) -> String {
    format!(
        "#!/bin/sh\n{{ echo {EXPENDABLE} >/proc/self/oom_score_adj; }} 2>/dev/null\nexport JAVA_HOME={}\nexec \"$JAVA_HOME/bin/java\" \"$@\"\n",
        quoted(home)
    )
}

/// A word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Hadoop's client configuration, as the HDFS tells it.
pub(super) fn core_site(scene: &Scene<'_>) -> Pairs {
    let mut all = Pairs::new();
    match &scene.hdfs {
        Some(hdfs) => over(&mut all, &hdfs.sites.core_site),
        None => over(&mut all, &Pairs::from([("fs.defaultFS".to_owned(), "file:///".to_owned())])),
    }
    over(&mut all, &scene.config.core_site);
    all
}

/// Likewise.
pub(super) fn hdfs_site(scene: &Scene<'_>) -> Pairs {
    let mut all = Pairs::new();
    if let Some(hdfs) = &scene.hdfs {
        over(&mut all, &hdfs.sites.hdfs_site);
    }
    over(&mut all, &scene.config.hdfs_site);
    all
}

/// A Java properties text: sorted, with what is special there escaped.
fn spark_properties(pairs: &Pairs) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        for c in key.chars() {
            if matches!(c, ' ' | '=' | ':' | '\\' | '#' | '!') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push(' ');
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('\n');
    }
    out
}

/// The log configuration that the build's log4j reads, to standard error.
fn log4j(scene: &Scene<'_>) -> (&'static str, String) {
    let (name, ours): (_, &[(&str, &str)]) = if scene.spark.log4j >= 2 {
        (
            "log4j2.properties",
            &[
                ("rootLogger.level", "info"),
                ("rootLogger.appenderRef.console.ref", "console"),
                ("appender.console.type", "Console"),
                ("appender.console.name", "console"),
                ("appender.console.target", "SYSTEM_ERR"),
                ("appender.console.layout.type", "PatternLayout"),
                ("appender.console.layout.pattern", "%d{ISO8601} %p %c{1}: %m%n%ex"),
                ("logger.jetty.name", "org.sparkproject.jetty"),
                ("logger.jetty.level", "warn"),
            ],
        )
    } else {
        (
            "log4j.properties",
            &[
                ("log4j.rootLogger", "INFO,console"),
                ("log4j.appender.console", "org.apache.log4j.ConsoleAppender"),
                ("log4j.appender.console.target", "System.err"),
                ("log4j.appender.console.layout", "org.apache.log4j.PatternLayout"),
                ("log4j.appender.console.layout.ConversionPattern", "%d{ISO8601} %p %c{1}: %m%n"),
                ("log4j.logger.org.spark_project.jetty", "WARN"),
            ],
        )
    };
    let mut all: Pairs = ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    over(&mut all, &scene.config.log4j);
    let lines: Vec<String> = all.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    (name, lines.concat())
}
