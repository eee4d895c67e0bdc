//! The related HDFS: what it says, and which folders it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Life, Observation, Relation};
use stoker_charm::plan::Published;

use super::{Scene, Stuck, notebooks};
use crate::align::Client;
use crate::config::Pairs;

/// The HDFS that the application is related to.
pub(super) struct Hdfs<'a> {
    /// The relation.
    pub(super) relation: &'a Relation,
    /// Its version, and the build that its own client would come from.
    pub(super) server: Client,
    /// Whether it can be written to.
    pub(super) ready: bool,
    /// Whether all folders asked for are there.
    pub(super) made: bool,
    /// Whether those of Spark itself are there: they are part of whatever was asked for and made before.
    pub(super) own_made: bool,
    /// The folders asked for, as published.
    dirs: String,
    /// Whether its client configuration is known. Its version comes first: the master starts meanwhile.
    pub(super) configured: bool,
    /// Client configuration.
    pub(super) sites: Sites,
    /// The folder below which everything is written; empty = all of it is ours to use.
    pub(super) folder: String,
}

/// A folder to be made.
#[derive(Debug, Serialize)]
struct Folder {
    path: String,
    owner: String,
    group: String,
    mode: String,
}

/// Hadoop's client configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Sites {
    /// core-site.xml.
    pub(super) core_site: Pairs,
    /// hdfs-site.xml.
    pub(super) hdfs_site: Pairs,
}

impl<'a> Hdfs<'a> {
    /// The related HDFS, if any. Its version and build have to be known before anything is decided.
    pub(super) fn of(seen: &'a Observation) -> Result<Option<Self>, Stuck> {
        let Some(relation) = seen
            .relations
            .iter()
            .filter(|r| r.endpoint == "hdfs" && r.life == Life::Alive)
            .min_by_key(|r| r.id)
        else {
            return Ok(None);
        };
        let told = |key: &str| relation.app.get(key).filter(|value| !value.is_empty());
        let (Some(version), Some(build)) = (told("version"), told("build")) else {
            return Err(Stuck::waiting(format!("waiting for {} to tell its version", relation.remote)));
        };
        if build != Client::NOWHERE && build.parse::<Digest>().is_err() {
            return Err(Stuck::waiting(format!("{} tells `{build}`, which is no build", relation.remote)));
        }
        let sites: Option<Sites> =
            told("config").map(|config| serde_json::from_str(config)).transpose().map_err(|_| {
                Stuck::waiting(format!("{} tells a configuration that cannot be read", relation.remote))
            })?;
        let folder = told("folder").cloned().unwrap_or_default();
        let dirs = dirs(seen, &folder);
        Ok(Some(Self {
            relation,
            server: Client {
                version: version.clone(),
                build: build.clone(),
                // One that cannot be read is as good as none: what Spark has stays.
                companions: told("companions")
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_default(),
                jars: told("client-jars")
                    .and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or_default(),
            },
            configured: sites.is_some(),
            ready: sites.is_some() && told("ready").is_some_and(|ready| ready == "true"),
            made: told("made").is_some_and(|made| *made == Digest::of(dirs.as_bytes()).to_string()),
            own_made: told("made").is_some(),
            dirs,
            sites: sites.unwrap_or_default(),
            folder,
        }))
    }

    /// What tells this HDFS from another of the same build.
    pub(super) fn identity(&self) -> &str {
        self.relation
            .app
            .get("cluster-id")
            .or_else(|| self.relation.app.get("nameservice"))
            .map_or("", String::as_str)
    }

    /// The URI of a path below the folder.
    pub(super) fn uri(&self, path: &str) -> String {
        let root = self.relation.app.get("default-fs").or_else(|| self.sites.core_site.get("fs.defaultFS"));
        format!("{}{}{path}", root.map_or("", |root| root.trim_end_matches('/')), self.folder)
    }

    /// Our data of the relation.
    pub(super) fn publish(&self, scene: &Scene<'_>) -> Published {
        Published {
            app: BTreeMap::from([("dirs".to_owned(), self.dirs.clone())]),
            unit: BTreeMap::from([("client".to_owned(), scene.alignment.client_version.clone())]),
        }
    }
}

/// The folder of event logs.
pub(super) fn logs(app: &str) -> String {
    format!("/{app}-logs")
}

/// The folder of tables.
pub(super) fn warehouse(app: &str) -> String {
    format!("/{app}-warehouse")
}

/// The folders asked for, as JSON. Event logs belong to a group that the history server is in: drivers of others
/// write them there readable by their group only, and new files take the folder's group.
fn dirs(seen: &Observation, root: &str) -> String {
    let user = seen.users.get(super::USER).map_or(super::USER, String::as_str);
    let folder = |path: String, owner: &str, mode: &str| {
        let path = format!("{root}{path}");
        let folder = Folder {
            owner: owner.to_owned(),
            group: owner.to_owned(),
            mode: mode.to_owned(),
            path: path.clone(),
        };
        (path, folder)
    };
    let mut all = BTreeMap::from([
        folder(logs(&seen.app), user, "1777"),
        folder(warehouse(&seen.app), user, "1777"),
        folder(format!("/user/{user}"), user, "0750"),
    ]);
    for user in notebooks::of(seen).iter().filter_map(|notebook| notebook.user) {
        all.extend([folder(format!("/user/{user}"), user, "0750")]);
    }
    let all: Vec<Folder> = all.into_values().collect();
    serde_json::to_string(&all).unwrap_or_default()
}
