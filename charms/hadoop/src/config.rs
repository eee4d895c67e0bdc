//! The charm's options, read from the observation once. Owns their meaning and what is wrong in them; knows no plan.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use stoker_charm::serde_json::Value;
use stoker_charm::{Observation, overrides, size};

/// A volume for blocks on a disk of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// Storage type with brackets (`[SSD]`), or empty.
    pub(crate) kind: String,
    /// Absolute path; empty = a folder of the unit's own.
    pub(crate) path: String,
}

/// A daemon's JVM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Jvm {
    /// Bytes of heap.
    pub(crate) heap: u64,
    /// The user's options.
    pub(crate) options: Vec<String>,
}

/// Every option, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) nameservice: String,
    pub(crate) replication: u64,
    pub(crate) namenode: Jvm,
    pub(crate) datanode: Jvm,
    pub(crate) secondary: Jvm,
    pub(crate) core_site: BTreeMap<String, String>,
    pub(crate) hdfs_site: BTreeMap<String, String>,
    pub(crate) log4j: BTreeMap<String, String>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) name_dirs: Vec<String>,
    /// Bytes, or none for the default rule.
    pub(crate) du_reserved: Option<u64>,
    pub(crate) checkpoint_seconds: u64,
    pub(crate) trash_minutes: u64,
    pub(crate) safemode_extension_ms: u64,
    pub(crate) permissions: bool,
    /// `warm`.
    pub(crate) warm: bool,
    pub(crate) web_user: String,
    /// Preferred numbers by the plan's port names.
    pub(crate) ports: BTreeMap<&'static str, u16>,
}

/// Heaps go in steps, so that a grant that changes a little restarts nothing.
const HEAP_STEP: u64 = 64 << 20;
const HEAP_LEAST: u64 = 256 << 20;
const NAMENODE_HEAP_MOST: u64 = 8 << 30;
const DATANODE_HEAP_MOST: u64 = 2 << 30;

/// Ports by name: the option that holds the preferred number is `NAME-port`.
pub(crate) const PORTS: [(&str, &str, u16); 6] = [
    ("namenode", "namenode-port", 8020),
    ("namenode-http", "namenode-http-port", 9870),
    ("datanode", "datanode-port", 9866),
    ("datanode-http", "datanode-http-port", 9864),
    ("datanode-ipc", "datanode-ipc-port", 9867),
    ("secondary-http", "secondary-http-port", 9868),
];

