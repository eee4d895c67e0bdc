//! Related notebooks: what they tell, and what their drivers are told.

use std::collections::BTreeMap;

use serde_json::json;
use stoker_charm::ids::Digest;
use stoker_charm::observation::{Life, Observation, Relation};
use stoker_charm::plan::Published;

use super::{SECRET, Scene, defaults, files};
use crate::config::Pairs;

/// A notebook application.
pub(super) struct Notebook<'a> {
    /// The relation.
    pub(super) relation: &'a Relation,
    /// Its system user.
    pub(super) user: Option<&'a str>,
    /// The Python of its kernels, which its executors run too.
    pub(super) python: Option<Digest>,
}

/// The related notebooks, by rising relation id.
pub(super) fn of(seen: &Observation) -> Vec<Notebook<'_>> {
    let relations = seen.relations.iter().filter(|r| r.endpoint == "spark" && r.life == Life::Alive);
    let mut all: Vec<Notebook<'_>> = relations
        .map(|relation| Notebook {
            user: relation.app.get("user").map(String::as_str).filter(|user| is_user(user)),
            python: relation.app.get("python").and_then(|digest| digest.parse().ok()),
            relation,
        })
        .collect();
    all.sort_by_key(|notebook| notebook.relation.id);
    all
}

/// Whether it can be part of an HDFS path as it is.
fn is_user(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

impl Notebook<'_> {
    /// The name of the tree that holds its Python.
    pub(super) fn tree(&self) -> String {
        format!("python-n{}", self.relation.id)
    }

    /// Our data of the relation.
    pub(super) fn publish(&self, scene: &Scene<'_>) -> Published {
        let ready =
            self.python.as_ref().map(|_| ("python-ready".to_owned(), format!("${{tree:{}}}", self.tree())));
        let unit = ready.into_iter().collect();
        if scene.own.starting && !self.relation.ours.app.is_empty() {
            // Until the new generation is ready, programs go to the one before.
            return Published { unit, ..super::stuck::published(self.relation) };
        }
        let mut app = BTreeMap::from([
            ("master".to_owned(), scene.cluster.url.clone()),
            ("key".to_owned(), scene.own.key.clone()),
            ("ui".to_owned(), scene.cluster.ui.clone()),
            ("history".to_owned(), scene.cluster.history.clone()),
            ("version".to_owned(), scene.spark.version.clone()),
            ("build".to_owned(), "${tree:spark}".to_owned()),
            ("hadoop".to_owned(), scene.alignment.client_version.clone()),
            ("java".to_owned(), scene.java.version.to_string()),
            ("ready".to_owned(), scene.folders_ready().to_string()),
            ("defaults".to_owned(), text(&defaults::notebook(scene))),
            (
                "config".to_owned(),
                json!({"core-site": files::core_site(scene), "hdfs-site": files::hdfs_site(scene)})
                    .to_string(),
            ),
        ]);
        if let Some(python) = scene.python.as_ref().filter(|p| !p.minor.is_empty()) {
            app.insert("python".to_owned(), python.minor.clone());
        }
        if stoker_charm::java::attached(scene.seen).is_some() {
            app.insert("java-build".to_owned(), "${tree:java}".to_owned());
        }
        if let Some(jars) = &scene.jars {
            app.insert("jars".to_owned(), format!("${{tree:{}}}", super::jars::TREE));
            app.insert("jars-folder".to_owned(), jars.folder.clone());
        }
        if let Some(secret) = scene.seen.secrets.get(SECRET) {
            app.insert("auth".to_owned(), secret.clone());
        }
        Published { app, unit }
    }
}

fn text(pairs: &Pairs) -> String {
    serde_json::to_string(pairs).unwrap_or_default()
}
