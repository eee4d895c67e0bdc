//! log4j's properties: everything to standard error, without the loggers that write a line per call.

use std::collections::BTreeMap;
use std::fmt::Write as _;

const DAEMON: [(&str, &str); 11] = [
    ("log4j.rootLogger", "INFO,console"),
    ("log4j.appender.console", "org.apache.log4j.ConsoleAppender"),
    ("log4j.appender.console.target", "System.err"),
    ("log4j.appender.console.layout", "org.apache.log4j.PatternLayout"),
    ("log4j.appender.console.layout.ConversionPattern", "%d{ISO8601} %p %c{2}: %m%n"),
    // A line per RPC.
    ("log4j.logger.org.apache.hadoop.hdfs.server.namenode.FSNamesystem.audit", "WARN"),
    // A line per HTTP request, probes included.
    ("log4j.logger.http.requests", "WARN"),
    // A line per block and client.
    ("log4j.logger.org.apache.hadoop.hdfs.server.datanode.DataNode.clienttrace", "WARN"),
    ("log4j.logger.BlockStateChange", "WARN"),
    // No native library is no news.
    ("log4j.logger.org.apache.hadoop.util.NativeCodeLoader", "ERROR"),
    ("log4j.logger.org.apache.hadoop.metrics2.impl.MetricsConfig", "ERROR"),
];

/// The daemons' properties, with the user's over them.
pub(super) fn daemon(overrides: &BTreeMap<String, String>) -> String {
    text(DAEMON.iter().copied(), overrides)
}

/// Clients say only what is wrong.
pub(super) fn client() -> String {
    let quiet = DAEMON
        .iter()
        .map(|(key, value)| (*key, if *key == "log4j.rootLogger" { "WARN,console" } else { *value }));
    text(quiet, &BTreeMap::new())
}

fn text<'a>(base: impl Iterator<Item = (&'a str, &'a str)>, overrides: &BTreeMap<String, String>) -> String {
    let mut all: BTreeMap<&str, &str> = base.collect();
    all.extend(overrides.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    all.iter().fold(String::new(), |mut out, (key, value)| {
        let _ = writeln!(out, "{key}={value}");
        out
    })
}