impl Options {
    /// Reads the observation's options; an absent one has its default.
    pub(crate) fn read(seen: &Observation) -> anyhow::Result<Self> {
        let get = |name: &str| seen.config.get(name).unwrap_or(&Value::Null);
        let grant = seen.host.grant.memory;
        let namenode_heap = auto_heap(grant / 16, NAMENODE_HEAP_MOST);
        let namenode = jvm(seen, "namenode", namenode_heap)?;
        let datanode = jvm(seen, "datanode", auto_heap(grant / 32, DATANODE_HEAP_MOST))?;
        let secondary = jvm(seen, "secondary", namenode.heap)?;
        let units = seen.units.len().max(1) as u64;
        let replication = number(get("replication")).context("option `replication`")?.unwrap_or(units.min(3));
        ensure!(
            (1..=512).contains(&replication),
            "option `replication`: {replication} is not between 1 and 512"
        );
        let mut ports = BTreeMap::new();
        for (name, option, default) in PORTS {
            let port = number(get(option)).with_context(|| format!("option `{option}`"))?;
            let port = u16::try_from(port.unwrap_or(u64::from(default)));
            ports.insert(name, port.with_context(|| format!("option `{option}`: no such port"))?);
        }
        let nameservice = match text(get("nameservice")) {
            "" => seen.app.clone(),
            name => name.to_owned(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        ensure!(
            nameservice.chars().all(plain) && nameservice.starts_with(|c: char| c.is_ascii_alphanumeric()),
            "option `nameservice`: `{nameservice}` is not made of letters, digits and hyphens"
        );
        Ok(Self {
            nameservice,
            replication,
            namenode,
            datanode,
            secondary,
            core_site: pairs(get("core-site")).context("option `core-site`")?,
            hdfs_site: pairs(get("hdfs-site")).context("option `hdfs-site`")?,
            log4j: pairs(get("log4j")).context("option `log4j`")?,
            volumes: volumes(&list(get("data-dirs")))?,
            name_dirs: folders("name-dirs", &list(get("name-dirs")))?,
            du_reserved: number(get("du-reserved")).context("option `du-reserved`")?,
            checkpoint_seconds: millis(seen, "checkpoint-period", 3_600_000)?.div_ceil(1000).max(1),
            trash_minutes: millis(seen, "trash-interval", 86_400_000)?.div_ceil(60_000),
            safemode_extension_ms: millis(seen, "safemode-extension", 0)?,
            permissions: get("permissions").as_bool().unwrap_or(true),
            warm: get("warm").as_bool().unwrap_or(true),
            web_user: match text(get("web-user")) {
                "" => "dr.who".to_owned(),
                user => user.to_owned(),
            },
            ports,
        })
    }
}

fn auto_heap(share: u64, most: u64) -> u64 {
    share.clamp(HEAP_LEAST, most) / HEAP_STEP * HEAP_STEP
}

fn jvm(seen: &Observation, role: &str, auto: u64) -> anyhow::Result<Jvm> {
    let get = |what: &str| seen.config.get(&format!("{role}-{what}")).unwrap_or(&Value::Null);
    let heap = number(get("heap")).with_context(|| format!("option `{role}-heap`"))?.unwrap_or(auto);
    ensure!(heap >= 32 << 20, "option `{role}-heap`: a heap has at least 32m");
    let options = text(get("options")).split_whitespace().map(str::to_owned).collect();
    Ok(Jvm { heap, options })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default().trim()
}

/// A number; none for `auto` and what is not set.
fn number(value: &Value) -> anyhow::Result<Option<u64>> {
    match value {
        Value::Null => Ok(None),
        Value::Number(n) => n.as_u64().map(Some).with_context(|| format!("{n} is no whole number")),
        Value::String(text) if text == "auto" || text.is_empty() => Ok(None),
        Value::String(text) => Ok(Some(size::bytes(text)?)),
        other => bail!("{other} is no number"),
    }
}

fn millis(seen: &Observation, option: &str, default: u64) -> anyhow::Result<u64> {
    match text(seen.config.get(option).unwrap_or(&Value::Null)) {
        "" => Ok(default),
        set => Ok(size::duration(set).with_context(|| format!("option `{option}`"))?.as_millis() as u64),
    }
}

fn pairs(value: &Value) -> anyhow::Result<BTreeMap<String, String>> {
    match value {
        Value::String(text) if text.trim().is_empty() => Ok(BTreeMap::new()),
        Value::String(text) => Ok(overrides::check(text)?),
        other => Ok(overrides::of(other)),
    }
}

fn list(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
    .into_iter()
    .map(|item| item.trim().to_owned())
    .filter(|item| !item.is_empty())
    .collect()
}

fn folders(option: &str, items: &[String]) -> anyhow::Result<Vec<String>> {
    for (at, item) in items.iter().enumerate() {
        let good = item.starts_with('/') && !item.split('/').any(|part| part == "..") && !item.contains("${");
        ensure!(good, "option `{option}`: `{item}` is no absolute path");
        ensure!(!items[..at].contains(item), "option `{option}`: `{item}` is there twice");
    }
    Ok(items.to_vec())
}

fn volumes(items: &[String]) -> anyhow::Result<Vec<Volume>> {
    let mut out = Vec::new();
    for item in items {
        let (kind, path) = match item.split_once(']') {
            Some((kind, path)) => (format!("{kind}]").to_uppercase(), path.trim().to_owned()),
            None => (String::new(), item.clone()),
        };
        let known = ["", "[DISK]", "[SSD]", "[ARCHIVE]", "[RAM_DISK]", "[NVDIMM]"];
        ensure!(known.contains(&kind.as_str()), "option `data-dirs`: `{kind}` is no storage type");
        out.push(Volume { kind, path });
    }
    folders("data-dirs", &out.iter().map(|volume| volume.path.clone()).collect::<Vec<_>>())?;
    if out.is_empty() {
        out.push(Volume { kind: String::new(), path: String::new() });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoker_charm::serde_json::json;

    fn read(config: Value, memory: u64) -> anyhow::Result<Options> {
        let mut seen =
            Observation { app: "hadoop".into(), units: vec!["hadoop/0".into()], ..Observation::default() };
        seen.host.grant.memory = memory;
        seen.config = stoker_charm::serde_json::from_value(config)?;
        Options::read(&seen)
    }

    #[test]
    fn defaults_follow_the_grant() {
        let small = read(json!({"namenode-heap": "auto"}), 1 << 30).unwrap();
        assert_eq!(
            (small.namenode.heap, small.datanode.heap, small.secondary.heap),
            (256 << 20, 256 << 20, 256 << 20)
        );
        let large = read(json!({"secondary-heap": 512 << 20}), 32 << 30).unwrap();
        assert_eq!(
            (large.namenode.heap, large.datanode.heap, large.secondary.heap),
            (2 << 30, 1 << 30, 512 << 20)
        );
        assert_eq!((small.replication, small.nameservice.as_str(), small.trash_minutes), (1, "hadoop", 1440));
        assert_eq!((small.checkpoint_seconds, small.ports["namenode"]), (3600, 8020));
    }

    #[test]
    fn volumes_and_overrides() {
        let options = read(json!({"data-dirs": ["[ssd]/a", "/b"], "hdfs-site": "a=1\nb=x,y"}), 0).unwrap();
        assert_eq!(options.volumes[0], Volume { kind: "[SSD]".into(), path: "/a".into() });
        assert_eq!(options.hdfs_site["b"], "x,y");
    }

    #[test]
    fn refuses_with_the_option_named() {
        for (config, needle) in [
            (json!({"data-dirs": "a/b"}), "data-dirs"),
            (json!({"data-dirs": ["/a", "/a"]}), "twice"),
            (json!({"name-dirs": "/a/../b"}), "name-dirs"),
            (json!({"replication": 0}), "replication"),
            (json!({"namenode-port": 70000}), "namenode-port"),
            (json!({"nameservice": "a_b"}), "nameservice"),
            (json!({"core-site": "nothing"}), "core-site"),
            (json!({"checkpoint-period": "soon"}), "checkpoint-period"),
        ] {
            let wrong = format!("{:#}", read(config, 0).unwrap_err());
            assert!(wrong.contains(needle), "{wrong}");
        }
    }
}
