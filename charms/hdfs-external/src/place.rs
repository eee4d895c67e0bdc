//! Where the HDFS is and how clients get there, from the options and the attached configuration. Owns what of a
//! configuration is for clients; asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stoker_charm::observation::Observation;
use stoker_charm::overrides;

/// Properties.
pub(crate) type Pairs = BTreeMap<String, String>;

/// Default ports: of the RPC, of the pages from Hadoop 3 on and before.
const RPC: u16 = 8020;
const PAGES: [u16; 2] = [9870, 50070];
const FAILOVER: &str = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider";
/// What is the servers' own, or names files of their hosts.
const SERVERS: [&str; 9] = [
    "dfs.namenode.",
    "dfs.datanode.",
    "dfs.journalnode.",
    "dfs.ha.fencing.",
    "hadoop.http.",
    "hadoop.tmp.",
    "hadoop.proxyuser.",
    "ha.zookeeper.",
    "net.topology.",
];
const FOR_CLIENTS: [&str; 2] = ["dfs.namenode.rpc-address", "dfs.namenode.http"];

/// An HDFS.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// `hdfs://AUTHORITY`.
    pub(crate) uri: String,
    /// The authority.
    pub(crate) name: String,
    /// The NameNodes' RPC, `HOST:PORT`.
    pub(crate) nodes: Vec<String>,
    /// Where their pages may be, `HOST:PORT`.
    pub(crate) pages: Vec<String>,
    /// The folder that is written to.
    pub(crate) folder: String,
    core: Pairs,
    hdfs: Pairs,
}

/// Why it is not known where the HDFS is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) says: String,
    pub(crate) fix: String,
}

impl Wrong {
    fn option(app: &str, option: &str, says: impl Into<String>) -> Self {
        Self { says: says.into(), fix: format!("stoker config {app} {option}") }
    }
}

