//! Spark's properties: for daemons, for the history server, for drivers here and in notebooks. Overrides come last.
//!
//! Values from outside (options, relations) are escaped, so that what looks like a placeholder in them stays text.

use super::{DRIVERS, SECRET, Scene, hdfs};
use crate::config::{MIB, Pairs};

/// A value from outside, as the plan has to spell it.
pub(super) fn escaped(value: &str) -> String {
    value.replace("${", "$${")
}

/// Pairs from outside over ours.
pub(super) fn over(ours: &mut Pairs, overrides: &Pairs) {
    ours.extend(overrides.iter().map(|(key, value)| (key.clone(), escaped(value))));
}

struct Properties(Pairs);

impl Properties {
    fn set(&mut self, key: &str, value: impl ToString) {
        self.0.insert(key.to_owned(), value.to_string());
    }

    fn overridden(mut self, scene: &Scene<'_>) -> Pairs {
        over(&mut self.0, &scene.config.spark_defaults);
        self.0
    }
}

fn authenticated() -> Properties {
    let mut all = Properties(Pairs::new());
    all.set("spark.authenticate", true);
    all
}

/// The master's and the workers'. They do not depend on the HDFS, so that it can change without restarting them.
pub(super) fn daemon(scene: &Scene<'_>) -> Pairs {
    let mut all = authenticated();
    all.set("spark.master.rest.enabled", false);
    if scene.seen.exposed.is_some() {
        // Pages ask nobody who he is: others may look, and end nothing.
        all.set("spark.ui.killEnabled", false);
    }
    // A guard for drivers that bring no defaults of ours; those have the exact share of the whole cluster.
    let guard = scene.config.default_cores.unwrap_or(scene.cluster.worker_cores.div_ceil(2).max(1));
    all.set("spark.deploy.defaultCores", guard);
    all.set("spark.worker.cleanup.enabled", true);
    all.set("spark.worker.cleanup.interval", 1800);
    all.set("spark.worker.cleanup.appDataTtl", 2 * 24 * 3600);
    all.overridden(scene)
}

/// The history server's.
pub(super) fn history(scene: &Scene<'_>) -> Pairs {
    let mut all = authenticated();
    all.set("spark.history.fs.logDirectory", logs(scene));
    all.set("spark.history.ui.port", "${port:history}");
    all.set("spark.history.fs.update.interval", "2s");
    all.set("spark.history.store.path", "${dir:history}");
    all.set("spark.history.fs.cleaner.enabled", true);
    all.set("spark.history.fs.cleaner.maxAge", &scene.config.history_retention);
    all.overridden(scene)
}

/// Submitted drivers' on this unit.
pub(super) fn driver(scene: &Scene<'_>) -> Pairs {
    let mut all = application(scene);
    all.set("spark.master", &scene.cluster.url);
    // A standalone driver takes it from here and nowhere else; its file is the service user's alone.
    all.set("spark.authenticate.secret", format!("${{secret:{SECRET}}}"));
    all.set("spark.submit.deployMode", "client");
    all.set("spark.eventLog.enabled", true);
    all.set("spark.eventLog.dir", logs(scene));
    if scene.hdfs.is_none() {
        all.set("spark.sql.warehouse.dir", "file://${dir:warehouse}");
    }
    all.set("spark.driver.host", "${address:default}");
    all.set("spark.driver.bindAddress", "${address:default}");
    all.set("spark.driver.port", "${port:driver}");
    all.set("spark.driver.blockManager.port", "${port:driver-block}");
    all.set("spark.ui.port", "${port:driver-ui}");
    all.set("spark.port.maxRetries", DRIVERS - 1);
    all.set("spark.jars.ivy", "${dir:ivy}");
    if let Some(jars) = &scene.jars {
        all.set("spark.driver.extraClassPath", jars.classpath());
        all.set("spark.executor.extraClassPath", jars.classpath());
    }
    if let Some(python) = &scene.python {
        all.set("spark.pyspark.python", &python.path);
    }
    all.overridden(scene)
}

/// Drivers' in notebooks: their addresses, ports and Python are theirs to set.
pub(super) fn notebook(scene: &Scene<'_>) -> Pairs {
    let mut all = application(scene);
    if scene.hdfs.is_none() {
        all.set("spark.eventLog.enabled", false);
    }
    let options = scene.config.jvm.driver.join(" ");
    if !options.is_empty() {
        all.set("spark.driver.extraJavaOptions", escaped(&options));
    }
    all.overridden(scene)
}

/// What holds for every application.
fn application(scene: &Scene<'_>) -> Properties {
    let mut all = authenticated();
    let config = &scene.config;
    all.set("spark.cores.max", config.default_cores.unwrap_or((scene.cluster.cores / 2).max(1)));
    let largest = scene.own.largest();
    let half = largest / 2;
    let memory = config.executor_memory.unwrap_or(half.clamp(512 * MIB, 4096 * MIB)).min(largest);
    all.set("spark.executor.memory", mebibytes(memory));
    if let Some(cores) = config.executor_cores {
        all.set("spark.executor.cores", cores);
    }
    let options = config.jvm.executor.join(" ");
    if !options.is_empty() {
        all.set("spark.executor.extraJavaOptions", escaped(&options));
    }
    if let Some(hdfs) = &scene.hdfs {
        all.set("spark.eventLog.enabled", true);
        all.set("spark.eventLog.dir", logs(scene));
        all.set("spark.sql.warehouse.dir", escaped(&hdfs.uri(&hdfs::warehouse(&scene.seen.app))));
    }
    all.set("spark.eventLog.rolling.enabled", true);
    all.set("spark.eventLog.compress", true);
    all
}

/// Bytes as Spark and the JVM read them.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{}m", bytes / MIB)
}

fn logs(scene: &Scene<'_>) -> String {
    match &scene.hdfs {
        Some(hdfs) => escaped(&hdfs.uri(&hdfs::logs(&scene.seen.app))),
        None => "file://${dir:events}".to_owned(),
    }
}
