//! Configuration files, one folder for each role, so that a change for one restarts no other. Owns every property that
//! the charm sets; the user's come last.
//!
//! The nameservice is a logical one with a single NameNode: URIs carry no port, and a second NameNode later changes
//! none. The SecondaryNameNode cannot resolve such a name and gets plain addresses. `dfs.replication` follows the
//! number of units; the daemons read it from a live file, so that another unit restarts none of them.

use std::collections::BTreeMap;

use stoker_charm::plan::File;
use stoker_charm::site;

use super::{Scene, USER, log};
use crate::java;

/// Properties by name.
pub(super) type Pairs = BTreeMap<String, String>;

/// The live file that the daemons include.
pub(super) const LIVE: &str = "replication.xml";
const ONE: &str = "nn1";
const FAILOVER: &str = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
const PERCENT_OR_BYTES: &str = "org.apache.hadoop.hdfs.server.datanode.fsdataset.impl.ReservedSpaceCalculator$ReservedSpaceCalculatorAggressive";
/// What is reserved on a disk: the lesser of both.
const RESERVED_PERCENT: u32 = 5;
const RESERVED_BYTES: u64 = 10 << 30;

/// All files of the plan.
pub(super) fn files(scene: &Scene<'_>) -> BTreeMap<String, File> {
    let mut out = BTreeMap::new();
    let mut folder = |role: &str, core: Pairs, hdfs: Pairs, log: String, live: bool| {
        let mut hdfs_text = site::xml(&hdfs);
        if live && !hdfs.contains_key("dfs.replication") {
            let include = format!(
                "  <include xmlns=\"http://www.w3.org/2001/XInclude\" href=\"${{file:{LIVE}}}\"/>\n</configuration>"
            );
            hdfs_text = hdfs_text.replace("</configuration>", &include);
        }
        for (name, text) in
            [("core-site.xml", site::xml(&core)), ("hdfs-site.xml", hdfs_text), ("log4j.properties", log)]
        {
            out.insert(format!("{role}/{name}"), file(text, false));
        }
    };
    let options = &scene.options;
    let daemon_log = || log::daemon(&options.log4j);
    let over = |base: Pairs, overrides: &Pairs| -> Pairs {
        base.into_iter().chain(overrides.iter().map(|(key, value)| (key.clone(), value.clone()))).collect()
    };
    let core = || over(core(scene), &options.core_site);
    let hdfs = |base: Pairs| over(base, &options.hdfs_site);
    folder("datanode", core(), hdfs(datanode(scene)), daemon_log(), true);
    folder("client", core(), hdfs(client_hdfs(scene)), log::client(), false);
    if scene.cluster.here {
        folder("namenode", core(), hdfs(namenode(scene)), daemon_log(), true);
        let mut plain = core();
        plain.insert("fs.defaultFS".into(), format!("hdfs://{}", rpc(scene)));
        folder("secondary", plain, hdfs(secondary(scene)), daemon_log(), false);
    }
    let replication = Pairs::from([("dfs.replication".to_owned(), options.replication.to_string())]);
    out.insert(LIVE.to_owned(), file(site::xml(&replication), true));
    out
}

fn file(text: String, live: bool) -> File {
    File { text, mode: None, user: Some(USER.to_owned()), live }
}