impl Place {
    /// From what is observed.
    pub(crate) fn of(seen: &Observation) -> Result<Self, Wrong> {
        let text =
            |name: &str| seen.config.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let attached = |name: &str| -> Pairs {
            let facts = seen.resources.get("configuration").map(|resource| &resource.facts.details);
            facts.and_then(|facts| serde_json::from_value(facts.get(name)?.clone()).ok()).unwrap_or_default()
        };
        let mut sites = Vec::new();
        for name in crate::inspect::SITES {
            let mut site = attached(name);
            let over = overrides::check(&text(name)).map_err(|bad| {
                Wrong::option(&seen.app, &format!("{name}=…"), format!("cannot read `{name}`: {bad}"))
            })?;
            site.extend(over);
            sites.push(site);
        }
        let (mut hdfs, mut core) = (sites.pop().unwrap_or_default(), sites.pop().unwrap_or_default());
        if core.get("hadoop.security.authentication").is_some_and(|how| how != "simple") {
            return Err(Wrong {
                says: "this HDFS asks for Kerberos, which is not supported yet".to_owned(),
                fix: "use an HDFS with simple authentication".to_owned(),
            });
        }
        let told = text("namenode");
        let uri = if told.is_empty() {
            core.get("fs.defaultFS").or_else(|| core.get("fs.default.name")).cloned().unwrap_or_default()
        } else {
            told
        };
        let namenode = |says: String| Wrong::option(&seen.app, "namenode=hdfs://HOST:8020", says);
        if uri.is_empty() {
            return Err(namenode(
                "it is not told which HDFS: say its NameNode, or attach a client configuration".to_owned(),
            ));
        }
        let name = uri.strip_prefix("hdfs://").map(|rest| rest.trim_end_matches('/').to_owned());
        let name = name.filter(|name| is_authority(name));
        let name =
            name.ok_or_else(|| namenode(format!("`{uri}` is no hdfs://HOST:PORT or hdfs://NAMESERVICE")))?;
        let nodes = nodes(&name, &mut hdfs).map_err(namenode)?;
        let asked: Vec<String> = seen.config.get("pages").map(listed).unwrap_or_default();
        if let Some(bad) = asked.iter().find(|page| !page.contains(':') || !is_authority(page)) {
            return Err(Wrong::option(&seen.app, "pages=HOST:9870", format!("`{bad}` is no HOST:PORT")));
        }
        let pages = if asked.is_empty() { pages(&name, &nodes, &hdfs) } else { asked };
        let folder = text("folder");
        let parts: Vec<&str> = folder.strip_prefix('/').unwrap_or_default().split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && !matches!(*part, "." | "..")
                && !part.contains([':', '\\', '$'])
                && !part.contains(char::is_control)
        };
        if !parts.iter().all(plain) {
            return Err(Wrong::option(
                &seen.app,
                "folder=/FOLDER",
                format!("`{folder}` is no absolute path below /"),
            ));
        }
        let uri = format!("hdfs://{name}");
        core.remove("fs.default.name");
        core.insert("fs.defaultFS".to_owned(), uri.clone());
        // Homes, and with them the trash and relative paths.
        hdfs.insert("dfs.user.home.dir.prefix".to_owned(), format!("{folder}/user"));
        Ok(Self { uri, name, nodes, pages, folder, core, hdfs })
    }

    /// What clients are told.
    pub(crate) fn configuration(&self) -> Value {
        let for_clients = |site: &Pairs| -> Pairs {
            let fits = |key: &String| {
                FOR_CLIENTS.iter().any(|known| key.starts_with(known))
                    || !SERVERS.iter().any(|prefix| key.starts_with(prefix))
            };
            site.iter()
                .filter(|(key, _)| fits(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        json!({"core-site": for_clients(&self.core), "hdfs-site": for_clients(&self.hdfs)})
    }

    /// Whether a path is the folder or below it.
    pub(crate) fn holds(&self, path: &str) -> bool {
        path.strip_prefix(&self.folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

fn is_authority(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "1"));
    !host.is_empty()
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn listed(value: &Value) -> Vec<String> {
    let texts: Vec<&str> = match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().into_iter().flat_map(|text| text.split(',')).collect(),
    };
    texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect()
}

/// The NameNodes' RPC. Of a nameservice with several, how clients find the active one is added where it is left out.
fn nodes(name: &str, hdfs: &mut Pairs) -> Result<Vec<String>, String> {
    let services = hdfs.get("dfs.nameservices").map(|all| listed(&json!(all))).unwrap_or_default();
    let ids =
        hdfs.get(&format!("dfs.ha.namenodes.{name}")).map(|all| listed(&json!(all))).unwrap_or_default();
    let keys: Vec<String> = if ids.is_empty() && services.iter().any(|service| service == name) {
        vec![format!("dfs.namenode.rpc-address.{name}")]
    } else {
        ids.iter().map(|id| format!("dfs.namenode.rpc-address.{name}.{id}")).collect()
    };
    if keys.is_empty() {
        return Ok(vec![if name.contains(':') { name.to_owned() } else { format!("{name}:{RPC}") }]);
    }
    let nodes: Option<Vec<String>> = keys.iter().map(|key| hdfs.get(key).cloned()).collect();
    let nodes = nodes
        .ok_or_else(|| format!("the configuration has no `{}` for nameservice {name}", keys.join("`, `")))?;
    if !ids.is_empty() {
        hdfs.entry(format!("dfs.client.failover.proxy.provider.{name}"))
            .or_insert_with(|| FAILOVER.to_owned());
    }
    Ok(nodes)
}

fn pages(name: &str, nodes: &[String], hdfs: &Pairs) -> Vec<String> {
    let told: Vec<String> = hdfs
        .iter()
        .filter(|(key, _)| {
            *key == "dfs.namenode.http-address"
                || key.starts_with(&format!("dfs.namenode.http-address.{name}"))
        })
        .map(|(_, address)| address.clone())
        .filter(|address| !address.starts_with("0.0.0.0") && is_authority(address))
        .collect();
    if !told.is_empty() {
        return told;
    }
    let hosts: BTreeSet<&str> = nodes.iter().map(|node| node.split(':').next().unwrap_or(node)).collect();
    PAGES.iter().flat_map(|port| hosts.iter().map(move |host| format!("{host}:{port}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: &Value, core: &Value, hdfs: &Value) -> Result<Place, Wrong> {
        let mut all = json!({"folder": "/stoker"});
        all.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let facts = json!({"product": "hadoop-configuration", "version": "", "details": {"core-site": core, "hdfs-site": hdfs}});
        let build = stoker_charm::ids::Digest::of(b"x").to_string();
        let seen = json!({"app": "x", "config": all, "resources": {"configuration": {"revision": 1, "build": build, "facts": facts}}});
        Place::of(&serde_json::from_value(seen).unwrap())
    }

    #[test]
    fn a_namenode_alone() {
        let found = place(&json!({"namenode": "hdfs://nn.example:9000/"}), &json!({}), &json!({})).unwrap();
        assert_eq!(
            (found.uri.as_str(), found.nodes.as_slice()),
            ("hdfs://nn.example:9000", &["nn.example:9000".to_owned()][..])
        );
        assert_eq!(found.pages, ["nn.example:9870", "nn.example:50070"]);
        let config = found.configuration();
        assert_eq!(config["core-site"], json!({"fs.defaultFS": "hdfs://nn.example:9000"}));
        assert_eq!(config["hdfs-site"]["dfs.user.home.dir.prefix"], "/stoker/user");
        assert_eq!(
            place(&json!({"namenode": "hdfs://nn"}), &json!({}), &json!({})).unwrap().nodes,
            ["nn:8020"]
        );
        assert!(found.holds("/stoker/a") && !found.holds("/stoker-x") && !found.holds("/"));
    }

    #[test]
    fn a_nameservice_with_two() {
        let core = json!({"fs.defaultFS": "hdfs://ns", "hadoop.tmp.dir": "/x", "io.file.buffer.size": "1"});
        let hdfs = json!({"dfs.nameservices": "ns,other", "dfs.ha.namenodes.ns": "a,b", "dfs.namenode.rpc-address.ns.a": "h1:8020",
            "dfs.namenode.rpc-address.ns.b": "h2:8020", "dfs.namenode.http-address.ns.a": "h1:5", "dfs.namenode.http-address.ns.b": "h2:5",
            "dfs.namenode.name.dir": "/data", "dfs.datanode.data.dir": "/data"});
        let found = place(&json!({}), &core, &hdfs).unwrap();
        assert_eq!(
            (found.nodes.as_slice(), found.pages.as_slice()),
            (&["h1:8020".to_owned(), "h2:8020".to_owned()][..], &["h1:5".to_owned(), "h2:5".to_owned()][..])
        );
        let config = found.configuration();
        assert_eq!(config["core-site"], json!({"fs.defaultFS": "hdfs://ns", "io.file.buffer.size": "1"}));
        assert_eq!(config["hdfs-site"]["dfs.client.failover.proxy.provider.ns"], FAILOVER);
        assert_eq!(config["hdfs-site"]["dfs.namenode.rpc-address.ns.b"], "h2:8020");
        assert!(config["hdfs-site"].get("dfs.namenode.name.dir").is_none());
        let told = place(&json!({"pages": ["p:1"], "hdfs-site": "dfs.replication=2"}), &core, &hdfs).unwrap();
        assert_eq!(
            (told.pages.as_slice(), &told.configuration()["hdfs-site"]["dfs.replication"]),
            (&["p:1".to_owned()][..], &json!("2"))
        );
        let half = json!({"dfs.ha.namenodes.ns": "a"});
        assert!(place(&json!({}), &core, &half).unwrap_err().says.contains("dfs.namenode.rpc-address.ns.a"));
    }

    #[test]
    fn what_is_no_hdfs_is_told() {
        for (config, core) in [
            (json!({}), json!({})),
            (json!({"namenode": "nn:8020"}), json!({})),
            (json!({"namenode": "hdfs://"}), json!({})),
            (json!({"namenode": "hdfs://a b"}), json!({})),
            (json!({"namenode": "hdfs://a:x"}), json!({})),
            (json!({"namenode": "hdfs://a", "folder": "/"}), json!({})),
            (json!({"namenode": "hdfs://a", "folder": "/a/../b"}), json!({})),
            (json!({"namenode": "hdfs://a", "pages": ["a"]}), json!({})),
            (json!({"namenode": "hdfs://a", "core-site": "x"}), json!({})),
            (json!({}), json!({"fs.defaultFS": "s3a://x"})),
            (json!({}), json!({"fs.defaultFS": "hdfs://x", "hadoop.security.authentication": "kerberos"})),
        ] {
            let wrong = place(&config, &core, &json!({}));
            assert!(wrong.as_ref().is_err_and(|wrong| !wrong.fix.is_empty()), "{config} {core}: {wrong:?}");
        }
    }
}
