//! `warm`: class-data archives of NameNode and DataNode, made by a filesystem of one NameNode and one DataNode that is
//! made for it in a folder of its own, on the loopback, and goes with it. Touches no data of the unit's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use stoker_charm::serde_json::{Value, json};
use stoker_charm::warm::{Maker, free_port, until};
use stoker_charm::{http, serde_json, site};

use super::{Args, done};

const NAMENODE: &str = "org.apache.hadoop.hdfs.server.namenode.NameNode";
const DATANODE: &str = "org.apache.hadoop.hdfs.server.datanode.DataNode";
const FAILOVER: &str = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
const LOG: &str = "log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
";

/// Makes them where they are missing.
pub(crate) fn run(args: &[String]) -> anyhow::Result<ExitCode> {
    let args = Args::read(args, &["folder", "java", "classpath"])?;
    let maker = Maker::open(args.need("folder")?, args.need("java")?)?;
    let missing = maker.lacks(&["namenode", "datanode"]);
    if missing {
        make(&maker, args.need("classpath")?)?;
    }
    done(&json!({"made": missing}))
}

fn make(maker: &Maker, classpath: &str) -> anyhow::Result<()> {
    maker.begin()?;
    let site = Site::write(&maker.scratch())?;
    let words = |class: &'static str, more: &[&'static str]| {
        let mut words = vec!["--add-opens=java.base/java.lang=ALL-UNNAMED".to_owned()];
        words.extend([site.log.clone(), "-cp".to_owned(), classpath.to_owned(), class.to_owned()]);
        words.extend(["-conf", &site.core, "-conf", &site.hdfs].map(str::to_owned));
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    };
    maker.tool(&words(NAMENODE, &["-format", "-nonInteractive", "-clusterId", "CID-warm"]))?;
    let mut namenode = maker.run("namenode", &words(NAMENODE, &[]), &[])?;
    let mut datanode = maker.run("datanode", &words(DATANODE, &[]), &[])?;
    until("DataNode that is alive", &mut [&mut namenode, &mut datanode], || {
        site.asks("NumLiveDataNodes", "FSNamesystemState") == json!(1)
            && site.asks("Safemode", "NameNodeInfo") == json!("")
    })?;
    // As every Spark asks for its folders; whether it may is of no interest.
    let _ = http::put(&format!("{}/webhdfs/v1/warm?op=MKDIRS&user.name=warm", site.url), "");
    maker.keep(datanode)?;
    maker.keep(namenode)
}

/// The configuration of such a filesystem, of the shape that the charm's own has.
struct Site {
    core: String,
    hdfs: String,
    log: String,
    url: String,
}

impl Site {
    fn write(scratch: &Path) -> anyhow::Result<Self> {
        let (rpc, web) = (free_port()?, free_port()?);
        let folder = |name: &str| scratch.join(name).display().to_string();
        let file = |name: &str| format!("file://{}", folder(name));
        let core = [
            ("fs.defaultFS", "hdfs://warm".to_owned()),
            ("hadoop.tmp.dir", folder("tmp")),
            ("hadoop.prometheus.endpoint.enabled", "true".to_owned()),
            ("ipc.client.connect.retry.interval", "100".to_owned()),
            ("ipc.client.connect.max.retries", "100".to_owned()),
        ];
        let any = || "127.0.0.1:0".to_owned();
        let hdfs = [
            ("dfs.nameservices", "warm".to_owned()),
            ("dfs.ha.namenodes.warm", "nn1".to_owned()),
            ("dfs.ha.namenode.id", "nn1".to_owned()),
            ("dfs.namenode.rpc-address.warm.nn1", format!("127.0.0.1:{rpc}")),
            ("dfs.namenode.http-address.warm.nn1", format!("127.0.0.1:{web}")),
            ("dfs.client.failover.proxy.provider.warm", FAILOVER.to_owned()),
            ("dfs.namenode.name.dir", file("name")),
            ("dfs.namenode.safemode.extension", "0".to_owned()),
            ("dfs.namenode.datanode.registration.ip-hostname-check", "false".to_owned()),
            ("dfs.datanode.data.dir", file("data")),
            ("dfs.datanode.address", any()),
            ("dfs.datanode.http.address", any()),
            ("dfs.datanode.ipc.address", any()),
            ("dfs.datanode.hostname", "127.0.0.1".to_owned()),
            ("dfs.replication", "1".to_owned()),
        ];
        let put = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let path = scratch.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))?;
            Ok(path)
        };
        let xml = |pairs: &[(&str, String)]| {
            let pairs: BTreeMap<String, String> =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
            site::xml(&pairs)
        };
        Ok(Self {
            core: put("core-site.xml", &xml(&core))?.display().to_string(),
            hdfs: put("hdfs-site.xml", &xml(&hdfs))?.display().to_string(),
            log: format!("-Dlog4j.configuration=file:{}", put("log4j.properties", LOG)?.display()),
            url: format!("http://127.0.0.1:{web}"),
        })
    }

    /// An attribute of the NameNode's, by the way that the charm's probes ask for it.
    fn asks(&self, attribute: &str, bean: &str) -> Value {
        let url = format!("{}/jmx?get=Hadoop:service=NameNode,name={bean}::{attribute}", self.url);
        let said = http::get(&url).map(|(_, text)| text).unwrap_or_default();
        let said: Value = serde_json::from_str(&said).unwrap_or_default();
        said.pointer(&format!("/beans/0/{attribute}")).cloned().unwrap_or_default()
    }
}