fn pairs<const N: usize>(items: [(&str, String); N]) -> Pairs {
    items.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn rpc<'a>(scene: &'a Scene<'_>) -> &'a str {
    scene.cluster.rpc.as_deref().unwrap_or_default()
}

fn http<'a>(scene: &'a Scene<'_>) -> &'a str {
    scene.cluster.http.as_deref().unwrap_or_default()
}

fn nameservice<'a>(scene: &'a Scene<'_>) -> &'a str {
    scene.cluster.nameservice.as_deref().unwrap_or_default()
}

/// What daemons and clients have in common in core-site.
fn client_core(scene: &Scene<'_>) -> Pairs {
    pairs([
        ("fs.defaultFS", format!("hdfs://{}", nameservice(scene))),
        ("fs.trash.interval", scene.options.trash_minutes.to_string()),
        // The same patience as by default, in smaller steps: who waits for a start loses no second.
        ("ipc.client.connect.retry.interval", "100".to_owned()),
        ("ipc.client.connect.max.retries", "100".to_owned()),
    ])
}

fn core(scene: &Scene<'_>) -> Pairs {
    let mut out = client_core(scene);
    out.extend(pairs([
        ("hadoop.tmp.dir", "${dir:tmp}".to_owned()),
        ("hadoop.http.staticuser.user", scene.options.web_user.clone()),
        ("hadoop.prometheus.endpoint.enabled", "true".to_owned()),
        ("io.file.buffer.size", "131072".to_owned()),
    ]));
    out
}

/// How the NameNode is found.
fn names(scene: &Scene<'_>) -> Pairs {
    let name = nameservice(scene);
    Pairs::from([
        ("dfs.nameservices".to_owned(), name.to_owned()),
        (format!("dfs.ha.namenodes.{name}"), ONE.to_owned()),
        (format!("dfs.namenode.rpc-address.{name}.{ONE}"), rpc(scene).to_owned()),
        (format!("dfs.namenode.http-address.{name}.{ONE}"), http(scene).to_owned()),
        (format!("dfs.client.failover.proxy.provider.{name}"), FAILOVER.to_owned()),
    ])
}

fn client_hdfs(scene: &Scene<'_>) -> Pairs {
    let mut out = names(scene);
    out.insert("dfs.replication".to_owned(), scene.options.replication.to_string());
    out
}

fn namenode(scene: &Scene<'_>) -> Pairs {
    let further = scene.further_name_dirs();
    let folders: Vec<String> = std::iter::once("name")
        .chain(further.iter().map(|(name, _)| name.as_str()))
        .map(|name| format!("file://${{dir:{name}}}"))
        .collect();
    let mut out = names(scene);
    out.extend(pairs([
        ("dfs.ha.namenode.id", ONE.to_owned()),
        ("dfs.namenode.name.dir", folders.join(",")),
        ("dfs.permissions.enabled", scene.options.permissions.to_string()),
        ("dfs.namenode.safemode.extension", scene.options.safemode_extension_ms.to_string()),
        // It refuses checkpoints that come much more often than it expects.
        ("dfs.namenode.checkpoint.period", period(scene)),
        // Reverse DNS is not to be relied on.
        ("dfs.namenode.datanode.registration.ip-hostname-check", "false".to_owned()),
    ]));
    out
}

fn datanode(scene: &Scene<'_>) -> Pairs {
    let kind = |path: &Option<String>| {
        let volume = scene.options.volumes.iter().find(|volume| Some(&volume.path) == path.as_ref());
        volume.map_or("", |volume| volume.kind.as_str())
    };
    let volumes = scene.volumes();
    let folders: Vec<String> =
        volumes.iter().map(|(name, path)| format!("{}file://${{dir:{name}}}", kind(path))).collect();
    let tolerated = (volumes.len() / 2).saturating_sub(1);
    let address = |port: &str| format!("${{address:default}}:${{port:{port}}}");
    let mut out = names(scene);
    out.extend(pairs([
        ("dfs.datanode.data.dir", folders.join(",")),
        ("dfs.datanode.address", address("datanode")),
        ("dfs.datanode.http.address", address("datanode-http")),
        ("dfs.datanode.ipc.address", address("datanode-ipc")),
        ("dfs.datanode.hostname", "${address:default}".to_owned()),
        ("dfs.datanode.synconclose", "true".to_owned()),
        ("dfs.datanode.failed.volumes.tolerated", tolerated.to_string()),
        ("dfs.permissions.enabled", scene.options.permissions.to_string()),
    ]));
    match scene.options.du_reserved {
        Some(bytes) => out.extend(pairs([("dfs.datanode.du.reserved", bytes.to_string())])),
        None => out.extend(pairs([
            ("dfs.datanode.du.reserved.calculator", PERCENT_OR_BYTES.to_owned()),
            ("dfs.datanode.du.reserved", RESERVED_BYTES.to_string()),
            ("dfs.datanode.du.reserved.pct", RESERVED_PERCENT.to_string()),
        ])),
    }
    out
}

fn secondary(scene: &Scene<'_>) -> Pairs {
    pairs([
        ("dfs.namenode.http-address", http(scene).to_owned()),
        ("dfs.namenode.secondary.http-address", "${address:default}:${port:secondary-http}".to_owned()),
        ("dfs.namenode.checkpoint.dir", "file://${dir:checkpoint}".to_owned()),
        ("dfs.namenode.checkpoint.edits.dir", "file://${dir:checkpoint}".to_owned()),
        ("dfs.namenode.checkpoint.period", period(scene)),
    ])
}

fn period(scene: &Scene<'_>) -> String {
    let seconds = scene.options.checkpoint_seconds;
    // Hadoop 2 takes no unit there.
    if java::line(&scene.facts.version) < (3, 0) { seconds.to_string() } else { format!("{seconds}s") }
}

/// The client configuration that related applications get: the charm's own, and what the user set that is not about
/// the servers' insides.
pub(super) fn published(scene: &Scene<'_>) -> (Pairs, Pairs) {
    let servers = [
        "dfs.namenode.",
        "dfs.datanode.",
        "dfs.journalnode.",
        "hadoop.http.",
        "hadoop.tmp.",
        "hadoop.prometheus.",
    ];
    let over = |mut base: Pairs, overrides: &Pairs| {
        for (key, value) in overrides {
            if base.contains_key(key) || !servers.iter().any(|prefix| key.starts_with(prefix)) {
                base.insert(key.clone(), value.clone());
            }
        }
        base
    };
    (over(client_core(scene), &scene.options.core_site), over(client_hdfs(scene), &scene.options.hdfs_site))
}
