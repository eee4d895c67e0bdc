//! Configuration files. Owns their formats; their contents are decided elsewhere.

use std::collections::BTreeMap;

use stoker_charm::plan::File;
use stoker_charm::site;

use super::defaults::{self, over};
use super::{Scene, USER};
use crate::config::Pairs;

/// How much rather than others executors are killed: as if they took half of all memory more than they do.
const EXPENDABLE: u32 = 500;

/// Spark 4 asks for a module that it can do without; a JVM that was made without it does not start then. Runtimes tell
/// their modules in `release`.
const WITHOUT_VECTOR: &str = "\
if grep -q '^MODULES=' \"$JAVA_HOME/release\" && ! grep -q 'jdk\\.incubator\\.vector' \"$JAVA_HOME/release\"; then
  for word do
    shift
    [ \"$word\" = --add-modules=jdk.incubator.vector ] || set -- \"$@\" \"$word\"
  done
fi 2>/dev/null
";

/// Folders of files: `daemon` (master, worker), `history`, `driver`, `hadoop`, `executor` (the Java of executors).
pub(super) fn files(scene: &Scene<'_>) -> BTreeMap<String, File> {
    let mut files = BTreeMap::new();
    let java = File {
        text: executor_java(&scene.java.home, stoker_charm::java::attached(scene.seen).is_some()),
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
fn executor_java(home: &str, attached: bool) -> String {
    let home = quoted(home);
    let cut = if attached { WITHOUT_VECTOR } else { "" };
    format!(
        "#!/bin/sh\n{{ echo {EXPENDABLE} >/proc/self/oom_score_adj; }} 2>/dev/null\nexport JAVA_HOME={home}\n{cut}exec \"$JAVA_HOME/bin/java\" \"$@\"\n"
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// What a Java whose `release` is this is started with.
    #[allow(clippy::disallowed_methods, reason = "runs the script")]
    fn started(release: &str, words: &[&str]) -> String {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("bin")).unwrap();
        std::fs::write(home.path().join("release"), release).unwrap();
        let java = home.path().join("bin/java");
        std::fs::write(&java, "#!/bin/sh\nfor word do printf '<%s>' \"$word\"; done\n").unwrap();
        std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = executor_java(&home.path().display().to_string(), true);
        let done = std::process::Command::new("/bin/sh").args(["-c", &text, "java"]).args(words).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    }

    #[test]
    fn a_java_is_not_asked_for_a_module_that_it_was_made_without() {
        let words = ["-Xmx1g", "--add-modules=jdk.incubator.vector", "a b", "", "*"];
        let all = "<-Xmx1g><--add-modules=jdk.incubator.vector><a b><><*>";
        assert_eq!(started("MODULES=\"java.base java.se\"\n", &words), "<-Xmx1g><a b><><*>");
        assert_eq!(started("MODULES=\"java.base jdk.incubator.vector\"\n", &words), all);
        assert_eq!(started("JAVA_VERSION=\"17\"\n", &words), all);
    }
}
