//! `warm`: class-data archives of master and worker, made by a cluster of one worker that is started for it on the
//! loopback, with a secret and folders of its own, and goes with it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use stoker_charm::http;
use stoker_charm::print;
use stoker_charm::warm::{MAKE, Maker, free_port, until};

use crate::plan::logs_by;

const LOG4J_2: &str = "rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n%ex
";
const LOG4J_1: &str = "log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{1}: %m%n
";
const PROPERTIES: &str = "spark.authenticate true
spark.master.rest.enabled false
spark.deploy.defaultCores 1
spark.worker.cleanup.enabled true
";

/// `warm FOLDER JAVA JARS LOG4J`: makes them where they are missing.
pub(super) fn make(args: &[String]) -> Result<ExitCode> {
    let [folder, java, jars, log4j] = args else { bail!("usage: {MAKE} FOLDER JAVA JARS LOG4J") };
    let log4j = log4j.parse().with_context(|| format!("`{log4j}` is no version of log4j"))?;
    let maker = Maker::open(folder, java)?;
    let missing = maker.lacks(&["master", "worker"]);
    if missing {
        maker.begin()?;
        run(&maker, jars, log4j)?;
    }
    print(&json!({"made": missing}).to_string())
}

fn run(maker: &Maker, jars: &str, log4j: u64) -> Result<()> {
    let scratch = maker.scratch();
    let conf = scratch.join("conf");
    configure(&conf).with_context(|| format!("cannot write to `{}`", conf.display()))?;
    let (conf, home) = (conf.display().to_string(), scratch.display().to_string());
    let work = scratch.join("work").display().to_string();
    let env = [
        ("HOME", home.as_str()),
        ("SPARK_CONF_DIR", conf.as_str()),
        ("SPARK_LOCAL_IP", "127.0.0.1"),
        ("SPARK_PUBLIC_DNS", "127.0.0.1"),
        ("SPARK_NO_DAEMONIZE", "1"),
        ("SPARK_WORKER_DIR", work.as_str()),
        // Of a cluster that nobody else ever speaks to.
        ("_SPARK_AUTH_SECRET", "warm"),
    ];
    let daemon = |class: &str, port: u16, page: u16, more: &[&str]| {
        let (port, page) = (port.to_string(), page.to_string());
        let named = [logs_by(&conf, log4j), "-cp".to_owned(), jars.to_owned()];
        let class = format!("org.apache.spark.deploy.{class}");
        let at = [class.as_str(), "--host", "127.0.0.1", "--port", &port, "--webui-port", &page];
        named.into_iter().chain(at.iter().chain(more).map(|word| (*word).to_owned())).collect::<Vec<_>>()
    };
    let (port, page) = (free_port()?, free_port()?);
    let mut master = maker.run("master", &daemon("master.Master", port, page, &[]), &env)?;
    until("master that is alive", &mut [&mut master], || asked(page)["status"] == "ALIVE")?;
    let (url, own) = (format!("spark://127.0.0.1:{port}"), free_port()?);
    let words = daemon("worker.Worker", free_port()?, own, &["-c", "1", "-m", "512m", "-d", &work, &url]);
    let mut worker = maker.run("worker", &words, &env)?;
    until("worker that its master knows", &mut [&mut master, &mut worker], || {
        asked(page)["aliveworkers"] == 1
            && asked(own)["masterurl"].as_str().is_some_and(|url| !url.is_empty())
    })?;
    maker.keep(worker)?;
    maker.keep(master)
}

fn configure(conf: &Path) -> std::io::Result<()> {
    fs::create_dir(conf)?;
    let files =
        [("spark-defaults.conf", PROPERTIES), ("log4j2.properties", LOG4J_2), ("log4j.properties", LOG4J_1)];
    files.into_iter().try_for_each(|(name, text)| fs::write(conf.join(name), text))
}

/// What a daemon says of itself.
fn asked(page: u16) -> Value {
    let said = http::get(&format!("http://127.0.0.1:{page}/json/")).map(|(_, text)| text).unwrap_or_default();
    serde_json::from_str(&said).unwrap_or_default()
}
